//! Flows as lines, of each kind that there is.

use super::super::names::TenantNames;
use super::super::views::tests::{interfaces, json, slots};
use super::*;
use crate::config::tests::{SMALL, config};
use weir_dataplane::flows::FlowId;
use weir_path::addr::{Address, InterfaceId, Ip4, L4Port};
use weir_path::flow::{Phase, PortUse, RecordId};
use weir_path::tables::TenantId;
use weir_path::time::Seconds;

#[test]
fn a_udp_mapping_is_named_and_not_taken_for_icmp() {
    let numbers = [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6, protocol::MAPPING];
    assert_eq!(numbers.map(protocol_name), ["tcp", "udp", "icmp", "icmp", "udp_mapping"]);
}

#[test]
fn a_flow_is_shown_once_as_its_client_sees_it() {
    let counts = [Counts { packets: 3, bytes: 200 }, Counts { packets: 2, bytes: 1_500 }];
    let views = flows(&names(), vec![(flow(40_000, 7, 8_081), counts)], Now(800 + 4));
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"protocol":"tcp","client":"203.0.113.9","client_port":40000,"vip":"198.51.100.10","vip_port":80,"#,
            r#""target":"sandbox-1","target_address":null,"target_port":8081,"binding":7,"client_binding":null,"#,
            r#""eni":null,"eni_port":null,"tenant":"acme","#,
            r#""phase":"established","age_seconds":100.5,"idle_seconds":0.5,"idle_timeout_seconds":350,"to_target_packets":3,"to_target_bytes":200,"#,
            r#""to_client_packets":2,"to_client_bytes":1500}]"#,
        )
    );
    let shown = as_table(&views);
    assert_eq!(
        shown.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
        [
            "tcp",
            "acme",
            "203.0.113.9:40000",
            "198.51.100.10:80",
            "sandbox-1",
            "8081",
            "7",
            "-",
            "established",
            "100.5s",
            "0.5s",
            "3p/200B",
            "2p/1500B"
        ]
    );
}

#[test]
fn ipv6_addresses_are_shown_as_they_are_and_in_brackets_before_a_port() {
    let v6 = |last| Ip6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    let mut flow = flow(40_000, 7, 8_080);
    (flow.original.src, flow.original.dst) = (v6(9), v6(1));
    let views = flows(&names(), vec![(flow, [Counts::default(); 2])], Now(0));
    let ends = &views[0].ends;
    assert_eq!((ends.client.as_str(), ends.client()), ("2001:db8::9", "[2001:db8::9]:40000".into()));
    assert_eq!((ends.vip(), ends.target()), ("[2001:db8::1]:80".into(), "-"));
}

#[test]
fn a_sandboxs_own_flow_shows_where_it_leads_and_the_enis_port_that_it_has() {
    let mut own = flow(40_000, 7, 443);
    own.original = Ends { dport: L4Port::new(443), ..own.original };
    let [remote, address] = [[198, 51, 100, 10], [10, 0, 1, 7]].map(|it| Ip4(it).mapped());
    own.reply = Ends { src: remote, dst: address, sport: L4Port::new(443), dport: L4Port::new(1_024) };
    own.zones.reverse();
    let views = flows(&names(), vec![(own, [Counts::default(); 2])], Now(0));
    let ends = &views[0].ends;
    assert_eq!((ends.vip().as_str(), ends.target(), ends.binding), ("198.51.100.10:443", "-", Some(7)));
    assert_eq!(ends.eni().as_deref(), Some("10.0.1.7:1024"));
}

#[test]
fn a_sandbox_that_calls_a_vip_shows_both_slots_who_serves_and_the_eni_that_it_is_seen_from() {
    let mut call = flow(40_000, 7, 8_081);
    call.zones = [Zone::of_binding(9).unwrap(), Zone::of_binding(7).unwrap()];
    call.reply = Ends { dst: Ip4([10, 0, 1, 7]).mapped(), dport: L4Port::new(1_024), ..call.reply };
    let [view] = flows(&names(), vec![(call, [Counts::default(); 2])], Now(0)).try_into().unwrap();
    let ends = &view.ends;
    assert_eq!((ends.target(), ends.binding, ends.client_binding), ("sandbox-1", Some(7), Some(9)));
    assert_eq!((ends.bindings().as_str(), ends.eni().as_deref()), ("9>7", Some("10.0.1.7:1024")));
}

#[test]
fn a_flow_to_an_address_behind_a_vip_shows_that_address_or_its_name_and_the_eni_that_leads_there() {
    let text = format!(
        "{SMALL}[[subnet]]\nname = \"a\"\nvpc = \"prod\"\nprefix = \"10.0.1.0/24\"\n\
         [[connector]]\nname = \"fn\"\ntenant = \"acme\"\nsubnets = [\"a\"]\n\
         [[target_group]]\nname = \"db\"\nconnector = \"fn\"\n\
         [[target_group.target]]\nname = \"db-1\"\naddress = \"10.0.1.50\"\nport = 5432\n"
    );
    let config = config(&text);
    let names = Names::new(&config, &slots(), &interfaces(), TenantNames::new());
    let [vpc, sandbox] = [config.vpcs[0].zone, Zone::of_binding(9).unwrap()];
    let seen = |opening, last| {
        let mut call = flow(40_000, 7, 5_432);
        let [src, dst] = [[10, 0, 1, last], [10, 0, 1, 7]].map(|it| Ip4(it).mapped());
        call.zones = [opening, vpc];
        call.reply = Ends { src, dst, dport: L4Port::new(1_024), ..call.reply };
        let [view] = flows(&names, vec![(call, [Counts::default(); 2])], Now(0)).try_into().unwrap();
        let FlowView { ends, .. } = view;
        let shown = [ends.target().to_owned(), ends.bindings(), ends.eni().unwrap_or_default()];
        (shown, ends.target_address)
    };
    let shown = |it: [&str; 3], address: &str| (it.map(str::to_owned), Some(address.to_owned()));
    assert_eq!(seen(vpc, 50), shown(["db-1", "-", "10.0.1.7:1024"], "10.0.1.50"));
    assert_eq!(seen(sandbox, 50), shown(["db-1", "9", "10.0.1.7:1024"], "10.0.1.50"));
    assert_eq!(seen(vpc, 51), shown(["10.0.1.51", "-", "10.0.1.7:1024"], "10.0.1.51"));
}

#[test]
fn a_flow_of_nobodys_or_of_one_whose_name_is_lost_has_no_tenant() {
    let unknown = Account::of_tenant(TenantId(4));
    for account in [Account::NOBODYS, unknown] {
        let flow = Flow { account, ..flow(40_000, 7, 8_081) };
        let views = flows(&names(), vec![(flow, [Counts::default(); 2])], Now(0));
        assert_eq!((views[0].ends.tenant(), &views[0].ends.tenant), ("-", &None));
    }
}

#[test]
fn flows_are_in_the_order_of_their_clients() {
    let some = [40_001, 40_000, 39_999].map(|port| (flow(port, 7, 8_081), [Counts::default(); 2]));
    let views = flows(&names(), some.to_vec(), Now(0));
    let ports: Vec<_> = views.iter().map(|view| view.ends.client_port).collect();
    assert_eq!(ports, [39_999, 40_000, 40_001]);
}

pub(crate) fn names() -> Names {
    Names::new(&config(SMALL), &slots(), &interfaces(), [(TenantId(3), "acme".to_owned())].into())
}

/// An established connection from this client port, opened at the beginning and heard at 800.
pub(crate) fn flow(client_port: u16, binding: u32, port: u16) -> Flow {
    let [client, vip, sandbox] =
        [[203, 0, 113, 9], [198, 51, 100, 10], [169, 254, 100, 2]].map(|it| Ip4(it).mapped());
    let (client_port, target_port) = (L4Port::new(client_port), L4Port::new(port));
    Flow {
        id: FlowId { is_v6: false, record: RecordId(1), incarnation: 1 },
        protocol: protocol::TCP,
        original: Ends { src: client, dst: vip, sport: client_port, dport: L4Port::new(80) },
        reply: Ends { src: sandbox, dst: client, sport: target_port, dport: client_port },
        zones: [Zone::of_vpc(1).unwrap(), Zone::of_binding(binding).unwrap()],
        phase: Phase::Established,
        opened: Now(0),
        seen: Now(800),
        idle: Seconds(350),
        port: PortUse::NONE,
        account: Account::of_sandbox(InterfaceId(1), TenantId(3)),
    }
}
