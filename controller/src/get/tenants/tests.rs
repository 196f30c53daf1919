//! The answers about tenants, their sandboxes and security groups, field by field: programs read them, so a change here is
//! a change for them.

use super::super::sandboxes::{self, Known, sandboxes};
use super::super::security_groups::{self, Blocked, security_groups};
use super::super::views::tests::{interfaces, json, slots};
use super::*;
use crate::config::tests::{SMALL, config};
use crate::pool::{ConnectorState, Entry, Moment, Pool};
use weir_path::addr::InterfaceId;
use weir_path::tables::{ConnectorId, Direction, Rate, Rates};

/// [`SMALL`] with a tenant that has limits and one that is only named, a security group, and a slot that is bound.
fn configured() -> Config {
    config(&format!(
        r#"{SMALL}
[[tenant]]
name = "acme"
max_flows = 100
max_new_flows = 50
[tenant.sandbox]
max_flows = 10
max_ports = 5
[[tenant]]
name = "other"
[[subnet]]
name = "prod-a"
vpc = "prod"
prefix = "10.0.1.0/24"
[[security_group]]
name = "web"
vpc = "prod"
[[security_group.outbound]]
protocol = "tcp"
ports = "443"
cidr = "0.0.0.0/0"
[[security_group.outbound]]
protocol = "icmp"
type = 8
cidr = "10.0.0.0/8"
[[security_group.inbound]]
protocol = "udp"
ports = "1000-2000"
security_group = "web"
[[connector]]
name = "fn"
tenant = "acme"
subnets = ["prod-a"]
security_groups = ["web"]
[[connector]]
name = "fn-too"
tenant = "acme"
subnets = ["prod-a"]
security_groups = ["web"]
[[slot]]
netns = "sb1"
interface = "eth0"
connector = "fn"
"#
    ))
}

fn numbers() -> TenantNames {
    [(TenantId(1), "acme".to_owned()), (TenantId(2), "gone".to_owned())].into()
}

/// What the slot holds, and all of its tenant; nothing of anybody else's.
fn account(holder: Holder) -> AccountState {
    match holder {
        Holder::Slot(InterfaceId(1)) => {
            AccountState { flows: 10, ports: 3, refused_flows: 4, ..Default::default() }
        }
        Holder::Tenant(TenantId(1)) => {
            AccountState { flows: 12, half_open: 2, ports: 3, refused_opened: 7, ..Default::default() }
        }
        _ => AccountState::default(),
    }
}

#[test]
fn a_tenant_says_what_it_holds_what_it_may_and_how_often_it_was_refused_more() {
    let views = tenants(&configured(), &numbers(), account);
    assert_eq!(
        json(&views[..1].to_vec()),
        concat!(
            r#"[{"name":"acme","number":1,"connectors":["fn","fn-too"],"sandboxes":1,"flows":12,"max_flows":100,"#,
            r#""half_open":2,"max_half_open":null,"ports":3,"max_ports":null,"max_new_flows":50,"refused_flows":0,"#,
            r#""refused_half_open":0,"refused_ports":0,"refused_new_flows":7}]"#,
        )
    );
    let shown = as_table(&views);
    for said in ["fn, fn-too", "12 of 100", "50 a second", "7 new flows"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn a_tenant_without_a_number_and_a_number_without_a_tenant_are_shown_too() {
    let views = tenants(&configured(), &numbers(), account);
    let shown: Vec<_> = views.iter().map(|it| (it.name.as_str(), it.number, it.sandboxes)).collect();
    assert_eq!(shown, [("acme", Some(1), 1), ("gone", Some(2), 0), ("other", None, 0)]);
}

#[test]
fn a_sandbox_says_whose_it_is_what_it_holds_and_how_fast_it_may_be() {
    let mut interfaces = interfaces();
    interfaces[1].metered = 1 << Direction::Out as u32;
    let rates = Rates {
        bytes: [Rate::of(12_500_000, 100_000_000), Rate::of(1, 1)],
        packets: [Rate::of(1_000, 100_000_000), Rate::default()],
    };
    let (slots, rates) = (slots(), [(InterfaceId(1), rates)].into());
    let known = Known { slots: &slots, interfaces: &interfaces, rates: &rates };
    let views = sandboxes(&configured(), &known, account);
    assert_eq!(
        json(&views[..1].to_vec()),
        concat!(
            r#"[{"slot":"sb1:eth0","interface":1,"binding":7,"tenant":"acme","connector":"fn","#,
            r#""rate_out":{"bytes_per_second":125000000,"packets_per_second":10000},"#,
            r#""rate_in":{"bytes_per_second":null,"packets_per_second":null},"#,
            r#""flows":10,"max_flows":10,"half_open":0,"max_half_open":null,"ports":3,"max_ports":5,"#,
            r#""max_new_flows":null,"refused_flows":4,"refused_half_open":0,"refused_ports":0,"refused_new_flows":0}]"#,
        )
    );
    let shown = sandboxes::as_table(&views);
    for said in ["sb1:eth0", "10 of 10", "3 of 5", "4 flows", "125000000 B/s, 10000 p/s"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}

#[test]
fn a_slot_that_only_serves_has_no_tenant_and_one_without_a_device_no_number() {
    let (slots, interfaces, rates) = (slots(), interfaces(), BTreeMap::new());
    let known = Known { slots: &slots, interfaces: &interfaces, rates: &rates };
    let views = sandboxes(&configured(), &known, account);
    let shown: Vec<_> =
        views.iter().map(|it| (it.slot.as_str(), it.interface, it.tenant.as_deref())).collect();
    assert_eq!(shown, [("sb1:eth0", Some(1), Some("acme")), ("veth-sb2", None, None)]);
}

#[test]
fn a_security_group_says_what_it_allows_and_counts_what_its_connectors_blocked_once() {
    let config = configured();
    let entry = Entry {
        key: config.connectors[0].key.clone(),
        id: ConnectorId(3),
        state: ConnectorState::Active,
        reason: None,
        since: Moment(0),
        references: 1,
        used: Moment(0),
        roomy: None,
        enis: vec![],
    };
    let pool = Pool { entries: vec![entry], ..Pool::default() };
    let blocked = Blocked::from([(ConnectorId(3), [5, 6]), (ConnectorId(4), [70, 80])]);
    let views = security_groups(&config, &pool, &blocked);
    assert_eq!(
        json(&views),
        concat!(
            r#"[{"name":"web","vpc":"prod","connectors":["fn","fn-too"],"#,
            r#""rules_out":[{"protocol":"tcp","ports":"443","prefixes":["0.0.0.0/0"],"security_group":null},"#,
            r#"{"protocol":"icmp","ports":"type 8","prefixes":["10.0.0.0/8"],"security_group":null}],"#,
            r#""rules_in":[{"protocol":"udp","ports":"1000-2000","prefixes":[],"security_group":"web"}],"#,
            r#""blocked_out":5,"blocked_in":6}]"#,
        )
    );
    let shown = security_groups::as_table(&views);
    for said in ["fn, fn-too", "type 8", "10.0.0.0/8", "1000-2000", "out", "in"] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
}
