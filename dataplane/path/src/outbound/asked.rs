//! What a packet asks for that opens a flow outwards: one step notes it, the next ones read it.

use crate::addr::{InterfaceId, L4Port, Zone};
use crate::flow::Hop;
use crate::flow::open::Terms;
use crate::steps::{Next, Steps};
use crate::tables::Sources;

/// As many addresses as one packet searches: each of them is a tail call.
const MOST_SEARCHED: u32 = 8;

/// The note. It lies in a map, so it holds no enum.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Asked<K, A> {
    pub(super) key: K,
    /// Where the search for a port begins; random.
    pub(super) seed: u64,
    /// Where a mapped port's packets go, and so by which ENI.
    pub(super) hop: Hop,
    pub(super) terms: Terms,
    /// The connector's VPC.
    pub(super) zone: Zone,
    pub(super) sources: Sources,
    /// The slot, where answers go.
    pub(super) slot: InterfaceId,
    pub(super) then: Then,
    pub(super) refusal: Refusal,
    /// How many of the addresses were looked at.
    pub(super) looked_at: u32,
    /// How many of them were searched.
    pub(super) searched: u32,
    /// 1 where one of those may have a port that was not found; else 0.
    pub(super) is_unsure: u32,
    /// The address and the port that were mapped before, with [`crate::flow::PortUse::MAPPED`].
    pub(super) address: A,
    pub(super) port: L4Port,
}

/// What becomes of the packet once what it asks for is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub(super) struct Then(u32);

impl Then {
    /// Its flow goes on as TCP and UDP do.
    pub(super) const READY: Self = Self(0);
    /// It is an ICMP query.
    pub(super) const QUERY: Self = Self(1);
    /// What was opened is the mapping of its port: the flow itself comes next.
    pub(super) const AGAIN: Self = Self(2);

    /// The step.
    #[inline(always)]
    pub(super) const fn step<F: Steps>(self) -> Next {
        match self {
            Self::AGAIN => F::OUTBOUND,
            Self::QUERY => F::QUERY,
            _ => F::READY,
        }
    }
}

/// Why a sandbox's flow was not opened, for the step that tells it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub(crate) struct Refusal(u32);

impl Refusal {
    /// Nothing was refused.
    pub(crate) const NONE: Self = Self(0);
    /// Nothing allows it.
    pub(crate) const NOT_ALLOWED: Self = Self(1);
    /// No route leads there.
    pub(crate) const NO_ROUTE: Self = Self(2);
    /// No address has a port left.
    pub(crate) const PORTS_EXHAUSTED: Self = Self(3);
    /// The flow table is full.
    pub(crate) const TABLE_FULL: Self = Self(4);
    /// The budget of half-open flows is full.
    pub(crate) const HALF_OPEN_FULL: Self = Self(5);
}

impl<K, A> Asked<K, A> {
    /// Why the flow was not opened.
    #[inline(always)]
    pub(crate) const fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// The same, forgotten.
    #[inline(always)]
    pub(crate) const fn forget_refusal(&mut self) {
        self.refusal = Refusal::NONE;
    }

    /// Whether there are addresses that were not looked at, and may be.
    #[inline(always)]
    pub(super) const fn has_another(&self, looked_at: u32) -> bool {
        looked_at < self.sources.count && self.searched + 1 < MOST_SEARCHED
    }
}
