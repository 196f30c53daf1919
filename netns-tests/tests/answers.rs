//! What Weir answers itself, and what it lets sandboxes answer, by both families and on both hooks.
//!
//! ```text
//!   client ─────── router ──────── [XDP | TC] host [TC] ─┬─ sb1   nginx, echo
//!   10.0.1.2       10.0.1.1         VIP 198.51.100.10    └─ sb2   nobody listens
//!   2001:db8:1::2  2001:db8:1::1    VIP 2001:db8:100::10
//!                     tx off        own 192.0.2.5, 2001:db8:2::5
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{ANY_PORT, Config, Hook, Protocol, Service};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, CLIENT_GATEWAY6, CLIENT6, GATEWAY6, OWN6, VIP6};
use weir_netns_tests::load;
use weir_netns_tests::talk::{refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::tools::{ping, traceroute};
use weir_netns_tests::topology::{CLIENT, GATEWAY, OWN, ROUTER_DEVICE, Testbed, UPLINK, VIP};
use weir_path::Reason;

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];

/// A service of both families.
fn both(service: &Service, name6: &'static str) -> [Service; 2] {
    [service.clone(), service.clone().on_ipv6(name6)]
}

/// All ports, TCP and UDP, of sandboxes that listen on none.
fn nobody() -> [Service; 2] {
    let all = Service::tcp("all", ANY_PORT, ANY_PORT, 1..=1);
    both(&Service { protocol: Protocol::TcpUdp, ..all }, "all6")
}

/// How the neighbour with an address is known in the router.
fn neighbour(bed: &Testbed, address: impl Display) -> Result<String, Failure> {
    Ok(bed.router.ip(&["neigh", "show", &address.to_string(), "dev", ROUTER_DEVICE])?)
}

#[test]
fn a_page_is_fetched_from_an_xdp_uplink_that_the_router_found_by_arp_and_ndp() -> Tested {
    page_is_fetched("found-xdp", Hook::Xdp)
}

#[test]
fn a_page_is_fetched_from_a_tc_uplink_that_the_router_found_by_arp_and_ndp() -> Tested {
    page_is_fetched("found-tc", Hook::Tc)
}

fn page_is_fetched(name: &'static str, hook: Hook) -> Tested {
    let mut bed = ipv6::dual(name, 1)?;
    bed.serve_http()?;
    let weir = bed.weir(&Config::new(hook, both(&Service::web(1..=1), "web6")))?;
    let mac = bed.host.mac(UPLINK)?;

    for (vip, url) in [(VIPS[0], VIP.to_string()), (VIPS[1], format!("[{VIP6}]"))] {
        // The announcement at the start is not what is tried here.
        bed.router.ip(&["neigh", "flush", "all"])?;
        let tally = load::requests(&bed.client, url, 1)?;
        assert_eq!(tally.failed(), 0, "{tally:?}");
        let known = neighbour(&bed, vip)?;
        assert!(known.contains(&mac) && !known.contains("PERMANENT"), "{vip}: {known}");
    }
    let counters = weir.counters()?;
    assert!(counters.of(Reason::AnsweredArp) >= 2, "of the router and the sandbox: {counters:#?}");
    assert!(counters.of(Reason::AnsweredNdp) >= 2, "of the router and the sandbox: {counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn pings_of_both_families_are_answered_for_vips_and_gateways_on_an_xdp_uplink() -> Tested {
    pings_are_answered("echo-xdp", Hook::Xdp)
}

#[test]
fn pings_of_both_families_are_answered_for_vips_and_gateways_on_a_tc_uplink() -> Tested {
    pings_are_answered("echo-tc", Hook::Tc)
}

fn pings_are_answered(name: &'static str, hook: Hook) -> Tested {
    let bed = ipv6::dual(name, 1)?;
    let config = Config::new(hook, both(&Service::web(1..=1), "web6")).with_own_addresses();
    let weir = bed.weir(&config)?;
    let from_weir = Capture::start(&bed.router, ROUTER_DEVICE)?;

    let (client, sandbox) = (&bed.client, &bed.sandboxes[0].netns);
    let asked: [(_, IpAddr); 6] = [
        (client, VIP.into()),
        (client, VIP6.into()),
        (client, OWN.into()),
        (client, OWN6.into()),
        (sandbox, GATEWAY.into()),
        (sandbox, GATEWAY6.into()),
    ];
    for (from, to) in asked {
        for bytes in [0, 57, 1400] {
            let said = ping(from, to, bytes)?;
            assert!(said.is_well, "{bytes} bytes from {}: {}", from.name(), said.text);
        }
    }

    assert_eq!(weir.counters()?.of(Reason::AnsweredEcho), 6 * 3 * 3);
    let verdicts = Verdicts::of(&from_weir.stop());
    assert_eq!((verdicts.icmp, verdicts.wrong), (4 * 3 * 3, vec![]));
    Ok(bed.finish(weir)?)
}

#[test]
fn whoever_asks_a_listener_without_targets_on_an_xdp_uplink_is_refused_at_once() -> Tested {
    without_targets_is_refused("empty-xdp", Hook::Xdp)
}

#[test]
fn whoever_asks_a_listener_without_targets_on_a_tc_uplink_is_refused_at_once() -> Tested {
    without_targets_is_refused("empty-tc", Hook::Tc)
}

fn without_targets_is_refused(name: &'static str, hook: Hook) -> Tested {
    let bed = ipv6::dual(name, 1)?;
    let nobody = nobody().map(Service::of_nobody);
    let weir = bed.weir(&Config::new(hook, nobody).with_own_addresses())?;

    for to in VIPS.map(|vip| SocketAddr::new(vip, 80)) {
        assert_eq!(refusal_by_tcp(&bed.client, to)?, Some(ErrorKind::ConnectionRefused), "TCP {to}");
        assert_eq!(refusal_by_udp(&bed.client, to)?, Some(ErrorKind::ConnectionRefused), "UDP {to}");
    }

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredNoTarget), 4, "each one packet, each told: {counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandboxs_own_refusal_reaches_the_client_by_an_xdp_uplink() -> Tested {
    refusal_is_relayed("closed-xdp", Hook::Xdp)
}

#[test]
fn a_sandboxs_own_refusal_reaches_the_client_by_a_tc_uplink() -> Tested {
    refusal_is_relayed("closed-tc", Hook::Tc)
}

fn refusal_is_relayed(name: &'static str, hook: Hook) -> Tested {
    let bed = ipv6::dual(name, 1)?;
    let weir = bed.weir(&Config::new(hook, nobody()))?;
    let from_weir = Capture::start(&bed.router, ROUTER_DEVICE)?;

    for to in VIPS.map(|vip| SocketAddr::new(vip, 9)) {
        assert_eq!(refusal_by_udp(&bed.client, to)?, Some(ErrorKind::ConnectionRefused), "UDP {to}");
        assert_eq!(refusal_by_tcp(&bed.client, to)?, Some(ErrorKind::ConnectionRefused), "TCP {to}");
    }

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::ErrorToWire), 2, "one of each family: {counters:#?}");
    let verdicts = Verdicts::of(&from_weir.stop());
    assert_eq!((verdicts.icmp, verdicts.tcp, verdicts.wrong), (2, 2, vec![]));
    Ok(bed.finish(weir)?)
}

#[test]
fn weir_is_a_hop_with_its_own_address_on_the_way_to_a_vip_of_an_xdp_uplink() -> Tested {
    is_a_hop("hop-xdp", Hook::Xdp)
}

#[test]
fn weir_is_a_hop_with_its_own_address_on_the_way_to_a_vip_of_a_tc_uplink() -> Tested {
    is_a_hop("hop-tc", Hook::Tc)
}

fn is_a_hop(name: &'static str, hook: Hook) -> Tested {
    let bed = ipv6::dual(name, 1)?;
    let weir = bed.weir(&Config::new(hook, nobody()).with_own_addresses())?;
    let from_weir = Capture::start(&bed.router, ROUTER_DEVICE)?;

    for how in [&["-U", "-p", "7"][..], &["-T", "-p", "80"]] {
        let hops = traceroute(&bed.client, how, VIP)?;
        assert_eq!(hops, ["10.0.1.1".to_owned(), OWN.to_string(), VIP.to_string()], "{how:?}");
        let hops = traceroute(&bed.client, how, VIP6)?;
        assert_eq!(hops, [CLIENT_GATEWAY6, OWN6, VIP6].map(|hop| hop.to_string()), "{how:?}");
    }

    assert_eq!(Verdicts::of(&from_weir.stop()).wrong, Vec::<String>::new());
    // Some of what `traceroute` sends at once comes after it has seen enough.
    assert!(weir.counters()?.of(Reason::AnsweredTtlExpired) >= 4);
    Ok(bed.finish(weir)?)
}

#[test]
fn the_first_hop_from_a_sandbox_is_its_gateway_which_lets_nothing_out() -> Tested {
    let bed = ipv6::dual("out", 1)?;
    let weir = bed.weir(&Config::new(Hook::Xdp, both(&Service::web(1..=1), "web6")))?;

    let sandbox = &bed.sandboxes[0].netns;
    let to: [(IpAddr, IpAddr); 2] = [(CLIENT.into(), GATEWAY.into()), (CLIENT6.into(), GATEWAY6.into())];
    for (client, gateway) in to {
        let hops = traceroute(sandbox, &["-U", "-p", "7"], client)?;
        assert_eq!(hops, [gateway.to_string(), format!("{gateway} !X")]);
    }
    Ok(bed.finish(weir)?)
}
