//! What the views of the pool have in common: whose an ENI is, and how much of it is in use.

use super::GetError;
use crate::config::{Config, ConnectorKey, EniKind};
use crate::host::free_ports;
use crate::pool::{Eni, EniState, Entry, FreePorts, Pool, Ports, Usage};
use crate::ports::{Refusals, refusals, usage};
use crate::store::Store;
use std::collections::BTreeMap;
use weir_dataplane::Tables;
use weir_path::addr::{Address, InterfaceId, Zone};
use weir_path::tables::{Interface, Vip};

/// The pool, and what the tables say of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pooled {
    pub(super) pool: Pool,
    pub(super) usage: Usage,
    pub(super) refusals: Refusals,
    /// The records of interfaces, those of ENIs among them.
    pub(super) interfaces: Vec<Interface>,
    /// Which ports of its own addresses the host leaves alone.
    pub(super) host: FreePorts,
}

/// An ENI, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Owned<'a> {
    pub(super) entry: &'a Entry,
    pub(super) eni: &'a Eni,
    zone: Zone,
}

impl Pooled {
    pub(super) fn read(store: &Store, tables: &Tables) -> Result<Self, GetError> {
        Ok(Self {
            pool: store.pool()?,
            usage: usage(tables),
            refusals: refusals(tables)?,
            interfaces: tables.interfaces()?,
            host: free_ports()?,
        })
    }

    /// Every ENI whose VPC is configured.
    pub(super) fn enis<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = Owned<'a>> {
        owned(config, &self.pool)
    }

    /// How many ports an address of this entry has towards each remote.
    pub(super) const fn room(&self, entry: &Entry) -> u32 {
        match entry.key.enis {
            EniKind::Own => FreePorts::ALL.ports(),
            EniKind::Host => self.host.ports(),
        }
    }

    /// How many ports of these addresses are in use, towards all remotes together.
    pub(super) fn used(&self, addresses: impl Iterator<Item = Vip>) -> Ports {
        addresses.map(|address| self.usage.of(address)).fold(Ports::default(), |sum, it| Ports {
            live: sum.live.saturating_add(it.live),
            resting: sum.resting.saturating_add(it.resting),
        })
    }

    /// How often an address had no port for somebody.
    pub(super) fn refused(&self, address: Vip) -> u64 {
        self.refusals.iter().filter(|((of, _), _)| *of == address).map(|(_, count)| count).sum()
    }

    /// The record of an ENI; none where it is not in force.
    pub(super) fn record(&self, owned: &Owned<'_>) -> Option<&Interface> {
        self.interfaces.iter().find(|it| owned.is_in(it))
    }
}

impl Owned<'_> {
    pub(super) fn addresses(&self) -> impl Iterator<Item = Vip> {
        self.eni.addresses.iter().map(|it| Vip { address: it.address, zone: self.zone })
    }

    /// Whether this record is its own: it has its first address.
    pub(super) fn is_in(&self, record: &Interface) -> bool {
        let own = [record.local.mapped(), record.local6];
        let is_connectors = record.is_eni() && record.connector == self.entry.id;
        is_connectors && self.eni.addresses.iter().any(|it| own.contains(&it.address))
    }
}

/// The VPC of an entry.
fn zone(config: &Config, entry: &Entry) -> Option<Zone> {
    config.vpcs.iter().find(|vpc| vpc.name.value == entry.key.vpc).map(|vpc| vpc.zone)
}

/// The names of the connectors that have this key.
pub(super) fn names(config: &Config, key: &ConnectorKey) -> Vec<String> {
    config.connectors.iter().filter(|it| it.key == *key).map(|it| it.name.value.clone()).collect()
}

/// What the records of ENIs in force are called, and whether they drain.
pub(super) fn eni_records(config: &Config, pool: &Pool, interfaces: &[Interface]) -> EniRecords {
    let named = |it: &Interface| {
        let owned = owned(config, pool).find(|owned| owned.is_in(it))?;
        Some((it.egress.id, (owned.eni.id.to_string(), owned.eni.state == EniState::Detaching)))
    };
    interfaces.iter().filter_map(named).collect()
}

/// The names of ENIs by their records, and whether they drain.
pub(super) type EniRecords = BTreeMap<InterfaceId, (String, bool)>;

fn owned<'a>(config: &'a Config, pool: &'a Pool) -> impl Iterator<Item = Owned<'a>> {
    pool.enis().filter_map(|(entry, eni)| Some(Owned { entry, eni, zone: zone(config, entry)? }))
}

/// Of so many ports, how many hundredths these are, to one decimal.
pub(super) fn percent(ports: u32, of: u32) -> f64 {
    if of == 0 { 0.0 } else { (f64::from(ports) * 1_000.0 / f64::from(of)).round() / 10.0 }
}

#[cfg(test)]
mod tests;
