//! How a flow ends, and what both sides notice of it.
//!
//! ```text
//!   client ──────── router ◄──────── [XDP] host [TC] ──────── sb1   a server of the test's own
//!   a real socket   caught here                 caught here         another real socket
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use etherparse::{SlicedPacket, TransportSlice};
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{CLIENT, ROUTER_DEVICE, Testbed, Topology, VIP, vip};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// The least that a listener may have.
const IDLE: Duration = Duration::from_secs(60);

/// What a flow is given beyond its time, and what a busy machine may take to notice.
const LAG: Duration = Duration::from_secs(10);

/// How long each short time is, in seconds.
const SHORT_S: u16 = 2;

/// A client's port that is used again and again.
const PORT: u16 = 40_000;

/// Where a sandbox takes datagrams and answers none.
const SILENT: u16 = 9;

const TO: SocketAddrV4 = SocketAddrV4::new(VIP, 7);

fn config(services: impl Into<Vec<Service>>) -> Config {
    let short = ["tcp_half_open", "tcp_closing", "udp_unanswered"];
    Config { timeouts: short.map(|key| (key, SHORT_S)).into(), ..Config::new(Hook::Xdp, services) }
}

fn silent() -> Service {
    Service { protocol: Protocol::Udp, ..Service::tcp("silent", SILENT, SILENT, 1..=1) }
}

/// A server of the test's own in the first sandbox.
fn listen(bed: &Testbed) -> Result<TcpListener, Failure> {
    Ok(bed.sandboxes[0].netns.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO_PORT)))??)
}

/// Waits until no flow is left, and says how long that took.
fn all_are_over(weir: &Weir, patience: Duration) -> Result<Duration, Failure> {
    let begun = Instant::now();
    until(
        "the end of every flow",
        patience,
        || format!("{:#?}", weir.flows()),
        || Ok(weir.flows()?.is_empty().then_some(())),
    )?;
    Ok(begun.elapsed())
}

/// One word there, the same word back.
fn both_speak([client, server]: [&mut TcpStream; 2]) -> Tested {
    let mut word = [0; 4];
    client.write_all(b"here")?;
    server.read_exact(&mut word)?;
    server.write_all(&word)?;
    client.read_exact(&mut word)?;
    assert_eq!(&word, b"here");
    Ok(())
}

#[test]
fn after_an_idle_end_the_next_packet_of_either_side_is_reset() -> Tested {
    let bed = Topology { name: "idle", sandboxes: 1 }.build()?;
    let listener = listen(&bed)?;
    let service = Service { idle_timeout_s: Some(IDLE.as_secs() as u16), ..Service::echo(1..=1) };
    let mut weir = bed.weir(&config([service]))?;
    let pair = || -> Result<[TcpStream; 2], Failure> {
        let mut client = bed.client.enter(|| TcpStream::connect(vip(7)))??;
        let (mut server, _) = listener.accept()?;
        both_speak([&mut client, &mut server])?;
        [&client, &server].iter().try_for_each(|end| end.set_read_timeout(Some(PATIENCE)))?;
        Ok([client, server])
    };
    let [mut speaks, _server] = pair()?;
    let [_client, mut answers] = pair()?;
    // Whatever ends a flow, it is not the daemon.
    weir.kill()?;

    let lived = all_are_over(&weir, IDLE + LAG)?;

    assert!(lived >= IDLE, "it was never silent for longer than {lived:?}");
    for (who, end) in [("client", &mut speaks), ("server", &mut answers)] {
        end.write_all(b"still there?")?;
        let heard = end.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::ConnectionReset), "what the {who} hears");
    }
    let counters = weir.counters()?;
    assert_eq!((counters.ended("idle"), counters.of(Reason::AnsweredReset)), (2, 2), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_port_that_is_used_again_after_an_orderly_end_opens_a_new_connection_at_once() -> Tested {
    const TIMES: u64 = 5;
    let bed = Topology { name: "again-fin", sandboxes: 1 }.build()?;
    let listener = listen(&bed)?;
    let weir = bed.weir(&config([Service::echo(1..=1)]))?;

    for _ in 0..TIMES {
        let mut client = Conversation::begin_from(&bed.client, PORT, TO)?;
        // The server says first that it is done: the client's port is free as soon as the client is done, too.
        drop(listener.accept()?);
        assert!(client.hear_the_end()?);
    }

    let counters = weir.counters()?;
    assert_eq!(
        (counters.of(Reason::Opened), counters.ended("replaced")),
        (TIMES, TIMES - 1),
        "{counters:#?}"
    );
    all_are_over(&weir, PATIENCE)?;
    assert_eq!(weir.counters()?.ended("closed"), 1);
    Ok(bed.finish(weir)?)
}

#[test]
fn a_port_that_is_used_again_after_a_reset_opens_a_new_connection_at_once() -> Tested {
    const TIMES: u64 = 5;
    let mut bed = Topology { name: "again-rst", sandboxes: 1 }.build()?;
    bed.serve_echo()?;
    let weir = bed.weir(&config([Service::echo(1..=1)]))?;

    for _ in 0..TIMES {
        let mut client = Conversation::begin_from(&bed.client, PORT, TO)?;
        assert!(client.exchange(b"hello")?);
        client.reset()?;
    }

    let counters = weir.counters()?;
    assert_eq!(
        (counters.of(Reason::Opened), counters.ended("replaced")),
        (TIMES, TIMES - 1),
        "{counters:#?}"
    );
    Ok(bed.finish(weir)?)
}

#[test]
fn a_reset_by_the_client_ends_the_flow_when_the_time_of_closing_is_up() -> Tested {
    let mut bed = Topology { name: "rst", sandboxes: 1 }.build()?;
    bed.serve_echo()?;
    let weir = bed.weir(&config([Service::echo(1..=1)]))?;
    let mut client = Conversation::begin(&bed.client, vip(7))?;
    assert!(client.exchange(b"hello")?);

    client.reset()?;

    let lived = all_are_over(&weir, Duration::from_secs(SHORT_S.into()) + LAG)?;
    println!("gone {lived:?} after the reset");
    assert_eq!(weir.counters()?.ended("reset"), 1);
    Ok(bed.finish(weir)?)
}

#[test]
fn refused_connections_give_their_places_back_at_once() -> Tested {
    const PLACES: u32 = 64;
    let bed = Topology { name: "refused", sandboxes: 1 }.build()?;
    let weir = bed.weir(&Config { max_half_open: Some(PLACES), ..config([Service::echo(1..=1)]) })?;

    // Within the time that a place is kept, whoever has it, there would be no other way to so many.
    for _ in 0..4 * PLACES {
        let refused = bed.client.enter(|| TcpStream::connect_timeout(&vip(7), PATIENCE).map(drop))?;
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
    }

    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::Opened), u64::from(4 * PLACES), "{counters:#?}");
    assert_eq!((counters.of(Reason::HalfOpenFull), counters.ended("made_way")), (0, 0), "{counters:#?}");
    all_are_over(&weir, PATIENCE)?;
    assert_eq!(weir.counters()?.ended("reset"), u64::from(4 * PLACES));
    Ok(bed.finish(weir)?)
}

#[test]
fn a_conversation_without_an_answer_ends_and_an_answered_one_lives_on() -> Tested {
    let mut bed = Topology { name: "answers", sandboxes: 1 }.build()?;
    let echo = Echo::udp(&bed.sandboxes[0].netns, ECHO_PORT)?;
    bed.keep(echo);
    let _deaf = bed.sandboxes[0].netns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SILENT)))??;
    let weir = bed.weir(&config([Service::echo_udp(1..=1), silent()]))?;
    let [answered, unanswered] = [7, SILENT].map(|port| {
        bed.client.enter(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(vip(port))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok::<_, std::io::Error>(socket)
        })
    });
    let (answered, unanswered) = (answered??, unanswered??);
    let mut word = [0; 4];
    answered.send(b"here")?;
    answered.recv(&mut word)?;
    unanswered.send(b"here")?;

    let left = until("the end of one flow", PATIENCE, String::new, || {
        let flows = weir.flows()?;
        Ok((flows.len() < 2).then_some(flows))
    })?;

    assert!(left.iter().map(|flow| flow.vip_port).eq([7]), "{left:#?}");
    answered.send(b"more")?;
    answered.recv(&mut word)?;
    let counters = weir.counters()?;
    assert_eq!((counters.of(Reason::Opened), counters.ended("unanswered")), (2, 1), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

/// Packets, and bytes from the IP header on, of some frames of one conversation.
fn counted(frames: &[Vec<u8>], [src, dst]: [u16; 2]) -> [u64; 2] {
    const ETHERNET: usize = 14;
    let ports = |frame: &Vec<u8>| {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        match packet.transport? {
            TransportSlice::Tcp(tcp) => Some([tcp.source_port(), tcp.destination_port()]),
            TransportSlice::Udp(udp) => Some([udp.source_port(), udp.destination_port()]),
            _ => None,
        }
    };
    let ours: Vec<_> = frames.iter().filter(|frame| ports(frame) == Some([src, dst])).collect();
    [ours.len() as u64, ours.iter().map(|frame| (frame.len() - ETHERNET) as u64).sum()]
}

#[test]
fn an_event_tells_each_end_with_its_reason_its_ends_its_times_and_what_was_carried() -> Tested {
    let mut bed = Topology { name: "events", sandboxes: 1 }.build()?;
    let echo = Echo::tcp(&bed.sandboxes[0].netns, ECHO_PORT)?;
    bed.keep(echo);
    let _deaf = bed.sandboxes[0].netns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SILENT)))??;
    let nobody = Service::tcp("nobody", 81, 81, 1..=1);
    let weir = bed.weir(&config([Service::echo(1..=1), silent(), nobody]))?;
    let mut events = weir.events()?;
    let to_client = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let to_target = Capture::start(&bed.sandboxes[0].netns, "eth0")?;

    let mut closed = Conversation::begin_from(&bed.client, PORT, TO)?;
    for len in [1, 100, 1000] {
        assert!(closed.exchange(&vec![7; len])?);
    }
    drop(closed);
    let mut reset = Conversation::begin_from(&bed.client, PORT + 1, TO)?;
    assert!(reset.exchange(b"hello")?);
    reset.reset()?;
    let refused = Conversation::begin_from(&bed.client, PORT + 2, SocketAddrV4::new(VIP, 81));
    assert!(refused.is_err(), "nobody listens there");
    let datagrams = bed.client.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT + 3)))??;
    for _ in 0..3 {
        datagrams.send_to(&[0; 200], vip(SILENT))?;
    }

    let expected = [
        (PORT, "closed", "tcp", [7, ECHO_PORT]),
        (PORT + 1, "reset", "tcp", [7, ECHO_PORT]),
        (PORT + 2, "reset", "tcp", [81, 81]),
        (PORT + 3, "unanswered", "udp", [SILENT, SILENT]),
    ];
    let ends = expected.map(|(port, ..)| events.wait_for(port));
    let (to_client, to_target) = (to_client.stop(), to_target.stop());
    for ((port, reason, protocol, [vip_port, target_port]), ended) in expected.into_iter().zip(ends) {
        let ended = ended?;
        let flow = &ended.flow;
        assert_eq!((ended.reason.as_str(), flow.protocol.as_str()), (reason, protocol), "{ended:#?}");
        assert_eq!((flow.client.clone(), flow.vip.clone()), (CLIENT.to_string(), VIP.to_string()));
        assert_eq!((flow.vip_port, flow.target.as_deref()), (vip_port, Some("sandbox-1")), "{ended:#?}");
        let carried =
            [[flow.to_target_packets, flow.to_target_bytes], [flow.to_client_packets, flow.to_client_bytes]];
        let caught = [counted(&to_target, [port, target_port]), counted(&to_client, [vip_port, port])];
        assert_eq!(carried, caught, "{ended:#?}");
        assert!(
            ended.idle_seconds >= f64::from(SHORT_S) && ended.duration_seconds >= ended.idle_seconds,
            "{ended:#?}"
        );
    }
    assert_eq!(weir.counters()?.events_lost, 0);
    drop(events);
    Ok(bed.finish(weir)?)
}
