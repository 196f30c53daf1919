//! Every mistake is shown where it is, with the value and what to write instead.

mod connectors;
mod guards;
mod mistakes;
mod network;

use super::*;
pub(crate) use connectors::CONNECTED;
pub(crate) use guards::GUARDED;
use mistakes::{MISTAKES, find_all};
use weir_dataplane::FamilySizes;
use weir_path::addr::{Address, Ip4, L4Port, Mac};
use weir_path::time::{Seconds, Times};

/// A configuration with one of everything.
pub(crate) const SMALL: &str = r#"version = 1

[[vpc]]
name = "prod"

[[uplink]]
interface = "eth0"
vpc = "prod"

[[target_group]]
name = "web"
port = 8080

  [[target_group.target]]
  name = "sandbox-1"
  netns = "sb1"
  interface = "eth0"
  port = 8081

  [[target_group.target]]
  name = "sandbox-2"
  interface = "veth-sb2"

[[listener]]
name = "web"
vpc = "prod"
address = "198.51.100.10"
port = 80
protocol = "tcp"
target_group = "web"
"#;

pub(crate) fn document(text: &str) -> Document {
    Document { name: "weir.toml".to_owned(), text: text.to_owned() }
}

pub(crate) fn config(text: &str) -> Config {
    document(text).parse().unwrap_or_else(|invalid| panic!("{}", invalid.rendered()))
}

#[test]
fn a_small_file_says_everything_and_the_rest_has_defaults() {
    let config = config(SMALL);
    assert_eq!(config.dataplane, DataplaneSection::default());
    let sizes = config.dataplane.sizes;
    assert_eq!((sizes.v4.flows, sizes.v4.half_open), (2_097_152, 131_072));
    assert_eq!((sizes.v6.flows, sizes.v6.half_open), (524_288, 32_768));
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.listeners[0].idle(Transport::Tcp, &config.timeouts), Seconds(350));
    assert_eq!(config.listeners[0].shares, [Share { group: 0, weight: 1 }]);
    assert_eq!(config.answers, Answers { per_second: 1_000 });
    assert_eq!(config.sandbox.mac, Mac([0x02, 0x57, 0x45, 0x49, 0x52, 0x02]));
    let ports: Vec<_> = config.groups[0].targets.iter().map(|target| target.port).collect();
    assert_eq!(ports, [8_081, 8_080].map(|port| Some(L4Port::new(port))));
    let slots: Vec<_> = config.groups[0].targets.iter().map(|target| target.place.to_string()).collect();
    assert_eq!(slots, ["sb1:eth0", "veth-sb2"]);
    assert_eq!(config.listeners[0].zone, config.vpcs[0].zone);
    assert_eq!(config.uplinks[0].hook.map(|hook| hook.value), None);
}

#[test]
fn sizes_and_timeouts_are_what_the_file_says_and_half_open_follows_the_flows() {
    let head = "version = 1\n[dataplane]\nmax_flows = 4096\nmax_flows_v6 = 1024\nmax_half_open_v6 = 1024\n\
                [timeouts]\ntcp_half_open = 1\ntcp_closing = 2\nudp_unanswered = 3\nicmp_query = 6000\n\
                tcp_idle = 60\nudp_idle = 61\n";
    let config = config(&SMALL.replace("version = 1\n", head));
    assert_eq!(config.dataplane.sizes.v4, FamilySizes { flows: 4_096, half_open: 256 });
    assert_eq!(config.dataplane.sizes.v6, FamilySizes { flows: 1_024, half_open: 1_024 });
    let times = Times {
        tcp_half_open: Seconds(1),
        tcp_closing: Seconds(2),
        udp_unanswered: Seconds(3),
        icmp_query: Seconds(6_000),
    };
    assert_eq!(config.timeouts, Timeouts { times, tcp_idle: Seconds(60), udp_idle: Seconds(61) });
}

#[test]
fn a_listeners_own_idle_timeout_comes_before_its_protocols() {
    let with = |protocol: &str, rest: &str| {
        let text = SMALL.replace("version = 1\n", "version = 1\n[timeouts]\ntcp_idle = 400\nudp_idle = 90\n");
        let config = config(&text.replace("\"tcp\"\n", &format!("\"{protocol}\"\n{rest}")));
        [Transport::Tcp, Transport::Udp].map(|it| config.listeners[0].idle(it, &config.timeouts).0)
    };
    assert_eq!(with("tcp_udp", ""), [400, 90]);
    assert_eq!(with("tcp", "idle_timeout = 6000\n"), [6_000, 6_000]);
    assert_eq!(with("udp", "idle_timeout = 60\n"), [60, 60]);
}

#[test]
fn a_listener_has_an_address_of_either_family() {
    assert_eq!(config(SMALL).listeners[0].address.value, Ip4([198, 51, 100, 10]).mapped());
    let config = config(&with_v6(SMALL).replace("198.51.100.10", "2001:db8::1"));
    assert_eq!(config.listeners[0].address.value.to_string(), "2001:db8::1");
    let v6 = config.sandbox.v6.unwrap();
    assert_eq!((v6.address.to_string(), v6.gateway.to_string()), ("fd00::2".into(), "fd00::1".into()));
}

#[test]
fn an_ipv6_listener_may_not_have_an_address_of_the_sandboxes() {
    for (address, whose) in [("fd00::2", "own address"), ("fd00::1", "gateway")] {
        let text = with_v6(SMALL).replace("198.51.100.10", address);
        let shown = document(&text).parse().unwrap_err().rendered();
        assert!(shown.contains(&format!("can't have {address}")) && shown.contains(whose), "{shown}");
    }
}

fn with_v6(text: &str) -> String {
    let head = "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\ngateway6 = \"fd00::1\"\n";
    text.replace("version = 1\n", head)
}

#[test]
fn the_example_file_is_valid() {
    let config = config(include_str!("../../weir.example.toml"));
    assert!(!config.listeners.is_empty());
}

#[test]
fn a_vpcs_number_never_changes() {
    assert_eq!(config(SMALL).vpcs[0].zone.number(), check::vpc_zone("prod").unwrap().number());
    // FNV-1a of the empty text is its offset basis, 0x811c9dc5; folded: 0x102 ^ 0x1c9dc5.
    assert_eq!(check::vpc_zone("").unwrap().number(), 0x102 ^ 0x1c_9dc5);
}

#[test]
fn every_mistake_is_shown_at_its_place_with_the_value_and_what_to_write() {
    find_all(SMALL, MISTAKES);
    find_all(SMALL, network::MISTAKES);
}

#[test]
fn all_mistakes_of_a_file_are_shown_in_its_order() {
    let text = SMALL
        .replace("port = 80\n", "port = 0\n")
        .replace("interface = \"eth0\"\nvpc", "interfaces = \"eth0\"\nvpc")
        .replace("\"tcp\"", "\"sctp\"");
    let invalid = document(&text).parse().unwrap_err();
    let messages: Vec<_> = invalid.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "[[uplink]] has no `interface`",
            "[[uplink]] has no key `interfaces`",
            "port 0 can't be served on",
            "\"sctp\" is not a protocol",
        ]
    );
    assert_eq!(invalid.summary(), "weir.toml:6:1: [[uplink]] has no `interface` (and 3 more)");
}

#[test]
fn overlapping_listeners_are_both_shown() {
    let second = SMALL.split_once("[[listener]]").unwrap().1.replace("name = \"web\"", "name = \"web-2\"");
    let text = format!("{SMALL}\n[[listener]]{second}");
    let invalid = document(&text).parse().unwrap_err();
    let shown = invalid.rendered();
    assert!(shown.contains("\"web\" has it") && shown.contains("\"web-2\" wants it as well"), "{shown}");
    config(&text.replacen("\"tcp\"", "\"udp\"", 1));
    config(&text.replacen("port = 80\n", "port = \"any\"\n", 1));
    for both in [text.replacen("\"tcp\"", "\"tcp_udp\"", 1), text.replace("\"tcp\"", "\"tcp_udp\"")] {
        let invalid = document(&both).parse().unwrap_err();
        assert!(
            invalid.summary().contains("both are 198.51.100.10:80/tcp in VPC \"prod\""),
            "{}",
            invalid.summary()
        );
        assert_eq!(invalid.problems().len(), 1);
    }
    let all_ports = text.replace("port = 80\n", "port = \"any\"\n");
    let summary = document(&all_ports).parse().unwrap_err().summary();
    assert!(summary.contains("198.51.100.10:any/tcp"), "{summary}");
}

#[test]
fn two_vpc_names_with_one_number_are_refused() {
    let mut seen = std::collections::BTreeMap::new();
    let (one, other) = (0..)
        .map(|number| format!("vpc-{number}"))
        .find_map(|name| {
            seen.insert(check::vpc_zone(&name).unwrap(), name.clone()).map(|other| (other, name))
        })
        .unwrap();
    let text = format!("{SMALL}\n[[vpc]]\nname = \"{one}\"\n[[vpc]]\nname = \"{other}\"\n");
    let invalid = document(&text).parse().unwrap_err();
    assert!(invalid.to_string().contains("1 problem"), "{}", invalid.rendered());
    assert!(invalid.summary().contains("make the same number"), "{}", invalid.summary());
}

#[test]
fn one_more_target_than_fits_a_group_is_refused_at_its_place() {
    let most = weir_dataplane::image::MAX_TARGETS_IN_GROUP;
    // One slot may serve on several ports, so that only one maximum is at stake.
    let target = |number: u32| {
        format!(
            "\n[[target_group.target]]\nname = \"t-{number}\"\ninterface = \"sb\"\nport = {}\n",
            number + 1
        )
    };
    let head = "version = 1\n[[target_group]]\nname = \"web\"\n";
    let full: String = (0..most).map(target).collect();
    config(&format!("{head}{full}"));
    let invalid = document(&format!("{head}{full}{}", target(most))).parse().unwrap_err();
    assert!(
        invalid.summary().contains("10001 targets in one group are more than the 10000"),
        "{}",
        invalid.summary()
    );
    assert_eq!(invalid.problems().len(), 1);
}

#[test]
fn the_dataplane_section_can_be_read_from_a_file_that_is_otherwise_wrong() {
    let text = SMALL
        .replace("version = 1\n", "version = 1\ndataplane.pin_dir = \"/x\"\n")
        .replace("port = 80\n", "port = 0\n");
    assert!(document(&text).parse().is_err());
    assert_eq!(document(&text).parse_dataplane().unwrap().pin_dir, std::path::Path::new("/x"));
}
