//! ENIs that the tables hold and the state has forgotten.

use super::{
    ConnectorState, Eni, EniAddress, EniId, EniState, Entry, Moment, Note, Pool, Reason, ReasonCode, Usage,
};
use crate::config::{Addresses, Config, ConnectorKey, EniKind, EniMac, SlotName, Subnet, UdpMapping};
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{Address, IfIndex, Ip4, Ip6};
use weir_path::tables::{ConnectorId, Interface, Owner, Vip};

/// What is there besides the state.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The tables' records.
    pub records: &'a [Interface],
    /// Whose the tables' addresses are.
    pub owners: &'a [(Vip, Owner)],
    /// The host's own addresses: what is of no flow must stay its.
    pub hosts: BTreeSet<Ip6>,
    /// Whose number each one is, by the slots that have it: see [`bound`].
    pub bound: BTreeMap<ConnectorId, ConnectorKey>,
}

/// Whose number each one is, by the slots' records, as far as that is beyond doubt: all slots that have a number are
/// bound to one key, and it has no other one. Only for the configuration that the records were made of.
#[must_use]
pub fn bound(
    config: &Config,
    slots: &BTreeMap<SlotName, IfIndex>,
    records: &[Interface],
) -> BTreeMap<ConnectorId, ConnectorKey> {
    let mut keys: BTreeMap<ConnectorId, BTreeSet<&ConnectorKey>> = BTreeMap::new();
    let mut ids: BTreeMap<&ConnectorKey, BTreeSet<ConnectorId>> = BTreeMap::new();
    for binding in &config.slots {
        let connector = binding.connector.and_then(|place| config.connectors.get(place));
        let Some((connector, ifindex)) = connector.zip(slots.get(&binding.slot.value)) else { continue };
        let own = records.iter().filter(|it| it.is_slot() && it.egress.ifindex == *ifindex);
        for id in own.map(|it| it.connector).filter(|id| *id != ConnectorId::NONE) {
            keys.entry(id).or_default().insert(&connector.key);
            ids.entry(&connector.key).or_default().insert(id);
        }
    }
    let is_one = |key: &ConnectorKey| ids.get(key).is_some_and(|ids| ids.len() == 1);
    let only = |(id, keys): (ConnectorId, BTreeSet<&ConnectorKey>)| {
        let key = keys.first().filter(|key| keys.len() == 1 && is_one(key))?;
        Some((id, (*key).clone()))
    };
    keys.into_iter().filter_map(only).collect()
}

/// Takes into the state what nobody remembers: ENIs of the tables' records. Those of a connector that is known by its
/// slots go on; others drain where their addresses have flows, and are released when the last flow has ended. Asked
/// once, before a process's first step.
pub fn adopt(pool: &mut Pool, config: &Config, found: &Found<'_>, usage: &Usage) -> Vec<Note> {
    let known: BTreeSet<ConnectorId> = pool.entries.iter().map(|entry| entry.id).collect();
    let mut forgotten: BTreeMap<(ConnectorId, EniKind), Entry> = BTreeMap::new();
    for record in found.records.iter().filter(|it| it.is_eni() && !known.contains(&it.connector)) {
        let all = found.addresses(record);
        let kind = found.kind(record, &all);
        let key =
            found.bound.get(&record.connector).filter(|key| key.enis == kind && pool.entry(key).is_none());
        let has_flows = |address: &Ip6| usage.of(Vip { address: *address, zone: record.zone }).live > 0;
        let subnets = config.subnets.iter().filter(|it| it.zone == record.zone && is_in(it, record));
        let is_keys = |it: &&Subnet| key.is_none_or(|key| key.subnets.contains(&it.name.value));
        let subnet = subnets.clone().find(is_keys).filter(|_| key.is_some() || all.iter().any(has_flows));
        let Some(subnet) = subnet else { continue };
        let new = || entry(record, subnet, kind, key, usage.at);
        let entry = forgotten.entry((record.connector, kind)).or_insert_with(new);
        if key.is_none() {
            entry.key.subnets.push(subnet.name.value.clone());
        }
        let eni = eni(record, subnet, &all, usage.at);
        // One that has changed may have two records.
        let is_same = |known: &&mut Eni| known.addresses.iter().any(|it| all.contains(&it.address));
        match entry.enis.iter_mut().find(is_same) {
            Some(known) => known.join(eni),
            None => entry.enis.push(eni),
        }
    }
    let mut notes = Vec::new();
    for mut entry in forgotten.into_values() {
        entry.key.subnets.sort();
        entry.key.subnets.dedup();
        notes.extend(entry.enis.iter().map(|eni| Note::Draining { eni: eni.id, why: "nobody remembers it" }));
        pool.entries.push(entry);
    }
    pool.entries.sort_by(|a, b| a.key.cmp(&b.key));
    notes
}

impl Found<'_> {
    /// All addresses of an ENI, its first ones first.
    fn addresses(&self, record: &Interface) -> Vec<Ip6> {
        let mut all: Vec<Ip6> = first_addresses(record).collect();
        let is_its = |(vip, owner): &&(Vip, Owner)| {
            vip.zone == record.zone && owner.as_eni() == Some(record.egress.id) && !all.contains(&vip.address)
        };
        let further: Vec<Ip6> = self.owners.iter().filter(is_its).map(|(vip, _)| vip.address).collect();
        all.extend(further);
        all
    }

    /// The host's, where it was so, or where the host has such an address by now: as an ENI's own it would be cut off.
    fn kind(&self, record: &Interface, addresses: &[Ip6]) -> EniKind {
        let was_hosts = |(vip, owner): &(Vip, Owner)| {
            *owner == Owner::HOST && vip.zone == record.zone && addresses.contains(&vip.address)
        };
        let is_hosts = addresses.iter().any(|address| self.hosts.contains(address));
        if is_hosts || self.owners.iter().any(was_hosts) { EniKind::Host } else { EniKind::Own }
    }
}

impl Eni {
    /// Takes the addresses of another one that is the same.
    fn join(&mut self, other: Self) {
        for it in other.addresses {
            if self.addresses.iter().all(|known| known.address != it.address) {
                self.addresses.push(it);
            }
        }
    }
}

/// Its first address of each family.
fn first_addresses(record: &Interface) -> impl Iterator<Item = Ip6> + use<> {
    let v4 = (record.local != Ip4::default()).then(|| record.local.mapped());
    let v6 = (record.local6 != Ip6::default()).then_some(record.local6);
    v4.into_iter().chain(v6)
}

fn is_in(subnet: &Subnet, record: &Interface) -> bool {
    first_addresses(record).all(|address| subnet.prefixes().any(|it| it.prefix.contains(address)))
}

fn eni(record: &Interface, subnet: &Subnet, addresses: &[Ip6], now: Moment) -> Eni {
    let [.., a, b, c, d] = record.mac.0;
    // Its MAC is made of these bits; those above tell it from others.
    let number = u32::from_be_bytes([a, b, c, d]);
    Eni {
        id: EniId(u64::from(record.egress.id.0) << 32 | u64::from(number)),
        subnet: subnet.name.value.clone(),
        state: EniState::Detaching,
        made: now,
        addresses: addresses.iter().map(|it| EniAddress { address: *it, draining: false }).collect(),
    }
}

/// An entry without ENIs: under its own key, else under one that no configuration has, since no tenant is called so.
fn entry(
    record: &Interface,
    subnet: &Subnet,
    kind: EniKind,
    key: Option<&ConnectorKey>,
    now: Moment,
) -> Entry {
    let nobodys = || ConnectorKey {
        tenant: format!("?{}", record.connector.0),
        vpc: subnet.vpc.clone(),
        subnets: Vec::new(),
        addresses: match (record.local == Ip4::default(), record.local6 == Ip6::default()) {
            (false, true) => Addresses::Ipv4,
            (true, false) => Addresses::Ipv6,
            _ => Addresses::Dualstack,
        },
        enis: kind,
        mac: if record.mac.may_be_an_enis() { EniMac::Own } else { EniMac::Uplink },
        udp_mapping: UdpMapping::default(),
        security_groups: Vec::new(),
    };
    Entry {
        key: key.cloned().unwrap_or_else(nobodys),
        id: record.connector,
        state: ConnectorState::Deleting,
        reason: Some(Reason {
            code: ReasonCode::Orphaned,
            text: "its ENIs were in the tables, and in nobody's state; they go when their flows have ended"
                .to_owned(),
        }),
        since: now,
        references: 0,
        used: now,
        roomy: None,
        enis: Vec::new(),
    }
}
