//! The pool of ENIs: which connector has which ones, and when there is one more or one less. Pure: state and what was
//! seen in, state and notes out.
//!
//! ```text
//!               references              fullest remote >= 50 %, or full soon
//!   (nothing) ────────────► Pending ──► Active ◄───────────────► one ENI more
//!       ▲                     ▲  │        │  ▲                     one ENI less: drains, then goes
//!       │ no flow, or 5 s     │  ▼        │  └─ would fit into one less for 5 minutes
//!    Deleting ◄── no references  Failed   └─► Inactive (no flow for idle_reclaim) ──► Pending at the next attempt
//! ```
//!
//! The state is written down before anything is made of it, so whatever the tables hold was in the state once; what is in
//! them and no longer in the state is taken away by the plan.

mod addresses;
mod adopt;
mod kept;
mod sizing;
mod step;
mod usage;

pub use adopt::{Found, adopt, bound};
pub use step::step;
pub use usage::{Ports, Remote, Usage};

use crate::config::{ConnectorKey, EniMac, Family};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use weir_path::addr::{Ip6, Mac};
use weir_path::tables::{ConnectorId, PortBlock};

/// A moment, in seconds since some beginning that restarts don't move: Unix time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// Seconds since `earlier`; a moment that lies ahead is no time ago.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// All that must be remembered of ENIs: `enis.json`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// What ids are made from: random, so that no two machines make the same ones.
    pub seed: u64,
    /// How many ids were made.
    pub made: u64,
    /// One entry a key, in the order of the keys.
    pub entries: Vec<Entry>,
}

/// What is behind all connectors of one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: ConnectorKey,
    /// The number that the tables have for it.
    #[serde(with = "kept::connector")]
    pub id: ConnectorId,
    /// How it is.
    pub state: ConnectorState,
    /// Why it is so, where there is more to say.
    pub reason: Option<Reason>,
    /// Since when it is in this state.
    pub since: Moment,
    /// How many slots are bound to it, and target groups and services reached by it.
    pub references: u32,
    /// When it last had a flow, or somebody wanted one.
    pub used: Moment,
    /// Since when everything would fit into one ENI less.
    pub roomy: Option<Moment>,
    /// Its ENIs, the oldest first.
    pub enis: Vec<Eni>,
}

/// One ENI.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Eni {
    /// Its name, which it keeps for life.
    pub id: EniId,
    /// The subnet.
    pub subnet: String,
    /// How it is.
    pub state: EniState,
    /// When it was made.
    pub made: Moment,
    /// Its addresses, of both families.
    pub addresses: Vec<EniAddress>,
}

/// An address of an ENI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EniAddress {
    /// The address; an IPv4 address is mapped.
    #[serde(with = "kept::address")]
    pub address: Ip6,
    /// Whether it takes no new flows, and goes when the last one has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// The name of an ENI: `eni-` and seventeen hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EniId(pub u64);

impl EniId {
    /// The number that its own MAC is made of.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for EniId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eni-{:017x}", self.0)
    }
}

/// How an ENI is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EniState {
    /// Wanted, and not in force yet.
    Pending,
    /// In force, without flows.
    Available,
    /// In force, with flows.
    InUse,
    /// It takes no new flows, and goes when the last one has ended.
    Detaching,
}

impl EniState {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::InUse => "in-use",
            Self::Detaching => "detaching",
        }
    }
}

/// How a connector is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ConnectorState {
    /// Its first ENI is on its way.
    Pending,
    /// New flows open.
    Active,
    /// Its ENIs were given back because nobody used them.
    Inactive,
    /// It can't have an ENI.
    Failed,
    /// Nobody refers to it any more.
    Deleting,
}

impl ConnectorState {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
        }
    }
}

/// Why a connector is as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// In a word.
    pub code: ReasonCode,
    /// With names and counts, and what to do.
    pub text: String,
}

/// Why a connector is as it is, in a word: where AWS Lambda has one, that one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ReasonCode {
    /// No subnet has an address left.
    SubnetOutOfIPAddresses,
    /// It has as many ENIs as it may, or this machine has.
    EniLimitExceeded,
    /// Its subnets can't be used on this host at present.
    InvalidSubnet,
    /// Nobody used it for long.
    Idle,
    /// It was idle, and is wanted again.
    Restoring,
    /// The tables had its ENIs, and nobody's state.
    Orphaned,
}

impl ReasonCode {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SubnetOutOfIPAddresses => "SubnetOutOfIPAddresses",
            Self::EniLimitExceeded => "EniLimitExceeded",
            Self::InvalidSubnet => "InvalidSubnet",
            Self::Idle => "Idle",
            Self::Restoring => "Restoring",
            Self::Orphaned => "Orphaned",
        }
    }
}

/// What one step sees besides the state and the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Now.
    pub now: Moment,
    /// The host.
    pub facts: &'a Facts,
    /// Which ports were in use when they were last counted.
    pub usage: &'a Usage,
    /// Which were a while before, if they were counted in this process.
    pub before: Option<&'a Usage>,
    /// Whether they were counted just now. Else nothing is released, and nothing shrinks.
    pub is_counted: bool,
    /// The crowded remotes, as they are now, and who was refused: what tells that an ENI more is needed.
    pub crowd: &'a Usage,
    /// Those of a while before.
    pub crowd_before: Option<&'a Usage>,
}

/// What is known of the host.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// Each uplink's device, in the order of [`Config::uplinks`](crate::config::Config::uplinks).
    pub uplinks: Vec<UplinkFacts>,
    /// Connectors that records in the tables name: their numbers are not given to others.
    pub connectors: BTreeSet<ConnectorId>,
    /// Connectors whose slots tried to open something since the step before, whether it was opened or refused.
    pub wanted: BTreeSet<ConnectorId>,
}

/// What is known of an uplink's device.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct UplinkFacts {
    /// Whether it is there.
    pub is_there: bool,
    /// Its own addresses, which the host uses; IPv4 addresses are mapped. No ENI but the host's is given one. Empty on a
    /// tagged uplink.
    pub addresses: Vec<Ip6>,
    /// Those of them that pass: no ENI shares one.
    pub passing: Vec<Ip6>,
    /// Which ports of them the host leaves alone.
    pub ports: FreePorts,
}

/// A piece of the port space.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FreePorts {
    /// Its first block.
    pub first: PortBlock,
    /// How many blocks it has; 0 where nothing is free.
    pub blocks: u16,
}

impl FreePorts {
    /// All ports that there are.
    pub const ALL: Self = Self { first: PortBlock(0), blocks: PortBlock::COUNT };

    /// How many ports these are.
    #[must_use]
    pub const fn ports(self) -> u32 {
        self.blocks as u32 * PortBlock::PORTS
    }
}

/// Something that is worth saying.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// An ENI was made.
    Made {
        /// The ENI.
        eni: EniId,
        /// Its subnet.
        subnet: String,
        /// Its addresses.
        addresses: Vec<Ip6>,
        /// What for.
        why: &'static str,
    },
    /// An ENI takes no new flows from here on.
    Draining {
        /// The ENI.
        eni: EniId,
        /// What for.
        why: &'static str,
    },
    /// An ENI takes new flows again.
    Revived {
        /// The ENI.
        eni: EniId,
    },
    /// An ENI is gone.
    Released {
        /// The ENI.
        eni: EniId,
    },
    /// A connector is in another state, or has another reason.
    Now {
        /// The connector.
        key: ConnectorKey,
        /// Its state; `None` where it is gone.
        state: Option<ConnectorState>,
        /// Why.
        reason: Option<Reason>,
    },
}

impl Pool {
    /// What is behind the connectors of this key.
    #[must_use]
    pub fn entry(&self, key: &ConnectorKey) -> Option<&Entry> {
        let place = self.entries.binary_search_by(|entry| entry.key.cmp(key));
        self.entries.get(place.ok()?)
    }

    /// Every ENI with the entry that it is of.
    pub fn enis(&self) -> impl Iterator<Item = (&Entry, &Eni)> {
        self.entries.iter().flat_map(|entry| entry.enis.iter().map(move |eni| (entry, eni)))
    }

    /// Says that all that was made is in force.
    pub fn in_force(&mut self) {
        for entry in &mut self.entries {
            entry.in_force();
        }
    }
}

impl Eni {
    /// Its MAC; `None` for its uplink's.
    #[must_use]
    pub fn mac(&self, key: &ConnectorKey) -> Option<Mac> {
        (key.mac == EniMac::Own).then(|| Mac::of_eni(self.id.number()))
    }

    /// Its addresses that take new flows.
    pub fn sources(&self, family: Family) -> impl Iterator<Item = Ip6> {
        let all = self.addresses.iter().filter(|_| self.state != EniState::Detaching);
        let takes_flows = |it: &&EniAddress| !it.draining;
        all.filter(takes_flows).map(|it| it.address).filter(move |it| Family::of(*it) == family)
    }
}

#[cfg(test)]
mod tests;
