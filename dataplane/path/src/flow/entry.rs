//! One direction of a flow, as the flow table holds it: everything that a known packet needs, under its key.
//!
//! The table is preallocated, so the kernel hands a removed element to another flow at once, perhaps while a
//! packet on another CPU is reading it. So an entry says whose it is: its stamp names the flow, and it repeats
//! its key. Whoever ends a flow wipes the stamps before it removes the keys; whoever reads an entry looks at
//! the stamp before and after.

use super::key::{Ends, Key4, Key6};
use super::record::{RecordId, Side};
use crate::addr::{InterfaceId, Ip4, Ip6, Mac};
use crate::tables::NextHopId;
use crate::time::Now;
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Whose an entry is, and until when its flow's record need not be looked at.
///
/// ```text
///  63   62 ─────────── 39   38 ──────── 23   22 ──────── 0
/// side      record number      incarnation    due (seconds)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Nobody's. Incarnations begin with 1, so no flow has it.
    pub const WIPED: Self = Self(0);

    const SIDE: u32 = 63;
    const RECORD: u32 = 39;
    const INCARNATION: u32 = 23;
    /// Seconds wrap after 97 days.
    const DUE: u32 = (1 << Self::INCARNATION) - 1;
    /// How many seconds ahead it can be due: as far as the note of when a flow was heard may lag behind.
    const FURTHEST: u32 = u16::MAX as u32 / 64 + 1;

    /// The stamp of one side of a flow, due at once.
    #[must_use]
    #[inline(always)]
    pub const fn new(record: RecordId, incarnation: u16, side: Side, now: Now) -> Self {
        let place = (side as u64) << Self::SIDE | (record.0 as u64) << Self::RECORD;
        Self(place | (incarnation as u64) << Self::INCARNATION | (now.seconds() & Self::DUE) as u64)
    }

    /// The flow's record.
    #[must_use]
    #[inline(always)]
    pub const fn record(self) -> RecordId {
        RecordId((self.0 >> Self::RECORD) as u32 & (RecordId::LIMIT - 1))
    }

    /// Which of the record's lives this is.
    #[must_use]
    #[inline(always)]
    pub const fn incarnation(self) -> u16 {
        (self.0 >> Self::INCARNATION) as u16
    }

    /// Which direction of the flow this is.
    #[must_use]
    #[inline(always)]
    pub const fn side(self) -> Side {
        if self.0 >> Self::SIDE == 0 { Side::Original } else { Side::Reply }
    }

    /// Whether both are of the same direction of the same flow.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_the_same(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(Self::DUE as u64) == 0
    }

    /// Whether the flow's record has to be looked at before this packet goes on. What seems to be due much later was
    /// due long ago: one side may be silent for days while the other one keeps the flow alive.
    #[must_use]
    #[inline(always)]
    pub const fn is_due(self, now: Now) -> bool {
        let ahead = (self.0 as u32).wrapping_sub(now.seconds()).wrapping_sub(1) & Self::DUE;
        ahead >= Self::FURTHEST
    }

    /// The same, due this many seconds from `now`.
    #[must_use]
    #[inline(always)]
    pub const fn due_in(self, now: Now, seconds: u16) -> Self {
        let due = now.seconds().wrapping_add(seconds as u32) & Self::DUE;
        Self(self.0 & !(Self::DUE as u64) | due as u64)
    }
}

/// Where a direction's packets go, and which station on the wire the flow talks to.
///
/// A direction that leads to a slot notes the station that its packets come from; the one that leads to the wire the
/// one that they go to. It is the same station: whoever sends is answered, without a neighbour table and without a
/// daemon. Where an uplink has a gateway, packets to the wire go to that next hop instead, whatever station it is.
///
/// In one word, which is read and written in one piece: a station's MAC, or, with the group bit, which no station has
/// (IEEE 802.3 section 3.2.3), a next hop's number; behind it the number of the interface.
#[derive(Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Hop(u64);

impl Hop {
    /// By `interface`, whose number lies below [`crate::layout::MAX_INTERFACES`]; from or to a station whose MAC
    /// [`Mac::is_unicast`].
    #[must_use]
    #[inline(always)]
    pub const fn new(interface: InterfaceId, station: Mac) -> Self {
        let [a, b, c, d, e, f] = station.0;
        let [g, h] = (interface.0 as u16).to_ne_bytes();
        Self(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    }

    /// By `interface` to a next hop.
    #[must_use]
    #[inline(always)]
    pub const fn to_next_hop(interface: InterfaceId, next_hop: NextHopId) -> Self {
        let [a, b, c, d] = next_hop.0.to_ne_bytes();
        Self::new(interface, Mac([1, 0, a, b, c, d]))
    }

    /// The same station, by another interface.
    #[must_use]
    #[inline(always)]
    pub const fn by(self, interface: InterfaceId) -> Self {
        Self::new(interface, self.station())
    }

    /// The interface they leave by.
    #[must_use]
    #[inline(always)]
    pub const fn interface(self) -> InterfaceId {
        let [.., g, h] = self.0.to_ne_bytes();
        InterfaceId(u16::from_ne_bytes([g, h]) as u32)
    }

    /// The station that packets come from, or go to where there is no [`Self::next_hop`].
    #[must_use]
    #[inline(always)]
    pub const fn station(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.to_ne_bytes();
        Mac([a, b, c, d, e, f])
    }

    /// The next hop that packets to the wire go to, if not to a station.
    #[must_use]
    #[inline(always)]
    pub const fn next_hop(self) -> Option<NextHopId> {
        let [first, _, a, b, c, d, ..] = self.0.to_ne_bytes();
        if first & 1 == 0 {
            return None;
        }
        Some(NextHopId(u32::from_ne_bytes([a, b, c, d])))
    }

    /// All of it, so that it can be written in one piece.
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// Whether packets that come from the wire come from this station.
    #[must_use]
    #[inline(always)]
    pub fn is_from(self, station: Mac) -> bool {
        self.by(InterfaceId(0)) == Self::new(InterfaceId(0), station)
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.next_hop() {
            None => write!(f, "{} by {}", self.station(), self.interface()),
            Some(id) => write!(f, "next hop {} by {}", id.0, self.interface()),
        }
    }
}

/// What one direction carried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counts {
    /// Packets; a GSO packet counts its segments.
    pub packets: u64,
    /// Bytes from the IP header on; a GSO packet counts once what its segments share.
    pub bytes: u64,
}

macro_rules! entry {
    ($(#[$doc:meta])* $Entry:ident, $Key:ty, $Address:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $Entry {
            /// Whose it is.
            pub stamp: Stamp,
            /// The key it lies under.
            pub key: $Key,
            /// What its packets become.
            pub rewrite: Ends<$Address>,
            /// TCP's acknowledgement number in the direction's last segment that had one.
            pub acknowledged: u32,
            /// Where its packets go.
            pub hop: Hop,
            /// What went through it.
            pub counts: Counts,
        }
    };
}

entry!(
    /// One direction of an IPv4 flow. With its key and the kernel's header it fills two cache lines exactly.
    Entry4, Key4, Ip4
);
entry!(
    /// One direction of an IPv6 flow.
    Entry6, Key6, Ip6
);

const _: () = {
    assert!(size_of::<Entry4>() == 64 && align_of::<Entry4>() == 8);
    assert!(size_of::<Entry6>() == 112 && align_of::<Entry6>() == 8);
    assert!(size_of::<Hop>() == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_keeps_its_parts_and_moves_only_when_it_is_due() {
        let now = Now(8 * ((1 << 23) - 6));
        let stamp = Stamp::new(RecordId(0x12_3456), 0xabcd, Side::Reply, now);
        assert_eq!(
            (stamp.record(), stamp.incarnation(), stamp.side()),
            (RecordId(0x12_3456), 0xabcd, Side::Reply)
        );
        assert!(stamp.is_due(now), "a new entry is due at once");
        let later = stamp.due_in(now, 10);
        assert!(later.is_of_the_same(stamp));
        assert!(!later.is_due(Now(now.0 + 9 * 8)));
        assert!(later.is_due(Now(now.0 + 10 * 8)), "across the wrap of the seconds");
    }

    #[test]
    fn a_direction_that_was_silent_for_months_is_still_due() {
        let now = Now(8 * 1_000);
        let furthest = Stamp::new(RecordId(1), 1, Side::Original, now).due_in(now, Stamp::FURTHEST as u16);
        assert!(!furthest.is_due(now) && !furthest.is_due(Now(now.0 + 8 * 1_023)));
        for hours in 1..=24 * 90 {
            assert!(furthest.is_due(Now(now.0 + 8 * 3_600 * hours)), "after {hours} hours");
        }
    }

    #[test]
    fn stamps_of_other_flows_differ() {
        let stamp = |record, incarnation, side| Stamp::new(RecordId(record), incarnation, side, Now(0));
        let one = stamp(1, 1, Side::Original);
        for other in
            [stamp(2, 1, Side::Original), stamp(1, 2, Side::Original), stamp(1, 1, Side::Reply), Stamp::WIPED]
        {
            assert!(!one.is_of_the_same(other));
        }
    }
}
