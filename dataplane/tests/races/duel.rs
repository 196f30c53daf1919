//! Two threads, each on a CPU of its own, that run programs on the same tables at the same time.
//!
//! They go in step: neither begins its next act before the other one does, so that most acts overlap.

use crate::books::require;
use crate::town::{Says, Talk};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use weir_dataplane::flows::FlowId;
use weir_dataplane::test_run::{Hand, Program, Ran, Runner};
use weir_path::time::Now;
use weir_testkit::history::frame::{ACK, FIN, Frame, RST, SYN, Sent, TCP};

/// How long a thread waits for the other one to catch up before it goes on alone: it may have been descheduled.
const PATIENCE: usize = 20_000;

/// What one thread does in one step.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Something is said in a talk; answers come from this of its targets.
    Say(Talk, Says, usize),
    /// Flows that were named before are ended by order.
    End(Vec<FlowId>),
    /// Several things at once.
    All(Vec<Act>),
    /// One step of ageing. Only one of the threads may do it.
    Age,
    /// The time moves on.
    Tick(Now),
}

/// What came of an act.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// Sent on; to this target, or from this VIP.
    Sent(usize),
    /// Answered with a RST.
    Answered,
    /// Dropped.
    Dropped,
    /// So many flows were ended.
    Ended(u64),
    /// Of several things.
    Each(Vec<Came>),
    /// Nothing to tell.
    Done,
}

/// What came of a fight.
pub(crate) struct Fought {
    /// Of each act of each thread.
    pub(crate) came: [Vec<Came>; 2],
    /// How many acts were going on at the same time as the other thread's of the same step.
    pub(crate) overlapped: u64,
}

/// Runs both lists of acts side by side.
pub(crate) fn fight(runner: &Runner, [one, other]: [&[Act]; 2]) -> Fought {
    let at = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let [one_at, other_at] = &at;
    let (mine, theirs) = thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            pin(1);
            play(runner, other, &Side { tc: true, mine: other_at, theirs: one_at })
        });
        pin(0);
        let mine = play(runner, one, &Side { tc: false, mine: one_at, theirs: other_at });
        (mine, theirs.join().expect("the other thread says what is wrong"))
    });
    let overlaps =
        |((mine, _), (theirs, _)): &(&Played, &Played)| mine.start < theirs.end && theirs.start < mine.end;
    let overlapped = mine.iter().zip(&theirs).filter(overlaps).count() as u64;
    // Judged afterwards: looking at bytes would pull the threads apart.
    let came = [(one, mine, false), (other, theirs, true)].map(|(acts, played, tc)| {
        acts.iter().zip(played).map(|(act, (_, performed))| judge(act, performed, tc)).collect()
    });
    Fought { came, overlapped }
}

/// Runs acts on this thread alone.
pub(crate) fn alone(runner: &Runner, acts: &[Act]) -> Vec<Came> {
    let mut hand = runner.hand();
    acts.iter().map(|act| judge(act, perform(runner, &mut hand, act, false), false)).collect()
}

/// A thread's side of the fight.
struct Side<'a> {
    tc: bool,
    mine: &'a AtomicUsize,
    theirs: &'a AtomicUsize,
}

/// When an act was performed, and what the kernel said.
type Played = (Range<Instant>, Performed);

fn pin(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a small number");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("races take two CPUs");
}

fn play(runner: &Runner, acts: &[Act], side: &Side<'_>) -> Vec<Played> {
    let mut hand = runner.hand();
    let mut played = Vec::with_capacity(acts.len());
    for (nth, act) in acts.iter().enumerate() {
        side.mine.store(nth + 1, Ordering::Release);
        let mut patience = PATIENCE;
        while side.theirs.load(Ordering::Acquire) <= nth && patience > 0 {
            std::hint::spin_loop();
            patience -= 1;
        }
        let start = Instant::now();
        let performed = perform(runner, &mut hand, act, side.tc);
        played.push((start..Instant::now(), performed));
    }
    side.mine.store(usize::MAX, Ordering::Release);
    played
}

enum Performed {
    Ran(Ran),
    Came(Came),
    Each(Vec<Performed>),
}

fn perform(runner: &Runner, hand: &mut Hand<'_>, act: &Act, tc: bool) -> Performed {
    match act {
        Act::Say(talk, says, nth) => {
            let program = match (says.is_answer(), tc) {
                (true, true) => Program::SlotTc,
                (true, false) => Program::SlotXdp,
                (false, true) => Program::UplinkTc,
                (false, false) => Program::UplinkXdp,
            };
            let bytes = talk.frame(*says, *nth).bytes();
            Performed::Ran(hand.run(program, talk.arrival(*says, *nth), &bytes).unwrap())
        }
        Act::End(named) => Performed::Came(Came::Ended(runner.end_flows(named).unwrap())),
        Act::All(acts) => Performed::Each(acts.iter().map(|act| perform(runner, hand, act, tc)).collect()),
        Act::Age => {
            runner.age_step().unwrap();
            Performed::Came(Came::Done)
        }
        Act::Tick(now) => {
            runner.tables().set_now(*now);
            Performed::Came(Came::Done)
        }
    }
}

fn judge(act: &Act, performed: Performed, tc: bool) -> Came {
    match (act, performed) {
        (Act::Say(talk, says, nth), Performed::Ran(ran)) => {
            let frame = talk.frame(*says, *nth);
            said(talk, *says, &frame, &ran, tc)
                .unwrap_or_else(|what| panic!("{talk:?} says {says:?} ({nth}): {what}\n  {frame:?}"))
        }
        (Act::All(acts), Performed::Each(each)) => {
            Came::Each(acts.iter().zip(each).map(|(act, performed)| judge(act, performed, tc)).collect())
        }
        (_, Performed::Came(came)) => came,
        _ => panic!("{act:?} was performed as something else"),
    }
}

/// What came of a frame: the bytes that left may be of its own flow, or an answer to it, and nothing else.
fn said(talk: &Talk, says: Says, frame: &Frame, ran: &Ran, tc: bool) -> Result<Came, String> {
    let [drop, send] = if tc { [2, 7] } else { [1, 4] };
    if ran.action == drop {
        require(ran.bytes == frame.bytes(), || format!("dropped, but changed: {:02x?}", ran.bytes))?;
        return Ok(Came::Dropped);
    }
    require(ran.action == send, || format!("the program returned {}", ran.action))?;
    let left = match Sent::read(&ran.bytes)? {
        Sent::Frame(left) => left,
        error => {
            let is_told = says.is_answer() && error == frame.refused(false);
            return require(is_told, || format!("it left as {error:?}")).map(|()| Came::Answered);
        }
    };
    if let Some((nth, _)) = talk.translations(says, frame).into_iter().find(|(_, right)| *right == left) {
        return Ok(Came::Sent(nth));
    }
    let opens = frame.flags & (SYN | ACK | RST | FIN) == SYN;
    let may_be_answered = frame.protocol == TCP && !opens && frame.flags & RST == 0;
    require(may_be_answered && left == frame.reset(), || format!("it left as another flow's: {left:?}"))?;
    Ok(Came::Answered)
}
