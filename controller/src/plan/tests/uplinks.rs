//! Uplinks that share a device, and what their records say.

use super::*;

#[test]
fn an_uplinks_record_says_its_tag_its_size_its_addresses_and_how_much_it_answers() {
    let [address, gateway] = [5, 1].map(|last| Ip4([10, 0, 0, last]));
    let [address6, gateway6] = [5, 1].map(|last| Ip6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]));
    let own = Some(OwnAddress { address, prefix_len: 24, gateway: Some(gateway) });
    let own6 = Some(OwnAddress { address: address6, prefix_len: 64, gateway: Some(gateway6) });
    let wanted = WantedUplink { mtu: 1_400, own, own6, ..tagged(7) };
    let record = uplink_record(&wanted, Answers { per_second: 3 });
    assert_eq!((record.vlan, record.mtu, record.answers), (VlanTag(7), 1_400, 3));
    assert_eq!((record.local, record.on_link, record.gateway), (address, 24, gateway));
    assert_eq!((record.local6, record.on_link6, record.gateway6), (address6, 64, gateway6));
    let plain = uplink_record(&tagged(7), ANSWERS);
    assert_eq!((plain.local, plain.on_link, plain.gateway), (Ip4::default(), 0, Ip4::default()));
    assert_eq!((plain.local6, plain.on_link6, plain.gateway6), (Ip6::default(), 0, Ip6::default()));
}

#[test]
fn uplinks_of_one_device_have_records_of_their_own_and_one_program() {
    let wanted = Wanted { uplinks: vec![tagged(7), tagged(8)], slots: vec![], enis: vec![] };
    let plan = planned(&wanted, &Observed::default());
    let record =
        |place: usize, id| Step::Record(numbered(uplink_record(&wanted.uplinks[place], ANSWERS), id));
    assert_eq!(plan.before, [record(0, 0), record(1, 1), Step::Attach(IfIndex(2), Point::Tc)]);
}

#[test]
fn an_uplink_that_leaves_a_device_to_another_one_accepts_nothing_more_while_its_flows_go_on() {
    let [seven, eight] = [tagged(7), tagged(8)];
    let mut observed = Observed {
        interfaces: vec![
            numbered(uplink_record(&seven, ANSWERS), 0),
            numbered(uplink_record(&eight, ANSWERS), 1),
        ],
        in_force: [InterfaceId(0), InterfaceId(1)].into(),
        attached: vec![(IfIndex(2), Point::Tc)],
        present: [IfIndex(2)].into(),
        exits: [InterfaceId(0)].into(),
        ..Observed::default()
    };
    let wanted = Wanted { uplinks: vec![eight], slots: vec![], enis: vec![] };
    let plan = planned(&wanted, &observed);
    assert_eq!((&plan.after[..], plan.draining), (&[Step::Withdraw(observed.interfaces[0])][..], true));

    observed.in_force.remove(&InterfaceId(0));
    assert_eq!(planned(&wanted, &observed).after, []);
    observed.exits.clear();
    assert_eq!(planned(&wanted, &observed).after, [Step::Forget(observed.interfaces[0])]);
}

#[test]
fn a_slot_whose_device_becomes_a_tagged_uplinks_leaves_nothing_of_its_flows() {
    let mut observed = in_force();
    observed.flow_bindings.insert(1);
    let uplink = WantedUplink { ifindex: IfIndex(5), ..tagged(7) };
    let plan = planned(&Wanted { uplinks: vec![uplink], slots: vec![], enis: vec![] }, &observed);
    let binding = Zone::of_binding(1).unwrap();
    assert!(plan.after.contains(&Step::Detach(IfIndex(5), Point::Slot)));
    assert!(plan.after.contains(&Step::EndFlows(binding)));
    assert!(plan.after.contains(&Step::Forget(recorded_slot(5, 1, 1))));
}
