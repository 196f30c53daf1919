//! The steps, in the order they are told.
//!
//! ```text
//!   client ── router ── host ┬─ sandbox-1
//!                            ├─ sandbox-2      all: 169.254.100.2, the same MAC, nginx on port 8080
//!                            ├─ sandbox-3
//!                            ├─ sandbox-4      joins later
//!                            └─ sandbox-5      is never a target: the baseline's
//! ```

use std::time::{Duration, Instant};

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::counters::{self, Counters};
use weir_netns_tests::error::Error;
use weir_netns_tests::load::{self, Load, Tally};
use weir_netns_tests::plain::PlainRoute;
use weir_netns_tests::requirements;
use weir_netns_tests::servers::HTTP_PORT;
use weir_netns_tests::topology::{SANDBOX, Testbed, Topology, UPLINK, VIP};
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;

use crate::report::{BEGUN_WHILE_DEAD, Report};
use crate::stage::Stage;
use crate::vpcs;

const REQUESTS: u32 = 2000;

/// Requests that are waited for after each change under load.
const AFTER_A_CHANGE: u64 = 2000;

/// What a daemon sends by itself when it begins: it tells everybody that the one VIP is here.
const ANNOUNCED: u64 = 1;

/// Room for as many connections as the demo makes, with as much to spare.
const MAX_FLOWS: u32 = 1 << 16;

/// A busy machine with two cores makes a thousand requests in a few seconds.
const SLOW: Duration = Duration::from_secs(60);

/// Tells the whole story.
pub(crate) fn tell(stage: &Stage) -> Result<Report, Error> {
    let mut report = Report::default();
    requirements::weir_binary()?;
    let bed = build(stage)?;
    let plain_retransmissions = baseline(stage, &bed)?;
    let mut weir = begin(stage, &bed, &mut report)?;
    let start = Pair::take(&bed, &weir)?;
    ask(stage, &bed, plain_retransmissions, &mut report)?;
    scale(stage, &bed, &mut weir, &mut report)?;
    die(stage, &bed, &mut weir, &mut report)?;
    count(stage, &bed, &weir, start, &mut report)?;
    end(stage, bed, weir, &mut report)?;
    vpcs::tell(stage, &mut report)?;
    Ok(report)
}

fn build(stage: &Stage) -> Result<Testbed, Error> {
    stage.step("A client, a router, a host with five sandboxes: eight network namespaces");
    let mut bed = Topology { name: "demo", sandboxes: 5 }.build()?;
    bed.serve_http()?;
    stage
        .say(&format!("  Every sandbox is {SANDBOX} with the same MAC, and runs nginx on port {HTTP_PORT}."));
    Ok(bed)
}

/// Retransmissions of as many requests by the kernel alone.
///
/// To a sandbox that is never a target: its closed connections wait for a minute (TIME-WAIT), and one through
/// the VIP from the same client port would meet them with unrelated timestamps, which costs a retransmission.
fn baseline(stage: &Stage, bed: &Testbed) -> Result<u64, Error> {
    stage.step(&format!("Baseline: {REQUESTS} requests to sandbox-5 by the kernel's own forwarding"));
    let Some(bystander) = bed.sandboxes.last() else { return Ok(0) };
    let before = retransmissions(bed)?;
    let route = PlainRoute::begin(bed, bystander)?;
    let begun = Instant::now();
    let tally = load::requests(&bed.client, format!("{SANDBOX}:{HTTP_PORT}"), REQUESTS)?;
    route.end()?;
    let retransmitted = retransmissions(bed)? - before;
    say_tally(stage, &tally, begun);
    stage.say(&format!("  TCP retransmissions: {retransmitted}"));
    Ok(retransmitted)
}

fn begin(stage: &Stage, bed: &Testbed, report: &mut Report) -> Result<Weir, Error> {
    stage.step(&format!("`weir run` on the host: VIP {VIP} port 80, targets sandbox-1 to sandbox-3"));
    let weir = bed.weir(&config(3))?;
    report.xdp_mode = counters::xdp_mode(&bed.host, UPLINK)?.to_owned();
    stage.say(&format!("  Ready. The kernel says that XDP on the uplink {UPLINK} is {}.", report.xdp_mode));
    Ok(weir)
}

fn ask(stage: &Stage, bed: &Testbed, plain_retransmissions: u64, report: &mut Report) -> Result<(), Error> {
    stage.step(&format!("{REQUESTS} requests to http://{VIP}/ by curl, one connection each, no retries"));
    let before = retransmissions(bed)?;
    let begun = Instant::now();
    let tally = load::requests(&bed.client, VIP, REQUESTS)?;
    let retransmitted = retransmissions(bed)? - before;
    say_tally(stage, &tally, begun);
    stage.served(&[("requests", &tally.served)]);
    stage.say(&format!(
        "  TCP retransmissions: {retransmitted}, by the kernel alone: {plain_retransmissions}"
    ));
    report.requests = tally.requests;
    report.failed = tally.failed();
    report.served = tally.served;
    report.tcp_retrans_over_baseline = retransmitted.saturating_sub(plain_retransmissions);
    Ok(())
}

fn scale(stage: &Stage, bed: &Testbed, weir: &mut Weir, report: &mut Report) -> Result<(), Error> {
    stage.step("Targets: three, then four, then two, under load: edit the file, SIGHUP");
    let load = Load::start(&bed.client, VIP);
    let mut phases = Vec::new();
    for (name, targets) in [("three", 3), ("four", 4), ("two", 2)] {
        if targets != 3 {
            weir.reconfigure(bed, &config(targets))?;
        }
        let changed = Instant::now();
        load.wait_for(AFTER_A_CHANGE, changed, SLOW)?;
        phases.push((name, load.between(changed, Instant::now()).served));
    }
    let total = load.stop()?;
    let columns: Vec<_> = phases.iter().map(|(name, served)| (*name, served)).collect();
    stage.served(&columns);
    stage.say(
        "  (A client's port that comes again while its flow lives keeps its target, even one that left.)",
    );
    stage.say(&format!("  {} requests under change, failed {}", total.requests, total.failed()));
    say_failures(stage, &total);
    report.failed_during_scale = total.failed();
    Ok(())
}

fn die(stage: &Stage, bed: &Testbed, weir: &mut Weir, report: &mut Report) -> Result<(), Error> {
    stage.step("SIGKILL of the daemon under load");
    let load = Load::start(&bed.client, VIP);
    load.wait_for(AFTER_A_CHANGE, Instant::now(), SLOW)?;
    weir.kill()?;
    let dead = Instant::now();
    load.wait_for(2 * BEGUN_WHILE_DEAD, dead, SLOW)?;
    report.begun_while_dead = load.between(dead, Instant::now()).requests;
    stage.say(&format!(
        "  Dead, and {} requests were begun since. Now a new daemon.",
        report.begun_while_dead
    ));
    weir.start()?;
    load.wait_for(AFTER_A_CHANGE, Instant::now(), SLOW)?;
    let total = load.stop()?;
    stage.say(&format!(
        "  It adopted what it found. {} requests before, during and after, failed {}",
        total.requests,
        total.failed()
    ));
    say_failures(stage, &total);
    report.failed_while_dead = total.failed();
    Ok(())
}

fn count(stage: &Stage, bed: &Testbed, weir: &Weir, start: Pair, report: &mut Report) -> Result<(), Error> {
    stage.step("Conservation: every packet in left for exactly one reason");
    let end = Pair::take(bed, weir)?;
    let received = (end.received - start.received, end.on_uplink() - start.on_uplink());
    // Whom the new daemon tells that the VIP is here is no packet of the programs'.
    let sent =
        (end.sent - start.sent - ANNOUNCED, end.by_weir.sent_by_uplink() - start.by_weir.sent_by_uplink());
    for (way, (by_kernel, by_weir)) in [("in", received), ("out", sent)] {
        stage.say(&format!(
            "  Packets {way} by the uplink: {by_kernel} by the kernel's count, {by_weir} by Weir's."
        ));
    }
    report.packets_in = end.by_weir.entered();
    report.packets_out = end.by_weir.went_on();
    report.reasons = end.by_weir.reasons();
    report.conservation_diff =
        end.by_weir.conservation_diff() + received.0.abs_diff(received.1) + sent.0.abs_diff(sent.1);
    Ok(())
}

fn end(stage: &Stage, bed: Testbed, weir: Weir, report: &mut Report) -> Result<(), Error> {
    stage.step("`weir stop --release`, and everything is taken down");
    report.left_behind = match bed.finish(weir) {
        Ok(()) => Vec::new(),
        Err(Error::LeftBehind(left)) => left,
        Err(error) => return Err(error),
    };
    stage.say("  No namespace, device, pin, attached program or process may be left.");
    Ok(())
}

fn config(targets: usize) -> Config {
    Config { max_flows: MAX_FLOWS, ..Config::new(Hook::Xdp, [Service::web(1..=targets)]) }
}

/// What the kernel and Weir counted, at the same moment.
struct Pair {
    received: u64,
    sent: u64,
    by_weir: Counters,
}

impl Pair {
    /// Waits until no packet moves, because the two cannot be read in one step.
    fn take(bed: &Testbed, weir: &Weir) -> Result<Self, Error> {
        until("a moment at rest", PATIENCE, String::new, || {
            let now = || {
                Ok::<_, Error>((counters::received(&bed.host, UPLINK)?, counters::sent(&bed.host, UPLINK)?))
            };
            let before = now()?;
            let by_weir = weir.counters()?;
            let (received, sent) = now()?;
            Ok((before == (received, sent)).then_some(Self { received, sent, by_weir }))
        })
    }

    fn on_uplink(&self) -> u64 {
        self.by_weir.entered_on_uplink()
    }
}

/// TCP retransmissions of all ends together.
fn retransmissions(bed: &Testbed) -> Result<u64, Error> {
    let sandboxes = bed.sandboxes.iter().map(|sandbox| &sandbox.netns);
    std::iter::once(&bed.client)
        .chain(sandboxes)
        .map(|netns| counters::snmp(netns, "Tcp", "RetransSegs"))
        .sum()
}

fn say_tally(stage: &Stage, tally: &Tally, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f32();
    stage.say(&format!("  {} requests in {seconds:.1} s, failed {}", tally.requests, tally.failed()));
    say_failures(stage, tally);
}

fn say_failures(stage: &Stage, tally: &Tally) {
    for (outcome, count) in &tally.failures {
        stage.say(&format!("    {count} x curl's exit code, HTTP status, connections: {outcome}"));
    }
}
