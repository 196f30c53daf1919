//! What a packet asks for that opens a flow: one step notes it, the next ones read it.

use crate::addr::{L4Port, Zone};
use crate::flow::open::Terms;
use crate::flow::store::Flows;
use crate::flow::{Family, Hop, Key, Part, V4, V6};
use crate::steps::{Next, Steps};
use crate::tables::{Connector, Half, Sources, Tables};

/// As many addresses as one packet searches: each of them is a tail call.
const MOST_SEARCHED: u32 = 8;

/// The addresses of a connector that are of a family.
pub trait Pooled: Family {
    /// Where they lie.
    fn sources(connector: &Connector) -> Sources;
}

impl Pooled for V4 {
    #[inline(always)]
    fn sources(connector: &Connector) -> Sources {
        connector.v4
    }
}

impl Pooled for V6 {
    #[inline(always)]
    fn sources(connector: &Connector) -> Sources {
        connector.v6
    }
}

/// The note. It lies in a map, so it holds no enum.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Asked<K, A> {
    pub(crate) key: K,
    /// Where the search for a port begins; random.
    pub(crate) seed: u64,
    /// Where the flow's packets go; or, with a port that was mapped before, by which ENI.
    pub(crate) there: Hop,
    /// Where answers go.
    pub(crate) back: Hop,
    pub(crate) terms: Terms,
    /// The address space that answers come from.
    pub(crate) zone: Zone,
    /// What the flow may leave from.
    pub(crate) sources: Sources,
    /// Who answers.
    pub(crate) remote: A,
    pub(crate) remote_port: L4Port,
    pub(crate) then: Then,
    pub(crate) refusal: Refusal,
    /// The half of the configuration that all of this is read from.
    pub(crate) half: u32,
    /// 1 where the packet is a fragment; else 0.
    pub(crate) is_fragment: u32,
    /// What stands in the way, whoever serves.
    pub(crate) defect: Defect,
    /// 1 where it came from the wire; else 0.
    pub(crate) is_from_wire: u32,
    /// 1 where it goes to a slot, by [`Self::there`]; else 0.
    pub(crate) is_to_slot: u32,
    /// How often another target was chosen.
    pub(crate) attempt: u32,
    /// How many of the addresses were looked at.
    pub(crate) looked_at: u32,
    /// How many of them were searched.
    pub(crate) searched: u32,
    /// 1 where one of those may have a port that was not found; else 0.
    pub(crate) is_unsure: u32,
    /// The address and the port that were mapped before, with [`crate::flow::PortUse::MAPPED`].
    pub(crate) address: A,
    pub(crate) port: L4Port,
}

/// What becomes of the packet once what it asks for is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub(crate) struct Then(u32);

impl Then {
    /// Its flow goes on as TCP and UDP do.
    pub(crate) const READY: Self = Self(0);
    /// It is an ICMP query.
    pub(crate) const QUERY: Self = Self(1);
    /// What was opened is the mapping of its port: the flow itself comes next.
    pub(crate) const AGAIN: Self = Self(2);

    /// The step.
    #[inline(always)]
    pub(crate) const fn step<F: Steps>(self) -> Next {
        match self {
            Self::AGAIN => F::OUTBOUND,
            Self::QUERY => F::QUERY,
            _ => F::READY,
        }
    }
}

/// What stands in the way of a packet from the wire, once somebody listens.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub(crate) struct Defect(u32);

impl Defect {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);
    /// Its hop limit ran out.
    pub(crate) const EXPIRED: Self = Self(1);
    /// Nobody can be answered there.
    pub(crate) const BAD_SOURCE: Self = Self(2);
}

/// Why a flow was not opened, for the step that tells its sender.
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
    /// No rule of a security group allows it.
    pub(crate) const BLOCKED: Self = Self(6);
    /// The sandbox, or its tenant, has as much as it may.
    pub(crate) const OVER_QUOTA: Self = Self(7);
    /// Nobody serves the listener.
    pub(crate) const NO_TARGET: Self = Self(8);
}

impl<K: Key, A> Asked<K, A> {
    /// Lets the search for a port begin. Nobody who doesn't know the key can foresee where (RFC 6056 section 3.3.4, with
    /// one counter for all), and the same flow opened again begins elsewhere.
    #[inline(always)]
    pub(crate) fn seek<F: Family<Key = K>, T: Tables + Flows<F>>(&mut self, t: &T, half: Half) {
        let hash = self.key.hash(Part::Flow, t.hash_key(half));
        self.seed = hash.wrapping_add(u64::from(t.next_number()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (self.looked_at, self.searched, self.is_unsure) = (0, 0, 0);
    }

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

    /// The half of the configuration that this packet's way is decided by: another one may be live by now.
    #[inline(always)]
    pub(crate) const fn half(&self) -> Half {
        Half::of_epoch(self.half as u64)
    }

    /// Whether there are addresses that were not looked at, and may be.
    #[inline(always)]
    pub(crate) const fn has_another(&self, looked_at: u32) -> bool {
        looked_at < self.sources.count && self.searched + 1 < MOST_SEARCHED
    }
}
