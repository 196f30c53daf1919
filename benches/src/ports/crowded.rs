//! A remote that became crowded before its set of ports was there: each SYN looks at 512 ports, and notes what it saw.

use weir_benches::Outcome;
use weir_benches::figures::Series;
use weir_benches::frames::Ports;
use weir_benches::harness::Hook;
use weir_benches::pool::{ALL, OTHERS, Outward, PORTS, Terms};
use weir_path::Reason;
use weir_path::flow::V4;

use crate::Rounds;
use crate::bench::{Bench, every_port_is_one_flows, filled, in_order};
use crate::report::{Aim, COUNT, Report, SHARE};

/// More SYNs than it takes to look at every port.
const MOST: u32 = 200;

pub(crate) fn measure(report: &mut Report, rounds: &Rounds) -> Outcome<()> {
    report.section(
        "crowded",
        "the address is filled, what is known of the remote's ports is forgotten, and more flows are opened: how many\n\
         SYNs each takes.",
    );
    let mut bench = Bench::new::<V4>(4 * PORTS, Terms::ONE_ADDRESS)?;
    for (fill, aim) in [(9_900, Aim::AtLeast(1.0)), (9_990, Aim::None)] {
        until_full(report, &mut bench, rounds, fill, aim)?;
        first_ones(report, &mut bench, rounds, fill)?;
    }
    full(report, &mut bench, rounds)
}

/// How many SYNs a flow takes to be opened, or refused.
fn tries(bench: &mut Bench, ports: Ports, flow: u32) -> Outcome<u32> {
    let packet = bench.subject::<V4>(Outward::Syn, ports)?;
    for nth in 1..=MOST {
        let (_, action) = bench.harness.run(&packet, in_order(flow, 1), 1)?;
        if action == Hook::Tc.sent() {
            return Ok(nth);
        }
    }
    Err(format!("{MOST} SYNs of flow {flow} were neither accepted nor refused").into())
}

/// All that are left, one after the other.
fn until_full(report: &mut Report, bench: &mut Bench, rounds: &Rounds, fill: u32, aim: Aim) -> Outcome<()> {
    let [mut first, mut second, mut most, mut refused] = [(); 4].map(|()| Series::default());
    let left = filled(fill)..PORTS;
    for _ in 0..rounds.few {
        bench.empty::<V4>()?;
        bench.open::<V4>(in_order(0, left.start))?;
        bench.tables().forget_ports::<V4>()?;
        let mut taken = Vec::new();
        let [told] = bench.counted([Reason::AnsweredPortsExhausted], |bench| {
            for flow in left.clone() {
                taken.push(tries(bench, ALL, flow)?);
            }
            Ok(())
        })?;
        every_port_is_one_flows(&bench.tables().flows())?;
        let within = |most: u32| taken.iter().filter(|it| **it <= most).count() as f64 / taken.len() as f64;
        first.push(within(1));
        second.push(within(2));
        most.push(taken.iter().max().map_or(0.0, |it| f64::from(*it)));
        refused.push(told);
    }
    let what = format!("forgotten at {} %, then {} flows", f64::from(fill) / 100.0, left.len());
    report.add(format!("{what}: opened by the first SYN"), first, SHARE, Aim::None);
    report.add("  by the first or the second", second, SHARE, aim);
    report.add("  most SYNs of a flow", most, COUNT, Aim::None);
    report.add("  refused", refused, COUNT, Aim::Always(0.0));
    Ok(())
}

/// Forgotten again before every flow: each one finds nothing that others noted.
fn first_ones(report: &mut Report, bench: &mut Bench, rounds: &Rounds, fill: u32) -> Outcome<()> {
    bench.empty::<V4>()?;
    bench.open::<V4>(in_order(0, filled(fill)))?;
    let mut taken = Vec::new();
    // The same flow each time, so that the address is as full.
    for _ in 0..40 * rounds.few {
        bench.tables().forget_ports::<V4>()?;
        taken.push(tries(bench, OTHERS, 0)?);
        bench.end(|flow| flow.original.sport.number() == OTHERS.first)?;
    }
    let within = |most: u32| taken.iter().filter(|it| **it <= most).count() as f64 / taken.len() as f64;
    let what = format!("forgotten at {} % before each of {} flows", f64::from(fill) / 100.0, taken.len());
    let one = |figure| [figure].into_iter().collect::<Series>();
    report.add(format!("{what}: by the first SYN"), one(within(1)), SHARE, Aim::None);
    report.add("  by the first or the second", one(within(2)), SHARE, Aim::None);
    report.add("  SYNs of a flow", taken.iter().map(|it| f64::from(*it)).collect(), COUNT, Aim::None);
    Ok(())
}

/// Nothing is left: how long it takes to know.
fn full(report: &mut Report, bench: &mut Bench, rounds: &Rounds) -> Outcome<()> {
    let [mut taken, mut opened] = [(); 2].map(|()| Series::default());
    bench.empty::<V4>()?;
    bench.open::<V4>(in_order(0, PORTS))?;
    for _ in 0..rounds.few {
        bench.tables().forget_ports::<V4>()?;
        let mut syns = 0;
        let [made] = bench.counted([Reason::Opened], |bench| {
            syns = tries(bench, OTHERS, 0)?;
            Ok(())
        })?;
        taken.push(f64::from(syns));
        opened.push(made);
    }
    report.add("forgotten at 100 %: SYNs until the first clean refusal", taken, COUNT, Aim::None);
    report.add("  opened", opened, COUNT, Aim::Always(0.0));
    Ok(())
}
