//! Clients that talk without a pause, each in a thread of its own, while a test does something to them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::netns::Netns;
use crate::talk::Conversation;
use crate::waiting::{PATIENCE, until};

/// What a bulk conversation says at once: more than a connection has in flight.
const BULK_BYTES: usize = 1 << 20;

/// A thread that works until it is told to end, or nobody is left to tell it.
#[derive(Debug)]
struct Busy<T> {
    ends: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<T, Error>>>,
}

impl<T> Drop for Busy<T> {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

impl<T: Send + 'static> Busy<T> {
    /// `work` is done again and again, and counted.
    fn begin(mut state: T, mut work: impl FnMut(&mut T) -> Result<(), Error> + Send + 'static) -> Self {
        let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&ends), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                work(&mut state)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(state)
        });
        Self { ends, done, thread: Some(thread) }
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(mut self) -> Result<(T, u64), Error> {
        self.ends.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        let over = || Error::Missing { what: "a thread to end".into(), by_hand: "Busy::begin".into() };
        let state = joined.ok_or_else(over)?.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((state, self.done.load(Ordering::Relaxed)))
    }
}

/// A conversation of a few words at a time.
#[derive(Debug)]
pub struct Chat(Busy<(Conversation, u64)>);

impl Chat {
    /// Begins to talk.
    #[must_use]
    pub fn begin(conversation: Conversation) -> Self {
        Self(Busy::begin((conversation, 0), |(conversation, nth)| {
            *nth += 1;
            came_back(conversation.exchange(&nth.to_be_bytes())?)
        }))
    }

    /// Waits until something more was said and heard.
    pub fn wait_for_more(&self) -> Result<(), Error> {
        // One may be on its way already, so the second one from here is surely new.
        let enough = self.0.done.load(Ordering::Relaxed) + 2;
        until("another exchange on a long connection", PATIENCE, String::new, || {
            let is_over = self.0.is_over();
            Ok((is_over || self.0.done.load(Ordering::Relaxed) >= enough).then_some(()))
        })
    }

    /// Ends the conversation, and says how often something was said and heard. An error if anything was lost or
    /// changed.
    pub fn end(self) -> Result<u64, Error> {
        self.0.end().map(|(_, exchanges)| exchanges)
    }
}

/// A conversation with as much to say, both ways, as fits.
#[derive(Debug)]
pub struct Bulk(Busy<Conversation>);

impl Bulk {
    /// Begins to talk.
    #[must_use]
    pub fn begin(conversation: Conversation) -> Self {
        let words: Vec<u8> = (0..BULK_BYTES).map(|n| (n % 251) as u8).collect();
        Self(Busy::begin(conversation, move |conversation| came_back(conversation.exchange_bulk(&words)?)))
    }

    /// Ends the conversation, and says how many bytes came back. An error if anything was lost or changed.
    pub fn end(self) -> Result<u64, Error> {
        self.0.end().map(|(_, times)| times * BULK_BYTES as u64)
    }
}

fn came_back(is_the_same: bool) -> Result<(), Error> {
    if is_the_same {
        return Ok(());
    }
    let source = io::Error::other("it came back as something else");
    Err(Error::Io { what: "hear an echo".into(), source })
}

/// New connections, one after another: each says something, hears it back and is closed.
#[derive(Debug)]
pub struct Visits(Busy<Visited>);

/// What came of new connections.
#[derive(Clone, Debug, Default)]
pub struct Visited {
    /// Those that were made and heard what they had said.
    pub served: u64,
    /// The rest, by what became of them.
    pub failures: BTreeMap<String, u64>,
    /// How long the slowest took, from the SYN to the answer.
    pub slowest: Duration,
    /// How long each of those took that were served.
    pub took: Vec<Duration>,
}

impl Visited {
    /// Connections that failed, for whatever reason.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How long all but the slowest hundredth took at most.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).or(took.last()).copied().unwrap_or_default()
    }
}

impl Visits {
    /// Begins to connect.
    #[must_use]
    pub fn begin(from: &Netns, to: SocketAddr) -> Self {
        let door = from.door();
        Self(Busy::begin(Visited::default(), move |visited| {
            let begun = Instant::now();
            let visit = Conversation::begin_by(&door, to).and_then(|mut guest| guest.exchange(b"hello"));
            match visit.and_then(came_back) {
                Ok(()) => {
                    visited.served += 1;
                    visited.took.push(begun.elapsed());
                }
                Err(error) => *visited.failures.entry(error.to_string()).or_default() += 1,
            }
            visited.slowest = visited.slowest.max(begun.elapsed());
            Ok(())
        }))
    }

    /// Waits until so many were made, or failed.
    pub fn wait_for(&self, visits: u64, patience: Duration) -> Result<(), Error> {
        let done = || self.0.done.load(Ordering::Relaxed);
        let what = format!("{visits} connections");
        until(&what, patience, || format!("{} were made", done()), || Ok((done() >= visits).then_some(())))
    }

    /// Ends after the connection that is under way.
    pub fn end(self) -> Result<Visited, Error> {
        self.0.end().map(|(visited, _)| visited)
    }
}
