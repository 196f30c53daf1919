//! As many rules as there may be: the last one is found, and what it doesn't allow is blocked.

use std::net::SocketAddr;

use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::connectors::{BOTH, Connector, connected, outwards};
use weir_netns_tests::error::Tested;
use weir_netns_tests::ipv6::{self, CLIENT6, vip6};
use weir_netns_tests::probes::{Kind, Probe};
use weir_netns_tests::security::{Far, Rule, blocked, group};
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::topology::{CLIENT, vip};

use crate::Attempt::{Tcp, Udp};
use crate::{serve, were_blocked};

/// As many as a connector may have.
const GROUPS: usize = 5;
/// As many as a group may have, each way.
const RULES: usize = 60;

/// The last rules say who may be called, and who may call: by IPv4 in `allowed[0]`, by IPv6 in `allowed[1]`.
fn groups(allowed: [&str; 2]) -> String {
    let nobody = |n: usize| Rule::of("udp", Far::Cidr(&format!("203.0.113.{}/32", n % 256))).ports(1 + n);
    let all = (0..GROUPS).map(|nth| {
        let mut rules: Vec<_> = (0..RULES).map(|n| nobody(nth * RULES + n)).collect();
        if nth + 1 == GROUPS {
            rules.truncate(RULES - allowed.len());
            rules.extend(allowed.map(|cidr| Rule::of("tcp", Far::Cidr(cidr)).ports("7000-7010")));
        }
        group(&format!("sg{nth}"), &rules, &rules)
    });
    all.collect()
}

fn names() -> Vec<String> {
    (0..GROUPS).map(|nth| format!("sg{nth}")).collect()
}

#[test]
fn the_last_of_three_hundred_rules_is_found_each_way() -> Tested {
    let connector = Connector::of(1..=1, BOTH).with("security_groups", format!("{:?}", names()));
    let both = Service { protocol: Protocol::TcpUdp, ..Service::echo(1..=1) };
    let config = Config {
        services: vec![both.clone(), both.on_ipv6("echo6")],
        more: groups(["10.0.1.0/24", "2001:db8:1::/64"]),
        ..outwards(Hook::Xdp, connector)
    };
    let (mut bed, weir, _) = connected("sg-full", 1, &config)?;
    let other = [(CLIENT, 7011).into(), (CLIENT6, 7011).into()];
    serve(&mut bed, |bed| &bed.client, &other)?;
    ipv6::serve_echo(&mut bed)?;
    let sandbox = &bed.sandboxes[0].netns;

    for to in [SocketAddr::from((CLIENT, ECHO_PORT)), (CLIENT6, ECHO_PORT).into()] {
        Tcp(to).must_work(sandbox)?;
        Udp(to).must_be_blocked(sandbox)?;
    }
    for to in other {
        Tcp(to).must_be_blocked(sandbox)?;
    }
    for (from, to) in [(SocketAddr::from((CLIENT, 40_000)), vip(7)), ((CLIENT6, 40_000).into(), vip6(7))] {
        Tcp(to).must_work(&bed.client)?;
        Probe { kind: Kind::Udp, from, to }.send(&bed.client)?;
    }

    for name in names() {
        were_blocked(&weir, &name, [4, 2])?;
    }
    assert_eq!(blocked(&weir)?.len(), GROUPS);
    Ok(bed.finish(weir)?)
}
