//! What becomes of those who find no port, and how one more ENI is there before anybody has to.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ sb1, sb2   open more connections to one remote than there are ports
//!   echo      echo on    ENI: the host's      └─ …
//!             the link   address, 128 ports
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{
    self, BOTH, Connector, SERVERS, V4, active, outwards, ports, serve_echo, stand_on_the_link,
};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6::{self, HOST6};
use weir_netns_tests::raw::Sender;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::{Conversation, refusal_by_tcp};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, HOST, ROUTER_DEVICE, SANDBOX, Testbed, Topology};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// How many ports the host leaves alone: two blocks.
const PORTS: usize = 128;

/// A testbed whose connectors have the host's addresses, of which the host leaves but few ports alone.
fn narrow(name: &'static str, hook: Hook) -> Result<(Testbed, Weir), Failure> {
    let mut bed = ipv6::dual(name, 2)?;
    stand_on_the_link(&bed, BOTH)?;
    serve_echo(&mut bed)?;
    bed.host.sysctl("net.ipv4.ip_local_port_range", "1152 65535")?;
    let weir = bed.weir(&outwards(hook, Connector::of(1..=2, BOTH).of_the_host()))?;
    active(&weir)?;
    Ok((bed, weir))
}

#[test]
fn without_a_free_port_towards_a_remote_by_an_xdp_uplink_others_are_reached_and_nothing_leaks() -> Tested {
    exhaustion_is_told("full-xdp", Hook::Xdp)
}

#[test]
fn without_a_free_port_towards_a_remote_by_a_tc_uplink_others_are_reached_and_nothing_leaks() -> Tested {
    exhaustion_is_told("full-tc", Hook::Tc)
}

fn exhaustion_is_told(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir) = narrow(name, hook)?;
    let [first, second] = [0, 1].map(|it| &bed.sandboxes[it].netns);
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let full = [SERVERS[0], SERVERS[1]];

    // Every port is found, to the last one.
    let mut all = Vec::new();
    for to in full {
        for n in 0..PORTS {
            let from = if n % 2 == 0 { first } else { second };
            all.push(Conversation::begin(from, to).map_err(|error| Failure::from(NthPort(n, error)))?);
        }
    }
    for to in full {
        let begun = Instant::now();
        assert_eq!(refusal_by_tcp(first, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
        assert!(begun.elapsed() < Duration::from_secs(1), "at once");
        // Another port of the same server, another protocol, another server.
        assert_eq!(refusal_by_tcp(first, (to.ip(), 9).into())?, Some(ErrorKind::ConnectionRefused));
        assert!(ping(first, to.ip(), 56)?.is_well);
    }
    for to in [SERVERS[2], SERVERS[3]] {
        assert!(Conversation::begin(first, to)?.exchange(b"others")?, "{to}");
    }
    assert_eq!(weir.counters()?.of(Reason::AnsweredPortsExhausted), 2, "{:#?}", weir.counters()?);
    assert_eq!(senders(&on_the_wire.stop()), [IpAddr::V4(HOST), HOST6.into()].into());

    the_fullest_remotes_are(&weir, &full)?;
    for talk in &mut all {
        assert!(talk.exchange(b"those who have one keep it")?);
    }
    Ok(bed.finish(weir)?)
}

#[derive(Debug, thiserror::Error)]
#[error("port {0}: {1}")]
struct NthPort(usize, Error);

/// `weir ports` names the remotes, and how often one was refused.
fn the_fullest_remotes_are(weir: &Weir, remotes: &[SocketAddr]) -> Tested {
    let shown = weir.shown(&["ports", "--top", "2"])?;
    let named = |it: &serde_json::Value| {
        let remote: IpAddr = it["remote"].as_str()?.parse().ok()?;
        Some((SocketAddr::new(remote, u16::try_from(it["remote_port"].as_u64()?).ok()?), it.clone()))
    };
    let found: Vec<_> = shown.as_array().into_iter().flatten().filter_map(named).collect();
    assert_eq!(found.len(), remotes.len(), "{shown:#}");
    for (remote, row) in found {
        assert!(remotes.contains(&remote), "{shown:#}");
        assert_eq!((&row["protocol"], &row["tenant"]), (&"tcp".into(), &"acme".into()));
        assert_eq!(
            (&row["live"], &row["free"], &row["refused"]),
            (&PORTS.into(), &0.into(), &1.into()),
            "{row:#}"
        );
    }
    Ok(())
}

#[test]
fn a_datagram_without_a_free_port_is_told_that_the_host_is_unreachable() -> Tested {
    let (bed, weir) = narrow("full-udp", Hook::Xdp)?;
    let to = SERVERS[0];
    let sandbox = &bed.sandboxes[0].netns;
    let sockets = (0..PORTS).map(|_| sandbox.enter(|| UdpSocket::bind("0.0.0.0:0")));
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?.into_iter().collect::<Result<Vec<_>, _>>()?;
    for socket in &sockets {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(b"one each", to)?;
        assert_eq!(socket.recv(&mut [0; 16])?, 8);
    }

    // Linux tells a socket of a host that can't be reached only where the socket asks for it.
    let attentive = sandbox.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    setsockopt(&attentive, sockopt::Ipv4RecvErr, &true)?;
    attentive.set_read_timeout(Some(PATIENCE))?;
    attentive.connect(to)?;
    attentive.send(b"one too many")?;
    assert_eq!(attentive.recv(&mut [0]).map_err(|it| it.kind()), Err(ErrorKind::HostUnreachable));

    Ok(bed.finish(weir)?)
}

#[test]
fn a_port_is_free_again_at_once_after_a_clean_end_and_rests_after_another_one() -> Tested {
    let (bed, weir) = narrow("rest", Hook::Xdp)?;
    let sandbox = &bed.sandboxes[0].netns;
    let reset = Conversation::begin(sandbox, SERVERS[0])?;
    let closed = Conversation::begin(sandbox, SERVERS[2])?;

    reset.reset()?;
    drop(closed);

    until(
        "one port that rests, and none in use",
        Duration::from_secs(40),
        || format!("{:?}", ports(&weir)),
        || Ok((ports(&weir)? == [0, 1, 0]).then_some(())),
    )?;
    Ok(bed.finish(weir)?)
}

/// As many as one address has.
const OF_AN_ADDRESS: u64 = 64_512;
/// Flows of each of the sandboxes.
const FLOWS: u16 = 36_000;
/// The table holds all of them.
const MAX_FLOWS: u32 = 1 << 17;
/// Flows that are opened in a second: an address would be full in some nine seconds.
const A_SECOND: f64 = 7_000.0;

#[test]
fn a_second_eni_is_there_before_the_first_flow_is_refused() -> Tested {
    let bed = Topology { name: "grow", sandboxes: 2 }.build()?;
    // Beyond the gateway: first packets to neighbours on the link are limited in number.
    let _silent = bed.client.enter(|| UdpSocket::bind((CLIENT, ECHO_PORT)))??;
    let connector = Connector::of(1..=2, V4).with("max_enis", 2);
    let config =
        Config { max_flows: MAX_FLOWS, max_half_open: Some(MAX_FLOWS), ..outwards(Hook::Xdp, connector) };
    let weir = bed.weir(&config)?;
    assert_eq!(active(&weir)?.len(), 1);

    open_quickly(&bed)?;

    let counters = weir.counters()?;
    let none = [Reason::AnsweredPortsExhausted, Reason::PortsExhausted, Reason::PortNotFound];
    assert_eq!(none.map(|it| counters.of(it)), [0; 3], "{counters:#?}");
    assert!(counters.of(Reason::Opened) > OF_AN_ADDRESS, "{counters:#?}");
    let enis = connectors::enis(&weir)?;
    assert_eq!(enis.len(), 2, "{enis:?}");
    let [live, _, refused] = ports(&weir)?;
    assert!(live > OF_AN_ADDRESS && refused == 0, "{live} live, {refused} refused");
    Ok(bed.finish(weir)?)
}

/// Sends datagrams to one remote, each from another port of a sandbox.
fn open_quickly(bed: &Testbed) -> Tested {
    let senders =
        bed.sandboxes.iter().map(|sandbox| Sender::begin(&sandbox.netns)).collect::<Result<Vec<_>, _>>()?;
    let to = SocketAddrV4::new(CLIENT, ECHO_PORT);
    let begun = Instant::now();
    for n in 0..FLOWS {
        for sender in &senders {
            sender.datagram(SocketAddrV4::new(SANDBOX, 1024 + n), to, b"one more")?;
        }
        // The rate is a matter of time, and there is no event to wait for.
        let due = Duration::from_secs_f64(f64::from(n) * senders.len() as f64 / A_SECOND);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    Ok(())
}
