//! What a new flow costs where few ports are left, beside one where all are.
//!
//! A flow that was refused is opened again from the same port of the sandbox: one SYN ends the old flow and opens the
//! new one, on another port of the ENI's. So the address is as full all the time, and every round is the same.

use weir_benches::Outcome;
use weir_benches::figures::Series;
use weir_benches::frames::Ports;
use weir_benches::harness::Hook;
use weir_benches::pool::{self, ALL, OTHERS, Outward, PORTS, Terms};
use weir_benches::rounds;
use weir_benches::town::{SLOT, Town};
use weir_dataplane::Held;
use weir_path::Reason;
use weir_path::flow::{V4, V6};

use crate::Rounds;
use crate::bench::{Bench, again_and_again, expect, filled, in_order};
use crate::report::{Aim, NS, RATIO, Report};

/// Flows that are opened again in a round.
const AGAIN: u32 = 2_048;
/// SYNs that are refused in a round.
const REFUSED: u32 = 20_000;
/// The remotes: a crowded one, one with [`AGAIN`] flows alone, and one with none.
const CROWDED: u32 = 0;
const QUIET: u32 = 1;
const UNKNOWN: u32 = 2;

pub(crate) fn measure(report: &mut Report, rounds: &Rounds) -> Outcome<()> {
    report.section(
        "cost",
        "ns of a SYN at the slot's program. Again: 2048 flows that their remote refused are each ended and opened anew by\n\
         one SYN; beside as many towards a remote without other flows. Opened: SYNs of flows that were not there, as many\n\
         as half of the ports that are left, 2048 at most; beside as many where all are left. Then they are ended by order.",
    );
    let mut bench = Bench::new::<V4>(8 * PORTS, Terms::ONE_ADDRESS)?;
    for fill in [5_000, 9_000, 9_900, 9_990, 9_999, 10_000] {
        at::<V4>(report, &mut bench, rounds, fill)?;
    }
    refusal(report, &mut bench, rounds)?;
    let mut bench = Bench::new::<V6>(8 * PORTS, Terms::ONE_ADDRESS)?;
    for fill in [5_000, 9_990] {
        at::<V6>(report, &mut bench, rounds, fill)?;
    }
    Ok(())
}

/// Both ways of opening, at an address that is so full.
fn at<T: Town + Held>(report: &mut Report, bench: &mut Bench, rounds: &Rounds, fill: u32) -> Outcome<()> {
    bench.empty::<T>()?;
    bench.open::<T>(in_order(CROWDED * PORTS, filled(fill)))?;
    bench.open::<T>(in_order(QUIET * PORTS, AGAIN))?;
    let family = if T::IS_V6 { "IPv6, " } else { "" };
    let name = format!("{family}{} %", f64::from(fill) / 100.0);
    let [mut crowded, mut quiet] = [(); 2].map(|()| Series::default());
    for _ in 0..rounds.many {
        crowded.push(again::<T>(bench, CROWDED)?);
        quiet.push(again::<T>(bench, QUIET)?);
    }
    let aim = if fill == 9_990 { Aim::AtMost(1.5) } else { Aim::None };
    report.add(format!("{name}, again: / at 0 %"), crowded.over(&quiet), RATIO, aim);
    report.add(format!("{name}, again"), crowded, NS, Aim::None);
    report.add(format!("{family}0 %, again"), quiet, NS, Aim::None);
    let count = AGAIN.min((PORTS - filled(fill)) / 2);
    if count == 0 {
        return Ok(());
    }
    let [mut crowded, mut quiet, mut ended, mut ended_quiet] = [(); 4].map(|()| Series::default());
    for _ in 0..rounds.many {
        let [opened, end] = open_and_end::<T>(bench, CROWDED, filled(fill), count)?;
        crowded.push(opened);
        ended.push(end);
        let [opened, end] = open_and_end::<T>(bench, UNKNOWN, 0, count)?;
        quiet.push(opened);
        ended_quiet.push(end);
    }
    report.add(format!("{name}, {count} opened: / at 0 %"), crowded.over(&quiet), RATIO, aim);
    report.add(format!("{name}, {count} opened"), crowded, NS, Aim::None);
    report.add(format!("{family}0 %, {count} opened"), quiet, NS, Aim::None);
    report.add(
        format!("{name}, {count} ended by order: / at 0 %"),
        ended.over(&ended_quiet),
        RATIO,
        Aim::None,
    );
    Ok(())
}

/// Lets a remote refuse flows that it has, and opens them again.
fn again<T: Town>(bench: &mut Bench, remote: u32) -> Outcome<f64> {
    let flows = in_order(remote * PORTS, AGAIN);
    pool::list_ports::<T>(&mut bench.harness, bench.weir.tables(), remote)?;
    bench.send::<T>(Outward::Refusal, Ports { are_listed: true, ..ALL }, flows)?;
    let mut cost = 0.0;
    let [opened] = bench.counted([Reason::Opened], |bench| {
        cost = bench.open::<T>(flows)?;
        Ok(())
    })?;
    expect("flows opened again", opened as u64, AGAIN.into())?;
    Ok(cost)
}

/// Opens flows that aren't there, and ends them: what either costs.
fn open_and_end<T: Town>(bench: &mut Bench, remote: u32, first: u32, count: u32) -> Outcome<[f64; 2]> {
    let flows = in_order(remote * PORTS + first, count);
    let known = bench.tables().flows().len();
    let mut cost = 0.0;
    let [opened] = bench.counted([Reason::Opened], |bench| {
        cost = bench.open::<T>(flows)?;
        Ok(())
    })?;
    expect("flows opened", opened as u64, count.into())?;
    let numbers = first..first + count;
    let there = pool::ends::<T>(remote * PORTS).map(|it| it.mapped());
    let first_port = u32::from(ALL.first);
    let ended = bench.end(|flow| {
        let nth = u32::from(flow.original.sport.number()).wrapping_sub(first_port);
        flow.original.dst == there[0].dst && numbers.contains(&nth)
    })?;
    expect("flows that stay", bench.tables().flows().len() as u64, known as u64)?;
    Ok([cost, ended])
}

/// SYNs that are refused at 100 %, beside flows that are opened at 0 %. The address is full when this begins.
///
/// A RST is shorter than the harness's frame. That the frame is made long again is the harness's own, and half of what it
/// takes to shorten and to lengthen one.
fn refusal(report: &mut Report, bench: &mut Bench, rounds: &Rounds) -> Outcome<()> {
    let [mut refusals, mut opens, mut lengthened] = [(); 3].map(|()| Series::default());
    let refused = bench.subject::<V4>(Outward::Syn, OTHERS)?;
    let shot = Outward::Syn.shot::<V4>(OTHERS);
    let program = bench.harness.program("shorten_tc")?;
    let shortened = rounds::subject(Hook::Tc, shot, program, SLOT, rounds::passed(Hook::Tc));
    let flows = again_and_again(OTHERS.count);
    for _ in 0..rounds.many {
        lengthened.push(rounds::net(&mut bench.harness, &shortened, flows, REFUSED)? / 2.0);
        let [told] = bench.counted([Reason::AnsweredPortsExhausted], |bench| {
            refusals.push(rounds::net(&mut bench.harness, &refused, flows, REFUSED)?);
            Ok(())
        })?;
        expect("SYNs refused", told as u64, REFUSED.into())?;
        let [opened, _] = open_and_end::<V4>(bench, UNKNOWN, 0, AGAIN)?;
        opens.push(opened);
    }
    let refusals = refusals.less(&lengthened);
    report.add("a refusal at 100 % / a new flow at 0 %", refusals.over(&opens), RATIO, Aim::AtMost(0.5));
    report.add("a refusal at 100 %", refusals, NS, Aim::None);
    report.add("a new flow at 0 %", opens, NS, Aim::None);
    report.add("taken off: the frame is made long again", lengthened, NS, Aim::None);
    Ok(())
}
