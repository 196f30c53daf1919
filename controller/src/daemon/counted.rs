//! The ports in use, looked at as often as that is cheap: crowded remotes on every beat, everything where there is time.

use super::pool::Clock;
use crate::pool::{Facts, Seen, Usage};
use crate::ports::{self, Refusals};
use std::time::{Duration, Instant};
use weir_dataplane::{Error, Tables};

/// One part in so many of the time may go into counting everything: large tables are counted less often.
const SHARE: u32 = 20;
/// Between two looks that say how fast ports are used up.
const SLOPE: Duration = Duration::from_secs(1);

/// The ports in use, now and a while ago.
pub(super) struct Counted {
    all: Looks,
    crowd: Looks,
    refusals: Option<Refusals>,
    /// Everything was counted just now.
    is_fresh: bool,
    /// Not again before then.
    due: Instant,
}

/// What was seen last, and what a while before.
struct Looks {
    now: Usage,
    /// One or two [`SLOPE`]s ago.
    before: Option<Usage>,
    /// What is `before` next, and since when.
    next: Option<(Instant, Usage)>,
}

impl Looks {
    fn new(clock: &Clock) -> Self {
        Self { now: Usage::new(clock.now()), before: None, next: None }
    }

    fn again(&mut self, usage: Usage, at: Instant) {
        if self.next.as_ref().is_none_or(|(since, _)| at - *since >= SLOPE) {
            let last = self.next.replace((at, usage.clone()));
            self.before = last.map(|(_, usage)| usage);
        }
        self.now = usage;
    }
}

impl Counted {
    pub(super) fn new(clock: &Clock) -> Self {
        let (all, crowd) = (Looks::new(clock), Looks::new(clock));
        Self { all, crowd, refusals: None, is_fresh: false, due: Instant::now() }
    }

    /// Looks at crowded remotes, and at everything where that is due.
    pub(super) fn look(&mut self, tables: &Tables, clock: &Clock) -> Result<(), Error> {
        self.is_fresh = false;
        if Instant::now() >= self.due {
            return self.count(tables, clock);
        }
        self.look_at_crowd(tables, clock)
    }

    /// Counts everything.
    pub(super) fn count(&mut self, tables: &Tables, clock: &Clock) -> Result<(), Error> {
        let begun = Instant::now();
        let usage = Usage { at: clock.now(), ..ports::usage(tables) };
        self.all.again(usage, begun);
        (self.is_fresh, self.due) = (true, begun + SHARE * begun.elapsed());
        self.look_at_crowd(tables, clock)
    }

    fn look_at_crowd(&mut self, tables: &Tables, clock: &Clock) -> Result<(), Error> {
        let mut crowd = Usage { at: clock.now(), ..ports::crowd(tables) };
        let refusals = ports::refusals(tables)?;
        if let Some(before) = &self.refusals {
            let more = refusals.iter().filter(|(place, count)| before.get(place) != Some(count));
            crowd.refused = more.map(|((address, _), _)| *address).collect();
        }
        self.refusals = Some(refusals);
        self.crowd.again(crowd, Instant::now());
        Ok(())
    }

    /// All that is in use, as it was last counted.
    pub(super) const fn usage(&self) -> &Usage {
        &self.all.now
    }

    pub(super) fn seen<'a>(&'a self, facts: &'a Facts, clock: &Clock) -> Seen<'a> {
        Seen {
            now: clock.now(),
            facts,
            usage: &self.all.now,
            before: self.all.before.as_ref(),
            is_counted: self.is_fresh,
            crowd: &self.crowd.now,
            crowd_before: self.crowd.before.as_ref(),
        }
    }
}
