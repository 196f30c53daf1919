//! Sandboxes that wake up: with connections that ended while they slept, or that are still those of the one they were cloned
//! from; and with an address that every other sandbox has as well.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ sb1   opens connections, and serves behind the VIP
//!     echo    echo on    ENI, VIP             └─ sb2   wakes up with the same
//!             the link
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::connectors::{BOTH, Connector, SERVERS, active, connected, outwards};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::forge::{ALL_STATIONS, Arp, Between, ethertype, flags, frame};
use weir_netns_tests::ipv6::{self, CLIENT6, GATEWAY6, SANDBOX6, vip6};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::raw::Wire;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, GATEWAY, ROUTER_DEVICE, SANDBOX, Testbed, vip};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_path::Reason;

use crate::{GATEWAY_MAC, SANDBOX_MAC};

/// Much shorter than any retransmission would take to give up.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_sandbox_whose_flows_ended_while_it_slept_is_reset_at_its_next_word_on_an_xdp_uplink() -> Tested {
    sleeper_is_reset("asleep-xdp", Hook::Xdp)
}

#[test]
fn a_sandbox_whose_flows_ended_while_it_slept_is_reset_at_its_next_word_on_a_tc_uplink() -> Tested {
    sleeper_is_reset("asleep-tc", Hook::Tc)
}

fn sleeper_is_reset(name: &'static str, hook: Hook) -> Tested {
    let with = |connector| Config {
        services: vec![Service::echo(1..=1), Service::echo(1..=1).on_ipv6("echo6")],
        ..outwards(hook, connector)
    };
    let (bed, mut weir, _) = connected(name, 1, &with(Connector::of(1..=1, BOTH)))?;
    let (mut sleeping, mut clients) = (opened(&bed)?, Vec::new());
    for (server, client) in served(&bed)? {
        sleeping.push(server);
        clients.push(client);
    }

    // Another connector is another binding: what was for the one tenant must not reach the next.
    weir.reconfigure(&bed, &with(Connector::of(1..=1, BOTH).with("mac", "\"own\"")))?;
    let no_flow = || Ok(weir.flows()?.is_empty().then_some(()));
    until("the end of every flow", PATIENCE, || format!("{:#?}", weir.flows()), no_flow)?;

    let before = weir.counters()?.of(Reason::AnsweredReset);
    let mut slowest = Duration::ZERO;
    for stream in sleeping.iter_mut().chain(&mut clients) {
        slowest = slowest.max(must_be_reset(stream)?);
    }
    println!("{} connections, in and out, by both families: reset after {slowest:?} at most", sleeping.len());
    assert_eq!(weir.counters()?.of(Reason::AnsweredReset) - before, 8, "{:#?}", weir.counters()?);
    // Awake, it begins anew.
    active(&weir)?;
    for to in SERVERS {
        assert!(Conversation::begin(&bed.sandboxes[0].netns, to)?.exchange(b"anew")?, "{to}");
    }
    Ok(bed.finish(weir)?)
}

/// Connections of the sandbox's to every server, each of which has said something.
fn opened(bed: &Testbed) -> Result<Vec<TcpStream>, Failure> {
    let mut streams = Vec::new();
    for to in SERVERS {
        let mut stream = bed.sandboxes[0].netns.enter(move || TcpStream::connect(to))??;
        stream.write_all(b"echo")?;
        stream.read_exact(&mut [0; 4])?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Connections of the client's that the sandbox serves, each of which has said something: both ends.
fn served(bed: &Testbed) -> Result<Vec<(TcpStream, TcpStream)>, Failure> {
    let at = (Ipv6Addr::UNSPECIFIED, ECHO_PORT);
    let listener = bed.sandboxes[0].netns.enter(move || TcpListener::bind(at))??;
    let mut pairs = Vec::new();
    for to in [vip(7), vip6(7)] {
        let mut client = bed.client.enter(move || TcpStream::connect(to))??;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"ask")?;
        server.read_exact(&mut [0; 3])?;
        server.write_all(b"answer")?;
        client.read_exact(&mut [0; 6])?;
        pairs.push((server, client));
    }
    Ok(pairs)
}

/// The next word is answered with a RST that the speaker's kernel believes, at once. Returns how long it took.
fn must_be_reset(stream: &mut TcpStream) -> Result<Duration, Failure> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let begun = Instant::now();
    stream.write_all(b"where was I?")?;
    let heard = stream.read(&mut [0]).map_err(|error| error.kind());
    let took = begun.elapsed();
    assert_eq!(heard, Err(ErrorKind::ConnectionReset), "{stream:?}");
    assert!(took < AT_ONCE, "{took:?}");
    Ok(took)
}

#[test]
fn a_clone_with_its_originals_connections_is_reset_and_the_originals_go_on() -> Tested {
    let (bed, weir, _) = connected("clone", 2, &outwards(Hook::Xdp, Connector::of(1..=2, BOTH)))?;
    let [original, clone] = [0, 1].map(|it| &bed.sandboxes[it].netns);
    let mut talks =
        SERVERS.map(|to| Conversation::begin(original, to)).into_iter().collect::<Result<Vec<_>, _>>()?;
    for talk in &mut talks {
        assert!(talk.exchange(b"before")?);
    }

    for (talk, to) in talks.iter().zip(SERVERS) {
        let mut woken = wake_up(clone, talk.local_address()?, to)?;
        woken.set_read_timeout(Some(PATIENCE))?;
        let begun = Instant::now();
        let heard = woken.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::ConnectionReset), "{to}");
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }

    assert_eq!(weir.counters()?.of(Reason::AnsweredReset), 4, "{:#?}", weir.counters()?);
    for talk in &mut talks {
        assert!(talk.exchange(b"the original's")?, "a clone's connection is not the original's");
    }
    Ok(bed.finish(weir)?)
}

#[test]
fn a_clone_cannot_speak_in_the_connections_that_its_original_serves() -> Tested {
    let services = [Service::echo(1..=1), Service::echo(1..=1).on_ipv6("echo6")];
    let config = Config { services: services.into(), ..outwards(Hook::Xdp, Connector::of(1..=2, BOTH)) };
    let (mut bed, weir, _) = connected("voice", 2, &config)?;
    ipv6::serve_echo(&mut bed)?;
    let talks = [vip(7), vip6(7)].map(|to| Conversation::begin(&bed.client, to));
    let wire = Wire::begin(&bed.sandboxes[1].netns, "eth0")?;
    let to_the_client = Capture::start(&bed.client, "c0")?;

    let said =
        [flags::RST, flags::RST | flags::ACK, flags::FIN | flags::ACK, flags::SYN | flags::ACK, flags::ACK];
    let from_the_original = [Between::V4(SANDBOX, CLIENT), Between::V6(SANDBOX6, CLIENT6)];
    let mut spoken = 0;
    for (talk, between) in talks.into_iter().zip(from_the_original) {
        let mut talk = talk?;
        assert!(talk.exchange(b"before")?);
        let ports = [ECHO_PORT, talk.local_address()?.port()];
        for flags in said {
            let packet = between.tcp(ports, [1, 1], flags, b"believe me");
            wire.send(&frame([GATEWAY_MAC, SANDBOX_MAC], between.ethertype(), &packet))?;
        }
        spoken += said.len() as u64;
        let is_told = || {
            let counters = weir.counters()?;
            let told = counters.of(Reason::AnsweredReset) + counters.of(Reason::ResetWithoutFlow);
            Ok((told == spoken).then_some(()))
        };
        until("the end of what the clone said", PATIENCE, || format!("{:#?}", weir.counters()), is_told)?;
        assert!(talk.exchange(b"after")?, "the original's");
    }

    let has_words = |frame: &Vec<u8>| frame.windows(10).any(|bytes| bytes == b"believe me");
    assert!(!to_the_client.stop().iter().any(has_words));
    Ok(bed.finish(weir)?)
}

/// A connection that its kernel believes in, though no packet of it was ever sent: as a process that is restored has it
/// (`TCP_REPAIR`). At its end the kernel asks the other side for its window.
fn wake_up(netns: &Netns, from: SocketAddr, to: SocketAddr) -> Result<TcpStream, Error> {
    let woken = netns.enter(move || {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::TcpRepair, &1)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        setsockopt(&socket, sockopt::TcpRepair, &0)?;
        Ok(TcpStream::from(socket))
    })?;
    woken.map_err(Error::io::<nix::errno::Errno>(format!("restore a connection to {to}")))
}

#[test]
fn probes_for_the_address_that_all_sandboxes_have_are_never_answered() -> Tested {
    let (bed, weir, _) = connected("probes", 2, &outwards(Hook::Xdp, Connector::of(1..=2, BOTH)))?;
    let [prober, other] = [0, 1].map(|it| &bed.sandboxes[it].netns);
    let wire = Wire::begin(prober, "eth0")?;
    let captures = [(prober, "eth0"), (other, "eth0"), (&bed.router, ROUTER_DEVICE)]
        .map(|(netns, device)| Capture::start(netns, device));
    let before = weir.counters()?;

    let probes = probes();
    for probe in &probes {
        wire.send(probe)?;
    }

    let dropped = || {
        let now = weir.counters()?;
        Ok::<_, Error>([Reason::SlotArp, Reason::SlotNdp].map(|it| now.of(it) - before.of(it)))
    };
    let evidence = || format!("{:?}: {:#?}", dropped().ok(), weir.counters());
    until("every probe's end", PATIENCE, evidence, || {
        Ok((dropped()?.iter().sum::<u64>() == probes.len() as u64).then_some(()))
    })?;
    for capture in captures {
        let said: Vec<_> = capture?.stop().into_iter().filter(|frame| is_about_addresses(frame)).collect();
        assert_eq!(said, Vec::<Vec<u8>>::new(), "an answer, or a probe that got through");
    }
    println!(
        "probes and announcements: {}, dropped as slot_arp and slot_ndp: {:?}",
        probes.len(),
        dropped()?
    );
    // Who asks for the gateway with its address is answered.
    prober.ip(&["neigh", "flush", "all"])?;
    assert!(ping(prober, GATEWAY, 56)?.is_well && ping(prober, GATEWAY6, 56)?.is_well);
    Ok(bed.finish(weir)?)
}

/// What a host says before it takes an address (RFC 5227 section 2.1, RFC 4862 section 5.4), and when it has it.
fn probes() -> Vec<Vec<u8>> {
    let arp = |sender, target| {
        let message = Arp { operation: 1, sender: (SANDBOX_MAC, sender), target: ([0; 6], target) }.message();
        frame([ALL_STATIONS, SANDBOX_MAC], ethertype::ARP, &message)
    };
    let solicitation = |target: Ipv6Addr| {
        let [.., a, b, c] = target.octets();
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        let between = Between::V6(Ipv6Addr::UNSPECIFIED, group);
        // With a nonce, as Linux sends it (RFC 7527).
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let packet = between.icmp([135, 0], &[&[0; 4], &target.octets()[..], &nonce].concat());
        frame([[0x33, 0x33, 0xff, a, b, c], SANDBOX_MAC], ethertype::IPV6, &packet)
    };
    let other = Ipv4Addr::new(169, 254, 100, 6);
    let own_link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x57, 0x45ff, 0xfe49, 0x5202);
    let v4 = [SANDBOX, GATEWAY, other].map(|target| arp(Ipv4Addr::UNSPECIFIED, target));
    let announcements = [arp(SANDBOX, SANDBOX)];
    let v6 = [SANDBOX6, GATEWAY6, own_link_local].map(solicitation);
    v4.into_iter().chain(announcements).chain(v6).collect()
}

/// ARP, or a solicitation or an advertisement of a sandbox's or of its gateway's.
fn is_about_addresses(frame: &[u8]) -> bool {
    let is_of_a_slot = frame[6..12] == SANDBOX_MAC || frame[6..12] == GATEWAY_MAC;
    let is_arp = frame[12..14] == ethertype::ARP.to_be_bytes();
    let is_ndp = frame[12..14] == ethertype::IPV6.to_be_bytes() && matches!(frame.get(54), Some(135 | 136));
    is_of_a_slot && (is_arp || is_ndp)
}

#[test]
fn a_kernel_that_probes_before_it_takes_the_address_gets_it_in_every_sandbox() -> Tested {
    let (bed, weir, _) = connected("dad", 2, &outwards(Hook::Xdp, Connector::of(1..=2, BOTH)))?;
    let added = [SANDBOX6, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)];

    for sandbox in &bed.sandboxes {
        let netns = &sandbox.netns;
        netns.sysctl("net.ipv6.conf.eth0.accept_dad", "2")?;
        netns.ip(&["-6", "addr", "flush", "dev", "eth0"])?;
        for address in added {
            netns.ip(&["addr", "add", &format!("{address}/126"), "dev", "eth0"])?;
        }
        assert!(netns.ip(&["-6", "addr", "show", "dev", "eth0"])?.contains("tentative"), "it is probed for");
    }
    for sandbox in &bed.sandboxes {
        let shown = || sandbox.netns.ip(&["-6", "addr", "show", "dev", "eth0"]);
        until(
            "an end of the probing",
            PATIENCE,
            || format!("{:?}", shown().ok()),
            || Ok((!shown()?.contains("tentative")).then_some(())),
        )?;
        let shown = shown()?;
        assert!(
            !shown.contains("dadfailed") && added.iter().all(|it| shown.contains(&it.to_string())),
            "{shown}"
        );
        sandbox.netns.ip(&["-6", "route", "replace", "default", "via", &GATEWAY6.to_string()])?;
        for to in SERVERS {
            assert!(Conversation::begin(&sandbox.netns, to)?.exchange(b"hello")?, "{to}");
        }
    }

    assert!(weir.counters()?.of(Reason::SlotNdp) >= 4, "{:#?}", weir.counters()?);
    Ok(bed.finish(weir)?)
}
