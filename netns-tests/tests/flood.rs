//! A flood of senders that do not exist, against a budget of half-open flows that it exceeds tenfold. The same
//! load under the same flood by the kernel's own forwarding is what it is compared with.
//!
//! ```text
//!   client ──────── router ──────── [XDP] host [TC] ─┬─ sb1   echo: long connections and new ones
//!   and 198.18.0.0/15,                               └─ sb2   the same, by the kernel alone
//!   where answers end in silence
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]
#![expect(clippy::print_stdout, reason = "what came of the load is the test's result")]

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Mutex, PoisonError};

use weir_netns_tests::busy::{Bulk, Chat, Visited, Visits};
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::counters::{dropped, handshake_retransmissions, losses, retransmissions};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::flood::{self, Flood, Flooded, Wave};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::plain::PlainRoute;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::talk::{Conversation, ask_by_udp};
use weir_netns_tests::topology::{SANDBOX, Sandbox, Testbed, Topology, VIP, vip};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;
use weir_path::reason::Class;

/// What the machine of a test can send beside everything else it does.
const A_SECOND: u32 = 10_000;

/// A place is kept for a quarter of a second: at this rate nobody who has one finds it taken.
const BUDGET: u32 = 4096;

/// Two floods at once would be one of twice the rate.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How many connections say something without a pause while the flood is on.
const CHATS: usize = 2;

/// What came of the load.
#[derive(Debug)]
struct Outcome {
    flood: Flooded,
    exchanges: u64,
    megabytes: u64,
    /// Segments sent again, by all ends: of the connections that were there before the flood, and of newcomers
    /// after their handshake.
    retransmitted: u64,
    /// Those among them that had not come the first time.
    lost: u64,
    /// Packets, the flood's included, that the veths had no room for: both cores were busy with something else.
    dropped: u64,
    newcomers: Visited,
    /// SYNs of honest newcomers that had to be sent again.
    syns_again: u64,
}

/// Long connections, one of them with as much to say as fits, and new ones one after another, under a flood.
fn under(bed: &Testbed, wave: Wave, echo: SocketAddr, sandbox: &Sandbox) -> Result<Outcome, Failure> {
    let ends = [&bed.client, &sandbox.netns];
    let everyone = [&bed.client, &bed.router, &bed.host, &sandbox.netns];
    let dropped = || everyone.map(dropped).into_iter().sum::<Result<u64, Error>>();
    let dropped_before = dropped()?;
    let sum = |of: fn(&Netns) -> Result<u64, Error>| ends.map(of).into_iter().sum::<Result<u64, Error>>();
    let talk = || Conversation::begin(&bed.client, echo);
    let chats = (0..CHATS).map(|_| talk().map(Chat::begin)).collect::<Result<Vec<_>, _>>()?;
    let bulk = Bulk::begin(talk()?);
    let (again, lost) = (sum(retransmissions)?, sum(losses)?);
    let syns = handshake_retransmissions(&bed.client)?;

    let flood = Flood::begin(&bed.client, wave)?;
    let newcomers = Visits::begin(&bed.client, echo);
    flood.wait_for(10 * BUDGET)?;
    let newcomers = newcomers.end()?;
    let flood = flood.stop();

    let outcome = Outcome {
        flood,
        exchanges: chats.into_iter().map(Chat::end).sum::<Result<u64, Error>>()?,
        megabytes: bulk.end()? >> 20,
        retransmitted: sum(retransmissions)? - again,
        lost: sum(losses)?.saturating_sub(lost),
        dropped: dropped()? - dropped_before,
        newcomers,
        syns_again: handshake_retransmissions(&bed.client)? - syns,
    };
    Ok(outcome)
}

impl Outcome {
    /// What a veth had no room for is the machine's loss, not Weir's. What Weir drops it says itself.
    fn must_have_lost_no_more_than(&self, plain: &Self) {
        assert!(self.lost <= plain.lost.max(self.dropped), "{self:#?}\n{plain:#?}");
        assert!(self.exchanges > 0 && self.megabytes > 0, "{self:#?}");
    }

    fn show(&self, what: &str) {
        println!(
            "{what}: {} packets in {:.1} s ({:.0}/s); {} exchanges and {} MB on long connections, {} segments \
             sent again, {} of them lost; {} dropped by veths; newcomers: {} served, {} failed, slowest {:?}, \
             {} SYNs sent again",
            self.flood.packets,
            self.flood.took.as_secs_f64(),
            self.flood.per_second(),
            self.exchanges,
            self.megabytes,
            self.retransmitted,
            self.lost,
            self.dropped,
            self.newcomers.served,
            self.newcomers.failed(),
            self.newcomers.slowest,
            self.syns_again,
        );
    }
}

/// The same load under the same flood to another sandbox, without Weir.
fn by_the_kernel_alone(bed: &Testbed, protocol: Protocol, port: u16) -> Result<Outcome, Failure> {
    let route = PlainRoute::begin(bed, &bed.sandboxes[1])?;
    let wave = Wave { protocol, to: SocketAddrV4::new(SANDBOX, port), per_second: A_SECOND };
    let plain = under(bed, wave, (SANDBOX, ECHO_PORT).into(), &bed.sandboxes[1])?;
    route.end()?;
    plain.show("by the kernel alone");
    Ok(plain)
}

/// What must hold of the budget whatever floods it.
fn assert_the_budget_was_kept(weir: &Weir, budget: u32) -> Tested {
    let counters = weir.counters()?;
    let half_open = weir.flows()?.iter().filter(|flow| flow.is_half_open()).count();
    println!(
        "half-open: {half_open} of {budget}; made way: {}; dropped for want of a place: {}",
        counters.ended("made_way"),
        counters.of(Reason::HalfOpenFull)
    );
    assert!(half_open <= budget as usize && half_open > budget as usize / 2, "{half_open}: {counters:#?}");
    assert!(counters.ended("made_way") > u64::from(budget), "the flood made way for itself: {counters:#?}");
    // Only a flow's first packet can want a place. So no packet of a flow that was there was dropped.
    let dropped: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| reason.class() == Class::Dropped && counters.of(**reason) > 0)
        .filter(|reason| **reason != Reason::HalfOpenFull)
        .collect();
    assert_eq!(dropped, Vec::<&Reason>::new(), "{counters:#?}");
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    Ok(())
}

fn config(budget: u32, services: impl Into<Vec<Service>>) -> Config {
    // Twice the budget: what is not half-open has room, and the flood would fill it if it could.
    Config { max_flows: 2 * BUDGET, max_half_open: Some(budget), ..Config::new(Hook::Xdp, services) }
}

#[test]
fn a_syn_flood_of_ten_times_the_budget_costs_nobody_a_packet() -> Tested {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bed = Topology { name: "flood", sandboxes: 2 }.build()?;
    bed.serve_echo()?;
    flood::route_back(&bed)?;
    let plain = by_the_kernel_alone(&bed, Protocol::Tcp, ECHO_PORT)?;
    let weir = bed.weir(&config(BUDGET, [Service::echo(1..=1)]))?;

    let wave = Wave { protocol: Protocol::Tcp, to: SocketAddrV4::new(VIP, 7), per_second: A_SECOND };
    let outcome = under(&bed, wave, vip(7), &bed.sandboxes[0])?;

    outcome.show("through Weir");
    outcome.must_have_lost_no_more_than(&plain);
    assert!(outcome.newcomers.served > 0 && outcome.newcomers.failed() == 0, "{outcome:#?}");
    assert_the_budget_was_kept(&weir, BUDGET)?;
    Ok(bed.finish(weir)?)
}

#[test]
fn a_syn_flood_that_takes_every_place_at_once_delays_newcomers_and_harms_nobody_else() -> Tested {
    /// Some four times too few places for this flood.
    const TIGHT: u32 = BUDGET / 8;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bed = Topology { name: "flood-tight", sandboxes: 2 }.build()?;
    bed.serve_echo()?;
    flood::route_back(&bed)?;
    let plain = by_the_kernel_alone(&bed, Protocol::Tcp, ECHO_PORT)?;
    let weir = bed.weir(&config(TIGHT, [Service::echo(1..=1)]))?;

    let wave = Wave { protocol: Protocol::Tcp, to: SocketAddrV4::new(VIP, 7), per_second: A_SECOND };
    let outcome = under(&bed, wave, vip(7), &bed.sandboxes[0])?;

    outcome.show("through Weir, with too few places");
    assert!(weir.counters()?.of(Reason::HalfOpenFull) > 0, "{:#?}", weir.counters()?);
    outcome.must_have_lost_no_more_than(&plain);
    // A SYN that finds no place is dropped, and the client's kernel sends it again; once the flood is over, none is.
    assert!(outcome.newcomers.served > 0, "{outcome:#?}");
    assert!(Conversation::begin(&bed.client, vip(7))?.exchange(b"at last")?);
    assert_the_budget_was_kept(&weir, TIGHT)?;
    Ok(bed.finish(weir)?)
}

#[test]
fn a_udp_flood_of_ten_times_the_budget_costs_nobody_a_packet() -> Tested {
    const SILENT: u16 = 9;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bed = Topology { name: "flood-udp", sandboxes: 2 }.build()?;
    bed.serve_echo()?;
    flood::route_back(&bed)?;
    // It takes what comes and never answers.
    let deaf = |sandbox: &Sandbox| sandbox.netns.enter(|| UdpSocket::bind(("0.0.0.0", SILENT)));
    let _deaf = bed.sandboxes.iter().map(deaf).collect::<Result<Vec<_>, Error>>()?;
    let plain = by_the_kernel_alone(&bed, Protocol::Udp, SILENT)?;
    let silent = Service { protocol: Protocol::Udp, ..Service::tcp("silent", SILENT, SILENT, 1..=1) };
    let weir = bed.weir(&config(BUDGET, [Service::echo(1..=1), Service::echo_udp(1..=1), silent]))?;

    let wave = Wave { protocol: Protocol::Udp, to: SocketAddrV4::new(VIP, SILENT), per_second: A_SECOND };
    let outcome = under(&bed, wave, vip(7), &bed.sandboxes[0])?;

    outcome.show("through Weir");
    outcome.must_have_lost_no_more_than(&plain);
    assert!(outcome.newcomers.served > 0 && outcome.newcomers.failed() == 0, "{outcome:#?}");
    assert_eq!(ask_by_udp(&bed.client, vip(7), b"still there?")?, b"still there?");
    assert_the_budget_was_kept(&weir, BUDGET)?;
    Ok(bed.finish(weir)?)
}
