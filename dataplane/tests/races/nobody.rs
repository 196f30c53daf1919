//! The dataplane needs nobody: with no daemon, only the kernel's own timer, flows open and end through three times
//! the tables' capacity, and none is refused.

use crate::books;
use crate::duel::{Act, Came, alone};
use crate::town::{self, Says, Service, Talk};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use weir_dataplane::Sizes;
use weir_dataplane::events::Events;
use weir_dataplane::test_run::Runner;
use weir_path::Reason;
use weir_path::flow::end::End;

/// Flows that fit, of each family.
const FLOWS: u32 = 256;
/// How often they are filled.
const TIMES: u32 = 3;
/// A client that talks all the time.
const STEADY: u8 = 250;
/// No flow here lives longer than a few seconds: a second without an end, ten times, and none will come.
const PATIENCE: u32 = 10;

#[test]
fn three_times_the_capacity_opens_and_ends_with_nobody_there_and_none_is_refused() {
    let _cpus = crate::arena::both_cpus();
    town::enter();
    let runner = Runner::new(&Sizes::small(FLOWS)).expect("the programs load: root, Linux 6.6");
    town::build(runner.tables());
    let mut events = runner.events().unwrap();
    runner.start_ageing().unwrap();
    let mut runs = 0;
    let mut say = |talk: Talk, says: Says| {
        runs += 1;
        let [came] = alone(&runner, &[Act::Say(talk, says, 0)]).try_into().expect("one outcome");
        assert!(matches!(came, Came::Sent(_)), "{talk:?} says {says:?}: {came:?}");
    };
    let steady = [false, true].map(|is_v6| Talk { is_v6, service: Service::Kept, client: STEADY, vip: 0 });
    let handshake = [Says::Syn, Says::SynAck, Says::Ack];
    steady.iter().for_each(|talk| handshake.iter().for_each(|says| say(*talk, *says)));

    let (mut told, mut opened) = (0, 0);
    for nth in 0..TIMES * FLOWS {
        // Half a table is open at a time, and the other half is on its way out.
        while opened - told > u64::from(FLOWS) {
            told += wait(&mut events);
        }
        for talk in [false, true].map(|is_v6| nth_talk(nth, is_v6)) {
            handshake.iter().for_each(|says| say(talk, *says));
            if nth % 2 == 0 && talk.service == Service::Web {
                [Says::Fin, Says::AnswerFin].iter().for_each(|says| say(talk, *says));
            }
            opened += 1;
        }
        steady.iter().for_each(|talk| [Says::Ack, Says::Answer].iter().for_each(|says| say(*talk, *says)));
    }
    while told < opened {
        told += wait(&mut events);
    }
    let counters = runner.tables().counters().unwrap();
    let left = books::packets(&counters, runs).unwrap_or_else(|what| panic!("{what}"));
    let account = books::close(&runner).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!((left[&Reason::FlowTableFull], left[&Reason::HalfOpenFull]), (0, 0));
    assert_eq!(opened, 2 * u64::from(TIMES * FLOWS));
    assert_eq!((account.made(), account.live), (opened + 2, 2), "all but the steady ones ended");
    assert_eq!(events.lost().unwrap(), 0);
    println!("nobody there: {opened} flows opened and ended ({}), none refused", books::ends(&counters));
    assert!(counters.ended[&End::Closed] > 0 && counters.ended[&End::Idle] > 0);
}

/// Different ones for longer than any of them lives.
fn nth_talk(nth: u32, is_v6: bool) -> Talk {
    let service = [Service::Web, Service::Dns][nth as usize % 2];
    Talk { is_v6, service, client: (nth / 2 % 240) as u8, vip: 0 }
}

/// Waits until flows have ended, and says how many.
fn wait(events: &mut Events) -> u64 {
    for _ in 0..PATIENCE {
        let count = std::iter::from_fn(|| events.next_event()).count();
        if count > 0 {
            return count as u64;
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(1_000u16)).unwrap();
    }
    panic!("no flow ends any more");
}
