//! What a test here is: packets for a NAT, and what was seen of it. Which NAT it is, it is not told.

use std::time::{Duration, Instant};

use weir_netns_tests::error::{Error, Failure};
use weir_netns_tests::nat::{FAMILIES, Family, Nat};
use weir_netns_tests::rfcs::Seen;

/// What a test returns.
pub(crate) type Observed = Result<Seen, Failure>;

/// When a test runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// After the others of its file.
    InTurn,
    /// At once, beside all others: it waits for a clock.
    AtOnce,
    /// After all others: it changes the NAT.
    AtLast,
}

/// A test.
#[derive(Clone, Copy)]
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) when: When,
    pub(crate) run: fn(&Nat) -> Observed,
}

/// The tests of a file, by their functions' names.
macro_rules! vectors {
    ($($when:ident: $($name:ident)*;)*) => {
        &[$($($crate::vector::Vector {
            name: stringify!($name),
            when: $crate::vector::When::$when,
            run: $name,
        },)*)*]
    };
}
pub(crate) use vectors;

/// What has to be there for a test to go on.
pub(crate) fn wanted<T>(it: Option<T>, what: &str) -> Result<T, Failure> {
    let waited = Duration::from_secs(1);
    let too_late = || Error::TooLate { what: what.to_owned(), waited, evidence: String::new() };
    it.ok_or_else(|| too_late().into())
}

/// What is seen of both families, which must be the same.
pub(crate) fn of_both(see: impl Fn(Family) -> Observed) -> Observed {
    let [v4, v6] = FAMILIES.map(see);
    let (v4, v6) = (v4?, v6?);
    if v4 == v6 {
        return Ok(v4);
    }
    Ok(Seen::Otherwise(format!("IPv4: {v4:?}, IPv6: {v6:?}")))
}

/// A clock that begins now.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Waits until so much time has passed.
    pub(crate) fn wait(&self, nat: &Nat, time: Duration) {
        nat.pass_until(self.0 + time);
    }
}

/// What a busy machine may lag behind.
pub(crate) const LAG: Duration = Duration::from_secs(2);
/// What an established flow is given beyond its time, and that.
pub(crate) const LONG_LAG: Duration = Duration::from_secs(4);
