//! Time as the path knows it: coarse, cheap, and the same for everyone who looks at a flow.
//!
//! The kernel's clocks cost 20 to 40 ns a reading. The path reads a word instead, which the ageing timer
//! writes eight times a second, and asks how long ago, never what time it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A moment: eighths of a second since the machine started (`CLOCK_MONOTONIC`). Wraps after 17 years.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Now(pub u32);

impl Now {
    /// How many of these pass in a second.
    pub const IN_A_SECOND: u32 = 8;

    /// The moment that is this many nanoseconds after the machine started.
    #[must_use]
    #[inline(always)]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds / (1_000_000_000 / Self::IN_A_SECOND as u64)) as u32)
    }

    /// Eighths of a second since `earlier`; a moment that lies ahead is no time ago.
    #[must_use]
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let passed = self.0.wrapping_sub(earlier.0);
        if passed > u32::MAX / 2 { 0 } else { passed }
    }

    /// Whole seconds.
    #[must_use]
    #[inline(always)]
    pub const fn seconds(self) -> u32 {
        self.0 / Self::IN_A_SECOND
    }
}

/// A span of time in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Seconds(pub u16);

impl Seconds {
    /// In eighths of a second.
    #[must_use]
    #[inline(always)]
    pub const fn in_eighths(self) -> u32 {
        self.0 as u32 * Now::IN_A_SECOND
    }
}

/// How long flows may be silent, where their listener does not say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Times {
    /// TCP before the handshake ends (RFC 5382 REQ-5 would have 240 s; SYNs are sent again long before).
    pub tcp_half_open: Seconds,
    /// TCP after both FINs, or after a RST (RFC 7857 section 2.2).
    pub tcp_closing: Seconds,
    /// UDP before an answer.
    pub udp_unanswered: Seconds,
    /// ICMP queries (RFC 5508 REQ-2), answered or not.
    pub icmp_query: Seconds,
}

impl Default for Times {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Times {
    /// What holds where nothing else is said.
    pub const DEFAULT: Self = Self {
        tcp_half_open: Seconds(30),
        tcp_closing: Seconds(10),
        udp_unanswered: Seconds(30),
        icmp_query: Seconds(60),
    };

    /// How long an established TCP flow may be silent where its listener does not say it (RFC 5382 REQ-5 would
    /// have 7,440 s; network load balancers take 350 s).
    pub const TCP_IDLE: Seconds = Seconds(350);

    /// How long an answered UDP flow may be silent where its listener does not say it (RFC 4787 REQ-5 has
    /// 120 s as the least).
    pub const UDP_IDLE: Seconds = Seconds(120);
}

const _: () = assert!(size_of::<Times>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_across_the_wrap_and_never_backwards() {
        assert_eq!(Now(3).since(Now(u32::MAX - 4)), 8);
        assert_eq!(Now(3).since(Now(5)), 0);
        assert_eq!(Now::from_nanoseconds(1_125_000_000), Now(9));
        assert_eq!(Now(9).seconds(), 1);
    }
}
