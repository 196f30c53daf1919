//! Every mistake is shown where it is, with the value and what to write instead.

use super::*;
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
    assert_eq!(config.listeners[0].idle, Seconds(350));
    assert_eq!(config.sandbox.mac, Mac([0x02, 0x57, 0x45, 0x49, 0x52, 0x02]));
    let ports: Vec<_> = config.groups[0].targets.iter().map(|target| target.port).collect();
    assert_eq!(ports, [L4Port::new(8081), L4Port::new(8080)]);
    let slots: Vec<_> = config.groups[0].targets.iter().map(|target| target.slot.value.to_string()).collect();
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
        config(&text.replace("\"tcp\"\n", &format!("\"{protocol}\"\n{rest}"))).listeners[0].idle
    };
    assert_eq!((with("tcp", ""), with("udp", "")), (Seconds(400), Seconds(90)));
    assert_eq!(with("tcp", "idle_timeout = 6000\n"), Seconds(6_000));
    assert_eq!(with("udp", "idle_timeout = 60\n"), Seconds(60));
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

/// In [`SMALL`], one text is replaced by another; the complaint must show this place and these words.
struct Mistake {
    replace: &'static str,
    by: &'static str,
    at: &'static str,
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake { replace: "port = 80\n", by: "port = \n", at: "28:8", says: &["not TOML"] },
    Mistake { replace: "version = 1\n", by: "", at: "1:1", says: &["no `version`", "version = 1"] },
    Mistake {
        replace: "version = 1",
        by: "version = 2",
        at: "1:11",
        says: &["version 2", "write `version = 1`"],
    },
    Mistake {
        replace: "protocol = \"tcp\"",
        by: "protocol = \"tcp\"\nadress = \"198.51.100.11\"",
        at: "30:1",
        says: &[
            "[[listener]] has no key `adress`",
            "did you mean `address`?",
            "the keys of [[listener]] are",
        ],
    },
    Mistake {
        replace: "port = 80\n",
        by: "port = \"80\"\n",
        at: "28:8",
        says: &["the text \"80\"", "whole number"],
    },
    Mistake { replace: "port = 80\n", by: "port = 0\n", at: "28:8", says: &["port 0", "from 1 to 65535"] },
    Mistake { replace: "port = 80\n", by: "port = 65536\n", at: "28:8", says: &["65536 is out of range"] },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"198.51.100.10/24\"",
        at: "27:11",
        says: &["\"198.51.100.10/24\" is not an address", "drop the prefix length: write \"198.51.100.10\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"198.51.100.10:80\"",
        at: "27:11",
        says: &["write \"198.51.100.10\" here, and `port = 80`"],
    },
    Mistake { replace: "\"198.51.100.10\"", by: "\"198.51.100\"", at: "27:11", says: &["four numbers"] },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"2001:db8::1\"",
        at: "27:11",
        says: &["an IPv6 address, but sandboxes have none", "`address6` and `gateway6`"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"224.0.0.1\"",
        at: "27:11",
        says: &["not a unicast address"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"169.254.100.2\"",
        at: "27:11",
        says: &["own address", "[sandbox]"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"169.254.100.1\"",
        at: "27:11",
        says: &["gateway", "[sandbox]"],
    },
    Mistake { replace: "\"tcp\"", by: "\"tpc\"", at: "29:12", says: &["did you mean \"tcp\"?", "`\"udp\"`"] },
    Mistake {
        replace: "target_group = \"web\"",
        by: "target_group = \"wbe\"",
        at: "30:16",
        says: &["target group \"wbe\" is not defined", "did you mean \"web\"?"],
    },
    Mistake {
        replace: "vpc = \"prod\"\n\n",
        by: "vpc = \"production\"\n\n",
        at: "8:7",
        says: &["VPC \"production\" is not defined", "did you mean \"prod\"?"],
    },
    Mistake {
        replace: "vpc = \"prod\"\n\n",
        by: "vpc = \"prod\"\nhook = \"xpd\"\n\n",
        at: "9:8",
        says: &["\"xpd\" is not a hook", "did you mean \"xdp\"?", "xdp-generic"],
    },
    Mistake { replace: "\"sandbox-2\"", by: "\"sandbox-1\"", at: "21:10", says: &["two targets are called"] },
    Mistake {
        replace: "interface = \"veth-sb2\"",
        by: "netns = \"sb1\"\n  interface = \"eth0\"\n  port = 8081",
        at: "23:15",
        says: &["port 8081 of the same slot, sb1:eth0"],
    },
    Mistake { replace: "\"veth-sb2\"", by: "\"eth0\"", at: "22:15", says: &["an uplink and a target"] },
    Mistake {
        replace: "port = 8080\n",
        by: "",
        at: "19:3",
        says: &["a target has no port", "`port = 8080`"],
    },
    Mistake { replace: "\"veth-sb2\"", by: "\"veth/sb2\"", at: "22:15", says: &["name of a network device"] },
    Mistake { replace: "\"sb1\"", by: "\"../sb1\"", at: "16:11", says: &["/run/netns"] },
    Mistake {
        replace: "name = \"prod\"",
        by: "name = \"a b\"",
        at: "4:8",
        says: &["\"a b\" can't be a name"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\nsandbox.mac = \"03:00:00:00:00:01\"\n",
        at: "2:15",
        says: &["multicast MAC", "02:00:00:00:00:01"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\nsandbox.mac = \"2:3\"\n",
        at: "2:15",
        says: &["six pairs"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\ngateway = \"169.254.100.2\"\n",
        at: "2:1",
        says: &["the same address, 169.254.100.2"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"2001:db8::1/64\"",
        at: "27:11",
        says: &["drop the prefix length: write \"2001:db8::1\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"[2001:db8::1]:80\"",
        at: "27:11",
        says: &["write \"2001:db8::1\" here, and `port = 80`"],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"2001:db8::1::\"",
        at: "27:11",
        says: &["not an IPv6 address", "like \"2001:db8::10\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"::ffff:198.51.100.10\"",
        at: "27:11",
        says: &["an IPv4 address", "write it as what it is: \"198.51.100.10\""],
    },
    Mistake {
        replace: "\"198.51.100.10\"",
        by: "\"ff02::1\"",
        at: "27:11",
        says: &["ff02::1 is not a unicast address"],
    },
    Mistake {
        replace: "\"tcp\"\n",
        by: "\"tcp\"\nidle_timeout = 59\n",
        at: "30:16",
        says: &["59 is out of range", "a whole number of seconds from 60 to 6000"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\ntcp_closing = 0\n",
        at: "3:15",
        says: &["0 is out of range", "a whole number of seconds from 1 to 6000"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\nudp_idle = 6001\n",
        at: "3:12",
        says: &["6001 is out of range", "from 60 to 6000"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\ntcp_idle = \"350s\"\n",
        at: "3:12",
        says: &["the text \"350s\"", "a whole number of seconds from 60 to 6000, without quotes"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[timeouts]\ntcp_established = 350\n",
        at: "3:1",
        says: &["[timeouts] has no key `tcp_established`", "`tcp_idle`"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\n",
        at: "3:12",
        says: &["[sandbox] has `address6`, but no `gateway6`", "or remove `address6`"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\ngateway6 = \"fd00::1\"\n",
        at: "3:12",
        says: &["[sandbox] has `gateway6`, but no `address6`"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\ngateway6 = \"fd00::2\"\n",
        at: "2:1",
        says: &["the same IPv6 address, fd00::2"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"fd00::2\"\ngateway6 = \"::1\"\n",
        at: "4:12",
        says: &["::1 is not a unicast address"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[sandbox]\naddress6 = \"10.0.0.1\"\ngateway6 = \"fd00::1\"\n",
        at: "3:12",
        says: &["10.0.0.1 is not an IPv6 address", "like \"2001:db8::10\""],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_flows_v6 = 16777217\n",
        at: "3:16",
        says: &["16777217 is out of range", "from 1024 to 16777216"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_half_open = 63\n",
        at: "3:17",
        says: &["63 is out of range", "from 64 to 16777216"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_flows = 1024\nmax_half_open = 1025\n",
        at: "4:17",
        says: &["max_half_open is 1025, but only 1024 flows fit (max_flows)", "from 64 to 1024"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_half_open_v6 = 524289\n",
        at: "3:20",
        says: &["only 524288 flows fit (max_flows_v6)"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\n[dataplane]\nmax_flows = 1000\n",
        at: "3:13",
        says: &["1000 is out of range", "from 1024 to 16777216"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\ndataplane.hash_key = \"0011\"\n",
        at: "2:22",
        says: &["hash_key", "32 hex digits"],
    },
    Mistake {
        replace: "version = 1\n",
        by: "version = 1\ndataplane.pin_dir = \"weir\"\n",
        at: "2:21",
        says: &["\"weir\" is not an absolute path"],
    },
    Mistake {
        replace: "[[uplink]]\ninterface = \"eth0\"\nvpc = \"prod\"\n",
        by: "",
        at: "23:7",
        says: &["VPC \"prod\" has no uplink", "add an [[uplink]] with `vpc = \"prod\"`"],
    },
    Mistake { replace: "[[vpc]]", by: "[vpc]", at: "3:1", says: &["a list of tables is wanted", "[[vpc]]"] },
];

#[test]
fn every_mistake_is_shown_at_its_place_with_the_value_and_what_to_write() {
    for mistake in MISTAKES {
        assert!(SMALL.contains(mistake.replace), "{:?} is not in the file", mistake.replace);
        let text = SMALL.replacen(mistake.replace, mistake.by, 1);
        let invalid = document(&text).parse().expect_err(mistake.by);
        let shown = invalid.rendered();
        let place = format!("weir.toml:{}: ", mistake.at);
        assert!(invalid.summary().starts_with(&place), "{place} in {}\n{shown}", invalid.summary());
        assert!(shown.contains(&format!("[weir.toml:{}]", mistake.at)), "{}\n{shown}", mistake.at);
        let words = shown.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        for said in mistake.says {
            assert!(words.contains(said), "{said:?} is missing from\n{shown}");
        }
    }
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
    let other_protocol = text.replacen("protocol = \"tcp\"", "protocol = \"udp\"", 1);
    config(&other_protocol);
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
