//! Who may call what a sandbox serves: by the group of a caller that is a sandbox, by address and protocol of others.

use std::net::SocketAddr;

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::connectors::{BOTH, Connector, connected, outwards};
use weir_netns_tests::error::{Error, Tested};
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6::{self, CLIENT6, SANDBOX6, VIP6, vip6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::probes::{Kind, Probe};
use weir_netns_tests::security::{Far, Rule, beside, blocked, group};
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::topology::{CLIENT, SANDBOX, Testbed, VIP, vip};

use crate::Attempt::{Tcp, Udp};
use crate::were_blocked;

/// Where whoever is not let in says something from.
const PORT: u16 = 40_000;

fn config(bed: &Testbed, hook: Hook) -> Config {
    let all = Rule::everything();
    let who_may = [
        Rule::of("all", Far::Group("callers")),
        // The port is the one that the sandbox serves on, not the VIP's.
        Rule::of("tcp", Far::Cidr("10.0.1.0/24")).ports(ECHO_PORT),
        Rule::of("udp", Far::Cidr("2001:db8:1::/64")).ports(ECHO_PORT),
    ];
    let more = [
        group("callers", &all, &[]),
        group("served", &[], &who_may),
        group("strangers", &all, &all),
        beside(bed, ["acme", "serving"], 2..=2, &["served"]),
        beside(bed, ["acme", "strange"], 3..=3, &["strangers"]),
    ];
    let both = Service { protocol: Protocol::TcpUdp, ..Service::echo(2..=2) };
    let connector = Connector::of(1..=1, BOTH).with("security_groups", "[\"callers\"]");
    Config {
        services: vec![both.clone(), both.on_ipv6("echo6")],
        more: more.concat(),
        ..outwards(hook, connector)
    }
}

#[test]
fn who_is_in_a_group_or_has_an_address_that_a_rule_names_is_let_in_by_an_xdp_uplink() -> Tested {
    rules_decide("sg-in-xdp", Hook::Xdp)
}

#[test]
fn who_is_in_a_group_or_has_an_address_that_a_rule_names_is_let_in_by_a_tc_uplink() -> Tested {
    rules_decide("sg-in-tc", Hook::Tc)
}

fn rules_decide(name: &'static str, hook: Hook) -> Tested {
    let nobody = outwards(hook, Connector::of(1..=1, BOTH));
    let (mut bed, mut weir, _) = connected(name, 3, &nobody)?;
    ipv6::serve_echo(&mut bed)?;
    weir.reconfigure(&bed, &config(&bed, hook))?;
    let enis = weir_netns_tests::connectors::active(&weir)?;
    assert_eq!(enis.iter().filter(|eni| !eni.addresses.is_empty()).count(), 3, "{enis:#?}");
    let [caller, server, stranger] = [0, 1, 2].map(|it| &bed.sandboxes[it].netns);
    server.set_offload("eth0", "tx", false)?;

    for let_in in [Tcp(vip(7)), Udp(vip(7)), Tcp(vip6(7)), Udp(vip6(7))] {
        let_in.must_work(caller)?;
    }
    Tcp(vip(7)).must_work(&bed.client)?;
    Udp(vip6(7)).must_work(&bed.client)?;
    assert_eq!(blocked(&weir)?["served"], [0, 0]);

    let (to_client, to_stranger) = (Capture::start(&bed.client, "c0")?, Capture::start(stranger, "eth0")?);
    let ends = [(SANDBOX.into(), vip(7)), (SANDBOX6.into(), vip6(7))];
    for (from, to) in ends.map(|(from, to): (std::net::IpAddr, _)| (SocketAddr::new(from, PORT), to)) {
        say(stranger, Kind::Syn, from, to)?;
        say(stranger, Kind::Udp, from, to)?;
    }
    say(&bed.client, Kind::Udp, (CLIENT, PORT).into(), vip(7))?;
    say(&bed.client, Kind::Syn, (CLIENT6, PORT).into(), vip6(7))?;

    were_blocked(&weir, "served", [0, 6])?;
    for (who, frames) in [("client", to_client.stop()), ("stranger", to_stranger.stop())] {
        let heard = senders(&frames);
        assert!(!heard.contains(&VIP.into()) && !heard.contains(&VIP6.into()), "the {who} heard {heard:?}");
    }
    assert_eq!((blocked(&weir)?["callers"], blocked(&weir)?["strangers"]), ([0, 0], [0, 0]));
    Ok(bed.finish(weir)?)
}

/// Says something that nobody is to answer.
fn say(by: &Netns, kind: Kind, from: SocketAddr, to: SocketAddr) -> Result<(), Error> {
    Probe { kind, from, to }.send(by)
}
