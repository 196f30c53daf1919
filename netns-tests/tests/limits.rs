//! How much Weir says by itself: so much a second, whoever asks, and neighbours are answered all the same.
//!
//! ```text
//!   client ─────── router ─────── [XDP | TC] host [TC] ─── sb1
//!   a flood                        VIP 198.51.100.10, port 80: no targets, port 7: sb1
//! ```

use std::net::SocketAddrV4;
use std::time::Instant;

use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::flood::{self, Flood, Wave};
use weir_netns_tests::raw::Segment;
use weir_netns_tests::tools::ping;
use weir_netns_tests::topology::{CLIENT, HOST, ROUTER_DEVICE, Testbed, Topology, UPLINK, VIP};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// How many answers a second are configured.
const ANSWERS: u32 = 100;

fn begin(name: &'static str, hook: Hook) -> Result<(Testbed, Weir), Failure> {
    let bed = Topology { name, sandboxes: 1 }.build()?;
    flood::route_back(&bed)?;
    // Two different listeners' answers come out of one budget.
    let services = [Service::web(1..=1).of_nobody(), Service::echo(1..=1)];
    let weir = bed.weir(&Config { answers_per_second: Some(ANSWERS), ..Config::new(hook, services) })?;
    Ok((bed, weir))
}

/// As many as fit into so long, with a full bucket at its beginning, and a tick of the clock.
fn most_since(begun: Instant) -> u64 {
    ((begun.elapsed().as_secs_f64() + 1.25) * f64::from(ANSWERS)).ceil() as u64
}

#[test]
fn a_flood_of_connections_to_nobody_gets_so_many_answers_a_second_on_an_xdp_uplink() -> Tested {
    flood_is_answered_in_part("limit-xdp", Hook::Xdp)
}

#[test]
fn a_flood_of_connections_to_nobody_gets_so_many_answers_a_second_on_a_tc_uplink() -> Tested {
    flood_is_answered_in_part("limit-tc", Hook::Tc)
}

fn flood_is_answered_in_part(name: &'static str, hook: Hook) -> Tested {
    let (bed, weir) = begin(name, hook)?;
    let wave = Wave { protocol: Protocol::Tcp, to: SocketAddrV4::new(VIP, 80), per_second: 4_000 };

    let begun = Instant::now();
    let flood = Flood::begin(&bed.client, wave)?;
    flood.wait_for(1_000)?;
    // The router has to ask again, in the middle of it.
    bed.router.ip(&["neigh", "flush", "dev", ROUTER_DEVICE])?;
    flood.wait_for(6_000)?;
    let flooded = flood.stop();

    let known = bed.router.ip(&["neigh", "show", &VIP.to_string(), "dev", ROUTER_DEVICE])?;
    assert!(known.contains(&bed.host.mac(UPLINK)?), "{known}");
    assert!(ping(&bed.client, HOST, 56)?.is_well, "the host answers for itself");
    let counters = weir.counters()?;
    let [told, untold] = [Reason::AnsweredNoTarget, Reason::NoTarget].map(|reason| counters.of(reason));
    assert!((u64::from(ANSWERS)..=most_since(begun)).contains(&told), "{told} in {:?}", flooded.took);
    assert!(untold > told && told + untold <= u64::from(flooded.packets), "{flooded:?} {counters:#?}");
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn segments_of_no_connection_get_so_many_resets_a_second() -> Tested {
    const SEGMENTS: u32 = 600;
    let (bed, weir) = begin("limit-rst", Hook::Xdp)?;
    // An answer to ARP is waited for before the segments come all at once.
    assert!(ping(&bed.client, VIP, 56)?.is_well);

    let begun = Instant::now();
    for n in 0..SEGMENTS {
        let from = SocketAddrV4::new(CLIENT, 10_000 + n as u16);
        Segment { from, to: SocketAddrV4::new(VIP, 7), sequence: 7, acknowledges: Some(n) }
            .send(&bed.client)?;
    }

    let counters = weir.counters()?;
    let [told, untold] = [Reason::AnsweredReset, Reason::AnswerLimited].map(|reason| counters.of(reason));
    assert!(told > 0 && told <= most_since(begun), "{told} in {:?}", begun.elapsed());
    assert_eq!(told + untold, u64::from(SEGMENTS), "{counters:#?}");
    Ok(bed.finish(weir)?)
}
