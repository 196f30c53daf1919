//! A tenant who is root in a sandbox and means harm: whatever it sends, nothing reaches what it should not, and whoever
//! is beside it goes on.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   the hostile one
//!     echo    echo on    ip_forward = 1  ├─ sb2   its neighbour: the same address, MAC and connector
//!             the link   ENI             └─ …
//!             caught here, and in the sandboxes; nftables counts what is left to the host
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]
#![expect(clippy::print_stdout, reason = "what was measured is a test's result, too")]

mod clones;
mod flood;
mod hoard;
mod lies;
mod malformed;
mod mangle;
mod scan;
mod spoof;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir_netns_tests::connectors::SERVERS;
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::forge::Mac;
use weir_netns_tests::netns::{Door, Netns};
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;

/// The MAC of every sandbox.
const SANDBOX_MAC: Mac = [2, 0x57, 0x45, 0x49, 0x52, 2];
/// The MAC of the gateway, and of the host's end of each veth.
const GATEWAY_MAC: Mac = [2, 0x57, 0x45, 0x49, 0x52, 1];

/// A sandbox that means no harm: it talks on old connections and opens new ones, to each of the servers, and leaves the
/// CPUs to others in between.
struct Neighbour {
    ends: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Neighbour {
    /// Begins to talk.
    fn begin(netns: &Netns) -> Result<Self, Error> {
        let old =
            SERVERS.map(|to| Conversation::begin(netns, to)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let (ends, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count, door) = (Arc::clone(&ends), Arc::clone(&rounds), netns.door());
        let thread = thread::spawn(move || talk(old, &door, &told, &count));
        Ok(Self { ends, rounds, thread })
    }

    /// Waits until everything was said and heard once more; then ends. No word was lost all the time, and no new
    /// connection. Returns how many rounds there were.
    fn must_be_unhurt(self) -> Result<u64, Failure> {
        // The one that is under way may have begun before this.
        let enough = self.rounds.load(Ordering::Relaxed) + 2;
        until("another round of the neighbour's", PATIENCE, String::new, || {
            let is_over = self.thread.is_finished();
            Ok((is_over || self.rounds.load(Ordering::Relaxed) >= enough).then_some(()))
        })?;
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.rounds.load(Ordering::Relaxed))
    }
}

fn talk(mut old: Vec<Conversation>, door: &Door, ends: &AtomicBool, rounds: &AtomicU64) -> Result<(), Error> {
    while !ends.load(Ordering::Relaxed) {
        for to in SERVERS {
            let is_heard = Conversation::begin_by(door, to)?.exchange(b"new")?;
            assert!(is_heard, "a new connection to {to}");
        }
        for talk in &mut old {
            assert!(talk.exchange(b"old")?, "an old connection");
        }
        rounds.fetch_add(1, Ordering::Relaxed);
        // How much it says is a matter of time, and there is no event to wait for.
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until every packet that came in has left. Nobody may talk meanwhile.
fn is_at_rest(weir: &Weir) -> Tested {
    let evidence = || format!("{:#?}", weir.counters());
    let is_conserved = || Ok((weir.counters()?.conservation_diff() == 0).then_some(()));
    Ok(until("packets in = packets out", PATIENCE, evidence, is_conserved)?)
}
