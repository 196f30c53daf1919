//! How fast a sandbox may send and receive: no faster than its slot's rate, and no slower.
//!
//! ```text
//!   client ───────── router ───────── [XDP] host [TC] ─┬─ sb1 … sb5   each with one bucket
//!   sends to the VIP, takes what    ENI 192.0.2.100,   └─ sb6         with none
//!   sandboxes send                  VIP 198.51.100.10
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]
#![expect(clippy::print_stdout, reason = "how exact the rates are is a test's result, too")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use weir_netns_tests::config::{Config, Hook, Protocol, Service};
use weir_netns_tests::connectors::{BOTH, Connector, active};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::ipv6::{self, CLIENT6};
use weir_netns_tests::pace::{HEADERS, Pace, Sink, rate_between};
use weir_netns_tests::topology::{CLIENT, Testbed, vip};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// Where datagrams are taken.
const SINK: u16 = 7_200;
/// As a sandbox sends them, from the Ethernet header on.
const FRAME: u64 = 1_000;
const WORDS: usize = (FRAME - HEADERS) as usize;
/// Packets a second of each bucket here, whether it counts them or their bytes.
const RATE: u64 = 800;
/// A bucket holds a second's worth: as long is it full of what nobody took, and then the rate is all there is.
const BURST: Duration = Duration::from_secs(2);
/// How long is counted.
const COUNTED: Duration = Duration::from_secs(3);

/// A bucket, by its key in the configuration, for so many packets of [`FRAME`] bytes a second.
fn bucket(key: &str, packets: u64) -> String {
    let size = if key == "bytes" { packets * FRAME } else { packets };
    format!("{key} = {{ size = {size}, refill_ms = 1000 }}")
}

/// The nth sandbox's slot.
fn slot(bed: &Testbed, nth: usize) -> String {
    let netns = bed.sandboxes[nth].netns.name();
    format!("\n[[slot]]\nnetns = \"{netns}\"\ninterface = \"eth0\"\nconnector = \"out\"\n")
}

/// The same with a rate.
fn rate(bed: &Testbed, nth: usize, way: &str, buckets: &str) -> String {
    slot(bed, nth) + &format!("[slot.rate.{way}]\n{buckets}\n")
}

/// Nobody has the connector by itself: that is said where a slot's rate is.
fn config(bed: &Testbed, slots: &str) -> Config {
    let sandboxes = bed.sandboxes.len();
    let udp = |name, nth: usize| Service {
        protocol: Protocol::Udp,
        ..Service::tcp(name, SINK + nth as u16, SINK, nth..=nth)
    };
    let names = ["in-1", "in-2", "in-3", "in-4", "in-5", "in-6"];
    let services: Vec<_> = (1..=sandboxes).map(|nth| udp(names[nth - 1], nth)).collect();
    let connectors = vec![Connector::of(usize::MAX..=usize::MAX, BOTH)];
    Config { connectors, more: slots.to_owned(), ..Config::new(Hook::Xdp, services) }
}

fn begin(bed: &Testbed, slots: &str) -> Result<Weir, Failure> {
    let weir = bed.weir(&config(bed, slots))?;
    active(&weir)?;
    Ok(weir)
}

/// Which way datagrams go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Out,
    OutByIpv6,
    In,
}

/// Datagrams from the nth sandbox to the client, or the other way round, and who takes them.
fn stream(bed: &Testbed, nth: usize, way: Way, per_second: u64) -> Result<(Pace, Sink), Failure> {
    let (sandbox, port) = (&bed.sandboxes[nth].netns, SINK + 1 + nth as u16);
    let from_sandbox = |to: SocketAddr, words| -> Result<(Pace, Sink), Failure> {
        let sink = Sink::begin(&bed.client, to)?;
        Ok((Pace::begin(sandbox, to, per_second, words)?, sink))
    };
    match way {
        Way::Out => from_sandbox((CLIENT, port).into(), WORDS),
        // Its header is longer by 20 bytes.
        Way::OutByIpv6 => from_sandbox((CLIENT6, port).into(), WORDS - 20),
        Way::In => {
            let sink = Sink::begin(sandbox, (Ipv4Addr::UNSPECIFIED, SINK).into())?;
            Ok((Pace::begin(&bed.client, vip(port), per_second, WORDS)?, sink))
        }
    }
}

/// Lets time pass: there is no event to wait for.
fn pass(time: Duration) {
    thread::sleep(time);
}

/// What was offered in a second, and what came of it.
fn must_be_exact(what: &str, offered: u64, rate: u64, came: &[Instant], first: Instant) {
    let got = rate_between(came, first, first + COUNTED);
    let error = (got / rate as f64 - 1.0) * 100.0;
    println!("{what}: offered {offered}/s, rate {rate}/s, got {got:.1}/s, error {error:+.2} %");
    assert!(error.abs() < 3.0, "{what}: {got:.1}/s");
}

/// The buckets that are offered twice what they let through.
const BUCKETS: [(Way, &str); 5] = [
    (Way::Out, "bytes"),
    (Way::Out, "packets"),
    (Way::In, "bytes"),
    (Way::In, "packets"),
    (Way::OutByIpv6, "bytes"),
];

#[test]
fn twice_the_rate_comes_out_as_the_rate_of_each_bucket_and_a_sandbox_without_one_is_untouched() -> Tested {
    const FREE: usize = BUCKETS.len();
    let bed = ipv6::dual("rates", FREE + 1)?;
    let limited = BUCKETS.iter().enumerate().map(|(nth, (way, key))| {
        rate(&bed, nth, if *way == Way::In { "in" } else { "out" }, &bucket(key, RATE))
    });
    let weir = begin(&bed, &(limited.collect::<String>() + &slot(&bed, FREE)))?;

    let ways = BUCKETS.iter().map(|(way, _)| *way).chain([Way::Out, Way::In]).enumerate();
    let streams = ways.map(|(nth, way)| stream(&bed, nth.min(FREE), way, 2 * RATE));
    let streams = streams.collect::<Result<Vec<_>, _>>()?;
    let first = Instant::now() + BURST;
    pass(BURST + COUNTED);

    let (paces, sinks): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
    let sent: Vec<_> = paces.into_iter().map(Pace::end).collect();
    let came: Vec<_> = sinks.into_iter().map(Sink::end).collect();
    for (nth, (way, key)) in BUCKETS.iter().enumerate() {
        must_be_exact(&format!("{way:?}, {key}"), 2 * RATE, RATE, &came[nth], first);
    }
    let lost = |nth: usize| sent[nth] - came[nth].len() as u64;
    assert_eq!([lost(FREE), lost(FREE + 1)], [0, 0], "the sandbox without a rate, out and in");
    let counters = weir.counters()?;
    assert_eq!(counters.of(Reason::OverRateOut), lost(0) + lost(1) + lost(4), "{counters:#?}");
    assert_eq!(counters.of(Reason::OverRateIn), lost(2) + lost(3), "{counters:#?}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_new_rate_is_in_force_within_a_second_and_its_flow_goes_on() -> Tested {
    let bed = ipv6::dual("rates-live", 1)?;
    let at = |packets| rate(&bed, 0, "out", &bucket("packets", packets));
    let mut weir = begin(&bed, &at(RATE))?;
    let (pace, sink) = stream(&bed, 0, Way::Out, 6 * RATE)?;
    pass(BURST);

    weir.reconfigure(&bed, &config(&bed, &at(3 * RATE)))?;
    let changed = Instant::now();
    pass(Duration::from_secs(1) + COUNTED);

    let sent = pace.end();
    let came = sink.end();
    must_be_exact("changed", 6 * RATE, 3 * RATE, &came, changed + Duration::from_secs(1));
    let counters = weir.counters()?;
    assert_eq!((counters.of(Reason::Opened), weir.flows()?.len()), (1, 1), "{counters:#?}");
    assert_eq!(counters.of(Reason::OverRateOut), sent - came.len() as u64, "{counters:#?}");
    assert_eq!(counters.dropped(), counters.of(Reason::OverRateOut) + counters.of(Reason::IcmpIgnored));
    Ok(bed.finish(weir)?)
}

#[test]
fn what_may_be_sent_once_is_sent_once() -> Tested {
    const ONCE: u64 = 500;
    const SIZE: u64 = 10;
    let bed = ipv6::dual("rates-once", 1)?;
    // One a second: as slow as may be.
    let bucket =
        format!("packets = {{ size = {SIZE}, refill_ms = {}, one_time_burst = {ONCE} }}", SIZE * 1_000);
    let mut weir = begin(&bed, &rate(&bed, 0, "out", &bucket))?;
    let send = |packets: u64| -> Result<(u64, u64), Failure> {
        let (pace, sink) = stream(&bed, 0, Way::Out, 2 * RATE)?;
        until("enough datagrams", PATIENCE, String::new, || Ok((pace.sent() > packets).then_some(())))?;
        let sent = pace.end();
        Ok((sent, sink.end().len() as u64))
    };
    let begun = Instant::now();
    let most = || ONCE + SIZE + 1 + begun.elapsed().as_secs();

    let (sent, came) = send(ONCE + SIZE + 100)?;
    // What the sandbox asks of its gateway first is a packet as well.
    let counters = weir.counters()?;
    let through = came + counters.of(Reason::AnsweredArp);
    assert!((ONCE + SIZE..=most()).contains(&through), "{through} of {sent}: {counters:#?}");

    // A reload does not bring it back.
    weir.reconfigure(&bed, &config(&bed, &rate(&bed, 0, "out", &bucket)))?;
    let (again, came_again) = send(ONCE)?;
    assert!(through + came_again <= most(), "{came_again} of {again} more");
    let over = weir.counters()?.of(Reason::OverRateOut);
    assert!(over >= sent + again - most(), "{over} of {sent} and {again}");
    Ok(bed.finish(weir)?)
}

#[test]
fn a_stream_settles_near_the_rate() -> Tested {
    /// Bytes a second.
    const BYTES: u64 = 2_000_000;
    let bed = ipv6::dual("rates-tcp", 1)?;
    // Some fifteen of the longest packets.
    let bytes = format!("bytes = {{ size = {}, refill_ms = 500 }}", BYTES / 2);
    let weir = begin(&bed, &rate(&bed, 0, "out", &bytes))?;

    // Other namespaces may choose among these.
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")?;
    for control in allowed.split_whitespace() {
        bed.sandboxes[0].netns.sysctl("net.ipv4.tcp_congestion_control", control)?;
        let got = bytes_a_second(&bed)?;
        let share = got / BYTES as f64;
        println!("TCP with {control}: rate {BYTES} bytes/s with headers, got {got:.0}/s without: {share:.2}");
        // What is over the rate is dropped, not kept for later: how well that is borne is a matter of TCP.
        // And a bucket that filled up while TCP waited is half a second's worth.
        let most = 1.0 + 0.5 / COUNTED.as_secs_f64();
        assert!(share > 0.25 && share < most, "{control}: {got:.0} bytes a second");
    }
    Ok(bed.finish(weir)?)
}

/// What a stream from the sandbox to the client brings in a second, once it has settled.
fn bytes_a_second(bed: &Testbed) -> Result<f64, Failure> {
    let listener = bed.client.enter(|| TcpListener::bind((CLIENT, 0)))??;
    let to = listener.local_addr()?;
    let mut sandbox = bed.sandboxes[0].netns.enter(move || TcpStream::connect(to))??;
    let (mut client, _) = listener.accept()?;

    let begun = Instant::now();
    let sending = thread::spawn(move || while sandbox.write_all(&[0x55; 4_096]).is_ok() {});
    let (mut counted, mut buffer) = (0, vec![0; 1 << 16]);
    while begun.elapsed() < BURST + COUNTED {
        let len = client.read(&mut buffer)?;
        counted += if begun.elapsed() < BURST { 0 } else { len as u64 };
    }
    // With what was not read yet: so it is a RST, and the sender ends.
    drop(client);
    sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(counted as f64 / COUNTED.as_secs_f64())
}
