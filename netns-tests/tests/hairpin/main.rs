//! Sandboxes call a VIP that a sandbox serves: a neighbour with the same address and MAC, or the caller itself. Who serves
//! sees the caller's ENI.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ sb1   serves port 7 of the VIP   ┐ call both
//!     calls             VIP, ENI              ├─ sb2   serves port 8 of it        ┘
//!     the VIP                                 └─ sb3   has no connector
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

mod crowd;
mod errors;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use weir_netns_tests::busy::Visits;
use weir_netns_tests::capture::{Capture, Verdicts};
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::connectors::{BOTH, Connector, Eni, active, addresses, outwards};
use weir_netns_tests::counters::{snmp, snmp6};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, vip6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::{Conversation, any_port, ask_by_udp, refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::topology::{Testbed, vip};
use weir_netns_tests::waiting::PATIENCE;
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// What goes each way at once.
const BULK_BYTES: u32 = 1 << 20;

/// The VIP's ports, by both families: the first sandbox serves one, the second one the other.
const SERVED: [u16; 2] = [7, 8];

fn config(hook: Hook) -> Config {
    let both = |name, port, sandbox| Service {
        protocol: Protocol::TcpUdp,
        ..Service::tcp(name, port, ECHO_PORT, sandbox..=sandbox)
    };
    let services = vec![
        both("first", SERVED[0], 1),
        both("first", SERVED[0], 1).on_ipv6("first6"),
        both("second", SERVED[1], 2),
        both("second", SERVED[1], 2).on_ipv6("second6"),
    ];
    Config { services, ..outwards(hook, Connector::of(1..=2, BOTH)) }
}

/// A port of the VIP, by each of its addresses.
fn vips(port: u16) -> [SocketAddr; 2] {
    [vip(port), vip6(port)]
}

fn calling(name: &'static str, hook: Hook) -> Result<(Testbed, Weir, Vec<Eni>), Failure> {
    let bed = ipv6::dual(name, 3)?;
    let weir = bed.weir(&config(hook))?;
    let enis = active(&weir)?;
    Ok((bed, weir, enis))
}

#[test]
fn a_sandbox_reaches_itself_and_its_neighbour_by_a_vip_on_a_host_with_an_xdp_uplink() -> Tested {
    each_reaches_each("hairpin-xdp", Hook::Xdp)
}

#[test]
fn a_sandbox_reaches_itself_and_its_neighbour_by_a_vip_on_a_host_with_a_tc_uplink() -> Tested {
    each_reaches_each("hairpin-tc", Hook::Tc)
}

fn each_reaches_each(name: &'static str, hook: Hook) -> Tested {
    let (mut bed, weir, _) = calling(name, hook)?;
    ipv6::serve_echo(&mut bed)?;
    let sandboxes = [0, 1].map(|it| &bed.sandboxes[it].netns);
    // One leaves its checksums to the device, the other does not.
    sandboxes[1].set_offload("eth0", "tx", false)?;
    let words: Vec<u8> = (0..BULK_BYTES).map(|n| (n % 251) as u8).collect();
    let outside = vips(SERVED[0]).map(|to| Visits::begin(&bed.client, to));

    for caller in sandboxes {
        for to in SERVED.into_iter().flat_map(vips) {
            assert!(Conversation::begin(caller, to)?.exchange_bulk(&words)?, "{to} from {}", caller.name());
            assert_eq!(ask_by_udp(caller, to, b"hello")?, b"hello", "{to} from {}", caller.name());
            assert_eq!(ask_by_udp(caller, to, &words[..4_000])?, &words[..4_000], "in fragments: {to}");
        }
    }

    for visits in outside {
        let visited = visits.end()?;
        assert!(visited.served > 0 && visited.failed() == 0, "from outside, meanwhile: {visited:?}");
    }
    for netns in sandboxes {
        let wrong = [snmp(netns, "Tcp", "InCsumErrors")?, snmp(netns, "Udp", "InCsumErrors")?];
        assert_eq!((wrong, snmp6(netns, "Udp6InCsumErrors")?), ([0, 0], 0), "{}", netns.name());
    }
    // What the gateway says of itself to the ENI is read, and then nobody's.
    let counters = weir.counters()?;
    assert_eq!(counters.dropped(), counters.of(Reason::IcmpIgnored), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn every_frame_between_two_sandboxes_has_the_right_checksums() -> Tested {
    let (mut bed, weir, enis) = calling("hairpin-sums", Hook::Xdp)?;
    ipv6::serve_echo(&mut bed)?;
    let sandboxes = [0, 1].map(|it| &bed.sandboxes[it].netns);
    // Without segments of the device's making, each frame is one that a wire could carry.
    for (netns, feature) in sandboxes.into_iter().flat_map(|it| [(it, "tx"), (it, "tso"), (it, "gro")]) {
        netns.set_offload("eth0", feature, false)?;
    }
    let captures = sandboxes.map(|netns| Capture::start(netns, "eth0"));

    for to in SERVED.into_iter().flat_map(vips) {
        assert!(Conversation::begin(sandboxes[0], to)?.exchange(&[7; 4_000])?, "{to}");
        assert_eq!(ask_by_udp(sandboxes[0], to, b"hello")?, b"hello", "{to}");
    }

    for capture in captures {
        let frames = capture?.stop();
        let verdicts = Verdicts::of(&frames);
        assert_eq!(verdicts.wrong, Vec::<String>::new());
        assert!(verdicts.tcp > 0 && verdicts.udp > 0, "{verdicts:?}");
        let known: BTreeSet<_> = addresses(&enis).into_iter().chain(vips(0).map(|vip| vip.ip())).collect();
        let senders = weir_netns_tests::frames::senders(&frames);
        assert!(senders.is_subset(&known), "{senders:?}");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn who_serves_sees_the_callers_eni() -> Tested {
    let (bed, weir, enis) = calling("hairpin-peer", Hook::Xdp)?;
    let listeners = [0, 1].map(|it| listen(&bed.sandboxes[it].netns));
    let [first, second] = [0, 1].map(|it| &bed.sandboxes[it].netns);

    for (server, port) in listeners.into_iter().zip(SERVED) {
        let (listener, socket) = server?;
        for (caller, to) in [first, second].into_iter().flat_map(|it| vips(port).map(|to| (it, to))) {
            let stream = caller.enter(move || TcpStream::connect_timeout(&to, PATIENCE))??;
            let (_, peer) = listener.accept()?;
            assert_eq!(stream.peer_addr()?, to, "the caller sees the VIP");
            assert!(addresses(&enis).contains(&peer.ip().to_canonical()), "{peer} by {to}");

            let asker = caller.enter(move || UdpSocket::bind(any_port(to)))??;
            asker.send_to(b"who am I?", to)?;
            let (_, peer) = socket.recv_from(&mut [0; 16])?;
            assert!(addresses(&enis).contains(&peer.ip().to_canonical()), "{peer} by {to}");
        }
    }
    Ok(bed.finish(weir)?)
}

/// Both kinds of sockets, on both families' addresses.
fn listen(netns: &Netns) -> Result<(TcpListener, UdpSocket), Failure> {
    const ANY: (Ipv6Addr, u16) = (Ipv6Addr::UNSPECIFIED, ECHO_PORT);
    let (listener, socket) = netns.enter(|| (TcpListener::bind(ANY), UdpSocket::bind(ANY)))?;
    let socket = socket?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok((listener?, socket))
}

#[test]
fn a_sandbox_without_a_connector_is_refused_at_once() -> Tested {
    let (mut bed, mut weir, _) = calling("hairpin-none", Hook::Xdp)?;
    ipv6::serve_echo(&mut bed)?;
    // Its slot is Weir's, because it serves: that it may be called says nothing of whom it may call.
    let mut with_third = config(Hook::Xdp);
    with_third.services.push(Service::tcp("third", 9, ECHO_PORT, 3..=3));
    weir.reconfigure(&bed, &with_third)?;
    let caller = &bed.sandboxes[2].netns;
    assert!(Conversation::begin(&bed.client, vip(9))?.exchange(b"served")?);

    let begun = Instant::now();
    for to in SERVED.into_iter().flat_map(vips).chain([vip(9)]) {
        let prohibited = match to.ip() {
            IpAddr::V4(_) => ErrorKind::HostUnreachable,
            IpAddr::V6(_) => ErrorKind::PermissionDenied,
        };
        assert_eq!(refusal_by_tcp(caller, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
        assert_eq!(refusal_by_udp(caller, to)?, Some(prohibited), "{to}");
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    assert_eq!(weir.counters()?.of(Reason::AnsweredNotAllowedOut), 10, "{:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}
