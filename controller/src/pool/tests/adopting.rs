//! What the tables hold and the state has lost.

use super::*;
use crate::config::EniKind;
use weir_path::addr::{IfIndex, InterfaceId};
use weir_path::tables::{Interface, Owner};

/// The record of an ENI of this connector, under this number and address.
fn record(id: u32, last: u8, connector: u32) -> Interface {
    let mut record = Interface {
        zone: configured("").vpcs[0].zone,
        connector: ConnectorId(connector),
        local: Ip4([10, 0, 1, last]),
        mac: Mac::of_eni(0x0102_0304),
        ..Interface::default()
    };
    record.egress.id = InterfaceId(id);
    record
}

fn found(records: &[Interface]) -> Found<'_> {
    Found { records, owners: &[], hosts: BTreeSet::new(), bound: BTreeMap::new() }
}

impl World {
    fn adopt(&mut self, found: &Found<'_>) -> usize {
        adopt(&mut self.pool, &self.config, found, &self.usage).len()
    }

    fn vip(&self, last: u8) -> Vip {
        Vip { address: Ip4([10, 0, 1, last]).mapped(), zone: self.zone() }
    }
}

#[test]
fn what_the_tables_hold_and_nobody_remembers_drains_and_goes() {
    let mut world = World::new(&connector("web", &["a"], "mac = \"own\"", 1));
    world.settle();
    world.facts.connectors.extend([ConnectorId(2), ConnectorId(3)]);
    world.hold([10, 0, 1, 8], 1, 0);
    // The first is known, and the last has no flows.
    let records = [record(1, 7, 1), record(2, 8, 2), record(3, 9, 3)];
    assert_eq!((world.adopt(&found(&records)), world.addresses().len()), (1, 2));
    world.pass(1_000);
    world.step();
    let (entry, eni) = world.pool.enis().find(|(_, eni)| eni.state == EniState::Detaching).unwrap();
    assert_eq!((entry.id, eni.mac(&entry.key)), (ConnectorId(2), Some(Mac::of_eni(0x0102_0304))));
    world.usage.towards.clear();
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7"]);
}

#[test]
fn an_eni_is_adopted_with_all_of_its_addresses_also_where_it_has_two_records() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.hold([10, 0, 1, 9], 1, 0);
    let eni = Owner::eni(InterfaceId(2));
    let owners = [(world.vip(8), eni), (world.vip(9), eni), (world.vip(10), Owner::eni(InterfaceId(3)))];
    let records = [record(1, 8, 2), record(2, 8, 2)];
    world.adopt(&Found { owners: &owners, ..found(&records) });
    assert_eq!(world.addresses(), ["10.0.1.8", "10.0.1.9"]);
}

#[test]
fn what_is_the_hosts_own_address_is_never_adopted_as_an_enis_alone() {
    let records = [record(1, 8, 2)];
    for was_hosts in [true, false] {
        let mut world = World::new(&connector("web", &["a"], "", 1));
        world.hold([10, 0, 1, 8], 1, 0);
        let owner = if was_hosts { Owner::HOST } else { Owner::eni(InterfaceId(1)) };
        let owners = [(world.vip(8), owner)];
        let hosts = if was_hosts { BTreeSet::new() } else { [world.vip(8).address].into() };
        let bound = BTreeMap::from([(ConnectorId(2), world.config.connectors[0].key.clone())]);
        world.adopt(&Found { owners: &owners, hosts, bound, ..found(&records) });
        assert_eq!(world.only().key.enis, EniKind::Host);
    }
}

#[test]
fn a_connector_that_its_slots_tell_of_goes_on_under_its_number_and_with_its_enis() {
    let text = connector("web", &["a"], "mac = \"own\"", 2);
    let mut world = World::new(&text);
    let slots: Vec<_> = world.config.slots.iter().map(|it| it.slot.value.clone()).collect();
    let devices = slots.iter().cloned().zip([5, 6].map(IfIndex)).collect();
    let slot = |ifindex, connector| {
        let mut record = Interface { zone: Zone::of_binding(ifindex).unwrap(), ..Interface::default() };
        (record.egress.ifindex, record.connector) = (IfIndex(ifindex), ConnectorId(connector));
        record
    };
    let records = [record(1, 8, 4), slot(5, 4), slot(6, 4)];
    let bound_by = |records: &[Interface]| bound(&world.config, &devices, records);
    assert_eq!(bound_by(&[slot(5, 4), slot(6, 3)]), BTreeMap::new(), "one of the two is another's");
    let bound = bound_by(&records);
    world.adopt(&Found { bound, ..found(&records) });
    world.step();
    assert_eq!((world.only().id, world.only().references), (ConnectorId(4), 2));
    assert_eq!((world.states(), world.addresses()), (vec!["available"], vec!["10.0.1.8".to_owned()]));
    assert_eq!(world.only().enis[0].mac(&world.only().key), Some(Mac::of_eni(0x0102_0304)));
}
