//! Checksums on a wire without offload, both ways, by an independent checker.
//!
//! ```text
//!             tx off     tx off, gro                      tx on: its checksums are partial,
//!   client ── router ◄─────────────── [XDP | TC] host [TC] ◄─────── sb1          as of any local socket
//!                      caught here                    ───────► caught here
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::net::SocketAddrV4;

use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::error::Tested;
use weir_netns_tests::load;
use weir_netns_tests::process::output;
use weir_netns_tests::raw::Segment;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::topology::{CLIENT, ROUTER_DEVICE, Topology, VIP, vip};

#[test]
fn every_checksum_is_right_on_the_wire_of_an_xdp_uplink() -> Tested {
    every_checksum_is_right("wire-xdp", Hook::Xdp)
}

#[test]
fn every_checksum_is_right_on_the_wire_of_a_tc_uplink() -> Tested {
    every_checksum_is_right("wire-tc", Hook::Tc)
}

fn every_checksum_is_right(name: &'static str, hook: Hook) -> Tested {
    let mut bed = Topology { name, sandboxes: 1 }.build()?;
    bed.serve_http()?;
    bed.serve_echo()?;
    let services = [Service::web(1..=1), Service::echo(1..=1), Service::echo_udp(1..=1)];
    let weir = bed.weir(&Config::new(hook, services))?;
    let from_weir = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let to_sandbox = Capture::start(&bed.sandboxes[0].netns, "eth0")?;

    output(bed.client.command("ping").args([
        "-n",
        "-c",
        "3",
        "-i",
        "0.05",
        "-W",
        "2",
        "-s",
        "57",
        &VIP.to_string(),
    ]))?;
    assert_eq!(load::requests(&bed.client, VIP, 20)?.failed(), 0);
    for len in 1..50_u8 {
        let words: Vec<u8> = (0..len).collect();
        assert_eq!(ask_by_udp(&bed.client, vip(7), &words)?, words);
    }
    let words: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_be_bytes).collect();
    assert!(Conversation::begin(&bed.client, vip(7))?.exchange_bulk(&words)?);
    let (from, to) = (SocketAddrV4::new(CLIENT, 40_000), SocketAddrV4::new(VIP, 80));
    Segment { from, to, sequence: 7, acknowledges: Some(8) }.send(&bed.client)?;
    output(bed.client.command("ping").args(["-n", "-c", "1", "-W", "2", &VIP.to_string()]))?;

    let wire = Verdicts::of(&from_weir.stop());
    assert_eq!(wire.wrong, Vec::<String>::new());
    assert!(wire.icmp == 4 && wire.udp == 49 && wire.tcp > 20 * 4, "{wire:?}");
    let sandbox = Verdicts::of(&to_sandbox.stop());
    assert_eq!(sandbox.wrong, Vec::<String>::new());
    assert!(sandbox.udp == 49 && sandbox.tcp > 20 * 4, "{sandbox:?}");
    Ok(bed.finish(weir)?)
}
