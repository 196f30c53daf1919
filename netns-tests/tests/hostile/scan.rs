//! A sandbox that looks for whatever is open: in the other sandbox, on the host, at the metadata addresses, at ENIs.
//! Everywhere somebody listens whom it must not find.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::Hook;
use weir_netns_tests::connectors::{BOTH, Connector, ENI, ENI6, addresses, connected, outwards};
use weir_netns_tests::counters::received;
use weir_netns_tests::error::{Error, Tested};
use weir_netns_tests::forge::{ALL_STATIONS, Between, Mac, flags, frame};
use weir_netns_tests::frames::senders;
use weir_netns_tests::ipv6::{GATEWAY6, HOST6, SANDBOX6};
use weir_netns_tests::raw::Wire;
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{GATEWAY, HOST, ROUTER_DEVICE, SANDBOX, Testbed, UPLINK};
use weir_netns_tests::trap::{Trap, Tripwire};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

use crate::{GATEWAY_MAC, Neighbour, SANDBOX_MAC, is_at_rest};

/// Where somebody listens: in the other sandbox and on the host.
const OPEN: [u16; 8] = [22, 53, 80, 443, 1023, 2375, 6443, 10_250];

/// Every port up to here is tried, and those of [`OPEN`].
const LAST_WELL_KNOWN: u16 = 1024;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Addresses of the host's that are on no link of Weir's: on its loopback device, and on a bridge of its own.
const INSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(172, 17, 0, 1)];
const INSIDE6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// An address of the host's on the port of the sandbox that scans.
const AT_THE_PORT: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Where nobody may be reached, by any port: Weir says so itself.
const REFUSED: [Ipv4Addr; 14] = [
    SANDBOX,
    Ipv4Addr::new(169, 254, 100, 6),
    Ipv4Addr::new(169, 254, 100, 3),
    GATEWAY,
    METADATA,
    ENI,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(127, 0, 0, 53),
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::new(0, 1, 2, 3),
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::BROADCAST,
];
const REFUSED6: [Ipv6Addr; 9] = [
    SANDBOX6,
    GATEWAY6,
    ENI6,
    Ipv6Addr::LOCALHOST,
    Ipv6Addr::UNSPECIFIED,
    AT_THE_PORT,
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2),
];
/// What is an address of the VPC like any other, so that the VPC's router may have it. It must not be the host's own.
const BEYOND: [Ipv4Addr; 4] = [HOST, INSIDE[0], INSIDE[1], Ipv4Addr::new(192, 0, 2, 255)];
const BEYOND6: [Ipv6Addr; 5] = [
    HOST6,
    METADATA6,
    INSIDE6,
    Ipv6Addr::new(0xfd57, 0x4549, 0x52, 0, 0, 0, 0, 6),
    Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
];

#[test]
fn a_scan_of_everything_finds_nothing_that_is_not_the_vpcs() -> Tested {
    let (bed, weir, enis) = connected("scan", 2, &outwards(Hook::Xdp, Connector::of(1..=2, BOTH)))?;
    give_the_host_addresses(&bed)?;
    let [scanner, neighbour] = [0, 1].map(|it| &bed.sandboxes[it]);
    let host_trap = Trap::set(&bed.host, &OPEN, bed.dir())?;
    let neighbours_trap = Trap::set(&neighbour.netns, &OPEN, bed.dir())?;
    let tripwire = Tripwire::set(&bed.host, &[&scanner.port, &neighbour.port], bed.dir())?;
    let talk = Neighbour::begin(&neighbour.netns)?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;
    let (before, came) = (weir.counters()?, received(&bed.host, &scanner.port)?);

    let frames = scan(&Wire::begin(&scanner.netns, "eth0")?)?;

    until("the end of the scan", PATIENCE, String::new, || {
        Ok((received(&bed.host, &scanner.port)? >= came + frames).then_some(()))
    })?;
    let rounds = talk.must_be_unhurt()?;
    is_at_rest(&weir)?;
    println!("the neighbour talked {rounds} rounds meanwhile");
    assert_eq!(host_trap.visits()?, [0, 0], "to the host");
    assert_eq!(neighbours_trap.visits()?, [0, 0], "to the other sandbox");
    assert_eq!(tripwire.heard()?, 0, "frames that were left to the host");
    assert_eq!(senders(&on_the_wire.stop()), addresses(&enis), "the scanner is nobody on the wire");
    all_were_named(&weir, &before, frames)?;
    // The traps catch what comes.
    assert!(Conversation::begin(&bed.router, (HOST, OPEN[0]).into()).is_ok());
    assert_eq!(host_trap.visits()?, [1, 1]);
    Ok(bed.finish(weir)?)
}

/// Addresses of the link, of each family, that are asked for; nearly all are nobody's.
const ON_LINK: u32 = 3_200;

/// What an ENI may ask for.
const ENI_ASKS_A_SECOND: usize = 100;

/// The router's addresses, by each family and at the slots' ports.
const OF_THE_BED: usize = 10;

/// Eight times what an ENI may ask for, and few enough for the budget of half-open flows.
const ON_LINK_A_SECOND: u32 = 800;

#[test]
fn a_scan_of_the_link_leaves_a_neighbour_the_way_to_whoever_is_on_it() -> Tested {
    let (bed, weir, _) = connected("scan-link", 2, &outwards(Hook::Xdp, Connector::of(1..=2, BOTH)))?;
    let talk = Neighbour::begin(&bed.sandboxes[1].netns)?;
    let wire = Wire::begin(&bed.sandboxes[0].netns, "eth0")?;
    let before = weir.counters()?;
    let begun = Instant::now();

    for n in 0..ON_LINK {
        let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + n % 256);
        let v6 = Ipv6Addr::from(u128::from(HOST6) + 0x1_0000 + u128::from(n));
        let (v4, v6) = (Between::V4(SANDBOX, v4), Between::V6(SANDBOX6, v6));
        let ports = [1024 + n as u16, 80];
        for (between, packet) in [(v4, v4.udp(ports, b"who?")), (v6, v6.tcp(ports, [1, 0], flags::SYN, b""))]
        {
            wire.send(&framed(GATEWAY_MAC, between, &packet))?;
        }
        // The rate is a matter of time, and there is no event to wait for.
        thread::sleep((n * Duration::from_secs(1) / ON_LINK_A_SECOND).saturating_sub(begun.elapsed()));
    }

    let took = begun.elapsed();
    let rounds = talk.must_be_unhurt()?;
    is_at_rest(&weir)?;
    let after = weir.counters()?;
    let known = ["-4", "-6"].map(|family| bed.host.ip(&[family, "neigh"]));
    let known: usize = known.into_iter().flatten().map(|listed| listed.lines().count()).sum();
    println!(
        "asked for {} addresses on the link in {took:.1?}, {} of them in vain; the host remembers {known} neighbours; \
         the neighbour talked {rounds} rounds",
        2 * ON_LINK,
        after.of(Reason::NextHopUnresolved) - before.of(Reason::NextHopUnresolved),
    );
    // A second's worth at once, and who was known before.
    let most = ENI_ASKS_A_SECOND * (2 + took.as_secs() as usize) + OF_THE_BED;
    assert!(known <= most, "the kernel has room for a thousand neighbours on all the machine");
    Ok(bed.finish(weir)?)
}

fn give_the_host_addresses(bed: &Testbed) -> Result<(), Error> {
    bed.host.allow_ipv6(&["lo", &bed.sandboxes[0].port])?;
    let port = bed.sandboxes[0].port.as_str();
    let own = INSIDE.into_iter().chain([METADATA]).map(|it| (IpAddr::V4(it), "lo"));
    let own6 = [(INSIDE6, "lo"), (METADATA6, "lo"), (AT_THE_PORT, port)].map(|(it, at)| (IpAddr::V6(it), at));
    for (address, device) in own.chain(own6) {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let on = ["dev", device];
        let nodad = if address.is_ipv4() { &[][..] } else { &["nodad"] };
        bed.host.ip(&[&["addr", "add", &format!("{address}/{prefix}")][..], &on, nodad].concat())?;
    }
    // What would answer for all the others, if anybody let them through.
    bed.host.sysctl(&format!("net.ipv4.conf.{UPLINK}.route_localnet"), "1")?;
    bed.host.sysctl(&format!("net.ipv4.conf.{port}.route_localnet"), "1")
}

/// Knocks at all doors, and says how often.
fn scan(wire: &Wire) -> Result<u64, Error> {
    let well_known = || (1..=LAST_WELL_KNOWN).chain(OPEN.into_iter().filter(|port| *port > LAST_WELL_KNOWN));
    let mut frames = 0;
    for to in REFUSED.map(IpAddr::V4).into_iter().chain(REFUSED6.map(IpAddr::V6)) {
        frames += knock(wire, to, well_known())?;
    }
    for to in BEYOND.map(IpAddr::V4).into_iter().chain(BEYOND6.map(IpAddr::V6)) {
        frames += knock(wire, to, OPEN.into_iter())?;
    }
    Ok(frames)
}

fn knock(wire: &Wire, to: IpAddr, ports: impl Iterator<Item = u16>) -> Result<u64, Error> {
    const FROM: u16 = 40_000;
    let between = match to {
        IpAddr::V4(to) => Between::V4(SANDBOX, to),
        IpAddr::V6(to) => Between::V6(SANDBOX6, to),
    };
    let syns_and_datagrams = ports.flat_map(|port| {
        let ports = [FROM, port];
        [between.tcp(ports, [1, 0], flags::SYN, b""), between.udp(ports, b"who is there?")]
    });
    let mut frames = 0;
    for packet in syns_and_datagrams.chain([between.echo(FROM)]) {
        // As its own kernel would frame it, and to every station there is.
        for station in [GATEWAY_MAC, ALL_STATIONS] {
            wire.send(&framed(station, between, &packet))?;
            frames += 1;
        }
    }
    Ok(frames)
}

fn framed(station: Mac, between: Between, packet: &[u8]) -> Vec<u8> {
    frame([station, SANDBOX_MAC], between.ethertype(), packet)
}

/// Every knock was counted, and nearly all of them for being none of the scanner's business.
fn all_were_named(weir: &Weir, before: &weir_netns_tests::counters::Counters, frames: u64) -> Tested {
    let after = weir.counters()?;
    let of = |reasons: &[Reason]| reasons.iter().map(|it| after.of(*it) - before.of(*it)).sum::<u64>();
    let forbidden = of(&[Reason::NotAllowedOut, Reason::AnsweredNotAllowedOut]);
    let answered = of(&[Reason::AnsweredEcho, Reason::AnswerLimited]);
    let told = of(&[Reason::AnsweredNotAllowedOut]);
    println!(
        "knocks: {frames}; not allowed: {forbidden}, of which {told} were told so; pings of the gateway: {answered}"
    );
    // Two frames for each port and protocol, and two pings; beyond, the VPC's answers are the VPC's.
    let beyond = (BEYOND.len() + BEYOND6.len()) as u64 * 2 * (2 * OPEN.len() as u64 + 1);
    assert!(forbidden + answered >= frames - beyond, "{:#?}", after.reasons());
    Ok(())
}
