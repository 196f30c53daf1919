//! Uplinks with addresses, tags and sizes; listeners with several groups: what is right, and mistakes.

use super::mistakes::Mistake;
use super::*;
use weir_path::addr::Ip6;
use weir_path::packet::VlanTag;

const UPLINK: &str = "interface = \"eth0\"\nvpc = \"prod\"\n\n[[target_group]]";
const GROUP: &str = "target_group = \"web\"";

/// [`SMALL`] with these lines in its uplink.
fn with_uplink(lines: &str) -> String {
    SMALL.replacen("[[target_group]]", &format!("{lines}\n[[target_group]]"), 1)
}

#[test]
fn an_uplink_has_a_tag_a_size_and_addresses_of_its_own() {
    let lines = "vlan = 4094\nmtu = 1400\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\n\
                 address6 = \"fd00::5/64\"\ngateway6 = \"fd00::1\"\n";
    let uplink = config(&with_uplink(lines)).uplinks.remove(0);
    assert_eq!((uplink.vlan, uplink.mtu), (VlanTag(4_094), Some(1_400)));
    let (own, own6) = (uplink.own.unwrap().value, uplink.own6.unwrap().value);
    let [address, gateway] = [5, 1].map(|last| Ip4([10, 0, 0, last]));
    assert_eq!(own, OwnAddress { address, prefix_len: 24, gateway: Some(gateway) });
    assert_eq!((own6.address.to_string(), own6.prefix_len), ("fd00::5".to_owned(), 64));
    assert_eq!(own6.gateway.map(|it| it.to_string()), Some("fd00::1".to_owned()));

    let plain = config(SMALL).uplinks.remove(0);
    assert_eq!((plain.vlan, plain.mtu), (VlanTag::NONE, None));
    assert!(plain.own.is_none() && plain.own6.is_none());
}

#[test]
fn what_lies_at_the_edge_of_a_network_is_an_address_where_the_network_has_no_others() {
    let own = |text: &str| config(&with_uplink(text)).uplinks.remove(0);
    for (written, len) in [("10.0.0.0/31", 31), ("10.0.0.1/31", 31), ("10.0.0.0/32", 32), ("10.0.0.1/1", 1)] {
        assert_eq!(own(&format!("address = \"{written}\"")).own.unwrap().value.prefix_len, len);
    }
    for (written, len) in [("fd00::/127", 127), ("fd00::/128", 128), ("fd00::ffff/112", 112)] {
        assert_eq!(own(&format!("address6 = \"{written}\"")).own6.unwrap().value.prefix_len, len);
    }
}

#[test]
fn a_router_may_have_a_link_local_address_by_ipv6_alone() {
    let uplink =
        config(&with_uplink("address6 = \"fd00::5/64\"\ngateway6 = \"fe80::1\"\n")).uplinks.remove(0);
    let gateway = uplink.own6.unwrap().value.gateway;
    assert_eq!(gateway, Some(Ip6::from(std::net::IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]))));
}

#[test]
fn a_device_carries_one_uplink_a_tag_and_what_one_says_of_the_device_holds_for_all() {
    let tagged = |vlan: u16, vpc: &str, rest: &str| {
        format!("\n[[uplink]]\ninterface = \"eth0\"\nvpc = \"{vpc}\"\nvlan = {vlan}\n{rest}")
    };
    let text = format!(
        "{SMALL}\n[[vpc]]\nname = \"other\"\n{}{}",
        tagged(7, "other", "hook = \"tc\"\nsenders_complete_checksums = true\n"),
        tagged(8, "prod", "")
    );
    let config = config(&text);
    let frames: Vec<_> = config.uplinks.iter().map(|it| (it.interface.value.as_str(), it.vlan.0)).collect();
    assert_eq!(frames, [("eth0", 0), ("eth0", 7), ("eth0", 8)]);
    assert!(config.uplinks.iter().all(|it| it.hook.is_some_and(|hook| hook.value == UplinkHook::Tc)));
    assert!(config.uplinks.iter().all(|it| it.senders_complete_checksums));

    let twice = document(&format!("{text}{}", tagged(7, "prod", ""))).parse().unwrap_err();
    assert!(twice.summary().contains("the frames of VLAN 7 of device \"eth0\""), "{}", twice.summary());
    let other_hook =
        document(&format!("{text}{}", tagged(9, "prod", "hook = \"xdp\"\n"))).parse().unwrap_err();
    let said = "device \"eth0\" can't have hook \"tc\" and \"xdp\"";
    assert!(other_hook.summary().contains(said), "{}", other_hook.summary());
}

#[test]
fn an_address_is_one_machines_in_its_vpc_and_may_be_anothers_in_another() {
    let uplink = |device: &str, vpc: &str| {
        format!("\n[[uplink]]\ninterface = \"{device}\"\nvpc = \"{vpc}\"\naddress = \"10.0.0.5/24\"\n")
    };
    let text = format!("{SMALL}\n[[vpc]]\nname = \"other\"\n{}", uplink("eth1", "prod"));
    config(&format!("{text}{}", uplink("eth2", "other")));
    let twice = document(&format!("{text}{}", uplink("eth2", "prod"))).parse().unwrap_err();
    let said = "10.0.0.5 is another uplink's address in VPC \"prod\" already";
    assert!(twice.summary().contains(said), "{}", twice.summary());
}

#[test]
fn a_listener_spreads_over_groups_by_weight() {
    let groups = "target_groups = [{ name = \"new\", weight = 0 }, { name = \"web\", weight = 999 }, { name = \"old\" }]";
    let more =
        "\n[[target_group]]\nname = \"new\"\n[[target_group]]\nname = \"old\"\nstickiness = \"source_ip\"\n";
    let config = config(&(SMALL.replace(GROUP, groups) + more));
    let shares: Vec<_> = config.listeners[0].shares.iter().map(|it| (it.group, it.weight)).collect();
    assert_eq!(shares, [(1, 0), (0, 999), (2, 1)]);
    let stickiness = config.groups.iter().map(|group| group.stickiness);
    assert!(stickiness.eq([Stickiness::None, Stickiness::None, Stickiness::SourceIp]));
}

#[test]
fn a_target_without_a_port_keeps_the_clients() {
    let text = SMALL.replace("port = 8080\n", "").replace("port = 80\n", "port = \"any\"\n");
    let config = config(&text);
    let ports: Vec<_> = config.groups[0].targets.iter().map(|target| target.port).collect();
    assert_eq!(ports, [Some(L4Port::new(8_081)), None]);
    assert_eq!(config.listeners[0].port, None);
}

#[test]
fn answers_may_be_turned_off() {
    let text = SMALL.replace("version = 1\n", "version = 1\n[answers]\nper_second = 0\n");
    assert_eq!(config(&text).answers, Answers { per_second: 0 });
}

const fn uplink(by: &'static str, at: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { replace: UPLINK, by, at, says }
}

const fn group(by: &'static str, at: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { replace: GROUP, by, at, says }
}

/// An uplink with these further lines, from line 9 on.
macro_rules! lines {
    ($lines:literal) => {
        concat!("interface = \"eth0\"\nvpc = \"prod\"\n", $lines, "\n[[target_group]]")
    };
}

pub(super) const MISTAKES: &[Mistake] = &[
    uplink(lines!("vlan = 4095\n"), "9:8", &["4095 is out of range", "the number of a VLAN, from 1 to 4094"]),
    uplink(lines!("vlan = 0\n"), "9:8", &["0 is out of range", "from 1 to 4094"]),
    uplink(lines!("mtu = 575\n"), "9:7", &["575 is out of range", "every IPv4 host takes (RFC 791)"]),
    uplink(
        lines!("mtu = 1279\naddress6 = \"fd00::5/64\"\n"),
        "9:7",
        &["mtu is 1279, but IPv6 needs 1280 (RFC 8200", "IPv6 here", "write 1280 or more"],
    ),
    uplink(
        lines!("address = \"10.0.0.5\"\n"),
        "9:11",
        &["\"10.0.0.5\" has no prefix length", "like \"10.0.0.5/24\""],
    ),
    uplink(
        lines!("address = \"10.0.0.5/33\"\n"),
        "9:11",
        &["\"/33\" is not a prefix length", "from /1 to /32"],
    ),
    uplink(lines!("address = \"fd00::5/64\"\n"), "9:11", &["fd00::5 is not an IPv4 address"]),
    uplink(lines!("address6 = \"10.0.0.5/24\"\n"), "9:12", &["10.0.0.5 is not an IPv6 address"]),
    uplink(lines!("address6 = \"fd00::5/129\"\n"), "9:12", &["from /1 to /128", "like \"fd00::5/64\""]),
    uplink(
        lines!("address = \"10.0.0.0/24\"\n"),
        "9:11",
        &["10.0.0.0/24 is the address of the network itself", "that Weir has in this network"],
    ),
    uplink(lines!("address = \"10.0.0.255/24\"\n"), "9:11", &["all machines there (broadcast)"]),
    uplink(lines!("address6 = \"fd00::/64\"\n"), "9:12", &["the address of any router there"]),
    uplink(lines!("address = \"10.0.0.300/24\"\n"), "9:11", &["\"10.0.0.300\" is not an address"]),
    uplink(
        lines!("gateway = \"10.0.0.1\"\n"),
        "9:11",
        &["[[uplink]] has `gateway`, but no `address`", "`address = \"10.0.0.5/24\"`"],
    ),
    uplink(
        lines!("address = \"10.0.0.5/24\"\ngateway6 = \"fd00::1\"\n"),
        "10:12",
        &["has `gateway6`, but no `address6`", "`address6 = \"fd00::5/64\"`"],
    ),
    uplink(
        lines!("address = \"10.0.0.5/24\"\ngateway = \"10.0.1.1\"\n"),
        "10:11",
        &["the gateway 10.0.1.1 is not on the link of 10.0.0.5/24", "the right prefix length"],
    ),
    uplink(
        lines!("address = \"10.0.0.5/24\"\ngateway = \"10.0.0.5\"\n"),
        "10:11",
        &["10.0.0.5 is Weir's own address and its gateway", "the router's address as `gateway`"],
    ),
    uplink(
        lines!("address = \"198.51.100.10/24\"\n"),
        "9:11",
        &["198.51.100.10 is a listener's address in VPC \"prod\" already", "no listener, uplink or gateway"],
    ),
    uplink(
        lines!("address = \"198.51.100.1/24\"\ngateway = \"198.51.100.10\"\n"),
        "9:11",
        &["198.51.100.10 is a listener's address in VPC \"prod\" already"],
    ),
    uplink(
        lines!("address = \"169.254.100.2/24\"\n"),
        "9:11",
        &["can't have 169.254.100.2: it is every sandbox's own address"],
    ),
    uplink(
        lines!("\n[[uplink]]\ninterface = \"eth0\"\nvpc = \"prod\"\n"),
        "11:13",
        &["two uplinks take the untagged frames of device \"eth0\"", "another `vlan`"],
    ),
    group("target_groups = []", "30:17", &["`target_groups` is empty", "one to 5 target groups"]),
    group(
        "target_groups = \"web\"",
        "30:17",
        &["a list of tables is wanted", "{ name = \"blue\", weight = 90 }"],
    ),
    group("target_groups = [\"web\"]", "30:18", &["a table is wanted", "{ name = \"blue\", weight = 90 }"]),
    group("target_groups = [{ weight = 1 }]", "30:18", &["target_groups has no `name`"]),
    group("target_groups = [{ name = \"web\", wieght = 1 }]", "30:34", &["did you mean `weight`?"]),
    group(
        "target_groups = [{ name = \"web\", weight = 1000 }]",
        "30:43",
        &["1000 is out of range", "a whole number from 0 to 999"],
    ),
    group(
        "target_groups = [{ name = \"web\" }, { name = \"wbe\" }]",
        "30:45",
        &["target group \"wbe\" is not defined", "did you mean \"web\"?"],
    ),
    group(
        "target_groups = [{ name = \"web\" }, { name = \"web\" }]",
        "30:45",
        &["names target group \"web\" twice", "the sum of the two weights"],
    ),
    group(
        "target_group = \"web\"\ntarget_groups = [{ name = \"web\" }]",
        "30:16",
        &["`target_group` and `target_groups`", "put \"web\" into `target_groups`"],
    ),
    group(
        "target_groups = [{name=\"a\"}, {name=\"b\"}, {name=\"c\"}, {name=\"d\"}, {name=\"e\"}, {name=\"f\"}]",
        "30:78",
        &["6 target groups, but 5 are the most"],
    ),
    group("", "24:1", &["[[listener]] has no `target_group`"]),
    Mistake {
        replace: "port = 80\n",
        by: "port = \"all\"\n",
        at: "28:8",
        says: &["the text \"all\"", "or `\"any\"` for all ports"],
    },
    Mistake {
        replace: "port = 8080\n",
        by: "port = 8080\nstickiness = \"source-ip\"\n",
        at: "13:14",
        says: &["\"source-ip\" is not a stickiness", "did you mean \"source_ip\"?"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[answers]\nper_second = 1000001\n",
        at: "3:14",
        says: &["1000001 is out of range", "a whole number of answers from 0 to 1000000"],
    },
];
