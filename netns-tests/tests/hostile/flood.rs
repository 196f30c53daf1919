//! A sandbox that sends as fast as it can, and its neighbour who opens connections meanwhile. What the neighbour notices of it
//! by the kernel's forwarding and nftables' masquerade, on the same topology, is what it is compared with.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use weir_netns_tests::busy::{Visited, Visits};
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{Connector, V4, active, outwards};
use weir_netns_tests::counters::dropped;
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::flood::{self, Flood, Flooded};
use weir_netns_tests::forge::{Between, flags, mend, protocol};
use weir_netns_tests::plain::Masquerade;
use weir_netns_tests::servers::{ECHO_PORT, Echo};
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::topology::{CLIENT, SANDBOX, Testbed, Topology};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

use crate::is_at_rest;

/// What the machine of a test can send beside everything else it does.
const A_SECOND: u32 = 10_000;

/// Packets of each flood.
const PACKETS: u32 = 30_000;

/// All flows that the floods leave behind fit.
const MAX_FLOWS: u32 = 1 << 17;

/// Half-open ones don't, many times over: each has some four tenths of a second to become another one.
const BUDGET: u32 = 4096;

/// Connections that are there before the flood.
const OLD: usize = 8;

/// Datagrams of three fragments that the neighbour sends meanwhile, and are answered as such.
const LONG: usize = 50;

const SERVER: SocketAddrV4 = SocketAddrV4::new(CLIENT, ECHO_PORT);

/// What it is that comes in masses.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// SYNs, each to another address where nobody answers.
    Syn,
    /// Datagrams, each from another port, which are answered.
    Udp,
    /// Pings, each of another identifier, which are answered.
    Echo,
    /// Fragments: first ones of datagrams, later ones with and without a first one, and some of TCP and ICMP.
    Fragment,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Syn, Self::Udp, Self::Echo, Self::Fragment];

    fn packet(self, from: Ipv4Addr, n: u32) -> Vec<u8> {
        let port = 1024 + (n % 60_000) as u16;
        let there = Between::V4(from, CLIENT);
        match self {
            Self::Syn => {
                let nobody = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n);
                Between::V4(from, nobody).tcp([port, 80], [n, 0], flags::SYN, &[])
            }
            Self::Udp => there.udp([port, ECHO_PORT], b"flood"),
            Self::Echo => there.echo(port),
            Self::Fragment => fragment(there, n),
        }
    }
}

fn fragment(between: Between, n: u32) -> Vec<u8> {
    const MORE: u16 = 0x2000;
    const PART: usize = 64;
    let (of, word) = match n % 5 {
        0 => (protocol::UDP, MORE),
        1 => (protocol::UDP, PART as u16 / 8),
        2 => (protocol::UDP, MORE | 185),
        3 => (protocol::TCP, MORE),
        _ => (protocol::ICMP, 1),
    };
    let ports = [1024 + (n % 100) as u16, ECHO_PORT].map(u16::to_be_bytes).concat();
    let mut packet =
        between.packet(of, &[&ports[..], &[0, 2 * PART as u8, 0, 0], &[0x55; PART - 8]].concat());
    // The first two of five are one datagram.
    packet[4..6].copy_from_slice(&((n - n % 5 % 2) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&word.to_be_bytes());
    mend(&mut packet);
    packet
}

/// What a neighbour noticed of a flood.
struct Noticed {
    flood: Flooded,
    visits: Visited,
    /// Long datagrams that were not answered.
    lost: usize,
    /// Packets that veths had no room for: both CPUs were busy with something else.
    dropped: u64,
}

/// The flood of the first sandbox, and what the second one notices of it.
fn under(bed: &Testbed, kind: Kind, from: Ipv4Addr) -> Result<Noticed, Failure> {
    let [hostile, neighbour] = [0, 1].map(|it| &bed.sandboxes[it].netns);
    let everyone = [&bed.client, &bed.router, &bed.host, hostile, neighbour];
    let full = || everyone.into_iter().map(dropped).sum::<Result<u64, _>>();
    let before = full()?;
    let mut old =
        (0..OLD).map(|_| Conversation::begin(neighbour, SERVER.into())).collect::<Result<Vec<_>, _>>()?;

    let flood = Flood::of(hostile, SERVER, A_SECOND, move |n| Some(kind.packet(from, n)))?;
    let visits = Visits::begin(neighbour, SocketAddr::from(SERVER));
    let is_lost = |_: &usize| !matches!(ask_by_udp(neighbour, SERVER.into(), &[0x55; 4000]), Ok(answer) if answer.len() == 4000);
    let lost = (0..LONG).filter(is_lost).count();
    flood.wait_for(PACKETS)?;
    let visits = visits.end()?;
    let flood = flood.stop();

    for talk in &mut old {
        assert!(talk.exchange(b"still there")?, "a connection from before a flood of {kind:?}");
    }
    Ok(Noticed { flood, visits, lost, dropped: full()? - before })
}

impl Noticed {
    fn show(&self, kind: Kind, by: &str) {
        println!(
            "flood of {kind:?} by {by}: {} packets, {:.0}/s; the neighbour's new connections: {} served, {} failed, \
             p99 {:.1?}, slowest {:.1?}; {} of {LONG} long datagrams lost; {} packets dropped by veths",
            self.flood.packets,
            self.flood.per_second(),
            self.visits.served,
            self.visits.failed(),
            self.visits.p99(),
            self.visits.slowest,
            self.lost,
            self.dropped,
        );
    }
}

#[test]
fn floods_from_inside_a_sandbox_cost_its_neighbour_no_connection() -> Tested {
    let mut bed = Topology { name: "inside", sandboxes: 2 }.build()?;
    let servers = [Echo::tcp(&bed.client, ECHO_PORT)?.into(), Echo::udp(&bed.client, ECHO_PORT)?.into()];
    servers.into_iter().for_each(|server: weir_netns_tests::servers::Server| bed.keep(server));
    flood::route_back(&bed)?;
    let masquerade = Masquerade::begin(&bed)?;
    let mut plain = Vec::new();
    for kind in Kind::ALL {
        let noticed = under(&bed, kind, Masquerade::address(0))?;
        noticed.show(kind, "nftables");
        plain.push(noticed);
    }
    masquerade.end()?;
    let config = outwards(Hook::Xdp, Connector::of(1..=2, V4));
    let weir = bed.weir(&Config { max_flows: MAX_FLOWS, max_half_open: Some(BUDGET), ..config })?;
    active(&weir)?;

    for (kind, plain) in Kind::ALL.into_iter().zip(plain) {
        let noticed = under(&bed, kind, SANDBOX)?;
        noticed.show(kind, "Weir");
        assert!(
            noticed.visits.served > 0 && noticed.visits.failed() == 0,
            "{kind:?}: {:?}",
            noticed.visits.failures
        );
        // Nobody sends a datagram again: what a veth had no room for is the machine's loss.
        assert!(noticed.lost <= plain.lost.max(noticed.dropped as usize), "{kind:?}: {} lost", noticed.lost);
    }

    its_books_close(&weir)?;
    Ok(bed.finish(weir)?)
}

/// Packets in = packets out, and flows opened = flows that live + flows that ended.
fn its_books_close(weir: &Weir) -> Tested {
    is_at_rest(weir)?;
    let counters = weir.counters()?;
    println!("reasons: {:?}; ends: {:?}", counters.reasons(), counters.ended);
    assert_eq!(counters.of(Reason::HalfOpenFull) + counters.of(Reason::AnsweredNoRoom), 0, "{counters:#?}");
    assert!(counters.ended("made_way") > 0, "the flood made way for itself: {counters:#?}");
    let differ = || -> Result<[u64; 2], weir_netns_tests::error::Error> {
        let live = weir.flows()?.len() as u64;
        let counters = weir.counters()?;
        Ok([counters.of(Reason::Opened), live + counters.ended.values().sum::<u64>()])
    };
    // Some end between the two looks.
    until(
        "flows opened = live + ended",
        PATIENCE,
        || format!("{:?}", differ().ok()),
        || {
            let [opened, known] = differ()?;
            Ok((opened == known).then_some(()))
        },
    )?;
    println!("flows opened, and live or ended: {:?}", differ()?);
    Ok(())
}
