//! From the first flow to the last of 64,512 ports, and on: on one CPU, and on two that race.

use std::sync::Barrier;
use std::thread;
use weir_benches::figures::Series;
use weir_benches::frames::Ports;
use weir_benches::harness::{Flows, Harness, Subject};
use weir_benches::pool::{ALL, OTHERS, Outward, PORTS, Terms};
use weir_benches::{Outcome, machine};
use weir_path::Reason;
use weir_path::flow::V4;

use crate::Rounds;
use crate::bench::{Bench, again_and_again, every_port_is_one_flows, filled, in_order};
use crate::report::{Aim, COUNT, NS, Report, SHARE};

const CPUS: u32 = 2;
/// SYNs that come too late.
const TOO_MANY: u32 = 10_000;
/// How full the address is at the ends of the slices, in parts of ten thousand.
const SLICES: [u32; 6] = [5_000, 9_000, 9_900, 9_990, 9_999, 10_000];

pub(crate) fn measure(report: &mut Report, rounds: &Rounds) -> Outcome<()> {
    report.section(
        "growth",
        "SYNs from one sandbox to one remote's port, from an address without flows to one whose 64,512 ports are all\n\
         in use; then SYNs of more flows. Shares are of flows that their first SYN opened.",
    );
    let mut bench = Bench::new::<V4>(4 * PORTS, Terms::ONE_ADDRESS)?;
    one_cpu(report, &mut bench, rounds)?;
    two_cpus(report, &mut bench, rounds)?;
    last_ports(report, &mut bench, rounds)
}

fn one_cpu(report: &mut Report, bench: &mut Bench, rounds: &Rounds) -> Outcome<()> {
    let mut shares = vec![Series::default(); SLICES.len()];
    let mut costs = vec![Series::default(); SLICES.len()];
    let (mut all, mut refused) = (Series::default(), Series::default());
    for _ in 0..rounds.few {
        bench.empty::<V4>()?;
        let (mut first, mut sum) = (0, 0.0);
        for ((share, cost), end) in shares.iter_mut().zip(&mut costs).zip(SLICES.map(filled)) {
            let flows = in_order(first, end - first);
            let [opened] = bench.counted([Reason::Opened], |bench| {
                cost.push(bench.open::<V4>(flows)?);
                Ok(())
            })?;
            share.push(opened / f64::from(flows.count));
            sum += opened;
            first = end;
        }
        all.push(sum / f64::from(PORTS));
        every_port_is_one_flows(&bench.tables().flows())?;
        let late = bench.subject::<V4>(Outward::Syn, OTHERS)?;
        let [told] = bench.counted([Reason::AnsweredPortsExhausted], |bench| {
            bench.harness.run(&late, again_and_again(OTHERS.count), TOO_MANY).map(drop)
        })?;
        refused.push(told / f64::from(TOO_MANY));
    }
    report.add("one CPU: opened, 0 to 100 %", all, SHARE, Aim::Always(1.0));
    let mut from = 0;
    for ((to, share), cost) in SLICES.into_iter().zip(shares).zip(costs) {
        let slice = format!("{} to {} %", f64::from(from) / 100.0, f64::from(to) / 100.0);
        report.add(format!("  {slice}: opened"), share, SHARE, Aim::Always(1.0));
        report.add(format!("  {slice}: a SYN"), cost, NS, Aim::None);
        from = to;
    }
    report.add("one CPU: refused cleanly at 100 %", refused, SHARE, Aim::Always(1.0));
    Ok(())
}

fn two_cpus(report: &mut Report, bench: &mut Bench, rounds: &Rounds) -> Outcome<()> {
    let [mut opened, mut early, mut late] = [(); 3].map(|()| Series::default());
    let (share, late_share) = (PORTS / CPUS, OTHERS.count / CPUS);
    for _ in 0..2 * rounds.few {
        bench.empty::<V4>()?;
        let [made, told] = race(bench, [ALL; 2], [in_order(0, share), in_order(share, share)])?;
        opened.push(made);
        early.push(told);
        every_port_is_one_flows(&bench.tables().flows())?;
        let flows = [in_order(0, late_share), in_order(late_share, late_share)];
        let [_, told] = race(bench, [OTHERS; 2], flows)?;
        late.push(told);
    }
    let all = f64::from(PORTS);
    report.add(format!("two CPUs that race: opened, of {all}"), opened, COUNT, Aim::Always(all));
    report.add("  refused before the last port was taken", early, COUNT, Aim::Always(0.0));
    let all = f64::from(OTHERS.count);
    report.add(format!("  refused cleanly at 100 %, of {all}"), late, COUNT, Aim::Always(all));
    Ok(())
}

/// Both CPUs want all of the last ports.
fn last_ports(report: &mut Report, bench: &mut Bench, rounds: &Rounds) -> Outcome<()> {
    const LEFT: u32 = 128;
    let [mut opened, mut refused] = [(); 2].map(|()| Series::default());
    for _ in 0..4 * rounds.few {
        bench.empty::<V4>()?;
        bench.open::<V4>(in_order(0, PORTS - LEFT))?;
        let flows = [in_order(PORTS - LEFT, LEFT), in_order(0, LEFT)];
        let [made, told] = race(bench, [ALL, OTHERS], flows)?;
        opened.push(made);
        refused.push(told);
        every_port_is_one_flows(&bench.tables().flows())?;
    }
    let left = f64::from(LEFT);
    report.add(
        format!("two CPUs, {LEFT} SYNs each for the last {LEFT} ports: opened"),
        opened,
        COUNT,
        Aim::Always(left),
    );
    report.add("  refused cleanly", refused, COUNT, Aim::Always(left));
    Ok(())
}

/// One SYN of each flow, on a CPU each, at once: how many opened, and how many were refused cleanly.
fn race(bench: &mut Bench, ports: [Ports; 2], flows: [Flows; 2]) -> Outcome<[f64; 2]> {
    let [one, other] = ports;
    let subjects = [bench.subject::<V4>(Outward::Syn, one)?, bench.subject::<V4>(Outward::Syn, other)?];
    let start = Barrier::new(subjects.len());
    bench.counted([Reason::Opened, Reason::AnsweredPortsExhausted], |_| {
        let raced: Vec<Result<(), String>> = thread::scope(|scope| {
            let work = subjects.iter().zip(flows).enumerate();
            let threads: Vec<_> = work
                .map(|(cpu, (subject, flows))| {
                    let start = &start;
                    scope.spawn(move || on(cpu, subject, flows, start).map_err(|error| error.to_string()))
                })
                .collect();
            threads
                .into_iter()
                .map(|it| it.join().unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect()
        });
        raced.into_iter().collect::<Result<(), String>>().map_err(Into::into)
    })
}

fn on(cpu: usize, subject: &Subject, flows: Flows, start: &Barrier) -> Outcome<()> {
    let made = machine::stay_on(cpu).and_then(|()| Harness::new(1, 1));
    // Also where that failed: the other one waits.
    start.wait();
    made?.run(subject, flows, flows.count).map(drop)
}
