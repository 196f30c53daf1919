//! ENIs that the tables hold and the state has forgotten.

use super::{
    ConnectorState, Eni, EniAddress, EniId, EniState, Entry, Moment, Note, Pool, Reason, ReasonCode, Usage,
};
use crate::config::{Addresses, Config, ConnectorKey, EniKind, EniMac, Subnet, UdpMapping};
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{Address, Ip4, Ip6};
use weir_path::tables::{ConnectorId, Interface, Vip};

/// Takes into the state what nobody remembers: ENIs of the tables' records whose addresses have flows. They drain, and
/// are released when the last flow has ended. Asked once, before a process's first step.
pub fn adopt(pool: &mut Pool, config: &Config, records: &[Interface], usage: &Usage) -> Vec<Note> {
    let known: BTreeSet<ConnectorId> = pool.entries.iter().map(|entry| entry.id).collect();
    let mut forgotten: BTreeMap<ConnectorId, Entry> = BTreeMap::new();
    for record in records.iter().filter(|it| it.is_eni() && !known.contains(&it.connector)) {
        let has_flows = |address: Ip6| usage.of(Vip { address, zone: record.zone }).live > 0;
        let subnet = config.subnets.iter().find(|it| it.zone == record.zone && is_in(it, record));
        if let Some(subnet) = subnet.filter(|_| addresses(record).any(has_flows)) {
            let entry = forgotten.entry(record.connector).or_insert_with(|| entry(record, subnet, usage.at));
            let eni = eni(record, subnet, usage.at);
            // One that has changed may have two records.
            if entry.enis.iter().all(|known| known.addresses != eni.addresses) {
                entry.key.subnets.push(subnet.name.value.clone());
                entry.enis.push(eni);
            }
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

/// Its first address of each family.
fn addresses(record: &Interface) -> impl Iterator<Item = Ip6> + use<> {
    let v4 = (record.local != Ip4::default()).then(|| record.local.mapped());
    let v6 = (record.local6 != Ip6::default()).then_some(record.local6);
    v4.into_iter().chain(v6)
}

fn is_in(subnet: &Subnet, record: &Interface) -> bool {
    addresses(record).all(|address| subnet.prefixes().any(|it| it.prefix.contains(address)))
}

fn eni(record: &Interface, subnet: &Subnet, now: Moment) -> Eni {
    let [.., a, b, c, d] = record.mac.0;
    // Its MAC is made of these bits; those above tell it from others.
    let number = u32::from_be_bytes([a, b, c, d]);
    Eni {
        id: EniId(u64::from(record.egress.id.0) << 32 | u64::from(number)),
        subnet: subnet.name.value.clone(),
        state: EniState::Detaching,
        made: now,
        addresses: addresses(record).map(|address| EniAddress { address, draining: false }).collect(),
    }
}

/// An entry without ENIs, under a key that no configuration has: no tenant is called so.
fn entry(record: &Interface, subnet: &Subnet, now: Moment) -> Entry {
    Entry {
        key: ConnectorKey {
            tenant: format!("?{}", record.connector.0),
            vpc: subnet.vpc.clone(),
            subnets: Vec::new(),
            addresses: match (record.local == Ip4::default(), record.local6 == Ip6::default()) {
                (false, true) => Addresses::Ipv4,
                (true, false) => Addresses::Ipv6,
                _ => Addresses::Dualstack,
            },
            enis: EniKind::Own,
            mac: if record.mac.may_be_an_enis() { EniMac::Own } else { EniMac::Uplink },
            udp_mapping: UdpMapping::default(),
        },
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
