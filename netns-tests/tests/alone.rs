//! The dataplane without its daemon: connections come and go, several times as many as fit, and flows end by
//! themselves. A new daemon finds it all in order.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   echo (TCP), and a UDP port that never answers
//!                        weir, killed    └─ sb2   the same
//! ```

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use weir_netns_tests::busy::{Chat, Visits};
use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::error::Tested;
use weir_netns_tests::talk::Conversation;
use weir_netns_tests::topology::{Topology, vip};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_path::Reason;

/// The smallest table there is.
const CAPACITY: u32 = 1024;

/// How many clients connect at the same time.
const CROWD: u64 = 4;

/// Where nobody answers.
const SILENT: u16 = 9;

/// Datagrams to there, each of a flow of its own.
const UNANSWERED: u64 = 20;

const SLOW: Duration = Duration::from_secs(60);

#[test]
fn without_a_daemon_three_times_what_fits_comes_and_goes_and_its_successor_adopts_the_rest() -> Tested {
    let mut bed = Topology { name: "alone", sandboxes: 2 }.build()?;
    bed.serve_echo()?;
    let deaf =
        bed.sandboxes.iter().map(|sandbox| sandbox.netns.enter(|| UdpSocket::bind(("0.0.0.0", SILENT))));
    let _deaf = deaf.collect::<Result<Vec<_>, _>>()?;
    let silent = Service { protocol: Protocol::Udp, ..Service::tcp("silent", SILENT, SILENT, 1..=2) };
    let mut weir = bed.weir(&Config {
        max_flows: CAPACITY,
        timeouts: vec![("tcp_closing", 2), ("udp_unanswered", 2)],
        ..Config::new(Hook::Xdp, [Service::echo(1..=2), silent])
    })?;
    let before = Conversation::begin(&bed.client, vip(7))?;
    let its_port = before.local_address()?.port();
    let chat = Chat::begin(before);

    weir.kill()?;

    let begun = Instant::now();
    let crowd: Vec<_> = (0..CROWD).map(|_| Visits::begin(&bed.client, vip(7))).collect();
    for visits in &crowd {
        visits.wait_for(3 * u64::from(CAPACITY) / CROWD, SLOW)?;
    }
    let took = begun.elapsed();
    let visited = crowd.into_iter().map(Visits::end).collect::<Result<Vec<_>, _>>()?;
    let served: u64 = visited.iter().map(|visited| visited.served).sum();
    println!("without a daemon: {served} connections in {took:?}, room for {CAPACITY}");
    assert!(visited.iter().all(|visited| visited.failed() == 0), "{visited:#?}");
    chat.wait_for_more()?;
    for _ in 0..UNANSWERED {
        bed.client.enter(|| UdpSocket::bind(("0.0.0.0", 0))?.send_to(b"hello?", vip(SILENT)))??;
    }

    let left = until("the end of every flow but one", PATIENCE, String::new, || {
        let flows = weir.flows()?;
        Ok((flows.len() <= 1).then_some(flows))
    })?;
    let counters = weir.counters()?;
    assert!(left.iter().map(|flow| flow.client_port).eq([its_port]), "the one from before: {left:#?}");
    assert_eq!(counters.of(Reason::Opened), served + UNANSWERED + 1, "{counters:#?}");
    assert_eq!(counters.of(Reason::FlowTableFull) + counters.of(Reason::HalfOpenFull), 0, "{counters:#?}");
    assert_eq!(
        (counters.ended("closed"), counters.ended("unanswered")),
        (served, UNANSWERED),
        "{counters:#?}"
    );

    chat.wait_for_more()?;
    weir.start()?;
    chat.wait_for_more()?;
    assert!(Conversation::begin(&bed.client, vip(7))?.exchange(b"a new one")?);
    assert!(weir.flows()?.iter().any(|flow| flow.client_port == its_port), "it is the same flow still");
    chat.end()?;
    let counters = weir.counters()?;
    assert_eq!(counters.conservation_diff(), 0, "{counters:#?}");
    Ok(bed.finish(weir)?)
}
