//! IPv6 through a VIP, end to end, on wires without checksum offload. The rest of the machine's IPv4 goes on
//! beside it.
//!
//! ```text
//!   client ─────────── router ◄──── tx off ──── [XDP | TC] host [TC] ──── sb1, sb2: fd57:4549:52::2
//!   2001:db8:1::2      caught here   VIP: 2001:db8:100::10      caught here   nginx :8080, echo :7007
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::collections::BTreeSet;

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::counters::{snmp, snmp6};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, VIP6, vip6};
use weir_netns_tests::load;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::topology::{ROUTER_DEVICE, Testbed, VIP, vip};
use weir_path::Reason;

const REQUESTS: u32 = 200;

/// A testbed with both sets of addresses, and servers that listen on both.
fn dual(name: &'static str, sandboxes: usize) -> Result<Testbed, Failure> {
    let mut bed = ipv6::dual(name, sandboxes)?;
    bed.serve_http()?;
    ipv6::serve_echo(&mut bed)?;
    Ok(bed)
}

fn services(sandboxes: usize) -> Vec<Service> {
    vec![
        Service::web(1..=sandboxes).on_ipv6("web6"),
        Service::echo(1..=sandboxes).on_ipv6("echo6"),
        Service::echo_udp(1..=sandboxes).on_ipv6("echo-udp6"),
        Service::web(1..=sandboxes),
        Service::echo_udp(1..=sandboxes),
    ]
}

#[test]
fn requests_by_ipv6_through_an_xdp_uplink_are_served_by_every_sandbox() -> Tested {
    requests_are_served("six-xdp", Hook::Xdp)
}

#[test]
fn requests_by_ipv6_through_a_tc_uplink_are_served_by_every_sandbox() -> Tested {
    requests_are_served("six-tc", Hook::Tc)
}

fn requests_are_served(name: &'static str, hook: Hook) -> Tested {
    let bed = dual(name, 2)?;
    let weir = bed.weir(&Config::new(hook, services(2)))?;

    for address in [format!("[{VIP6}]"), VIP.to_string()] {
        let tally = load::requests(&bed.client, &address, REQUESTS)?;
        let served: BTreeSet<_> = tally.served.keys().map(String::as_str).collect();
        assert_eq!(tally.failed(), 0, "{address}: {tally:?}");
        assert_eq!(served, BTreeSet::from(["sandbox-1", "sandbox-2"]), "{address}");
    }

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::Opened), u64::from(2 * REQUESTS), "{counters:#?}");
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn every_checksum_of_ipv6_is_right_on_the_wire_of_an_xdp_uplink() -> Tested {
    every_checksum_is_right("six-wire-xdp", Hook::Xdp)
}

#[test]
fn every_checksum_of_ipv6_is_right_on_the_wire_of_a_tc_uplink() -> Tested {
    every_checksum_is_right("six-wire-tc", Hook::Tc)
}

fn every_checksum_is_right(name: &'static str, hook: Hook) -> Tested {
    let bed = dual(name, 1)?;
    let weir = bed.weir(&Config::new(hook, services(1)))?;
    let from_weir = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let to_sandbox = Capture::start(&bed.sandboxes[0].netns, "eth0")?;

    assert_eq!(load::requests(&bed.client, format!("[{VIP6}]"), 20)?.failed(), 0);
    for len in 1..50_u8 {
        let words: Vec<u8> = (0..len).collect();
        assert_eq!(ask_by_udp(&bed.client, vip6(7), &words)?, words);
    }
    // More than any buffer holds, so that segments are merged and cut on the way.
    let words: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_be_bytes).collect();
    assert!(Conversation::begin(&bed.client, vip6(7))?.exchange_bulk(&words)?);

    for (whose, capture) in [("the wire", from_weir), ("the sandbox", to_sandbox)] {
        let verdicts = Verdicts::of(&capture.stop());
        assert_eq!(verdicts.wrong, Vec::<String>::new(), "on {whose}");
        assert!(verdicts.udp == 49 && verdicts.tcp > 20 * 4, "on {whose}: {verdicts:?}");
    }
    for netns in [&bed.client, &bed.sandboxes[0].netns] {
        assert_eq!(snmp(netns, "Tcp", "InCsumErrors")?, 0, "in {}", netns.name());
        assert_eq!(snmp6(netns, "Udp6InCsumErrors")?, 0, "in {}", netns.name());
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_sees_the_clients_own_ipv6_address() -> Tested {
    let bed = dual("six-client", 1)?;
    let weir = bed.weir(&Config::new(Hook::Xdp, services(1)))?;

    let mut conversation = Conversation::begin(&bed.client, vip6(7))?;
    assert!(conversation.exchange(b"hello")?);
    let here = conversation.local_address()?;

    let seen = weir_netns_tests::process::output(bed.sandboxes[0].netns.command("ss").args([
        "-Htn6",
        "state",
        "established",
    ]))?;
    assert!(seen.contains(&here.to_string()), "{here}: {seen}");
    // IPv4 from the same port number is another flow.
    assert_eq!(ask_by_udp(&bed.client, vip(7), b"four")?, b"four");
    drop(conversation);
    Ok(bed.finish(weir)?)
}
