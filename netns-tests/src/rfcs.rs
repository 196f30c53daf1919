//! What the RFCs ask of a NAT, by number, and how Weir and the kernel's own NAT answer: the table that `docs/rfcs.md` is
//! written from, and that the tests in `tests/rfcs` hold both NATs to.

mod page;
mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6056;
mod rfc7857;

use crate::nat::Kind;

pub use page::page;

/// An RFC.
#[derive(Debug)]
pub struct Rfc {
    /// Its number.
    pub number: u16,
    /// What it is about.
    pub about: &'static str,
    /// What it asks, in its own order.
    pub requirements: &'static [Requirement],
}

/// One thing that an RFC asks.
#[derive(Debug)]
pub struct Requirement {
    /// Its number, or its section.
    pub number: &'static str,
    /// How much it asks it.
    pub level: Level,
    /// What, in our words.
    pub asks: &'static str,
    /// What Weir does.
    pub weir: Claim,
    /// What the kernel's NAT does.
    pub kernel: Claim,
    /// Which test sees that, if there is something to see.
    pub test: Option<&'static str>,
}

/// RFC 2119's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// It has to be.
    Must,
    /// It must not be.
    MustNot,
    /// There should be a good reason where it is not.
    Should,
    /// There should be a good reason where it is.
    ShouldNot,
    /// As much as [`Level::Should`].
    Recommended,
    /// As one likes.
    May,
}

impl Level {
    /// As RFCs write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::Recommended => "RECOMMENDED",
            Self::May => "MAY",
        }
    }
}

/// What a NAT does about a requirement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// What is asked.
    Met,
    /// Something else: what a test sees instead; and why, or how to set it, where there is something to say.
    Otherwise(&'static str, &'static str),
    /// There is nothing that could be asked of it, and why.
    NotApplicable(&'static str),
    /// It was not looked at, and why.
    NotSeen(&'static str),
}

/// What a test saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// What is asked.
    Met,
    /// Something else.
    Otherwise(String),
}

impl Seen {
    /// What is asked, or this.
    pub fn met_or(is_met: bool, otherwise: impl Into<String>) -> Self {
        if is_met { Self::Met } else { Self::Otherwise(otherwise.into()) }
    }
}

impl Claim {
    /// Whether there is something to see.
    #[must_use]
    pub const fn is_to_be_seen(self) -> bool {
        matches!(self, Self::Met | Self::Otherwise(..))
    }

    /// Whether that is just what was seen.
    #[must_use]
    pub fn is(self, seen: &Seen) -> bool {
        match (self, seen) {
            (Self::Met, Seen::Met) => true,
            (Self::Otherwise(claimed, _), Seen::Otherwise(seen)) => claimed == seen,
            _ => false,
        }
    }
}

impl Requirement {
    /// What is claimed of a NAT.
    #[must_use]
    pub const fn claim(&self, of: Kind) -> Claim {
        match of {
            Kind::Weir => self.weir,
            Kind::Kernel => self.kernel,
        }
    }
}

/// What the kernel does wherever a port, or an identifier, is asked for.
pub const ITS_OWN: &str = "the sender's own where no other host has it towards that remote, else another one";
/// What Weir does.
pub const FOR_EACH: &str = "another one for each remote";

/// A line of the table. No test has no name.
const fn it(
    number: &'static str,
    level: Level,
    asks: &'static str,
    weir: Claim,
    kernel: Claim,
    test: &'static str,
) -> Requirement {
    let test = if test.is_empty() { None } else { Some(test) };
    Requirement { number, level, asks, weir, kernel, test }
}

/// All of them.
pub const RFCS: [Rfc; 5] = [rfc4787::RFC, rfc5382::RFC, rfc5508::RFC, rfc7857::RFC, rfc6056::RFC];

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = (&'static Rfc, &'static Requirement)> {
        static ALL: [Rfc; 5] = RFCS;
        ALL.iter().flat_map(|rfc| rfc.requirements.iter().map(move |it| (rfc, it)))
    }

    #[test]
    fn what_is_claimed_is_tested_by_a_test_of_that_number() {
        for (rfc, it) in all() {
            let is_claimed = it.weir.is_to_be_seen() || it.kernel.is_to_be_seen();
            assert_eq!(it.test.is_some(), is_claimed, "RFC {} {}", rfc.number, it.number);
            let number = it.number.to_lowercase().replace(['-', '.', ' '], "_");
            let prefix = format!("rfc{}_{number}_", rfc.number);
            assert!(it.test.is_none_or(|test| test.starts_with(&prefix)), "{prefix}: {:?}", it.test);
        }
    }

    #[test]
    fn no_number_and_no_test_is_there_twice() {
        let mut numbers: Vec<_> = all().map(|(rfc, it)| (rfc.number, it.number)).collect();
        let mut tests: Vec<_> = all().filter_map(|(_, it)| it.test).collect();
        let (many, many_tests) = (numbers.len(), tests.len());
        numbers.sort_unstable();
        numbers.dedup();
        tests.sort_unstable();
        tests.dedup();
        assert_eq!((numbers.len(), tests.len()), (many, many_tests));
    }

    #[test]
    fn what_weir_does_otherwise_has_a_reason() {
        for (rfc, it) in all() {
            let is_told = !matches!(it.weir, Claim::Otherwise(_, "") | Claim::NotApplicable(""));
            assert!(is_told, "RFC {} {}", rfc.number, it.number);
        }
    }
}
