//! What Weir answers for, and what it leaves alone: the host's own traffic must not notice it.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ── sb1
//!   10.0.1.2           192.0.2.2            behind the VIP 198.51.100.10
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Output;

use etherparse::{SlicedPacket, TransportSlice};
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::raw::Segment;
use weir_netns_tests::servers::Echo;
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{CLIENT, GATEWAY, HOST, Topology, VIP, vip};
use weir_path::Reason;

/// Where the host itself listens, like an SSH server.
const HOST_PORT: u16 = 22;

fn ping(from: &Netns, to: Ipv4Addr) -> Result<Output, Failure> {
    Ok(from.command("ping").args(["-n", "-c", "3", "-i", "0.05", "-W", "2", &to.to_string()]).output()?)
}

#[test]
fn a_ping_to_the_vip_is_answered_by_weir_and_one_to_the_host_by_the_host() -> Tested {
    let bed = Topology { name: "ping", sandboxes: 1 }.build()?;
    let weir = bed.weir(&Config::new(Hook::Xdp, [Service::web(1..=1)]))?;

    assert!(ping(&bed.client, VIP)?.status.success());
    assert!(ping(&bed.client, HOST)?.status.success());

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredEcho), 3, "the VIP's three alone: {counters:#?}");
    assert!(counters.of(Reason::OtherAddress) >= 3, "the host's three were passed: {counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_ping_to_the_vip_is_answered_on_a_tc_uplink_too() -> Tested {
    let bed = Topology { name: "ping-tc", sandboxes: 1 }.build()?;
    let weir = bed.weir(&Config::new(Hook::Tc, [Service::web(1..=1)]))?;

    assert!(ping(&bed.client, VIP)?.status.success());

    assert_eq!(weir.counters()?.of(Reason::AnsweredEcho), 3);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_reaches_its_gateway_and_nothing_answers_for_other_addresses() -> Tested {
    let bed = Topology { name: "gateway", sandboxes: 1 }.build()?;
    let weir = bed.weir(&Config::new(Hook::Xdp, [Service::web(1..=1)]))?;

    assert!(ping(&bed.sandboxes[0].netns, GATEWAY)?.status.success());
    assert!(
        !ping(&bed.client, Ipv4Addr::new(198, 51, 100, 99))?.status.success(),
        "no listener has this address"
    );

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredEcho), 3, "{counters:#?}");
    assert_eq!(counters.of(Reason::AnsweredArp), 1, "for the gateway alone: {counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_connection_to_the_host_itself_survives_attaching_and_releasing() -> Tested {
    for (name, hook) in [("own-xdp", Hook::Xdp), ("own-tc", Hook::Tc)] {
        let mut bed = Topology { name, sandboxes: 1 }.build()?;
        let server = Echo::tcp(&bed.host, HOST_PORT)?;
        bed.keep(server);
        let mut session = Conversation::begin(&bed.client, (HOST, HOST_PORT).into())?;
        assert!(session.exchange(b"before")?);

        let weir = bed.weir(&Config::new(hook, [Service::web(1..=1)]))?;
        assert!(session.exchange(b"attached")?, "{hook:?}");
        weir.release()?;
        assert!(session.exchange(b"after")?, "{hook:?}");

        bed.finish_without_weir()?;
    }
    Ok(())
}

#[test]
fn a_segment_of_no_known_connection_is_answered_with_a_reset_on_an_xdp_uplink() -> Tested {
    stray_segment_is_reset("reset-xdp", Hook::Xdp)
}

#[test]
fn a_segment_of_no_known_connection_is_answered_with_a_reset_on_a_tc_uplink() -> Tested {
    stray_segment_is_reset("reset-tc", Hook::Tc)
}

fn stray_segment_is_reset(name: &'static str, hook: Hook) -> Tested {
    const ACKNOWLEDGED: u32 = 0x1234_5678;
    let bed = Topology { name, sandboxes: 1 }.build()?;
    let weir = bed.weir(&Config::new(hook, [Service::web(1..=1)]))?;
    // Ping first, so that no segment waits for an ARP answer.
    assert!(ping(&bed.client, VIP)?.status.success());
    let capture = Capture::start(&bed.client, "c0")?;

    let stray = Segment {
        from: SocketAddrV4::new(CLIENT, 40_000),
        to: SocketAddrV4::new(VIP, 80),
        sequence: 7,
        acknowledges: Some(ACKNOWLEDGED),
    };
    stray.send(&bed.client)?;
    // The answers come back in order, so the reset has arrived when these have.
    assert!(ping(&bed.client, VIP)?.status.success());

    let resets: Vec<_> = capture.stop().iter().filter_map(|frame| reset_in(frame)).collect();
    assert_eq!(resets, [(vip(80), ACKNOWLEDGED)]);
    assert_eq!(weir.counters()?.of(Reason::AnsweredReset), 1);
    Ok(bed.finish(weir)?)
}

/// The sender and the sequence number of a TCP reset.
fn reset_in(frame: &[u8]) -> Option<(SocketAddr, u32)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let from: IpAddr = packet.net.as_ref()?.ipv4_ref()?.header().source_addr().into();
    match packet.transport? {
        TransportSlice::Tcp(tcp) if tcp.rst() => {
            Some((SocketAddr::new(from, tcp.source_port()), tcp.sequence_number()))
        }
        _ => None,
    }
}
