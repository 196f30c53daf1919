//! What a sandbox cannot do. The host forwards and has a default route, so that a leak would really leave.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   tries
//!      caught here       ip_forward = 1  └─ sb2
//! ```

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};

use etherparse::SlicedPacket;
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::counters::received;
use weir_netns_tests::error::Tested;
use weir_netns_tests::raw::Segment;
use weir_netns_tests::topology::{CLIENT, GATEWAY, GATEWAY_MAC, HOST, SANDBOX, Testbed, Topology, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

fn with_two_sandboxes(name: &'static str) -> Result<(Testbed, Weir), weir_netns_tests::error::Failure> {
    let bed = Topology { name, sandboxes: 2 }.build()?;
    let weir = bed.weir(&Config::new(Hook::Xdp, [Service::web(1..=2)]))?;
    Ok((bed, weir))
}

/// IPv4 senders of frames that came over the wire.
fn senders(frames: &[Vec<u8>]) -> Vec<Ipv4Addr> {
    let sender = |frame: &Vec<u8>| {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        Some(packet.net.as_ref()?.ipv4_ref()?.header().source_addr())
    };
    frames.iter().filter_map(sender).collect()
}

#[test]
fn without_weir_a_sandboxs_packet_would_really_leave() -> Tested {
    let bed = Topology { name: "leak", sandboxes: 1 }.build()?;
    let sandbox = &bed.sandboxes[0].netns;
    sandbox.ip(&["neigh", "replace", &GATEWAY.to_string(), "lladdr", GATEWAY_MAC, "dev", "eth0"])?;
    let capture = Capture::start(&bed.client, "c0")?;

    let from = SocketAddrV4::new(SANDBOX, 1234);
    Segment { from, to: SocketAddrV4::new(CLIENT, 9), sequence: 1, acknowledges: None }.send(sandbox)?;
    // Neighbours are resolved on the way, so it takes a moment.
    until("the segment at the client", PATIENCE, String::new, || {
        Ok((received(&bed.client, "c0")? >= 2).then_some(()))
    })?;

    assert!(senders(&capture.stop()).contains(&SANDBOX));
    Ok(bed.finish_without_weir()?)
}

#[test]
fn a_sandbox_cannot_connect_to_the_outside() -> Tested {
    let (bed, weir) = with_two_sandboxes("outside")?;
    let capture = Capture::start(&bed.client, "c0")?;

    for to in [CLIENT, HOST] {
        let to = SocketAddr::from((to, 9));
        let attempt = move || TcpStream::connect_timeout(&to, PATIENCE).map(drop);
        let refused = bed.sandboxes[0].netns.enter(attempt)?.map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "at once, not after some tries");
        let datagram = move || UdpSocket::bind("0.0.0.0:0")?.send_to(b"out", to);
        bed.sandboxes[0].netns.enter(datagram)??;
    }

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredNotAllowedOut), 4, "two SYNs and two datagrams: {counters:#?}");
    assert_eq!(senders(&capture.stop()), Vec::<Ipv4Addr>::new());
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_cannot_send_from_an_address_that_is_not_its_own() -> Tested {
    let (bed, weir) = with_two_sandboxes("spoof")?;
    let capture = Capture::start(&bed.client, "c0")?;
    let to = SocketAddrV4::new(CLIENT, 9);

    for claimed in [Ipv4Addr::new(169, 254, 100, 9), VIP, HOST] {
        let from = SocketAddrV4::new(claimed, 1234);
        Segment { from, to, sequence: 1, acknowledges: None }.send(&bed.sandboxes[0].netns)?;
    }
    // A refusal that is waited for: the segments went before it.
    let own = SocketAddrV4::new(SANDBOX, 1234);
    Segment { from: own, to, sequence: 1, acknowledges: None }.send(&bed.sandboxes[0].netns)?;

    let counters = weir.counters()?;
    assert_eq!(
        (counters.of(Reason::SpoofedSource), counters.of(Reason::AnsweredNotAllowedOut)),
        (3, 1),
        "{counters:#?}"
    );
    assert_eq!(senders(&capture.stop()), Vec::<Ipv4Addr>::new());
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_with_another_mac_is_refused() -> Tested {
    let (bed, weir) = with_two_sandboxes("mac")?;
    let sandbox = &bed.sandboxes[0].netns;
    sandbox.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:99"])?;
    sandbox.ip(&["neigh", "replace", &GATEWAY.to_string(), "lladdr", GATEWAY_MAC, "dev", "eth0"])?;
    let capture = Capture::start(&bed.client, "c0")?;

    let from = SocketAddrV4::new(SANDBOX, 1234);
    let to = SocketAddrV4::new(CLIENT, 9);
    Segment { from, to, sequence: 1, acknowledges: None }.send(sandbox)?;

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::SpoofedSource), 1, "{counters:#?}");
    assert_eq!(senders(&capture.stop()), Vec::<Ipv4Addr>::new());
    Ok(bed.finish(weir)?)
}

#[test]
fn one_sandbox_cannot_reach_another() -> Tested {
    let (bed, weir) = with_two_sandboxes("neighbour")?;
    // Both have the same address, so the other one can only be reached by what the host would forward.
    let capture = Capture::start(&bed.sandboxes[1].netns, "eth0")?;

    let from = SocketAddrV4::new(SANDBOX, 1234);
    let to = SocketAddrV4::new(VIP, 80);
    Segment { from, to, sequence: 1, acknowledges: None }.send(&bed.sandboxes[0].netns)?;

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::AnsweredNotAllowedOut), 1, "{counters:#?}");
    assert_eq!(senders(&capture.stop()), Vec::<Ipv4Addr>::new());
    Ok(bed.finish(weir)?)
}
