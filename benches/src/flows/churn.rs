//! Millions of short flows through few records: opened, ended and taken back by packets alone, on two CPUs at once.

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;
use weir_benches::figures::Series;
use weir_benches::frames::Segment;
use weir_benches::harness::{Flows, Harness, Hook, Subject};
use weir_benches::town::{self, Place, UPLINK};
use weir_benches::{Outcome, machine, rounds};
use weir_dataplane::counters::Counters;
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::Reason;
use weir_path::flow::V4;

/// Flows of a round on two CPUs; half as many on one.
const FLOWS: u32 = 1_000_000;
const RECORDS: u32 = 65_536;
const HALF_OPEN: u32 = RECORDS / 16;
const CPUS: usize = 2;

/// Short flows: how many rounds of them, and the packets that they are made of.
const KINDS: [(&str, u32, &[Segment]); 2] = [
    ("refused: SYN, RST", 5, &[Segment::Syn, Segment::Refusal]),
    (
        "whole: SYN, SYN-ACK, ACK, FIN, FIN",
        3,
        &[Segment::Syn, Segment::SynAck, Segment::Ack, Segment::Fin, Segment::FinBack],
    ),
];

pub(crate) fn print() -> Outcome<()> {
    println!();
    println!(
        "Short flows through {RECORDS} records, {HALF_OPEN} half-open, rounds of {FLOWS} on two CPUs: ns a flow on"
    );
    println!(
        "each CPU, net of the harness: open, end and taking back, and its packets. Medians (least..most)."
    );
    for (name, rounds, segments) in KINDS {
        let mut weir = runner()?;
        let (mut alone, mut together, mut wall) = (Series::default(), Series::default(), Series::default());
        let mut sent = 0;
        for _ in 0..rounds {
            alone.push(run(&mut weir, segments, sent, FLOWS / 2, 0)?);
            sent += FLOWS / 2;
            let began = Instant::now();
            together.push(run_on_all(&mut weir, segments, sent)?);
            wall.push(began.elapsed().as_nanos() as f64 / f64::from(FLOWS));
            sent += FLOWS;
        }
        check(&mut weir, segments, u64::from(sent))?;
        println!(
            "  {name:<36} one CPU {alone:<18} two CPUs {together:<18} ({sent} flows; wall clock of two: {wall})"
        );
    }
    println!(
        "  0 refused; opened = live + ended; every key is a live flow's; every half-open place can be had."
    );
    Ok(())
}

fn runner() -> Outcome<Runner> {
    let family = |flows, half_open| FamilySizes { flows, half_open };
    let weir = Runner::new(&Sizes { v4: family(RECORDS, HALF_OPEN), v6: family(1, 1) })?;
    town::settle(weir.tables(), Place::BehindTheUplink)?;
    Ok(weir)
}

/// Half of the flows on each CPU, at once; the mean of both figures.
fn run_on_all(weir: &mut Runner, segments: &[Segment], first: u32) -> Outcome<f64> {
    let mut work = Vec::new();
    for _ in 0..CPUS {
        work.push((Harness::new(1, 1)?, subject(weir, segments)?));
    }
    let share = FLOWS / CPUS as u32;
    let figures: Vec<Result<f64, String>> = thread::scope(|scope| {
        let threads: Vec<_> = work
            .into_iter()
            .enumerate()
            .map(|(cpu, (harness, subject))| {
                scope.spawn(move || {
                    measure(harness, &subject, first + cpu as u32 * share, share, cpu)
                        .map_err(|error| error.to_string())
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let mut sum = 0.0;
    for figure in figures {
        sum += figure?;
    }
    Ok(sum / CPUS as f64)
}

fn run(weir: &mut Runner, segments: &[Segment], first: u32, flows: u32, cpu: usize) -> Outcome<f64> {
    measure(Harness::new(1, 1)?, &subject(weir, segments)?, first, flows, cpu)
}

fn measure(mut harness: Harness, subject: &Subject, first: u32, count: u32, cpu: usize) -> Outcome<f64> {
    machine::stay_on(cpu)?;
    let flows = Flows { count, first, is_scattered: false };
    let packets = subject.shots.len() as u32;
    Ok(rounds::net(&mut harness, subject, flows, count * packets)? * f64::from(packets))
}

fn subject(weir: &mut Runner, segments: &[Segment]) -> Outcome<Subject> {
    let mut shots = Vec::new();
    for segment in segments {
        let program = if segment.is_reply() { Program::SlotXdp } else { Program::UplinkXdp };
        shots.push((segment.shot::<V4>(), weir.program(program)?));
    }
    Ok(Subject { hook: Hook::Xdp, shots, ingress: UPLINK, action: Hook::Xdp.sent() })
}

/// What must hold after all that.
fn check(weir: &mut Runner, segments: &[Segment], sent: u64) -> Outcome<()> {
    let counters = weir.tables().counters()?;
    let ended: u64 = counters.ended.values().sum();
    let states = weir.tables().flow_states::<V4>()?;
    let live = states.len() as u64;
    let sent_by = [Reason::Opened, Reason::ToSlot, Reason::ToWire];
    let others: Vec<_> = Reason::ALL
        .iter()
        .filter(|why| !sent_by.contains(why) && count(&counters, &[**why]) > 0)
        .map(|why| format!("{} {}", count(&counters, &[*why]), why.name()))
        .collect();
    if !others.is_empty() {
        return Err(format!("of {sent} flows, packets were not sent: {}", others.join(", ")).into());
    }
    expect(
        "packets sent",
        counters.hooks.values().map(|hook| hook.left()).sum(),
        sent * segments.len() as u64,
    )?;
    expect("flows opened", count(&counters, &[Reason::Opened]), sent)?;
    expect("flows live or ended", live + ended, sent)?;
    let known: BTreeSet<_> = states.iter().flat_map(|flow| flow.keys).collect();
    let keys: BTreeSet<_> = weir.tables().flow_keys::<V4>()?.into_iter().collect();
    if known != keys {
        return Err(format!("{} keys are in the table, {} are live flows'", keys.len(), known.len()).into());
    }
    // Nothing is half-open now: as many as the budget allows can be, and not one more.
    let half_open = weir.tables().max_flows::<V4>().1;
    let next = u32::try_from(sent)?;
    run(weir, &[Segment::Syn], next, half_open, 0)?;
    let filled = weir.tables().counters()?;
    expect("half-open flows opened", count(&filled, &[Reason::Opened]) - sent, half_open.into())?;
    if run(weir, &[Segment::Syn], next + half_open, 1, 0).is_ok() {
        return Err("a half-open flow was opened beyond the budget".into());
    }
    expect("refused", count(&weir.tables().counters()?, &[Reason::HalfOpenFull]), 1)
}

fn count(counters: &Counters, reasons: &[Reason]) -> u64 {
    counters.hooks.values().map(|hook| reasons.iter().map(|why| hook.of(*why)).sum::<u64>()).sum()
}

fn expect(what: &str, found: u64, expected: u64) -> Outcome<()> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, not {expected}").into()) }
}
