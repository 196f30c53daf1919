//! ENIs as the network sees them: their MACs, their addresses, how soon they are there, and when they go.
//!
//! ```text
//!   client ── router ───────────── [XDP | TC] host [TC] ─┬─ sb1
//!     echo    echo on the link      ENI                  └─ sb2
//!             caught here
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use weir_netns_tests::capture::Capture;
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{
    BOTH, Connector, ENI, ENI6, SECOND_ENI, SERVERS, active, addresses, connected, enis, identities,
    outwards, ports,
};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::frames::{ends, senders, station};
use weir_netns_tests::ipv6::HOST6;
use weir_netns_tests::load;
use weir_netns_tests::programs::SshServer;
use weir_netns_tests::servers::{HTTP_PORT, nginx};
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{HOST, ROUTER_DEVICE, Testbed, UPLINK};
use weir_netns_tests::waiting::{PATIENCE, until};

fn exchange_with_all(bed: &Testbed, sandbox: usize) -> Tested {
    exchange_with(bed, sandbox, &SERVERS)
}

fn exchange_with(bed: &Testbed, sandbox: usize, servers: &[SocketAddr]) -> Tested {
    let netns = &bed.sandboxes[sandbox].netns;
    for to in servers.iter().copied() {
        assert!(Conversation::begin(netns, to)?.exchange(b"hello")?, "{to}");
        assert_eq!(ask_by_udp(netns, to, b"hello")?, b"hello", "{to}");
        let said = ping(netns, to.ip(), 56)?;
        assert!(said.is_well, "{to}: {}", said.text);
    }
    Ok(())
}

#[test]
fn an_eni_with_a_mac_of_its_own_is_a_station_of_its_own_on_an_xdp_uplink() -> Tested {
    eni_is_a_station_of_its_own("own-mac-xdp", Hook::Xdp)
}

#[test]
fn an_eni_with_a_mac_of_its_own_is_a_station_of_its_own_on_a_tc_uplink() -> Tested {
    eni_is_a_station_of_its_own("own-mac-tc", Hook::Tc)
}

fn eni_is_a_station_of_its_own(name: &'static str, hook: Hook) -> Tested {
    let config = outwards(hook, Connector::of(1..=2, BOTH).with("mac", "\"own\""));
    let (bed, weir, found) = connected(name, 2, &config)?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    // Beyond the gateway: the first packets to a neighbour on the link are the kernel's to frame.
    exchange_with(&bed, 0, &SERVERS[..2])?;

    let mac = &found[0].mac;
    assert!(mac.starts_with("06:e1:") && *mac != bed.host.mac(UPLINK)?, "{mac}");
    let frames = on_the_wire.stop();
    let stations: BTreeSet<_> = frames
        .iter()
        .filter(|frame| !ends(&[(*frame).clone()]).is_empty())
        .map(|frame| station(frame))
        .collect();
    assert_eq!(stations, [mac.clone()].into());
    for address in addresses(&found) {
        let known = bed.router.ip(&["neigh", "show", &address.to_string(), "dev", ROUTER_DEVICE])?;
        assert!(known.contains(mac.as_str()), "{address}: {known}");
    }
    exchange_with_all(&bed, 1)?;
    Ok(bed.finish(weir)?)
}

#[test]
fn the_hosts_address_is_shared_with_its_own_servers_on_an_xdp_uplink() -> Tested {
    hosts_address_is_shared("host-eni-xdp", Hook::Xdp)
}

#[test]
fn the_hosts_address_is_shared_with_its_own_servers_on_a_tc_uplink() -> Tested {
    hosts_address_is_shared("host-eni-tc", Hook::Tc)
}

fn hosts_address_is_shared(name: &'static str, hook: Hook) -> Tested {
    let config = outwards(hook, Connector::of(1..=2, BOTH).of_the_host());
    let (mut bed, weir, found) = connected(name, 2, &config)?;
    let own = [IpAddr::V4(HOST), HOST6.into()];
    assert_eq!(addresses(&found), own.into());
    bed.keep(nginx(&bed.host, "the host", bed.dir())?);
    let ssh = SshServer::begin(&bed.host, bed.dir())?;
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    exchange_with_all(&bed, 0)?;
    for address in own {
        let tally = load::requests(&bed.client, SocketAddr::new(address, HTTP_PORT), 20)?;
        assert_eq!(tally.failed(), 0, "{tally:?}");
        assert!(ssh.log_in(&bed.client, address)?.exchange("hello")?);
        assert!(ping(&bed.client, address, 56)?.is_well);
    }
    let held: Vec<_> = (0..50).map(|_| Conversation::begin(&bed.sandboxes[1].netns, SERVERS[0])).collect();
    // What the host opens itself, from the ports that it gives out.
    for to in SERVERS {
        assert!(Conversation::begin(&bed.host, to)?.exchange(b"the host's")?, "{to}");
        assert!(ping(&bed.host, to.ip(), 56)?.is_well, "{to}");
    }

    assert_eq!(senders(&on_the_wire.stop()), own.into());
    let of_the_host =
        bed.host.enter(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range"))??;
    let first: u64 = of_the_host.split_whitespace().next().unwrap_or_default().parse()?;
    let flows = weir.shown(&["get", "flows"])?;
    let taken: Vec<_> =
        flows.as_array().into_iter().flatten().filter_map(|it| it["eni_port"].as_u64()).collect();
    assert!(
        taken.len() >= held.len() && taken.iter().all(|port| *port < first),
        "{taken:?}, of {of_the_host}"
    );
    drop((held, ssh));
    Ok(bed.finish(weir)?)
}

#[test]
fn addresses_come_and_go_by_reloads_while_connections_go_on() -> Tested {
    let with = |count: u32| Config {
        timeouts: vec![("tcp_closing", 1)],
        ..outwards(Hook::Xdp, Connector::of(1..=2, BOTH).with("addresses_per_eni", count).with("rest", 0))
    };
    let (bed, mut weir, first) = connected("secondary", 2, &with(1))?;
    let begin = |to| Conversation::begin(&bed.sandboxes[0].netns, to);
    let mut talks = vec![begin(SERVERS[0])?, begin(SERVERS[1])?];

    weir.reconfigure(&bed, &with(2))?;
    let two = enis_are(&weir, |addresses| addresses.len() == 4)?;
    assert_eq!(two, addresses(&first).into_iter().chain([SECOND_ENI.into(), next(ENI6)]).collect());
    // New flows take both; the addresses are chosen at random, so of so many some leave from each.
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;
    for n in 0..16 {
        talks.push(begin(SERVERS[n % 2])?);
    }
    assert_eq!(senders(&on_the_wire.stop()), two);

    weir.reconfigure(&bed, &with(1))?;
    enis_are(&weir, |addresses| addresses.len() == 2)?;
    for talk in &mut talks {
        assert!(talk.exchange(b"those from addresses that drain as well")?);
    }
    drop(talks);
    until(
        "the end of what drains",
        3 * PATIENCE,
        || format!("{:#?}", enis(&weir)),
        || Ok(enis(&weir)?.iter().all(|eni| eni.draining.is_empty()).then_some(())),
    )?;
    assert_eq!(identities(&enis(&weir)?), identities(&first));
    exchange_with_all(&bed, 1)?;
    Ok(bed.finish(weir)?)
}

fn next(address: std::net::Ipv6Addr) -> IpAddr {
    IpAddr::V6((u128::from(address) + 1).into())
}

/// Waits until the ENIs' addresses for new flows are as wanted.
fn enis_are(
    weir: &weir_netns_tests::weir::Weir,
    are_right: impl Fn(&BTreeSet<IpAddr>) -> bool,
) -> Result<BTreeSet<IpAddr>, Failure> {
    Ok(until(
        "other addresses",
        PATIENCE,
        || format!("{:#?}", enis(weir)),
        || Ok(Some(addresses(&enis(weir)?)).filter(|it| are_right(it))),
    )?)
}

#[test]
fn an_eni_is_announced_and_usable_at_once_and_gone_seconds_after_the_last_slot() -> Tested {
    let none = Config::new(Hook::Xdp, []);
    let (bed, mut weir, _) = connected("soon", 2, &none)?;
    for address in [IpAddr::V4(ENI), ENI6.into()] {
        let before = ["neigh", "replace", &address.to_string(), "lladdr", "02:00:00:00:00:99"];
        bed.router.ip(&[&before[..], &["nud", "stale", "dev", ROUTER_DEVICE]].concat())?;
    }
    let on_the_wire = Capture::start(&bed.router, ROUTER_DEVICE)?;

    let begun = Instant::now();
    weir.reconfigure(&bed, &outwards(Hook::Xdp, Connector::of(1..=2, BOTH)))?;
    let in_force = begun.elapsed();
    let found = active(&weir)?;
    let mut last = Conversation::begin(&bed.sandboxes[0].netns, SERVERS[0])?;
    println!(
        "a reload with a new connector and two slots took {in_force:?}; the first connection was there after {:?}",
        begun.elapsed()
    );
    exchange_with_all(&bed, 1)?;

    let mac = bed.host.mac(UPLINK)?;
    for address in addresses(&found) {
        let known = bed.router.ip(&["neigh", "show", &address.to_string(), "dev", ROUTER_DEVICE])?;
        assert!(known.contains(&mac), "{address}: {known}");
    }
    let announced = on_the_wire.stop().iter().filter(|frame| is_announcement(frame)).count();
    assert_eq!(announced, 2, "one of each family");

    let ended = Instant::now();
    weir.reconfigure(&bed, &none)?;
    until(
        "the end of the ENI",
        PATIENCE,
        || format!("{:#?}", enis(&weir)),
        || Ok(enis(&weir)?.is_empty().then_some(())),
    )?;
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    assert!(last.exchange(b"is anybody there?").is_err(), "its slot is gone");
    assert_eq!(ports(&weir)?, [0; 3]);
    Ok(bed.finish(weir)?)
}

/// ARP whose sender and target are the ENI (RFC 5227 section 2.3), or an advertisement that nobody asked for.
fn is_announcement(frame: &[u8]) -> bool {
    const ETHERTYPE: usize = 12;
    let at = |from: usize, len: usize| frame.get(from..from + len).unwrap_or_default();
    match at(ETHERTYPE, 2) {
        [8, 6] => at(28, 4) == ENI.octets() && at(38, 4) == ENI.octets(),
        [0x86, 0xdd] => at(54, 1) == [136] && at(62, 16) == ENI6.octets() && at(0, 2) == [0x33, 0x33],
        _ => false,
    }
}
