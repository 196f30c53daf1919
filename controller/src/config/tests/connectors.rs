//! Subnets, connectors, slots and routes: what is right, and mistakes.

use super::mistakes::{Mistake, find_all};
use super::*;
use std::time::Duration;
use weir_path::addr::Ip6;

/// Two VPCs, two uplinks of the first, and one of everything that connects.
pub(crate) const CONNECTED: &str = r#"version = 1

[[vpc]]
name = "prod"
  [[vpc.route]]
  destination = "10.9.0.0/16"
  via = "10.0.1.254"

[[vpc]]
name = "test"

[[uplink]]
interface = "eth0"
vpc = "prod"
address = "10.0.1.5/24"

[[uplink]]
interface = "eth0"
vpc = "prod"
vlan = 7

[[uplink]]
interface = "eth1"
vpc = "test"

[[subnet]]
name = "prod-a"
vpc = "prod"
uplink = "eth0"
prefix = "10.0.1.0/24"
gateway = "10.0.1.1"
reserved = ["10.0.1.10-10.0.1.20", "10.0.1.99"]

[[subnet]]
name = "prod-b"
vpc = "prod"
uplink = "eth0"
vlan = 7
prefix = "10.0.2.0/24"
pool = "10.0.2.100-10.0.2.200"

[[subnet]]
name = "test-a"
vpc = "test"
prefix = "10.0.1.0/24"
prefix6 = "fd00:1::/64"
gateway6 = "fe80::1"

[[connector]]
name = "web-fn"
tenant = "acme"
subnets = ["prod-a", "prod-b"]

[[slot]]
netns = "sandbox-1"
interface = "eth0"
connector = "web-fn"
"#;

#[test]
fn a_connector_says_its_subnets_and_the_rest_has_defaults() {
    let config = config(CONNECTED);
    let connector = &config.connectors[0];
    let key = ConnectorKey {
        tenant: "acme".into(),
        vpc: "prod".into(),
        subnets: vec!["prod-a".into(), "prod-b".into()],
        addresses: Addresses::Ipv4,
        enis: EniKind::Own,
        mac: EniMac::Uplink,
        udp_mapping: UdpMapping::PerRemote,
        security_groups: vec![],
    };
    assert_eq!((&connector.key, connector.zone), (&key, config.vpcs[0].zone));
    let settings = ConnectorSettings {
        addresses_per_eni: 1,
        min_enis: 1,
        max_enis: 8,
        tcp_idle: Seconds(350),
        udp_idle: Seconds(350),
        rest: Seconds(60),
        idle_reclaim: Duration::from_secs(1_209_600),
        on_idle: OnIdle::NextPacket,
        rejudge: false,
    };
    assert_eq!(connector.settings, settings);
    assert_eq!(
        (config.slots[0].slot.value.to_string(), config.slots[0].connector),
        ("sandbox-1:eth0".into(), Some(0))
    );
    let places: Vec<_> = config.subnets.iter().map(|subnet| subnet.uplink).collect();
    assert_eq!(places, [0, 1, 2]);
    let route = config.vpcs[0].routes[0];
    assert_eq!(
        (route.destination.value.to_string(), route.via.value.to_string()),
        ("10.9.0.0/16".into(), "10.0.1.254".into())
    );
}

#[test]
fn a_connector_may_say_everything() {
    let lines = "addresses = \"dualstack\"\nenis = \"own\"\nmac = \"own\"\naddresses_per_eni = 2\nmin_enis = 3\n\
                 max_enis = 16\nudp_mapping = \"endpoint_independent\"\ntcp_idle = 60\nudp_idle = 6000\nrest = 0\n\
                 idle_reclaim = 60\n";
    let text = with_v6(CONNECTED).replace("[\"prod-a\", \"prod-b\"]", &format!("[\"test-a\"]\n{lines}"));
    let connector = config(&text).connectors.remove(0);
    let ConnectorKey { addresses, mac, udp_mapping, .. } = connector.key;
    assert_eq!(
        (addresses, mac, udp_mapping),
        (Addresses::Dualstack, EniMac::Own, UdpMapping::EndpointIndependent)
    );
    let ConnectorSettings { addresses_per_eni, min_enis, max_enis, rest, .. } = connector.settings;
    assert_eq!((addresses_per_eni, min_enis, max_enis, rest), (2, 3, 16, Seconds(0)));
}

#[test]
fn the_most_enis_follow_what_else_is_said() {
    let most = |lines: &str| {
        let text = CONNECTED.replace("tenant = \"acme\"", &format!("tenant = \"acme\"\n{lines}"));
        config(&text).connectors[0].settings.max_enis
    };
    assert_eq!(most("addresses_per_eni = 8"), 4);
    assert_eq!(most("min_enis = 20"), 20);
}

#[test]
fn what_no_eni_is_given_is_in_order_and_merged() {
    let vip = "\n[[target_group]]\nname = \"web\"\n[[listener]]\nname = \"web\"\nvpc = \"prod\"\n\
               address = \"10.0.1.100\"\nport = 80\nprotocol = \"tcp\"\ntarget_group = \"web\"\n";
    let config = config(&format!("{CONNECTED}{vip}"));
    let reserved =
        |place: usize| config.subnets[place].reserved.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        reserved(0),
        [
            "10.0.1.0-10.0.1.3",
            "10.0.1.5",
            "10.0.1.10-10.0.1.20",
            "10.0.1.99",
            "10.0.1.100",
            "10.0.1.254",
            "10.0.1.255"
        ]
    );
    assert_eq!(reserved(1), ["10.0.2.0-10.0.2.3", "10.0.2.255"]);
    let last = "fd00:1::ffff:ffff:ffff:ffff";
    assert_eq!(reserved(2), ["10.0.1.0-10.0.1.3", "10.0.1.255", "fd00:1::-fd00:1::3", last]);
    let v4 = config.subnets[1].v4.unwrap();
    assert_eq!((v4.pool.to_string(), v4.pool.count()), ("10.0.2.100-10.0.2.200".into(), 101));
    assert_eq!(config.subnets[2].v6.unwrap().gateway.map(|it: Ip6| it.to_string()), Some("fe80::1".into()));
}

#[test]
fn connectors_of_one_key_share_their_enis_and_have_to_agree() {
    let second = |lines: &str| {
        format!(
            "{CONNECTED}\n[[connector]]\nname = \"api\"\ntenant = \"acme\"\nsubnets = [\"prod-b\", \"prod-a\"]\n{lines}"
        )
    };
    let both = config(&second(""));
    assert_eq!(both.connectors[0].key, both.connectors[1].key);
    let unlike = document(&second("max_enis = 2\n")).parse().unwrap_err();
    assert!(unlike.summary().contains("\"web-fn\" and \"api\" share their ENIs"), "{}", unlike.summary());
    config(&second("max_enis = 2\n").replacen("tenant = \"acme\"", "tenant = \"other\"", 1));
}

#[test]
fn a_slot_may_be_a_target_too() {
    let target = "\n[[target_group]]\nname = \"web\"\n  [[target_group.target]]\n  name = \"t\"\n  netns = \"sandbox-1\"\n  \
                  interface = \"eth0\"\n";
    assert_eq!(config(&format!("{CONNECTED}{target}")).slots.len(), 1);
}

#[test]
fn an_ipv6_connector_wants_sandboxes_that_have_it() {
    let text = CONNECTED.replace("[\"prod-a\", \"prod-b\"]", "[\"test-a\"]");
    let summary = document(&text).parse().unwrap_err().summary();
    assert!(summary.contains("has IPv6 addresses, but sandboxes have none"), "{summary}");
    config(&with_v6(&text));
    config(&text.replace("[\"test-a\"]", "[\"test-a\"]\naddresses = \"ipv4\""));
}

#[test]
fn more_than_fits_is_refused() {
    let connector = |number: u32| {
        format!(
            "[[connector]]\nname = \"c-{number}\"\ntenant = \"t-{number}\"\nsubnets = [\"test-a\"]\nmin_enis = 32\n\
             [[slot]]\ninterface = \"s-{number}\"\nconnector = \"c-{number}\"\n"
        )
    };
    let many: String = (0..128).map(connector).collect();
    let summary = document(&with_v6(&format!("{CONNECTED}{many}"))).parse().unwrap_err().summary();
    assert!(summary.contains("8193 addresses of ENIs are more than the 8192 that fit"), "{summary}");
}

#[test]
fn every_mistake_about_connectors_is_shown_at_its_place() {
    find_all(CONNECTED, MISTAKES);
}

const fn subnet(
    replace: &'static str,
    by: &'static str,
    at: &'static str,
    says: &'static [&'static str],
) -> Mistake {
    Mistake { replace, by, at, says }
}

const fn connector(by: &'static str, at: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { replace: "subnets = [\"prod-a\", \"prod-b\"]\n", by, at, says }
}

/// The connector with these further lines, from line 53 on.
macro_rules! lines {
    ($lines:literal) => {
        concat!("subnets = [\"prod-a\", \"prod-b\"]\n", $lines, "\n")
    };
}

const MISTAKES: &[Mistake] = &[
    subnet(
        "\"10.9.0.0/16\"",
        "\"10.9.0.1/16\"",
        "6:17",
        &["has bits behind its prefix", "write \"10.9.0.0/16\""],
    ),
    subnet("\"10.9.0.0/16\"", "\"10.9.0.0\"", "6:17", &["has no prefix length"]),
    subnet("\"10.9.0.0/16\"", "\"10.0.2.0/25\"", "6:17", &["overlaps the subnet 10.0.2.0/24", "on its link"]),
    subnet("\"10.0.1.254\"", "\"10.7.1.254\"", "7:9", &["is in no subnet of VPC \"prod\"", "10.0.1.0/24 or"]),
    subnet("\"10.0.1.254\"", "\"fd00:1::1\"", "7:9", &["a route to 10.9.0.0/16 can't lead by fd00:1::1"]),
    subnet("\"10.0.1.254\"", "\"10.0.1.5\"", "7:9", &["10.0.1.5 is an uplink's address in VPC \"prod\""]),
    subnet("prefix = \"10.0.1.0/24\"\ngateway = ", "gateway = ", "26:1", &["no `prefix`, and no `prefix6`"]),
    subnet("\"10.0.1.0/24\"\ngateway =", "\"10.0.1.5/24\"\ngateway =", "30:10", &["write \"10.0.1.0/24\""]),
    subnet("\"10.0.1.0/24\"\ngateway =", "\"fd00::/64\"\ngateway =", "30:10", &["not an IPv4 address"]),
    subnet("gateway = \"10.0.1.1\"", "gateway = \"10.0.3.1\"", "31:11", &["not in the subnet 10.0.1.0/24"]),
    subnet(
        "gateway = \"10.0.1.1\"",
        "gateway6 = \"fe80::1\"",
        "31:12",
        &["has `gateway6`, but no `prefix6`"],
    ),
    subnet("gateway = \"10.0.1.1\"", "gateway = \"10.0.1.5\"", "31:11", &["is an uplink's address in VPC"]),
    subnet("\"10.0.1.99\"]", "\"10.0.3.99\"]", "32:36", &["10.0.3.99 is not in this subnet", "10.0.1.0/24"]),
    subnet(
        "10.0.1.10-10.0.1.20",
        "10.0.1.20-10.0.1.10",
        "32:13",
        &["comes after", "\"10.0.1.10-10.0.1.20\""],
    ),
    subnet("10.0.1.10-10.0.1.20", "10.0.1.10-fd00::1", "32:13", &["of two families"]),
    subnet("[\"10.0.1.10-10.0.1.20\", \"10.0.1.99\"]", "\"10.0.1.99\"", "32:12", &["where a list is wanted"]),
    subnet(
        "\"10.0.1.10-10.0.1.20\"",
        "\"10.0.1.4-10.0.1.254\"",
        "30:10",
        &["of the 256 addresses", "none is left"],
    ),
    subnet(
        "pool = \"10.0.2.100-10.0.2.200\"",
        "pool = \"10.0.3.1\"",
        "40:8",
        &["not in the subnet 10.0.2.0/24"],
    ),
    subnet(
        "pool = \"10.0.2.100-10.0.2.200\"",
        "pool = \"10.0.2.1-10.0.2.3\"",
        "40:8",
        &["of the 3 addresses"],
    ),
    subnet("\"10.0.2.0/24\"", "\"10.0.1.128/25\"", "39:10", &["two subnets of VPC \"prod\" overlap"]),
    subnet(
        "uplink = \"eth0\"\nprefix",
        "prefix",
        "26:1",
        &["does not say which uplink", "uplink = \"eth0\", vlan = 7"],
    ),
    subnet(
        "uplink = \"eth0\"\nvlan = 7",
        "uplink = \"eth0\"\nvlan = 8",
        "37:10",
        &["VLAN 8 of device \"eth0\""],
    ),
    subnet("uplink = \"eth0\"\nprefix", "uplink = \"eth1\"\nprefix", "29:10", &["no uplink of VPC \"prod\""]),
    subnet(
        "name = \"prod-b\"\nvpc",
        "name = \"prod-a\"\nvpc",
        "35:8",
        &["two subnets are called \"prod-a\""],
    ),
    subnet("vpc = \"test\"\nprefix", "vpc = \"tset\"\nprefix", "44:7", &["VPC \"tset\" is not defined"]),
    connector("", "49:1", &["[[connector]] has no `subnets`", "`subnets = [\"prod-a\"]`"]),
    connector("subnets = []\n", "52:11", &["a connector has 0 subnets", "1 to 16 subnets of one VPC"]),
    connector("subnets = [\"prod-c\"]\n", "52:12", &["subnet \"prod-c\" is not defined", "did you mean"]),
    connector("subnets = [\"prod-a\", 7]\n", "52:22", &["the number 7 where a text is wanted"]),
    connector("subnets = [\"prod-a\", \"test-a\"]\n", "52:22", &["of two VPCs", "\"test-a\" of \"test\""]),
    connector(
        lines!("addresses = \"dualstack\""),
        "53:13",
        &["\"prod-a\" has no IPv6 addresses", "`prefix6`"],
    ),
    connector(lines!("addresses = \"ipv5\""), "53:13", &["\"ipv5\" is not a choice of addresses"]),
    connector(lines!("enis = \"host\""), "52:22", &["subnet \"prod-b\" is on a VLAN"]),
    connector(
        "subnets = [\"prod-a\"]\nenis = \"host\"\nmac = \"own\"\n",
        "54:1",
        &["can't have `mac`", "one ENI an uplink"],
    ),
    connector(lines!("udp_mapping = \"endpoint\""), "53:15", &["did you mean \"endpoint_independent\"?"]),
    connector(lines!("addresses_per_eni = 9"), "53:21", &["a whole number of addresses from 1 to 8"]),
    connector(lines!("min_enis = 9\nmax_enis = 8"), "53:12", &["min_enis is 9, but max_enis is 8"]),
    connector(
        lines!("addresses_per_eni = 8\nmax_enis = 5"),
        "54:12",
        &["are 40 addresses, but 32 are the most"],
    ),
    connector(lines!("tcp_idle = 10"), "53:12", &["a whole number of seconds from 60 to 6000"]),
    connector(lines!("idle_reclaim = 59"), "53:16", &["from 60 to 31536000"]),
    connector(
        lines!("subnet = \"prod-a\""),
        "53:1",
        &["[[connector]] has no key `subnet`", "did you mean `subnets`?"],
    ),
    subnet(
        "connector = \"web-fn\"",
        "connector = \"web-nf\"",
        "57:13",
        &["connector \"web-nf\" is not defined"],
    ),
    subnet(
        "netns = \"sandbox-1\"\ninterface = \"eth0\"",
        "interface = \"eth0\"",
        "55:13",
        &["device \"eth0\" is an uplink and a slot"],
    ),
    subnet(
        "connector = \"web-fn\"\n",
        "connector = \"web-fn\"\n[[slot]]\nnetns = \"sandbox-1\"\ninterface = \"eth0\"\nconnector = \"web-fn\"\n",
        "60:13",
        &["slot sandbox-1:eth0 has two [[slot]] sections"],
    ),
];
