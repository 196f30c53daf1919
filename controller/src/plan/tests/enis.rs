//! ENIs in plans: records that are ways out alone, and go when nobody has them.

use super::*;
use crate::config::tests::config;
use crate::pool::{ConnectorState, Eni, EniAddress, EniState, Entry, Moment, Pool};
use weir_path::addr::Address;

fn eni(id: u64, last: u8) -> WantedEni {
    let v4 = EniSide { local: Ip4([10, 0, 1, last]), on_link: 24, gateway: Some(Ip4([10, 0, 1, 1])) };
    let connector = ConnectorId(3);
    WantedEni { id: EniId(id), uplink: 2, connector, mac: None, v4: Some(v4), v6: None }
}

fn with_enis(enis: &[WantedEni]) -> Wanted {
    Wanted { enis: enis.to_vec(), ..wanted(&[5]) }
}

fn recorded(eni: &WantedEni, id: u32) -> Interface {
    numbered(eni_record(eni, &uplink(2, Point::XdpNative)), id)
}

/// What is in force once these ENIs have numbers from 2 on.
fn in_force_with(enis: &[WantedEni]) -> Observed {
    let mut observed = in_force();
    observed.interfaces.extend(enis.iter().zip(2..).map(|(eni, id)| recorded(eni, id)));
    observed
}

fn records(steps: &[Step]) -> Vec<Step> {
    steps.iter().filter(|step| matches!(step, Step::Record(_))).copied().collect()
}

#[test]
fn an_eni_is_its_uplinks_way_out_under_its_own_addresses() {
    let record = recorded(&eni(1, 7), 2);
    let uplink = uplink(2, Point::XdpNative);
    assert!(record.is_eni() && !record.is_slot());
    assert_eq!((record.egress.ifindex, record.egress.delivery), (IfIndex(2), Delivery::TRANSMIT));
    assert_eq!((record.mac, record.zone, record.mtu), (uplink.mac, uplink.zone, uplink.mtu));
    assert_eq!((record.local, record.on_link), (Ip4([10, 0, 1, 7]), 24));
    assert_eq!((record.gateway, record.connector), (Ip4([10, 0, 1, 1]), ConnectorId(3)));
    assert_eq!(record.answers, 100, "questions for neighbours, whatever [answers] says");
    let own = WantedEni { mac: Some(Mac::of_eni(9)), ..eni(1, 7) };
    assert_eq!(recorded(&own, 2).mac, Mac::of_eni(9));
}

#[test]
fn on_a_tagged_uplink_all_goes_by_the_gateway() {
    let record = eni_record(&eni(1, 7), &tagged(7));
    assert_eq!((record.vlan, record.on_link, record.on_link6), (VlanTag(7), 0, 0));
    assert_eq!(record.gateway, Ip4([10, 0, 1, 1]));
}

#[test]
fn enis_are_recorded_behind_the_devices_and_kept_as_they_are() {
    let enis = [eni(1, 7), eni(2, 8)];
    let plan = planned(&with_enis(&enis), &in_force());
    let expected = [recorded(&enis[0], 2), recorded(&enis[1], 3)].map(Step::Record);
    assert_eq!(records(&plan.before), expected);
    assert_eq!(plan.enis, BTreeMap::from([(EniId(1), InterfaceId(2)), (EniId(2), InterfaceId(3))]));
    assert_eq!(plan.uplinks, BTreeMap::from([(2, InterfaceId(0))]));
    // No frame is led to them, so they are never in force as devices are.
    let again = planned(&with_enis(&enis), &in_force_with(&enis));
    assert_eq!((records(&again.before), again.after), (vec![], vec![]));
}

#[test]
fn a_new_enis_record_is_undone_without_touching_its_uplink() {
    let observed = in_force_with(&[eni(1, 7)]);
    let new = recorded(&eni(2, 8), 3);
    assert_eq!(Step::Record(new).undo(&observed), Some(Step::Forget(new)));
    let changed = Interface { mtu: 9_000, ..recorded(&eni(1, 7), 2) };
    assert_eq!(Step::Record(changed).undo(&observed), Some(Step::Record(recorded(&eni(1, 7), 2))));
}

#[test]
fn an_eni_that_is_released_goes_and_waits_for_what_still_leaves_by_it() {
    let enis = [eni(1, 7), eni(2, 8)];
    let mut observed = in_force_with(&enis);
    let plan = planned(&with_enis(&enis[..1]), &observed);
    assert_eq!(plan.after, [Step::Forget(recorded(&enis[1], 3))]);
    observed.exits.insert(InterfaceId(3));
    let plan = planned(&with_enis(&enis[..1]), &observed);
    assert_eq!((plan.after, plan.draining), (vec![], true));
}

#[test]
fn what_is_left_of_a_connector_that_is_gone_ends() {
    let mut observed = in_force_with(&[eni(1, 7)]);
    observed.exits.insert(InterfaceId(2));
    let plan = planned(&with_enis(&[]), &observed);
    assert_eq!(plan.after, [Step::EndFlowsBy(InterfaceId(2)), Step::Forget(recorded(&eni(1, 7), 2))]);
    assert!(!plan.draining);
}

#[test]
fn an_eni_whose_device_is_made_again_is_recorded_there_and_its_old_flows_end() {
    let mut observed = in_force_with(&[eni(1, 7)]);
    observed.exits.insert(InterfaceId(2));
    observed.present.remove(&IfIndex(2));
    let moved = WantedUplink { ifindex: IfIndex(3), ..uplink(2, Point::XdpNative) };
    let plan = planned(&Wanted { uplinks: vec![moved], ..with_enis(&[eni(1, 7)]) }, &observed);
    let record = numbered(eni_record(&eni(1, 7), &moved), 4);
    assert!(plan.before.contains(&Step::Record(record)), "{:?}", plan.before);
    assert!(plan.after.contains(&Step::EndFlowsBy(InterfaceId(2))));
}

#[test]
fn an_eni_whose_uplink_is_not_there_is_left_out() {
    let plan = planned(&Wanted { uplinks: vec![], ..with_enis(&[eni(1, 7)]) }, &Observed::default());
    assert_eq!((records(&plan.before).len(), plan.enis), (1, BTreeMap::new()));
}

/// A slot on device 5 with this connector, or with none.
fn bound(connector: ConnectorId) -> Wanted {
    let mut wanted = wanted(&[5]);
    wanted.slots[0].connector = connector;
    wanted
}

/// What is in force once the slot on device 5 has this connector.
fn in_force_bound(connector: ConnectorId) -> Observed {
    let mut observed = in_force();
    observed.interfaces[1].connector = connector;
    observed
}

#[test]
fn a_slot_that_is_given_its_first_connector_gets_another_record_and_keeps_its_binding() {
    let plan = planned(&bound(ConnectorId(3)), &in_force());
    let record = Interface { connector: ConnectorId(3), ..recorded_slot(5, 2, 1) };
    assert_eq!(records(&plan.before), [Step::Record(record)]);
    assert_eq!(plan.after, [Step::Forget(recorded_slot(5, 1, 1))]);
}

#[test]
fn a_slot_that_loses_its_connector_or_gets_another_one_is_bound_anew_and_its_flows_end() {
    for next in [ConnectorId(4), ConnectorId::NONE] {
        let observed = in_force_bound(ConnectorId(3));
        let plan = planned(&bound(next), &observed);
        let record = Interface { connector: next, ..recorded_slot(5, 2, 2) };
        assert_eq!(records(&plan.before), [Step::Record(record)]);
        let old = observed.interfaces[1];
        assert_eq!(plan.after, [Step::EndFlows(old.zone), Step::Forget(old)]);
        assert_eq!(Step::Record(record).undo(&observed), Some(Step::Record(old)));

        // Where the old flows could not be ended, the next plan does it, and binds nobody anew.
        let mut half_way = observed;
        half_way.interfaces.push(record);
        half_way.in_force = [InterfaceId(0), InterfaceId(2)].into();
        let plan = planned(&bound(next), &half_way);
        assert_eq!(records(&plan.before), []);
        assert_eq!(plan.after, [Step::EndFlows(old.zone), Step::Forget(old)]);
    }
}

#[test]
fn a_slot_that_is_no_longer_wanted_opens_nothing_from_before_the_new_configuration_is_live() {
    let mut observed = in_force_bound(ConnectorId(3));
    let closed = Step::Record(recorded_slot(5, 1, 1));
    assert_eq!(records(&planned(&wanted(&[]), &observed).before), [closed], "also one without flows yet");
    assert_eq!(closed.undo(&observed), Some(Step::Record(observed.interfaces[1])));

    observed.flow_bindings.insert(1);
    let plan = planned(&wanted(&[]), &observed);
    assert_eq!((records(&plan.before), plan.after, plan.draining), (vec![closed], vec![], true));
    assert_eq!(records(&planned(&bound(ConnectorId(3)), &observed).before), []);
}

#[test]
fn a_slot_that_drains_and_is_wanted_again_is_bound_anew_if_its_sandbox_has_opened_flows() {
    let mut observed = in_force();
    observed.flow_bindings.insert(1);
    assert_eq!(records(&planned(&wanted(&[5]), &observed).before), []);
    observed.opened.insert(1);
    let plan = planned(&bound(ConnectorId(4)), &observed);
    let record = Interface { connector: ConnectorId(4), ..recorded_slot(5, 2, 2) };
    assert_eq!(records(&plan.before), [Step::Record(record)]);
    assert_eq!(
        plan.after,
        [Step::EndFlows(Zone::of_binding(1).unwrap()), Step::Forget(recorded_slot(5, 1, 1))]
    );
}

const CONNECTED: &str = r#"version = 1
[[vpc]]
name = "prod"
[[uplink]]
interface = "eth0"
vpc = "prod"
[[subnet]]
name = "a"
vpc = "prod"
prefix = "10.0.1.0/24"
gateway = "10.0.1.1"
prefix6 = "fd00:1::/64"
[[connector]]
name = "web"
tenant = "acme"
subnets = ["a"]
addresses = "ipv4"
[[slot]]
netns = "sb1"
interface = "eth0"
connector = "web"
"#;

#[test]
fn the_pool_adds_enis_connectors_and_the_gateway_of_an_uplink_without_an_address() {
    let config = config(CONNECTED);
    let addresses =
        [8, 7].map(|last| EniAddress { address: Ip4([10, 0, 1, last]).mapped(), draining: last == 8 });
    let pool = Pool {
        entries: vec![Entry {
            key: config.connectors[0].key.clone(),
            id: ConnectorId(4),
            state: ConnectorState::Active,
            reason: None,
            since: Moment(0),
            references: 1,
            used: Moment(0),
            roomy: None,
            enis: vec![Eni {
                id: EniId(1),
                subnet: "a".to_owned(),
                state: EniState::Available,
                made: Moment(0),
                addresses: addresses.to_vec(),
            }],
        }],
        ..Pool::default()
    };
    let mut wanted =
        Wanted { uplinks: vec![WantedUplink { place: 0, ..uplink(2, Point::Tc) }], ..wanted(&[5, 6]) };
    let slots = BTreeMap::from([(config.slots[0].slot.value.clone(), IfIndex(5))]);
    connect(&mut wanted, &config, &pool, &slots);
    assert_eq!(wanted.slots.iter().map(|slot| slot.connector.0).collect::<Vec<_>>(), [4, 0]);
    // Its first address, also while that drains.
    let v4 = EniSide { local: Ip4([10, 0, 1, 8]), on_link: 24, gateway: Some(Ip4([10, 0, 1, 1])) };
    let eni = WantedEni { uplink: 0, connector: ConnectorId(4), v4: Some(v4), ..eni(1, 8) };
    assert_eq!(wanted.enis, [eni]);
    let record = uplink_record(&wanted.uplinks[0], ANSWERS);
    assert_eq!((record.local, record.gateway), (Ip4::default(), Ip4([10, 0, 1, 1])));
    let own = Some(OwnAddress { address: Ip4([10, 0, 1, 5]), prefix_len: 24, gateway: None });
    let record = uplink_record(&WantedUplink { own, ..wanted.uplinks[0] }, ANSWERS);
    assert_eq!(record.gateway, Ip4::default(), "what it says itself counts");
}
