//! The answers, field by field: programs read them, so a change here is a change for them.

use super::super::flows::tests::flow;
use super::super::table;
use super::super::targets::{as_table as targets_as_table, targets};
use super::*;
use crate::config::tests::{SMALL, config};
use std::collections::BTreeMap;
use weir_dataplane::counters::{Hook, HookCounters};
use weir_path::addr::{Address, IfIndex, Ip4, Zone};
use weir_path::flow::end::End;
use weir_path::tables::{Delivery, Egress};

#[test]
fn listeners_say_where_connections_are_accepted() {
    let views = listeners(&config(SMALL));
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"name":"web","vpc":"prod","address":"198.51.100.10","port":80,"protocol":"tcp","target_group":"web","#,
            r#""targets":2,"idle_timeout_seconds":350,"udp_idle_timeout_seconds":null,"stickiness":"none","#,
            r#""target_groups":[{"name":"web","weight":1}]}]"#,
        )
    );
    assert_eq!(
        table::listeners(&views),
        " NAME  VPC   ADDRESS           PROTOCOL  TARGET GROUPS  STICKINESS  TARGETS  IDLE TIMEOUT\n \
         web   prod  198.51.100.10:80  tcp       web            none        2        350s"
    );
}

#[test]
fn a_listener_on_all_ports_for_several_groups_says_so() {
    let text = SMALL.replace("port = 80\n", "port = \"any\"\n").replace("\"tcp\"", "\"tcp_udp\"").replace(
        "target_group = \"web\"",
        "target_groups = [{ name = \"web\", weight = 90 }, { name = \"new\", weight = 10 }]",
    );
    let text = text + "[[target_group]]\nname = \"new\"\nstickiness = \"source_ip\"\n";
    let views = listeners(&config(&text));
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"name":"web","vpc":"prod","address":"198.51.100.10","port":null,"protocol":"tcp_udp","target_group":null,"#,
            r#""targets":2,"idle_timeout_seconds":350,"udp_idle_timeout_seconds":120,"stickiness":"source_ip","#,
            r#""target_groups":[{"name":"web","weight":90},{"name":"new","weight":10}]}]"#,
        )
    );
    let shown = table::listeners(&views);
    for said in ["198.51.100.10:any", "tcp_udp", "web 90, new 10", "source_ip", "350s, udp 120s"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn a_target_on_all_ports_has_the_flows_that_no_other_target_of_its_slot_has() {
    let text = SMALL.replace("port = 8080\n", "").replace("  port = 8081\n", "");
    let text = text.replace(
        "[[listener]]",
        "[[target_group]]\nname = \"ssh\"\n[[target_group.target]]\n\
        name = \"ssh-1\"\nnetns = \"sb1\"\ninterface = \"eth0\"\nport = 22\n[[listener]]",
    );
    let flows = [flow(40_000, 7, 80), flow(40_001, 7, 443), flow(40_002, 7, 22)];
    let views = targets(&config(&text), &slots(), &interfaces(), &flows);
    let shown: Vec<_> = views.iter().map(|it| (it.name.as_str(), it.port, it.flows)).collect();
    assert_eq!(shown, [("sandbox-1", None, 2), ("sandbox-2", None, 0), ("ssh-1", Some(22), 1)]);
    assert!(targets_as_table(&views).contains("any"));
}

#[test]
fn a_flow_that_a_sandbox_opened_is_no_targets() {
    let mut own = flow(40_000, 7, 8_081);
    own.zones.reverse();
    (own.reply.src, own.reply.sport) = (own.original.dst, own.original.dport);
    let views = targets(&config(SMALL), &slots(), &interfaces(), &[own]);
    assert_eq!(
        views.iter().map(|it| (it.state, it.flows)).collect::<Vec<_>>(),
        [("active", 0), ("missing", 0)]
    );
}

#[test]
fn targets_are_active_or_missing_and_those_no_longer_configured_drain() {
    let flows = [flow(40_000, 7, 8_081), flow(40_001, 7, 8_081), flow(40_002, 9, 8_080)];
    let views = targets(&config(SMALL), &slots(), &interfaces(), &flows);
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"target_group":"web","name":"sandbox-1","slot":"sb1:eth0","port":8081,"binding":7,"state":"active","flows":2,"stickiness":"none","address":null},"#,
            r#"{"target_group":"web","name":"sandbox-2","slot":"veth-sb2","port":8080,"binding":null,"state":"missing","flows":0,"stickiness":"none","address":null},"#,
            r#"{"target_group":"","name":"","slot":"binding 9","port":8080,"binding":9,"state":"draining","flows":1,"stickiness":"none","address":null}]"#,
        )
    );
    let shown = targets_as_table(&views);
    let row = shown.lines().nth(1).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["web", "sandbox-1", "sb1:eth0", "8081", "none", "7", "active", "2"]
    );
}

#[test]
fn a_flow_to_an_address_behind_a_vip_is_that_targets_and_to_a_service_nobodys() {
    let connector = "[[subnet]]\nname = \"a\"\nvpc = \"prod\"\nprefix = \"10.0.1.0/24\"\n\
                     [[connector]]\nname = \"fn\"\ntenant = \"acme\"\nsubnets = [\"a\"]\n\
                     [[connector.service]]\naddress = \"169.254.100.1\"\nport = 9001\nprotocol = \"tcp\"\n\
                     via = \"fn\"\nto = \"10.0.1.60\"\n\
                     [[target_group]]\nname = \"db\"\nconnector = \"fn\"\n\
                     [[target_group.target]]\nname = \"db-1\"\naddress = \"10.0.1.50\"\nport = 5432\n";
    let config = config(&format!("{SMALL}{connector}"));
    let to = |opening, last, port| {
        let mut flow = flow(40_000, 7, port);
        flow.zones = [opening, config.vpcs[0].zone];
        flow.reply.src = Ip4([10, 0, 1, last]).mapped();
        flow
    };
    let [vpc, sandbox] = [config.vpcs[0].zone, Zone::of_binding(9).unwrap()];
    let flows = [to(vpc, 50, 5_432), to(sandbox, 50, 5_432), to(sandbox, 60, 9_001), to(vpc, 70, 5_432)];
    let views = targets(&config, &slots(), &interfaces(), &flows);
    let shown: Vec<_> = views[2..].iter().map(|it| (it.address.as_deref(), it.state, it.flows)).collect();
    assert_eq!(shown, [(Some("10.0.1.50"), "active", 2), (Some("10.0.1.70"), "draining", 1)]);
    assert!(targets_as_table(&views).contains("10.0.1.50"));
}

#[test]
fn counters_say_why_packets_left_and_how_many_are_unaccounted_for() {
    let mut reasons = vec![0; Reason::ALL.len()];
    reasons[Reason::ToSlot as usize] = 5;
    reasons[Reason::NoListener as usize] = 2;
    let counted = Counters {
        hooks: BTreeMap::from([(Hook::UplinkXdp, HookCounters { entered: 8, reasons })]),
        sent: BTreeMap::from([(InterfaceId(1), 5), (InterfaceId(0), 3)]),
        ended: BTreeMap::from([(End::Idle, 4)]),
        opened: 9,
        events_lost: 1,
        signals_lost: 2,
    };
    let view = counters(&counted, &interfaces(), &slots(), &EniRecords::new());
    assert_eq!(
        json(&view),
        concat!(
            r#"{"hooks":[{"hook":"uplink_xdp","entered":8,"conservation":1,"reasons":["#,
            r#"{"reason":"to_slot","class":"forwarded","packets":5,"meaning":"A packet of a known flow, from the wire to its slot; or a fragment that goes where such a one would."},"#,
            r#"{"reason":"no_listener","class":"dropped","packets":2,"meaning":"To a VIP, but no listener has this port and protocol."}]}],"#,
            r#""sent":[{"interface":0,"ifindex":2,"name":"uplink","packets":3},"#,
            r#"{"interface":1,"ifindex":11,"name":"sb1:eth0","packets":5}],"flows_opened":9,"#,
            r#""ended":[{"reason":"idle","flows":4,"meaning":"Nothing was heard for as long as the flow may be silent."}],"#,
            r#""events_lost":1,"signals_lost":2}"#,
        )
    );
    let shown = table::counters(&view);
    assert!(shown.contains("idle         4      Nothing was heard"), "{shown}");
    assert!(shown.ends_with("events lost: 1\nsignals lost: 2"), "{shown}");
}

pub(crate) fn json(views: &impl Serialize) -> String {
    serde_json::to_string(views).unwrap()
}

/// The first target's slot, as the daemon notes it.
pub(crate) fn slots() -> Vec<SlotRecord> {
    vec![SlotRecord { slot: "sb1:eth0".into(), interface: 1, device: "veth-sb1".into() }]
}

/// The uplink, and the slot under binding 7.
pub(crate) fn interfaces() -> Vec<Interface> {
    let on = |ifindex, id, zone| Interface {
        egress: Egress { ifindex: IfIndex(ifindex), id: InterfaceId(id), delivery: Delivery::TRANSMIT },
        zone,
        ..Interface::default()
    };
    vec![on(2, 0, Zone::of_vpc(1).unwrap()), on(11, 1, Zone::of_binding(7).unwrap())]
}
