//! Plans as tables: wanted and observed, and exactly these steps.

mod enis;
mod meters;
mod uplinks;

use super::*;
use crate::config::Sandbox6;
use weir_path::addr::Ip6;

const SANDBOX: Sandbox = Sandbox {
    address: weir_path::addr::Ip4([169, 254, 100, 2]),
    mac: Mac([2, 0x57, 0x45, 0x49, 0x52, 2]),
    gateway: weir_path::addr::Ip4([169, 254, 100, 1]),
    gateway_mac: Mac([2, 0x57, 0x45, 0x49, 0x52, 1]),
    v6: None,
};

const ANSWERS: Answers = Answers { per_second: 1_000 };

fn uplink(ifindex: u32, point: Point) -> WantedUplink {
    let mac = Mac([2, 0, 0, 0, 0, ifindex as u8]);
    let zone = Zone::of_vpc(9).unwrap();
    let vlan = VlanTag::NONE;
    WantedUplink {
        place: ifindex as usize,
        ifindex: IfIndex(ifindex),
        mac,
        zone,
        point,
        vlan,
        mtu: 1_500,
        own: None,
        own6: None,
        gateway: None,
        gateway6: None,
    }
}

fn slot(ifindex: u32) -> WantedSlot {
    WantedSlot {
        ifindex: IfIndex(ifindex),
        delivery: Delivery::VETH_PEER,
        mtu: 1_500,
        connector: ConnectorId::NONE,
        meters: Meters::default(),
    }
}

fn recorded_uplink(ifindex: u32, id: u32) -> Interface {
    numbered(uplink_record(&uplink(ifindex, Point::XdpNative), ANSWERS), id)
}

fn recorded_slot(ifindex: u32, id: u32, binding: u32) -> Interface {
    numbered(slot_record(&slot(ifindex), &SANDBOX, ANSWERS, Zone::of_binding(binding).unwrap()), id)
}

fn numbered(mut record: Interface, id: u32) -> Interface {
    record.egress.id = InterfaceId(id);
    record
}

/// An uplink on device 2 and a slot on device 5, in force.
fn in_force() -> Observed {
    Observed {
        interfaces: vec![recorded_uplink(2, 0), recorded_slot(5, 1, 1)],
        in_force: [InterfaceId(0), InterfaceId(1)].into(),
        rates: BTreeMap::new(),
        attached: vec![(IfIndex(2), Point::XdpNative), (IfIndex(5), Point::Slot)],
        flow_bindings: BTreeSet::new(),
        charged: BTreeSet::new(),
        opened: BTreeSet::new(),
        exits: BTreeSet::new(),
        present: [IfIndex(2), IfIndex(5)].into(),
    }
}

fn wanted(slots: &[u32]) -> Wanted {
    Wanted {
        uplinks: vec![uplink(2, Point::XdpNative)],
        slots: slots.iter().copied().map(slot).collect(),
        enis: vec![],
    }
}

fn planned(wanted: &Wanted, observed: &Observed) -> Plan {
    plan(wanted, &SANDBOX, ANSWERS, observed).unwrap()
}

#[test]
fn from_nothing_records_come_first_then_slots_then_uplinks() {
    let plan = planned(&wanted(&[5]), &Observed::default());
    assert_eq!(
        plan.before,
        [
            Step::Record(recorded_uplink(2, 0)),
            Step::Record(recorded_slot(5, 1, 1)),
            Step::EnableGro(IfIndex(5)),
            Step::Attach(IfIndex(5), Point::Slot),
            Step::Attach(IfIndex(2), Point::XdpNative),
        ]
    );
    assert_eq!(plan.after, []);
    assert_eq!(plan.slots, BTreeMap::from([(IfIndex(5), InterfaceId(1))]));
    assert!(!plan.draining);
}

#[test]
fn what_is_in_force_is_only_given_its_programs_again() {
    let plan = planned(&wanted(&[5]), &in_force());
    let programs = [
        Step::EnableGro(IfIndex(5)),
        Step::Attach(IfIndex(5), Point::Slot),
        Step::Attach(IfIndex(2), Point::XdpNative),
    ];
    assert_eq!(plan.before, programs);
    assert_eq!(plan.after, []);
}

#[test]
fn a_further_slot_gets_a_fresh_binding_and_the_first_one_keeps_its_own() {
    let plan = planned(&wanted(&[5, 6]), &in_force());
    assert_eq!(plan.before.first(), Some(&Step::Record(recorded_slot(6, 2, 2))));
    assert_eq!(plan.slots[&IfIndex(5)], InterfaceId(1));
}

#[test]
fn a_slot_that_is_no_longer_wanted_drains_while_it_has_flows_and_goes_afterwards() {
    let mut observed = in_force();
    observed.flow_bindings.insert(1);
    let draining = planned(&wanted(&[]), &observed);
    assert_eq!((draining.after, draining.draining), (vec![], true));

    let empty = planned(&wanted(&[]), &in_force());
    let steps = vec![Step::Detach(IfIndex(5), Point::Slot), Step::Forget(recorded_slot(5, 1, 1))];
    assert_eq!((empty.after, empty.draining), (steps, false));
}

#[test]
fn a_device_that_is_gone_is_forgotten_with_its_flows() {
    let mut observed = in_force();
    observed.present.remove(&IfIndex(5));
    observed.attached.pop();
    observed.flow_bindings.insert(1);
    let plan = planned(&wanted(&[]), &observed);
    let binding = Zone::of_binding(1).unwrap();
    // In this order: where ending the flows fails, the record tells the next plan of them.
    assert_eq!(plan.after, [Step::EndFlows(binding), Step::Forget(recorded_slot(5, 1, 1))]);
    assert!(!plan.draining);
}

#[test]
fn an_uplink_that_is_gone_takes_its_vpcs_flows_along_unless_another_one_leads_there() {
    let mut observed = in_force();
    observed.present.remove(&IfIndex(2));
    let alone = planned(&Wanted { uplinks: vec![], ..wanted(&[5]) }, &observed);
    let vpc = Zone::of_vpc(9).unwrap();
    assert!(alone.after.ends_with(&[Step::EndFlows(vpc), Step::Forget(recorded_uplink(2, 0))]));

    let other = planned(&Wanted { uplinks: vec![uplink(3, Point::XdpNative)], ..wanted(&[5]) }, &observed);
    let own = Step::EndFlowsBy(InterfaceId(0));
    assert!(other.after.ends_with(&[own, Step::Forget(recorded_uplink(2, 0))]));
    assert!(!other.after.contains(&Step::EndFlows(vpc)));
}

#[test]
fn flows_whose_slot_is_not_recorded_are_ended() {
    let mut observed = in_force();
    observed.flow_bindings.insert(41);
    let plan = planned(&wanted(&[5]), &observed);
    assert_eq!(plan.after, [Step::EndFlows(Zone::of_binding(41).unwrap())]);
}

#[test]
fn a_slot_that_becomes_an_uplink_leaves_nothing_of_its_flows() {
    let mut observed = in_force();
    observed.flow_bindings.insert(1);
    let wanted = Wanted {
        uplinks: vec![uplink(2, Point::XdpNative), uplink(5, Point::Tc)],
        slots: vec![],
        enis: vec![],
    };
    let plan = planned(&wanted, &observed);
    let steps = [
        Step::Detach(IfIndex(5), Point::Slot),
        Step::EndFlows(Zone::of_binding(1).unwrap()),
        Step::Forget(recorded_slot(5, 1, 1)),
    ];
    assert_eq!(plan.after, steps);
}

#[test]
fn a_slot_that_drains_is_given_its_program_again_and_keeps_its_binding_when_it_is_wanted_again() {
    let mut observed = in_force();
    observed.flow_bindings.insert(1);
    let draining = planned(&wanted(&[]), &observed);
    assert!(draining.before.contains(&Step::Attach(IfIndex(5), Point::Slot)));
    let back = planned(&wanted(&[5]), &observed);
    assert!(!back.before.iter().any(|step| matches!(step, Step::Record(_))));
    assert_eq!(back.slots, BTreeMap::from([(IfIndex(5), InterfaceId(1))]));
}

#[test]
fn a_number_under_which_something_is_held_is_given_to_nobody() {
    let mut observed = in_force();
    observed.charged.extend([InterfaceId(2), InterfaceId(3)]);
    let plan = planned(&wanted(&[5, 7]), &observed);
    assert_eq!(plan.slots, BTreeMap::from([(IfIndex(5), InterfaceId(1)), (IfIndex(7), InterfaceId(4))]));
}

#[test]
fn a_device_made_again_is_another_slot() {
    let mut observed = in_force();
    observed.present.remove(&IfIndex(5));
    let plan = planned(&wanted(&[7]), &observed);
    assert_eq!(plan.before.first(), Some(&Step::Record(recorded_slot(7, 2, 2))));
}

#[test]
fn an_uplink_that_changes_its_hook_is_attached_at_the_new_one_before_it_leaves_the_old() {
    let wanted = Wanted { uplinks: vec![uplink(2, Point::Tc)], slots: vec![slot(5)], enis: vec![] };
    let plan = planned(&wanted, &in_force());
    assert!(plan.before.contains(&Step::Attach(IfIndex(2), Point::Tc)));
    assert_eq!(plan.after, [Step::Detach(IfIndex(2), Point::XdpNative)]);
}

#[test]
fn one_mode_of_xdp_makes_room_for_the_other_and_comes_back_where_that_fails() {
    let wanted = Wanted { uplinks: vec![uplink(2, Point::XdpGeneric)], slots: vec![], enis: vec![] };
    let observed = Observed { interfaces: vec![recorded_uplink(2, 0)], ..in_force() };
    let plan = planned(&wanted, &observed);
    let detach = Step::Detach(IfIndex(2), Point::XdpNative);
    assert_eq!(plan.before, [detach, Step::Attach(IfIndex(2), Point::XdpGeneric)]);
    assert_eq!(plan.after, [Step::Detach(IfIndex(5), Point::Slot)]);
    assert_eq!(detach.undo(&observed), Some(Step::Attach(IfIndex(2), Point::XdpNative)));
}

#[test]
fn a_changed_record_gets_a_number_of_its_own_and_the_old_one_goes_last() {
    let mut changed = wanted(&[5]);
    changed.uplinks[0].mac = Mac([9; 6]);
    let plan = planned(&changed, &in_force());
    let new = numbered(uplink_record(&changed.uplinks[0], ANSWERS), 2);
    assert_eq!(plan.before.first(), Some(&Step::Record(new)));
    assert_eq!(plan.after, [Step::Forget(recorded_uplink(2, 0))]);

    let sandbox = Sandbox { gateway_mac: Mac([2; 6]), ..SANDBOX };
    let plan = super::plan(&wanted(&[5]), &sandbox, ANSWERS, &in_force()).unwrap();
    let new = numbered(slot_record(&slot(5), &sandbox, ANSWERS, Zone::of_binding(1).unwrap()), 2);
    assert_eq!(plan.before.first(), Some(&Step::Record(new)));
    assert_eq!(plan.after, [Step::Forget(recorded_slot(5, 1, 1))]);
}

#[test]
fn a_record_that_flows_leave_by_keeps_its_number_until_they_have_ended() {
    let mut observed = in_force();
    observed.exits.insert(InterfaceId(0));
    // An uplink that is no longer wanted is detached, but its flows' answers go on.
    let plan = planned(&Wanted::default(), &observed);
    assert!(plan.after.contains(&Step::Detach(IfIndex(2), Point::XdpNative)));
    assert!(!plan.after.contains(&Step::Forget(recorded_uplink(2, 0))));
    assert!(plan.draining);

    // One that changed leaves its old record behind, and nobody else gets that one's number.
    let mut changed = wanted(&[5]);
    changed.uplinks[0].mac = Mac([9; 6]);
    let plan = planned(&changed, &observed);
    assert_eq!(
        plan.before.first(),
        Some(&Step::Record(numbered(uplink_record(&changed.uplinks[0], ANSWERS), 2)))
    );
    assert_eq!((plan.after, plan.draining), (vec![], true));

    // One whose device is gone leads nowhere: its flows end, and its record with them.
    observed.present.remove(&IfIndex(2));
    let other = Wanted { uplinks: vec![uplink(3, Point::XdpNative)], ..wanted(&[5]) };
    let plan = planned(&other, &observed);
    assert!(plan.after.contains(&Step::EndFlowsBy(InterfaceId(0))));
    assert!(plan.after.contains(&Step::Forget(recorded_uplink(2, 0))));
}

#[test]
fn a_slots_record_says_the_sandboxs_ipv6_addresses_where_it_has_some() {
    let [address, gateway] = [2, 1].map(|last| Ip6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]));
    let sandbox = Sandbox { v6: Some(Sandbox6 { address, gateway }), ..SANDBOX };
    let record = slot_record(&slot(5), &sandbox, ANSWERS, Zone::of_binding(1).unwrap());
    assert_eq!((record.address6, record.local6), (address, gateway));
    let without = recorded_slot(5, 1, 1);
    assert_eq!((without.address6, without.local6), (Ip6::default(), Ip6::default()));
}

#[test]
fn an_uplink_that_is_no_longer_wanted_is_detached_after_the_new_configuration_is_live() {
    let plan = planned(&Wanted::default(), &in_force());
    assert_eq!(plan.before, []);
    assert!(plan.after.contains(&Step::Detach(IfIndex(2), Point::XdpNative)));
    assert!(plan.after.contains(&Step::Forget(recorded_uplink(2, 0))));
}

#[test]
fn a_binding_that_a_flow_remembers_is_not_given_again_also_after_the_last_number() {
    let mut observed = Observed::default();
    observed.flow_bindings.extend([1, 2, Zone::MAX_NUMBER]);
    let plan = planned(&Wanted { uplinks: vec![], slots: vec![slot(5)], enis: vec![] }, &observed);
    assert_eq!(plan.before.first(), Some(&Step::Record(recorded_slot(5, 0, 3))));
}

#[test]
fn a_record_is_undone_to_what_it_was_and_a_new_program_is_detached() {
    let observed = in_force();
    let changed = Interface { mac: Mac([9; 6]), ..recorded_uplink(2, 3) };
    assert_eq!(Step::Record(changed).undo(&observed), Some(Step::Record(recorded_uplink(2, 0))));
    let new = recorded_slot(6, 7, 8);
    assert_eq!(Step::Record(new).undo(&observed), Some(Step::Forget(new)));
    let attach = Step::Attach(IfIndex(6), Point::Slot);
    assert_eq!(attach.undo(&observed), Some(Step::Detach(IfIndex(6), Point::Slot)));
    assert_eq!(Step::Attach(IfIndex(5), Point::Slot).undo(&observed), None);
}

#[test]
fn more_interfaces_than_there_are_numbers_is_an_error_with_the_number() {
    let slots: Vec<_> = (0..9_000).map(|n| slot(n + 10)).collect();
    let error =
        plan(&Wanted { uplinks: vec![], slots, enis: vec![] }, &SANDBOX, ANSWERS, &Observed::default())
            .unwrap_err();
    assert_eq!(error, PlanError::NoInterfaceNumber { wanted: 9_000, max: 8_192 });
}

/// The uplink on device 2 that takes the frames of this VLAN, for a VPC of its own.
fn tagged(vlan: u16) -> WantedUplink {
    WantedUplink { vlan: VlanTag(vlan), zone: Zone::of_vpc(u32::from(vlan)).unwrap(), ..uplink(2, Point::Tc) }
}

#[test]
fn a_size_or_a_rate_that_changes_is_followed_under_the_same_number() {
    let mut changed = wanted(&[5]);
    (changed.uplinks[0].mtu, changed.slots[0].mtu) = (1_400, 9_000);
    let plan = super::plan(&changed, &SANDBOX, Answers { per_second: 5 }, &in_force()).unwrap();
    let uplink = Interface { mtu: 1_400, answers: 5, ..recorded_uplink(2, 0) };
    let slot = Interface { mtu: 9_000, answers: 5, ..recorded_slot(5, 1, 1) };
    assert_eq!(plan.before[..2], [Step::Record(uplink), Step::Record(slot)]);
    assert_eq!(plan.after, []);
    assert_eq!(Step::Record(uplink).undo(&in_force()), Some(Step::Record(recorded_uplink(2, 0))));
}

#[test]
fn a_record_that_only_flows_have_left_is_put_in_force_again_when_it_is_wanted_again() {
    let mut newer = wanted(&[5]);
    newer.uplinks[0].mac = Mac([9; 6]);
    let mut observed = in_force();
    observed.interfaces.push(numbered(uplink_record(&newer.uplinks[0], ANSWERS), 2));
    observed.in_force = [InterfaceId(1), InterfaceId(2)].into();
    let plan = planned(&wanted(&[5]), &observed);
    let back = Step::Record(recorded_uplink(2, 0));
    assert_eq!(plan.before.first(), Some(&back));
    assert_eq!(back.undo(&observed), Some(Step::Record(observed.interfaces[2])));
    assert_eq!(plan.after, [Step::Forget(observed.interfaces[2])]);
}
