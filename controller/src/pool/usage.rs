//! Which ports of which addresses are in use, towards whom.

use super::Moment;
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{Ip6, L4Port};
use weir_path::tables::Vip;

/// Whom ports are used towards. An address has all its ports for each remote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Remote {
    /// Its address; an IPv4 address is mapped.
    pub address: Ip6,
    /// Its port.
    pub port: L4Port,
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
}

/// How many ports are in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Ports {
    /// By flows.
    pub live: u32,
    /// Not to be used again yet.
    pub resting: u32,
}

impl Ports {
    /// All of them.
    #[must_use]
    pub const fn used(self) -> u32 {
        self.live.saturating_add(self.resting)
    }
}

/// The ports in use at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// When that was.
    pub at: Moment,
    /// For each address, and each remote that ports of it are in use towards.
    pub towards: BTreeMap<Vip, BTreeMap<Remote, Ports>>,
    /// Addresses that had no port for somebody since the time before.
    pub refused: BTreeSet<Vip>,
}

impl Usage {
    /// Nothing yet.
    #[must_use]
    pub fn new(at: Moment) -> Self {
        Self { at, ..Self::default() }
    }

    /// Counts a port that a flow holds.
    pub fn live(&mut self, address: Vip, remote: Remote) {
        self.entry(address, remote).live += 1;
    }

    /// Counts a port that rests.
    pub fn resting(&mut self, address: Vip, remote: Remote) {
        self.entry(address, remote).resting += 1;
    }

    fn entry(&mut self, address: Vip, remote: Remote) -> &mut Ports {
        self.towards.entry(address).or_default().entry(remote).or_default()
    }

    /// How many ports of this address are in use, all remotes together.
    #[must_use]
    pub fn of(&self, address: Vip) -> Ports {
        let all = self.remotes(address).map(|(_, ports)| ports);
        all.fold(Ports::default(), |sum, it| Ports {
            live: sum.live.saturating_add(it.live),
            resting: sum.resting.saturating_add(it.resting),
        })
    }

    /// Each remote that ports of this address are in use towards.
    pub fn remotes(&self, address: Vip) -> impl Iterator<Item = (Remote, Ports)> {
        let remotes = self.towards.get(&address).into_iter().flatten();
        remotes.map(|(remote, ports)| (*remote, *ports))
    }

    /// How many ports of this address are in use towards this remote.
    #[must_use]
    pub fn towards(&self, address: Vip, remote: Remote) -> Ports {
        let ports = self.towards.get(&address).and_then(|remotes| remotes.get(&remote));
        ports.copied().unwrap_or_default()
    }

    /// The remote that most ports of this address are in use towards.
    #[must_use]
    pub fn fullest(&self, address: Vip) -> Option<(Remote, Ports)> {
        self.remotes(address).max_by_key(|(_, ports)| ports.used())
    }
}
