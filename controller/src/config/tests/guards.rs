//! Tenants, security groups, services, rates and targets by address: what is right, and mistakes.

mod wrong;

use super::*;
use std::time::Duration;
use weir_path::tables::Quota;

/// One of everything that keeps tenants apart, and a VPC that is a host's own.
pub(crate) const GUARDED: &str = r#"version = 1

[[tenant]]
name = "acme"
max_flows = 100000
max_half_open = 1000
max_ports = 20000
max_new_flows = 5000
  [tenant.sandbox]
  max_flows = 1000

[[tenant]]
name = "ours"

[[vpc]]
name = "prod"
tenant = "acme"

[[vpc]]
name = "host"

[[uplink]]
interface = "eth0"
vpc = "prod"

[[uplink]]
interface = "to-host"
vpc = "host"

[[subnet]]
name = "prod-a"
vpc = "prod"
prefix = "10.0.1.0/24"

[[subnet]]
name = "host-a"
vpc = "host"
prefix = "10.255.0.0/24"

[[prefix_list]]
name = "offices"
prefixes = ["10.0.0.0/8", "2001:db8::/32"]

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
  code = 0
  prefix_list = "offices"
  [[security_group.inbound]]
  protocol = "all"
  security_group = "web"

[[security_group]]
name = "hosts"
vpc = "host"

[[connector]]
name = "web-fn"
tenant = "acme"
subnets = ["prod-a"]
security_groups = ["web"]
rejudge = true
on_idle = "both_ends"
  [[connector.service]]
  address = "169.254.100.1"
  port = 9001
  protocol = "tcp"
  via = "host"
  to = "10.255.0.1"

[[connector]]
name = "host"
tenant = "ours"
subnets = ["host-a"]

[[target_group]]
name = "db"
connector = "web-fn"
port = 5432
  [[target_group.target]]
  name = "db-1"
  address = "10.0.1.50"
  [[target_group.target]]
  name = "db-2"
  address = "10.0.1.51"

[[listener]]
name = "db"
vpc = "prod"
address = "10.0.1.100"
port = 5432
protocol = "tcp"
target_group = "db"
on_idle = "both_ends"

[[slot]]
netns = "sandbox-1"
interface = "eth0"
connector = "web-fn"
  [slot.rate.out]
  bytes = { size = 12500000, refill_ms = 100, one_time_burst = 7 }
  packets = { size = 1000, refill_ms = 100 }

[[slot]]
netns = "sandbox-2"
interface = "eth0"
  [slot.rate.in]
  packets = { size = 128, refill_ms = 3600000 }
"#;

#[test]
fn what_keeps_tenants_apart_is_read_as_it_is_written() {
    let config = config(GUARDED);
    let all = Quota { flows: 100_000, half_open: 1_000, ports: 20_000, opened_a_second: 5_000 };
    let each = Quota { flows: 1_000, ..Quota::default() };
    let quotas: Vec<_> = config.tenants.iter().map(|it| (it.all, it.each)).collect();
    assert_eq!(quotas, [(all, each), (Quota::default(), Quota::default())]);
    let [web, hosts] = config.security_groups.as_slice() else { panic!("{:?}", config.security_groups) };
    let [https, ping] = web.outbound.as_slice() else { panic!("{:?}", web.outbound) };
    assert_eq!((https.protocol, https.first, https.last), (RuleProtocol::Tcp, 443, 443));
    assert_eq!((ping.protocol, ping.first, ping.last), (RuleProtocol::Icmp, 0x0800, 0x0800));
    assert!(matches!(&ping.far, Far::Prefixes(offices) if offices.len() == 2));
    let everything = SgRule { protocol: RuleProtocol::All, first: 0, last: u16::MAX, far: Far::Group(0) };
    assert_eq!(web.inbound, [everything]);
    assert_eq!((hosts.outbound.len(), hosts.inbound.len()), (0, 0));
    let connector = &config.connectors[0];
    assert_eq!(
        (&connector.security_groups, &connector.key.security_groups),
        (&vec![0], &vec!["web".to_owned()])
    );
    assert_eq!((connector.settings.on_idle, connector.settings.rejudge), (OnIdle::BothEnds, true));
    assert_eq!(config.connectors[1].settings.on_idle, OnIdle::NextPacket);
    assert_eq!(config.listeners[0].on_idle, OnIdle::BothEnds);
}

#[test]
fn a_service_is_at_the_address_and_port_that_are_called_unless_it_says_otherwise() {
    let service =
        |by: &str| config(&GUARDED.replace("  to = \"10.255.0.1\"\n", by)).connectors[0].services[0];
    let called = |it: Service| (it.to.to_string(), it.to_port.number(), it.via);
    assert_eq!(called(service("")), ("169.254.100.1".into(), 9_001, 1));
    assert_eq!(called(service("  to_port = 80\n  to = \"10.255.0.1\"\n")), ("10.255.0.1".into(), 80, 1));
}

#[test]
fn targets_are_addresses_of_the_vpc_that_their_groups_connector_leads_to() {
    let config = config(GUARDED);
    let group = &config.groups[0];
    let places: Vec<_> = group.targets.iter().map(|target| target.place.to_string()).collect();
    assert_eq!((group.connector, places), (Some(0), vec!["10.0.1.50".to_owned(), "10.0.1.51".to_owned()]));
    assert!(group.targets.iter().all(|target| target.place.slot().is_none()));
}

#[test]
fn a_slot_may_have_a_rate_without_a_connector() {
    let config = config(GUARDED);
    let bucket = |size, refill, once| Some(Bucket { size, refill: Duration::from_millis(refill), once });
    let out = DirectionRate { bytes: bucket(12_500_000, 100, 7), packets: bucket(1_000, 100, 0) };
    assert_eq!(config.slots[0].rates, SlotRates { out: Some(out), into: None });
    let into = DirectionRate { bytes: None, packets: bucket(128, 3_600_000, 0) };
    assert_eq!(config.slots[1].rates, SlotRates { out: None, into: Some(into) });
    assert_eq!((config.slots[0].connector, config.slots[1].connector), (Some(0), None));
}

#[test]
fn an_ipv6_listener_of_addresses_wants_no_ipv6_in_sandboxes() {
    let v6 = [
        ("prefix = \"10.0.1.0/24\"", "prefix6 = \"fd00:1::/64\""),
        ("address = \"10.0.1.50\"", "address = \"fd00:1::50\""),
        ("address = \"10.0.1.51\"", "address = \"fd00:1::51\""),
        ("address = \"10.0.1.100\"", "address = \"fd00:1::100\""),
        ("connector = \"web-fn\"\n  [slot.rate.out]", "  [slot.rate.out]"),
    ];
    config(&v6.iter().fold(GUARDED.to_owned(), |text, (from, to)| text.replacen(from, to, 1)));
}

#[test]
fn who_is_a_tenant_is_only_asked_where_some_are_written_down() {
    config(&CONNECTED.replace("tenant = \"acme\"", "tenant = \"whoever\""));
}

#[test]
fn connectors_of_other_security_groups_have_enis_of_their_own_and_of_one_key_the_same_services() {
    let second = |lines: &str| {
        format!(
            "{GUARDED}[[connector]]\nname = \"api\"\ntenant = \"acme\"\nsubnets = [\"prod-a\"]\n{lines}rejudge = true\n\
             on_idle = \"both_ends\"\n"
        )
    };
    let apart = config(&second(""));
    assert_ne!(apart.connectors[0].key, apart.connectors[2].key);
    let unlike = document(&second("security_groups = [\"web\"]\n")).parse().unwrap_err().summary();
    assert!(unlike.contains("\"web-fn\" and \"api\" share their ENIs"), "{unlike}");
    let service = "  [[connector.service]]\n  address = \"169.254.100.1\"\n  port = 9001\n  protocol = \"tcp\"\n  \
                   via = \"host\"\n  to = \"10.255.0.1\"\n";
    config(&format!("{}{service}", second("security_groups = [\"web\"]\n")));
}

#[test]
fn a_prefix_list_counts_as_many_rules_as_it_has_prefixes() {
    let prefixes: Vec<_> = (0..59).map(|nth| format!("\"10.{nth}.0.0/16\"")).collect();
    let text = GUARDED.replace("[\"10.0.0.0/8\", \"2001:db8::/32\"]", &format!("[{}]", prefixes.join(", ")));
    config(&text);
    let summary = document(&text.replace("\"0.0.0.0/0\"", "\"::/0\"")).parse().unwrap_err().summary();
    assert!(summary.contains("a security group has 63 rules one way, but 60 are the most"), "{summary}");
}

#[test]
fn more_rules_than_fit_are_refused_where_they_stop_fitting() {
    let mut text = CONNECTED.to_owned();
    for group in 0..1_100 {
        text += &format!("[[security_group]]\nname = \"g{group}\"\nvpc = \"prod\"\n");
        for rule in 0..60 {
            text += &format!(
                "[[security_group.outbound]]\nprotocol = \"tcp\"\nports = {rule}\ncidr = \"10.{}.{}.0/24\"\n",
                group / 256,
                group % 256
            );
        }
        text += &format!(
            "[[connector]]\nname = \"c{group}\"\ntenant = \"t{group}\"\nsubnets = [\"prod-a\"]\nsecurity_groups = [\"g{group}\"]\n"
        );
    }
    let summary = document(&text).parse().unwrap_err().summary();
    assert!(summary.contains("more than the 65536 that fit"), "{summary}");
}
