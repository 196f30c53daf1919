//! What a sandbox with a connector can't reach, and what it is told. The host forwards, and has a default route.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   tries; has a connector
//!             echo on    ip_forward = 1  ├─ sb2   serves behind the VIP; has the connector as well
//!             the link   VIP             └─ sb3   serves as well; has none
//! ```
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::connectors::{BOTH, Connector, ENI, ENI6, SERVERS, active, connected};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::frames::{ends, senders};
use weir_netns_tests::ipv6::{self, HOST6, OWN6, VIP6};
use weir_netns_tests::raw::Segment;
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::talk::{Conversation, refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, HOST, OWN, ROUTER_DEVICE, SANDBOX, Testbed, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// Where clouds tell machines who they are.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA6: &str = "fd00:ec2::254";

fn bed(name: &'static str) -> Result<(Testbed, Weir), Failure> {
    let config = Config {
        connectors: vec![Connector::of(1..=2, BOTH)],
        ..Config::new(Hook::Xdp, [Service::echo(2..=3), Service::echo(2..=3).on_ipv6("echo6")])
    }
    .with_own_addresses();
    let (mut bed, weir, _) = connected(name, 3, &config)?;
    ipv6::serve_echo(&mut bed)?;
    Ok((bed, weir))
}

/// Where a sandbox may not get, though it has a connector.
fn forbidden() -> Result<Vec<IpAddr>, Failure> {
    let v4 = [METADATA, VIP, OWN, ENI, Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::new(169, 254, 100, 77)];
    let v6 = [VIP6, OWN6, ENI6];
    Ok(v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect())
}

#[test]
fn metadata_enis_and_what_no_vip_serves_refuse_a_sandbox_at_once_and_nothing_leaves() -> Tested {
    let (bed, weir) = bed("reach")?;
    let sandbox = &bed.sandboxes[0].netns;
    let captures =
        [(&bed.router, ROUTER_DEVICE), (&bed.sandboxes[1].netns, "eth0"), (&bed.sandboxes[2].netns, "eth0")]
            .map(|(netns, device)| Capture::start(netns, device));
    let places = forbidden()?;

    for place in &places {
        // Of the VIP's ports, those where nobody serves.
        for port in [9, ECHO_PORT, 80] {
            let to = SocketAddr::new(*place, port);
            if !place.is_multicast() {
                assert_eq!(refusal_by_tcp(sandbox, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
            }
        }
        let to = SocketAddr::new(*place, ECHO_PORT);
        let refused = refusal_by_udp(sandbox, to)?;
        assert!(
            place.is_multicast() || refused.is_some_and(|it| it != ErrorKind::WouldBlock),
            "{to}: {refused:?}"
        );
    }

    for capture in captures {
        let frames = capture?.stop();
        let to: Vec<_> = ends(&frames).into_iter().filter(|it| places.contains(&it.to)).collect();
        assert_eq!(to, [], "reached, or on the way");
        assert!(!senders(&frames).contains(&SANDBOX.into()));
    }
    assert!(weir.counters()?.of(Reason::AnsweredNotAllowedOut) >= 4 * 8, "{:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}

#[test]
fn the_hosts_own_servers_are_not_reached_by_a_sandbox() -> Tested {
    let (bed, weir) = bed("reach-host")?;
    let own = [SocketAddr::from((HOST, ECHO_PORT)), (HOST6, ECHO_PORT).into()];
    let _servers = [Echo::tcp_at(&bed.host, own[0])?, Echo::tcp_at(&bed.host, own[1])?];
    assert!(Conversation::begin(&bed.router, own[0])?.exchange(b"others do")?);

    for to in own {
        assert!(refusal_by_tcp(&bed.sandboxes[0].netns, to)?.is_some(), "{to}");
    }

    Ok(bed.finish(weir)?)
}

#[test]
fn the_metadata_address_of_ipv6_is_only_reached_by_the_gateway() -> Tested {
    let (bed, weir) = bed("reach-meta6")?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    // To the VPC it is an address like any other: whoever has it there is reached, the host's own never.
    let metadata: IpAddr = METADATA6.parse()?;
    bed.host.ip(&["-6", "addr", "add", &format!("{METADATA6}/128"), "dev", "lo", "nodad"])?;
    let _own = Echo::tcp_at(&bed.host, (metadata, ECHO_PORT).into())?;
    let refused = refusal_by_tcp(&bed.sandboxes[0].netns, (metadata, ECHO_PORT).into())?;

    assert!(refused.is_some(), "the host's own was reached");
    assert!(!senders(&on_the_wire.stop()).contains(&IpAddr::V6(weir_netns_tests::ipv6::SANDBOX6)));
    Ok(bed.finish(weir)?)
}

#[test]
fn a_slot_without_a_connector_serves_and_opens_nothing() -> Tested {
    let (bed, weir) = bed("reach-none")?;
    let sandbox = &bed.sandboxes[2].netns;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    for to in SERVERS {
        assert_eq!(refusal_by_tcp(sandbox, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
        assert!(refusal_by_udp(sandbox, to)?.is_some_and(|it| it != ErrorKind::WouldBlock), "{to}");
        assert!(!ping(sandbox, to.ip(), 56)?.is_well, "{to}");
    }

    assert_eq!(senders(&on_the_wire.stop()), [].into());
    assert!(weir.counters()?.of(Reason::AnsweredNotAllowedOut) >= 12, "{:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_segment_in_the_middle_of_no_connection_is_answered_with_a_reset() -> Tested {
    let (bed, weir) = bed("reach-middle")?;
    let sandbox = &bed.sandboxes[0].netns;
    let (back, on_the_wire) = (Capture::start(sandbox, "eth0")?, Capture::start(&bed.router, ROUTER_DEVICE)?);

    let from = SocketAddrV4::new(SANDBOX, 4321);
    let to = SocketAddrV4::new(CLIENT, ECHO_PORT);
    Segment { from, to, sequence: 5, acknowledges: Some(99) }.send(sandbox)?;

    until("a reset", PATIENCE, String::new, || {
        Ok((weir.counters()?.of(Reason::AnsweredReset) == 1).then_some(()))
    })?;
    let resets = back.stop();
    let reset = resets.iter().find_map(|frame| {
        match etherparse::SlicedPacket::from_ethernet(frame).ok()?.transport? {
            etherparse::TransportSlice::Tcp(tcp) => Some((tcp.rst(), tcp.sequence_number())),
            _ => None,
        }
    });
    assert_eq!(reset, Some((true, 99)), "one that its sender believes");
    assert_eq!(senders(&on_the_wire.stop()), [].into());
    Ok(bed.finish(weir)?)
}

#[test]
fn a_sandbox_serves_behind_a_vip_and_opens_connections_at_the_same_time() -> Tested {
    let (bed, weir) = bed("reach-both")?;
    active(&weir)?;

    for vip in [SocketAddr::from((VIP, 7)), (VIP6, 7).into()] {
        for _ in 0..8 {
            assert!(Conversation::begin(&bed.client, vip)?.exchange(b"in")?);
        }
    }
    for to in SERVERS {
        assert!(Conversation::begin(&bed.sandboxes[1].netns, to)?.exchange(b"out")?);
    }

    Ok(bed.finish(weir)?)
}
