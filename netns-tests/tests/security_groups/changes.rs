//! How soon a change of rules is seen: by whom the sandbox calls meanwhile, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, SERVERS, connected, outwards};
use weir_netns_tests::error::{Error, Tested};
use weir_netns_tests::netns::{Door, Netns};
use weir_netns_tests::security::{Far, Rule, group};
use weir_netns_tests::talk::Conversation;

/// How soon a new flow is to see it.
const SOON: Duration = Duration::from_millis(100);

/// More than the default of 1,000 refusals a second, so that none is left untold.
const ANSWERS: u32 = 10_000;

/// The sandbox may call the server by TCP, or nobody.
fn config(is_allowed: bool) -> Config {
    let far = Far::Cidr(if is_allowed { "10.0.1.0/24" } else { "203.0.113.0/24" });
    let more = group("web", &[Rule::of("tcp", far)], &[]);
    let connector = Connector::of(1..=1, BOTH).with("security_groups", "[\"web\"]");
    Config { more, answers_per_second: Some(ANSWERS), ..outwards(Hook::Xdp, connector) }
}

#[test]
fn a_change_is_seen_by_new_flows_at_once() -> Tested {
    let (bed, mut weir, _) = connected("sg-soon", 1, &config(true))?;
    let caller = Caller::begin(&bed.sandboxes[0].netns, SERVERS[0]);

    let (mut seen, mut reloads) = (Vec::new(), Vec::new());
    for nth in 0..10 {
        let is_allowed = nth % 2 == 1;
        weir.write(&config(is_allowed).toml(&bed))?;
        let asked = Instant::now();
        weir.reload()?;
        reloads.push(asked.elapsed());
        // A call that begins now sees what is in force.
        caller.wait_for_more();
        seen.push((asked, Instant::now(), is_allowed));
    }
    let calls = caller.end()?;
    let first_of = |(asked, next, is_allowed)| first_to_see(&calls, asked, next, is_allowed);
    let mut took: Vec<_> = seen.into_iter().map(first_of).collect();

    took.sort_unstable();
    reloads.sort_unstable();
    let [median, worst] = [took.len() / 2, took.len() - 1];
    println!(
        "from SIGHUP to the end of the first call that sees the change: median {:?}, worst {:?}; to the end of the \
         reload: median {:?}, worst {:?}; {} calls",
        took[median],
        took[worst],
        reloads[median],
        reloads[worst],
        calls.len()
    );
    assert!(took[median] < SOON, "{took:?}");
    Ok(bed.finish(weir)?)
}

/// How long after a change was asked for the first call ended that saw it. None that began later saw the old rules.
fn first_to_see(calls: &[Call], asked: Instant, next: Instant, is_allowed: bool) -> Duration {
    let until_next = calls.iter().filter(|call| call.begun >= asked && call.ended <= next);
    let mut seeing = until_next.skip_while(|call| call.is_allowed != is_allowed);
    let took = seeing.next().map_or(Duration::MAX, |call| call.ended.duration_since(asked));
    assert!(seeing.all(|call| call.is_allowed == is_allowed), "the old rules were seen again");
    took
}

/// One attempt to connect.
struct Call {
    begun: Instant,
    ended: Instant,
    is_allowed: bool,
}

/// Calls without a pause that anybody would notice, until it is ended.
struct Caller {
    ends: Arc<AtomicBool>,
    made: std::sync::mpsc::Receiver<()>,
    thread: JoinHandle<Result<Vec<Call>, Error>>,
}

impl Caller {
    fn begin(netns: &Netns, to: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (made, count) = std::sync::mpsc::channel();
        let (told, door) = (Arc::clone(&ends), netns.door());
        let thread = thread::spawn(move || {
            let mut calls = Vec::new();
            while !told.load(Ordering::Relaxed) {
                calls.push(call(&door, to)?);
                // Whoever listens has ended where this fails.
                let _: Result<(), _> = made.send(());
                // The daemon needs a CPU as well, and there is no event to wait for.
                thread::sleep(Duration::from_millis(1));
            }
            Ok(calls)
        });
        Self { ends, made: count, thread }
    }

    /// Waits for two calls from here on: the first of them may have begun before.
    fn wait_for_more(&self) {
        while self.made.try_recv().is_ok() {}
        // An error is told by the thread's end.
        let _: [Result<(), _>; 2] = [self.made.recv(), self.made.recv()];
    }

    fn end(self) -> Result<Vec<Call>, Error> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn call(door: &Door, to: SocketAddr) -> Result<Call, Error> {
    let begun = Instant::now();
    let connected = Conversation::begin_by(door, to);
    let (ended, is_allowed) = (Instant::now(), connected.is_ok());
    // Without a wait for the other side: a call is one of many.
    connected.map_or(Ok(()), Conversation::reset)?;
    Ok(Call { begun, ended, is_allowed })
}
