//! What both directions of a flow share: one word that decides, and what is asked for rarely.
//!
//! ```text
//!          take            claims made            handshake, answer
//!   free ────────► opening ────────────► new ──► answered ──► established ──► closing (both FINs)
//!    ▲                │ claim lost        │          │            │ ▲              │
//!    │                │                   │          │    RST ▼ │ traffic         │
//!    │                │                   │          │          reset              │
//!    │                ▼                   ▼          ▼            ▼                ▼
//!    ├──────────── undone                 └─── ending: both keys removed ◄─────────┘
//!    └── resting: the reply's key alone is kept ◄──┘
//! ```
//!
//! Every arrow is one compare-and-swap of the life word. Who moves it to *ending* owns the flow's end, alone:
//! it wipes and removes both entries, tells what became of the flow, and gives the record back. Where the flow held a
//! port of an ENI, and did not end cleanly, the reply's key stays for a while, wiped: nobody else gets the port
//! towards this remote, and nothing that still arrives there is let in.

use super::key::{Key4, Key6};
use crate::addr::InterfaceId;
use crate::tables::TenantId;
use crate::time::{Now, Seconds};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The number of a record: its place in the array of records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct RecordId(pub u32);

impl RecordId {
    /// Numbers lie below this.
    pub const LIMIT: u32 = 1 << 24;
}

/// One of a flow's two directions, as the kernel's connection tracking calls them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// The direction of the packet that opened the flow.
    Original,
    /// The other one.
    Reply,
}

impl Side {
    /// The other direction.
    #[must_use]
    #[inline(always)]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// No flow: the record can be taken.
    Free,
    /// A program run is entering its keys.
    Opening,
    /// Only the original direction was heard.
    New,
    /// TCP: the SYN was acknowledged, the handshake has not ended.
    Answered,
    /// Both directions were heard.
    Established,
    /// TCP: a RST was seen. Traffic brings the flow back (RFC 7857 section 2.2).
    Reset,
    /// TCP: both sides said that they are done.
    Closing,
    /// A program run is removing its keys.
    Ending,
    /// No flow, and the list of free records was too busy to take it. The ageing walk gives it back.
    Lost,
    /// No flow any more, but its port is not to be used yet towards its remote.
    Resting,
}

impl Phase {
    /// Every phase, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Free,
        Self::Opening,
        Self::New,
        Self::Answered,
        Self::Established,
        Self::Reset,
        Self::Closing,
        Self::Ending,
        Self::Lost,
        Self::Resting,
    ];

    /// Whether packets may follow the flow, and whoever has a reason may end it.
    #[must_use]
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::New | Self::Answered | Self::Established | Self::Reset | Self::Closing)
    }

    /// Whether the flow is on the budget of half-open ones.
    #[must_use]
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::New | Self::Answered)
    }

    /// Whether the flow is over but for stragglers.
    #[must_use]
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Reset | Self::Closing)
    }

    /// The name in events and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Opening => "opening",
            Self::New => "new",
            Self::Answered => "answered",
            Self::Established => "established",
            Self::Reset => "reset",
            Self::Closing => "closing",
            Self::Ending => "ending",
            Self::Lost => "lost",
            Self::Resting => "resting",
        }
    }

    #[inline(always)]
    const fn from_bits(bits: u64) -> Self {
        match bits & 0xf {
            1 => Self::Opening,
            2 => Self::New,
            3 => Self::Answered,
            4 => Self::Established,
            5 => Self::Reset,
            6 => Self::Closing,
            7 => Self::Ending,
            8 => Self::Lost,
            9 => Self::Resting,
            _ => Self::Free,
        }
    }
}

/// The word that decides: everything about a flow that changes under several hands.
///
/// ```text
///        55            54          53, 52     51 ── 48   47 ──────── 32   31 ────────────── 0
/// RST: by reply   FIN: r first   FIN: r, o     phase       incarnation     last seen (eighths)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Life(pub u64);

impl Life {
    const PHASE: u32 = 48;
    const FIN: u32 = 52;
    const FIN_BY_REPLY_FIRST: u64 = 1 << 54;
    const RESET_BY_REPLY: u64 = 1 << 55;

    /// A life in this phase, seen at this moment.
    #[must_use]
    #[inline(always)]
    pub const fn new(phase: Phase, incarnation: u16, seen: Now) -> Self {
        Self((phase as u64) << Self::PHASE | (incarnation as u64) << 32 | seen.0 as u64)
    }

    /// How far the flow has come.
    #[must_use]
    #[inline(always)]
    pub const fn phase(self) -> Phase {
        Phase::from_bits(self.0 >> Self::PHASE)
    }

    /// Which of the record's lives this is; never 0 while a flow has it.
    #[must_use]
    #[inline(always)]
    pub const fn incarnation(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// When the flow was last heard, as far as that was written down.
    #[must_use]
    #[inline(always)]
    pub const fn seen(self) -> Now {
        Now(self.0 as u32)
    }

    /// Whether this side said that it is done.
    #[must_use]
    #[inline(always)]
    pub const fn has_fin(self, side: Side) -> bool {
        self.0 >> (Self::FIN + side as u32) & 1 != 0
    }

    /// The same, with this side done.
    #[must_use]
    #[inline(always)]
    pub const fn with_fin(self, side: Side) -> Self {
        let is_first = matches!(side, Side::Reply) && !self.has_fin(Side::Original);
        let first = if is_first { Self::FIN_BY_REPLY_FIRST } else { 0 };
        Self(self.0 | first | 1 << (Self::FIN + side as u32))
    }

    /// The same, reset by this side.
    #[must_use]
    #[inline(always)]
    pub const fn with_reset(self, side: Side) -> Self {
        match side {
            Side::Original => Self(self.0 & !Self::RESET_BY_REPLY),
            Side::Reply => Self(self.0 | Self::RESET_BY_REPLY),
        }
    }

    /// Whether the far end of the reply direction keeps nothing of the connection, so that another one may begin at once
    /// between the same ends: it said itself that there is none, or it was not the first to close (who is, waits:
    /// RFC 9293 section 3.6.1).
    #[must_use]
    #[inline(always)]
    pub const fn is_forgotten_there(self) -> bool {
        match self.phase() {
            Phase::Closing => self.0 & Self::FIN_BY_REPLY_FIRST == 0,
            Phase::Reset => self.0 & Self::RESET_BY_REPLY != 0,
            _ => false,
        }
    }

    /// The same, in another phase.
    #[must_use]
    #[inline(always)]
    pub const fn in_phase(self, phase: Phase) -> Self {
        Self(self.0 & !(0xf << Self::PHASE) | (phase as u64) << Self::PHASE)
    }

    /// The same, heard at this moment.
    #[must_use]
    #[inline(always)]
    pub const fn seen_at(self, now: Now) -> Self {
        Self(self.0 & !0xffff_ffff | now.0 as u64)
    }

    /// The record's next life, before it begins.
    #[must_use]
    #[inline(always)]
    pub const fn next(self) -> Self {
        let next = self.incarnation().wrapping_add(1);
        Self::new(Phase::Free, if next == 0 { 1 } else { next }, Now(0))
    }
}

/// What is asked for rarely. Only the run that opens a flow and the runs that move its phase write here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Meta {
    /// When the flow was opened.
    pub opened: Now,
    /// Its place among the half-open flows, plus one; 0 for none.
    pub place: u32,
    /// TCP: what the other side must acknowledge for the handshake to go on.
    pub expected: u32,
    /// Whose the flow is; in a free record, the next one in its list, plus one.
    pub account: Account,
    /// How long the flow may be silent once it is established.
    pub idle: Seconds,
    /// TCP: by how much each side's window is to be shifted (RFC 7323 section 2).
    pub shifts: [u8; 2],
    /// How long its port is to rest after it.
    pub rest: Seconds,
    /// Whose the port is that answers come to.
    pub port: PortUse,
    /// 1 where both ends are told when it was silent for too long; else 0.
    pub tells_idle: u8,
}

/// Whose flows are counted together: a sandbox's, by the slot that it was in when the flow was opened, and a tenant's.
///
/// ```text
///  31 ────────── 16   15 ────── 0
///   slot plus one       tenant
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Account(pub u32);

impl Account {
    /// Nobody's.
    pub const NOBODYS: Self = Self(0);

    /// A sandbox's and its tenant's.
    #[must_use]
    #[inline(always)]
    pub const fn of_sandbox(slot: InterfaceId, tenant: TenantId) -> Self {
        Self((slot.0 + 1) << 16 | tenant.0 & 0xffff)
    }

    /// A tenant's alone.
    #[must_use]
    #[inline(always)]
    pub const fn of_tenant(tenant: TenantId) -> Self {
        Self(tenant.0 & 0xffff)
    }

    /// The slot.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> Option<InterfaceId> {
        match self.0 >> 16 {
            0 => None,
            number => Some(InterfaceId(number - 1)),
        }
    }

    /// The tenant.
    #[must_use]
    #[inline(always)]
    pub const fn tenant(self) -> Option<TenantId> {
        match self.0 & 0xffff {
            0 => None,
            number => Some(TenantId(number)),
        }
    }
}

/// Whose port it is that a flow's answers come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct PortUse(u8);

impl PortUse {
    /// The sender's: nothing was taken for the flow.
    pub const NONE: Self = Self(0);
    /// An ENI's, taken for this flow towards its remote.
    pub const OWN: Self = Self(1);
    /// An ENI's, taken for all that the sandbox sends from one UDP port: another flow, whose remote is zero, has it.
    pub const MAPPED: Self = Self(2);
}

impl Meta {
    /// By how much this side's window is to be shifted; at most 14 (RFC 7323 section 2.3).
    #[must_use]
    #[inline(always)]
    pub const fn shift(&self, side: Side) -> u8 {
        let [original, reply] = self.shifts;
        let shift = match side {
            Side::Original => original,
            Side::Reply => reply,
        };
        if shift > 14 { 14 } else { shift }
    }
}

macro_rules! record {
    ($(#[$doc:meta])* $Record:ident, $Key:ty, $padding:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $Record {
            /// The word that decides.
            pub life: Life,
            /// The keys of both directions, by [`Side`].
            pub keys: [$Key; 2],
            /// What is asked for rarely.
            pub meta: Meta,
            /// Up to whole cache lines.
            pub zero: [u8; $padding],
        }
    };
}

record!(
    /// What both directions of an IPv4 flow share: one cache line.
    Record4, Key4, 0
);
record!(
    /// What both directions of an IPv6 flow share: two cache lines.
    Record6, Key6, 16
);

const _: () = {
    assert!(size_of::<Meta>() == 24 && align_of::<Meta>() == 4);
    assert!(size_of::<Record4>() == 64 && align_of::<Record4>() == 8);
    assert!(size_of::<Record6>() == 128 && align_of::<Record6>() == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_keeps_its_parts_apart() {
        for phase in Phase::ALL {
            let life = Life::new(phase, 0xabcd, Now(0x1234_5678)).with_fin(Side::Reply);
            assert_eq!((life.phase(), life.incarnation(), life.seen()), (phase, 0xabcd, Now(0x1234_5678)));
            assert_eq!((life.has_fin(Side::Original), life.has_fin(Side::Reply)), (false, true));
            let moved = life.in_phase(Phase::Closing).seen_at(Now(7));
            assert_eq!((moved.phase(), moved.incarnation(), moved.seen()), (Phase::Closing, 0xabcd, Now(7)));
            assert!(moved.has_fin(Side::Reply), "moving a phase keeps the FINs");
        }
    }

    #[test]
    fn the_next_life_is_another_and_never_the_one_of_nobody() {
        let next = Life::new(Phase::Ending, 7, Now(9)).with_fin(Side::Original).next();
        assert_eq!(next, Life::new(Phase::Free, 8, Now(0)));
        assert_eq!(Life::new(Phase::Ending, u16::MAX, Now(9)).next().incarnation(), 1);
    }
}
