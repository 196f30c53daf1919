//! The answers about the pool, field by field: programs read them, so a change here is a change for them.

use super::super::views::tests::json;
use super::super::{connectors, enis, ports, vpcs};
use super::*;
use crate::config::tests::{SMALL, config};
use crate::pool::{ConnectorState, EniAddress, EniId, Moment, Reason, ReasonCode, Remote};
use weir_path::addr::{IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac};
use weir_path::tables::{ConnectorId, Delivery, Egress};

const ENI: &str = "eni-0000000000000002a";
const REMOTE: Remote = Remote {
    address: Ip6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]),
    port: L4Port::new(443),
    protocol: 6,
};

#[test]
fn vpcs_say_what_they_are_made_of_and_what_enis_have_of_it() {
    let views = vpcs::vpcs(&configured(), &pooled(3));
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"name":"prod","uplinks":["eth0"],"subnets":[{"name":"prod-a","uplink":"eth0","prefix":"10.0.1.0/24","#,
            r#""prefix6":null,"gateway":"10.0.1.1","gateway6":null,"enis":1,"addresses":2}],"#,
            r#""routes":[{"destination":"10.9.0.0/16","via":"10.0.1.254"}]}]"#,
        )
    );
    let shown = vpcs::as_table(&views);
    for said in ["prod-a", "10.0.1.0/24", "10.0.1.1", "10.9.0.0/16", "10.0.1.254"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn an_eni_says_whose_it_is_where_it_is_and_how_full() {
    let views = enis::enis(&configured(), &pooled(6_451));
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"id":"eni-0000000000000002a","vpc":"prod","subnet":"prod-a","connectors":["web-fn","web-fn-too"],"#,
            r#""tenant":"acme","addresses":["10.0.1.5"],"draining_addresses":["10.0.1.6"],"mac":"02:00:00:00:00:05","#,
            r#""device":"eth0","vlan":null,"state":"in-use","live":6451,"resting":1,"fullest_percent":10.0,"#,
            r#""security_groups":[]}]"#,
        )
    );
    let shown = enis::as_table(&views);
    for said in [ENI, "web-fn, web-fn-too", "10.0.1.5, 10.0.1.6 (draining)", "in-use", "6451", "10%"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn an_eni_without_flows_is_available_and_has_no_mac_until_it_is_in_force() {
    let mut idle = pooled(0);
    (idle.usage, idle.interfaces) = (Usage::default(), vec![]);
    let [view] = enis::enis(&configured(), &idle).try_into().unwrap();
    assert_eq!((view.state, view.mac, view.fullest_percent), ("available", None, 0.0));
}

#[test]
fn a_connector_says_whether_it_works_and_if_not_why() {
    let mut pooled = pooled(3);
    let views = connectors::connectors(&configured(), &pooled);
    assert_eq!(
        json(&views[..1].to_vec()),
        concat!(
            r#"[{"name":"web-fn","tenant":"acme","vpc":"prod","subnets":["prod-a"],"state":"Active","reason_code":null,"#,
            r#""reason":null,"references":2,"enis":["eni-0000000000000002a"],"live":3,"refused":4,"#,
            r#""security_groups":[]}]"#,
        )
    );
    assert_eq!(views[1].enis, views[0].enis, "one key, one ENI");
    let entry = &mut pooled.pool.entries[0];
    entry.state = ConnectorState::Failed;
    let text = "subnet prod-a has no address left (0 of 251)".to_owned();
    entry.reason = Some(Reason { code: ReasonCode::SubnetOutOfIPAddresses, text });
    let shown = connectors::as_table(&connectors::connectors(&configured(), &pooled));
    assert!(shown.contains("SubnetOutOfIPAddresses: subnet prod-a has no address left"), "{shown}");
}

#[test]
fn a_connector_that_is_no_longer_configured_is_shown_until_it_is_gone() {
    let mut pooled = pooled(3);
    pooled.pool.entries[0].key.tenant = "other".into();
    pooled.pool.entries[0].state = ConnectorState::Deleting;
    let views = connectors::connectors(&configured(), &pooled);
    let states: Vec<_> = views.iter().map(|it| (it.name.as_deref(), it.state)).collect();
    assert_eq!(states, [(Some("web-fn"), "Pending"), (Some("web-fn-too"), "Pending"), (None, "Deleting")]);
}

#[test]
fn ports_are_counted_for_each_address() {
    let views = ports::ports(&configured(), &pooled(3));
    assert_eq!(
        json(&views[..1].to_vec()),
        concat!(
            r#"[{"eni":"eni-0000000000000002a","address":"10.0.1.5","vpc":"prod","connectors":["web-fn","web-fn-too"],"#,
            r#""live":3,"resting":1,"left":64508,"refused":4}]"#,
        )
    );
    assert_eq!((views[1].address.as_str(), views[1].left), ("10.0.1.6", 64_512));
    assert!(ports::as_table(&views).contains("64508"));
}

#[test]
fn the_fullest_remotes_come_first_with_the_time_that_is_left() {
    let (before, mut now) = (pooled(2), pooled(3));
    let other = Remote { port: L4Port::new(53), protocol: 17, ..REMOTE };
    now.usage.live(address([10, 0, 1, 6]), other);
    let views = ports::fullest(&configured(), &before, &now, 1.0, 10);
    assert_eq!(
        json(&views[..1].to_vec()),
        concat!(
            r#"[{"eni":"eni-0000000000000002a","address":"10.0.1.5","remote":"192.0.2.1","remote_port":443,"#,
            r#""protocol":"tcp","live":3,"resting":1,"free":64508,"percent":0.0,"refused":4,"tenant":"acme","#,
            r#""seconds_left":64508.0}]"#,
        )
    );
    let order: Vec<_> = views.iter().map(|it| (it.protocol, it.live)).collect();
    assert_eq!(order, [("tcp", 3), ("udp", 1)]);
    assert_eq!(ports::fullest(&configured(), &now, &now, 1.0, 1)[0].seconds_left, None);
    assert!(ports::fullest_as_table(&views).contains("192.0.2.1:443"));
}

#[test]
fn the_hosts_address_has_the_ports_that_the_host_leaves_alone() {
    let mut pooled = pooled(3);
    pooled.pool.entries[0].key.enis = EniKind::Host;
    pooled.host = FreePorts { blocks: 2, ..FreePorts::default() };
    assert_eq!(pooled.room(&pooled.pool.entries[0]), 128);
}

#[test]
fn the_record_of_an_eni_has_its_name() {
    let pooled = pooled(0);
    let records = eni_records(&configured(), &pooled.pool, &pooled.interfaces);
    assert_eq!(records, BTreeMap::from([(InterfaceId(9), (ENI.to_owned(), false))]));
}

/// [`SMALL`] with two connectors of one key.
fn configured() -> Config {
    let connector =
        |name: &str| format!("[[connector]]\nname = \"{name}\"\ntenant = \"acme\"\nsubnets = [\"prod-a\"]\n");
    let route = "[[vpc.route]]\ndestination = \"10.9.0.0/16\"\nvia = \"10.0.1.254\"\n\n[[uplink]]";
    let subnet =
        "[[subnet]]\nname = \"prod-a\"\nvpc = \"prod\"\nprefix = \"10.0.1.0/24\"\ngateway = \"10.0.1.1\"\n";
    let text = SMALL.replacen("[[uplink]]", route, 1);
    config(&format!("{text}\n{subnet}{}{}", connector("web-fn"), connector("web-fn-too")))
}

/// Their ENI: one address with so many flows towards [`REMOTE`], a port that rests and refusals; and one that drains.
fn pooled(flows: u32) -> Pooled {
    let written = |last, draining| EniAddress { address: address([10, 0, 1, last]).address, draining };
    let eni = Eni {
        id: EniId(42),
        subnet: "prod-a".into(),
        state: EniState::Available,
        made: Moment(0),
        addresses: vec![written(5, false), written(6, true)],
    };
    let entry = Entry {
        key: configured().connectors[0].key.clone(),
        id: ConnectorId(3),
        state: ConnectorState::Active,
        reason: None,
        since: Moment(0),
        references: 2,
        used: Moment(0),
        roomy: None,
        enis: vec![eni],
    };
    let mut usage = Usage::default();
    (0..flows).for_each(|_| usage.live(address([10, 0, 1, 5]), REMOTE));
    usage.resting(address([10, 0, 1, 5]), REMOTE);
    let record = Interface {
        egress: Egress { ifindex: IfIndex(2), id: InterfaceId(9), delivery: Delivery::TRANSMIT },
        mac: Mac([2, 0, 0, 0, 0, 5]),
        zone: address([0; 4]).zone,
        local: Ip4([10, 0, 1, 5]),
        connector: ConnectorId(3),
        ..Interface::default()
    };
    Pooled {
        pool: Pool { entries: vec![entry], ..Pool::default() },
        usage,
        refusals: Refusals::from([((address([10, 0, 1, 5]), REMOTE), 4)]),
        interfaces: vec![record],
        host: FreePorts::default(),
    }
}

fn address(address: [u8; 4]) -> Vip {
    Vip { address: Ip4(address).mapped(), zone: configured().vpcs[0].zone }
}
