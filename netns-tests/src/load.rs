//! Requests by a real client: curl, one connection each, no retries, every outcome counted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::AddAssign;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::netns::Netns;
use crate::process;
use crate::waiting::until;

/// How many connections curl has open at once.
const PARALLEL: &str = "16";

/// A request that takes this long, in seconds, has failed: no packet of it may need more than one retransmission.
const TOO_SLOW_S: &str = "5";

/// How many requests a continuous load makes with one curl: small enough to say when each was begun.
const BATCH: u32 = 100;

/// Begins the line that says how a request ended. Bodies are names of sandboxes, so they never begin so.
const OUTCOME: &str = "= ";

/// What came of some requests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Requests made.
    pub requests: u64,
    /// Requests without a right answer, by what curl says: `exit 7, HTTP 000`.
    pub failures: BTreeMap<String, u64>,
    /// Who answered, by the answer's body.
    pub served: BTreeMap<String, u64>,
}

impl Tally {
    /// Requests that failed, for whatever reason.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Reads what curl printed for so many requests.
    fn read(requests: u32, printed: &str) -> Self {
        let mut tally = Self { requests: requests.into(), ..Self::default() };
        let mut succeeded = 0;
        for line in printed.lines() {
            match line.strip_prefix(OUTCOME) {
                Some("0 200 1") => succeeded += 1,
                Some(outcome) => *tally.failures.entry(outcome.to_owned()).or_default() += 1,
                None => *tally.served.entry(line.to_owned()).or_default() += 1,
            }
        }
        // Whatever curl kept silent about did not succeed.
        let told = succeeded + tally.failed();
        if told < tally.requests {
            tally.failures.insert("no outcome".into(), tally.requests - told);
        }
        let named: u64 = tally.served.values().sum();
        if named != succeeded {
            tally
                .failures
                .insert("answers whose number is not that of successes".into(), named.abs_diff(succeeded));
        }
        tally
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.requests += other.requests;
        for (sum, part) in [(&mut self.failures, &other.failures), (&mut self.served, &other.served)] {
            for (name, count) in part {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// Makes so many requests from a namespace to `http://ADDRESS/`, and waits for all of them.
pub fn requests(from: &Netns, address: impl Display, count: u32) -> Result<Tally, Error> {
    ask(from.command("curl"), &address.to_string(), count)
}

fn ask(mut curl: Command, address: &str, count: u32) -> Result<Tally, Error> {
    // The outcome is curl's exit code for the request, the HTTP status and the number of new connections.
    let outcome = format!("{OUTCOME}%{{exitcode}} %{{http_code}} %{{num_connects}}\\n");
    curl.args(["--silent", "--parallel", "--parallel-immediate", "--parallel-max", PARALLEL])
        .args(["--max-time", TOO_SLOW_S, "--header", "Connection: close", "--write-out", &outcome])
        .arg(format!("http://{address}/?[1-{count}]"));
    let line = process::shown(&curl);
    let ended = curl.output().map_err(Error::io(format!("start `{line}`")))?;
    Ok(Tally::read(count, &String::from_utf8_lossy(&ended.stdout)))
}

/// Some requests of a continuous load, all begun and ended between two moments.
#[derive(Clone, Debug)]
pub struct Batch {
    /// No request was begun before.
    pub begun: Instant,
    /// No request was open after.
    pub ended: Instant,
    /// What came of them.
    pub tally: Tally,
}

/// Requests without a pause, batch after batch, until it is stopped.
#[derive(Debug)]
pub struct Load {
    begun: Instant,
    stop: Arc<AtomicBool>,
    batches: Arc<Mutex<Vec<Batch>>>,
    threads: Vec<JoinHandle<Result<(), Error>>>,
}

impl Load {
    /// Starts asking `http://ADDRESS/` from a namespace, with two curls, so that there is never a gap between
    /// batches.
    #[must_use]
    pub fn start(from: &Netns, address: impl Display) -> Self {
        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let batches = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..2)
            .map(|_| {
                let (stop, batches) = (Arc::clone(&stop), Arc::clone(&batches));
                let (netns, address) = (from.path(), address.to_string());
                thread::spawn(move || ask_on(&netns, &address, &stop, &batches))
            })
            .collect();
        Self { begun, stop, batches, threads }
    }

    /// Waits until at least so many requests were begun and ended after a moment. Returns how many.
    pub fn wait_for(&self, requests: u64, after: Instant, patience: Duration) -> Result<u64, Error> {
        let what = format!("{requests} requests");
        until(
            &what,
            patience,
            || format!("{:?}", self.total()),
            || {
                let done = self.between(after, Instant::now()).requests;
                if self.threads.iter().any(JoinHandle::is_finished) {
                    return Ok(Some(done));
                }
                Ok((done >= requests).then_some(done))
            },
        )
    }

    /// What came of the requests that were begun and ended between two moments.
    #[must_use]
    pub fn between(&self, first: Instant, last: Instant) -> Tally {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tally = Tally::default();
        let inside = batches.iter().filter(|batch| batch.begun >= first && batch.ended <= last);
        inside.for_each(|batch| tally += &batch.tally);
        tally
    }

    /// Lets open requests end and returns what came of all.
    pub fn stop(mut self) -> Result<Tally, Error> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(self.total())
    }

    fn total(&self) -> Tally {
        self.between(self.begun, Instant::now())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Dropped without `stop`: its owner failed already, and says why.
            let _: thread::Result<Result<(), Error>> = thread.join();
        }
    }
}

fn ask_on(netns: &Path, address: &str, stop: &AtomicBool, batches: &Mutex<Vec<Batch>>) -> Result<(), Error> {
    while !stop.load(Ordering::Relaxed) {
        let mut curl = Command::new("nsenter");
        curl.arg(format!("--net={}", netns.display())).args(["--", "curl"]);
        let begun = Instant::now();
        let tally = ask(curl, address, BATCH)?;
        let batch = Batch { begun, ended: Instant::now(), tally };
        batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_their_body_and_failures_by_what_curl_says() {
        let tally = Tally::read(4, "sandbox-1\nsandbox-2\n= 0 200 1\n= 28 000 0\n= 0 200 1\n= 56 000 1\n");
        assert_eq!(tally.served, BTreeMap::from([("sandbox-1".into(), 1), ("sandbox-2".into(), 1)]));
        assert_eq!(tally.failures, BTreeMap::from([("28 000 0".into(), 1), ("56 000 1".into(), 1)]));
    }

    #[test]
    fn a_request_without_an_outcome_is_a_failure() {
        assert_eq!(Tally::read(3, "sandbox-1\n= 0 200 1\n").failed(), 2);
    }

    #[test]
    fn a_success_without_a_body_is_a_failure() {
        assert_eq!(Tally::read(1, "= 0 200 1\n").failed(), 1);
    }
}
