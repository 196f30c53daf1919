//! The answers, field by field: programs read them, so a change here is a change for them.

use super::super::table;
use super::*;
use crate::config::tests::{SMALL, config};
use weir_dataplane::counters::{Hook, HookCounters};
use weir_path::addr::{IfIndex, Ip4, Zone};
use weir_path::tables::{Delivery, Egress};

#[test]
fn listeners_say_where_connections_are_accepted() {
    let views = listeners(&config(SMALL));
    assert_eq!(
        json(&views),
        r#"[{"name":"web","vpc":"prod","address":"198.51.100.10","port":80,"protocol":"tcp","target_group":"web","targets":2}]"#
    );
    assert_eq!(
        table::listeners(&views),
        " NAME  VPC   ADDRESS           PROTOCOL  TARGET GROUP  TARGETS\n \
         web   prod  198.51.100.10:80  tcp       web           2"
    );
}

#[test]
fn targets_are_active_or_missing_and_those_no_longer_configured_drain() {
    let flows = [flow(40_000, 7, 8_081), flow(40_001, 7, 8_081), flow(40_002, 9, 8_080)].concat();
    let views = targets(&config(SMALL), &slots(), &interfaces(), &flows);
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"target_group":"web","name":"sandbox-1","slot":"sb1:eth0","port":8081,"binding":7,"state":"active","flows":2},"#,
            r#"{"target_group":"web","name":"sandbox-2","slot":"veth-sb2","port":8080,"binding":null,"state":"missing","flows":0},"#,
            r#"{"target_group":"","name":"","slot":"binding 9","port":8080,"binding":9,"state":"draining","flows":1}]"#,
        )
    );
    let shown = table::targets(&views);
    let row = shown.lines().nth(1).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["web", "sandbox-1", "sb1:eth0", "8081", "7", "active", "2"]
    );
}

#[test]
fn a_flow_is_shown_once_as_its_client_sees_it() {
    let views = super::flows(&config(SMALL), &slots(), &flow(40_000, 7, 8_081));
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"protocol":"tcp","client":"203.0.113.9","client_port":40000,"vip":"198.51.100.10","vip_port":80,"#,
            r#""target":"sandbox-1","target_port":8081,"binding":7}]"#,
        )
    );
}

#[test]
fn counters_say_why_packets_left_and_how_many_are_unaccounted_for() {
    let mut reasons = vec![0; Reason::ALL.len()];
    reasons[Reason::ToSlot as usize] = 5;
    reasons[Reason::NoListener as usize] = 2;
    let counted = Counters {
        hooks: BTreeMap::from([(Hook::UplinkXdp, HookCounters { entered: 8, reasons })]),
        sent: BTreeMap::from([(InterfaceId(1), 5), (InterfaceId(0), 3)]),
    };
    let view = counters(&counted, &interfaces(), &slots());
    assert_eq!(
        json(&view),
        concat!(
            r#"{"hooks":[{"hook":"uplink_xdp","entered":8,"conservation":1,"reasons":["#,
            r#"{"reason":"to_slot","class":"forwarded","packets":5,"meaning":"A packet of a known flow, from the wire to its slot."},"#,
            r#"{"reason":"no_listener","class":"dropped","packets":2,"meaning":"To a VIP, but no listener has this port and protocol."}]}],"#,
            r#""sent":[{"interface":0,"ifindex":2,"name":"uplink","packets":3},"#,
            r#"{"interface":1,"ifindex":11,"name":"sb1:eth0","packets":5}]}"#,
        )
    );
}

fn json(views: &impl Serialize) -> String {
    serde_json::to_string(views).unwrap()
}

/// The first target's slot, as the daemon notes it.
fn slots() -> Vec<SlotRecord> {
    vec![SlotRecord { slot: "sb1:eth0".into(), interface: 1, device: "veth-sb1".into() }]
}

/// The uplink, and the slot under binding 7.
fn interfaces() -> Vec<Interface> {
    let on = |ifindex, id, zone| Interface {
        egress: Egress { ifindex: IfIndex(ifindex), id: InterfaceId(id), delivery: Delivery::TRANSMIT },
        zone,
        ..Interface::default()
    };
    vec![on(2, 0, Zone::of_vpc(1).unwrap()), on(11, 1, Zone::of_binding(7).unwrap())]
}

/// Both directions of a connection from this client port.
fn flow(client_port: u16, binding: u32, port: u16) -> Vec<(FlowKey, Flow)> {
    let (client, vip, sandbox) = (Ip4([203, 0, 113, 9]), Ip4([198, 51, 100, 10]), Ip4([169, 254, 100, 2]));
    let (sport, dport) = (L4Port::new(client_port), L4Port::new(port));
    let inward = FlowKey {
        src: client,
        dst: vip,
        sport,
        dport: L4Port::new(80),
        protocol: protocol::TCP,
        zone: Zone::of_vpc(1).unwrap(),
    };
    let outward = FlowKey {
        src: sandbox,
        dst: client,
        sport: dport,
        dport: sport,
        protocol: protocol::TCP,
        zone: Zone::of_binding(binding).unwrap(),
    };
    let egress = Egress { ifindex: IfIndex(11), id: InterfaceId(1), delivery: Delivery::VETH_PEER };
    vec![
        (inward, Flow { dport, egress, other: outward, ..Flow::default() }),
        (outward, Flow { other: inward, ..Flow::default() }),
    ]
}
