//! Whom a sandbox may call: by protocol, ports, addresses of both families, prefix lists, and types of ICMP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, NEIGHBOUR, NEIGHBOUR6, connected, outwards};
use weir_netns_tests::error::Tested;
use weir_netns_tests::ipv6::CLIENT6;
use weir_netns_tests::security::{Far, Rule, blocked, group, prefix_list};
use weir_netns_tests::topology::CLIENT;
use weir_path::Reason;

use crate::Attempt::{self, Ping, Tcp, Udp};
use crate::serve;

/// Before, at both ends of, and behind what a rule allows.
const PORTS: [u16; 4] = [7099, 7100, 7199, 7200];

fn config(hook: Hook) -> Config {
    let rules = [
        Rule::of("tcp", Far::Cidr("10.0.1.0/24")).ports("7100-7199"),
        Rule::of("udp", Far::Cidr("10.0.1.2/32")).ports(7200),
        Rule::of("tcp", Far::List("offices")).ports(7200),
        Rule::of("icmp", Far::Cidr("10.0.1.0/24")).kind(8),
        Rule::of("icmp", Far::Cidr("192.0.2.0/24")).kind(13),
        Rule::of("icmpv6", Far::Cidr("2001:db8:2::77/128")).kind(128),
        Rule::of("icmpv6", Far::Cidr("2001:db8:1::/64")).kind(129),
    ];
    // Who may be called and who may call are two things.
    let inbound = Rule::everything();
    let offices = prefix_list("offices", &["192.0.2.64/26", "2001:db8:1::/64"]);
    let more = offices + &group("web", &rules, &inbound);
    Config { more, ..outwards(hook, Connector::of(1..=1, BOTH).with("security_groups", "[\"web\"]")) }
}

fn v4(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

fn v6(address: Ipv6Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

/// What the rules allow.
fn allowed() -> Vec<Attempt> {
    vec![
        Tcp(v4(CLIENT, 7100)),
        Tcp(v4(CLIENT, 7199)),
        Udp(v4(CLIENT, 7200)),
        Tcp(v4(NEIGHBOUR, 7200)),
        Tcp(v6(CLIENT6, 7200)),
        Ping(IpAddr::V4(CLIENT)),
        Ping(IpAddr::V6(NEIGHBOUR6)),
    ]
}

/// What each of them allows almost.
fn not_allowed() -> Vec<Attempt> {
    vec![
        Tcp(v4(CLIENT, 7099)),
        Tcp(v4(CLIENT, 7200)),
        Udp(v4(CLIENT, 7100)),
        Tcp(v4(NEIGHBOUR, 7100)),
        Udp(v4(NEIGHBOUR, 7200)),
        Tcp(v6(CLIENT6, 7100)),
        Udp(v6(CLIENT6, 7200)),
        Tcp(v6(NEIGHBOUR6, 7200)),
        Ping(IpAddr::V4(NEIGHBOUR)),
        Ping(IpAddr::V6(CLIENT6)),
    ]
}

#[test]
fn a_sandbox_reaches_whom_a_rule_names_and_is_told_at_once_of_all_others_by_an_xdp_uplink() -> Tested {
    rules_decide("sg-out-xdp", Hook::Xdp)
}

#[test]
fn a_sandbox_reaches_whom_a_rule_names_and_is_told_at_once_of_all_others_by_a_tc_uplink() -> Tested {
    rules_decide("sg-out-tc", Hook::Tc)
}

fn rules_decide(name: &'static str, hook: Hook) -> Tested {
    let (mut bed, weir, _) = connected(name, 1, &config(hook))?;
    serve(&mut bed, |bed| &bed.client, &PORTS.map(|port| v4(CLIENT, port)))?;
    serve(&mut bed, |bed| &bed.client, &PORTS.map(|port| v6(CLIENT6, port)))?;
    serve(&mut bed, |bed| &bed.router, &PORTS.map(|port| v4(NEIGHBOUR, port)))?;
    serve(&mut bed, |bed| &bed.router, &PORTS.map(|port| v6(NEIGHBOUR6, port)))?;
    let sandbox = &bed.sandboxes[0].netns;
    sandbox.set_offload("eth0", "tx", false)?;

    for attempt in allowed() {
        attempt.must_work(sandbox)?;
    }
    assert_eq!(blocked(&weir)?["web"], [0, 0]);
    for attempt in not_allowed() {
        attempt.must_be_blocked(sandbox)?;
    }

    let refused = not_allowed().len() as u64;
    assert_eq!(blocked(&weir)?["web"], [refused, 0]);
    assert_eq!(weir.counters()?.of(Reason::AnsweredBlockedOut), refused, "{:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}
