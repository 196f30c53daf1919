//! What it takes to read every flow, and what the established path feels of it on the other CPU.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use weir_benches::figures::Series;
use weir_benches::frames::Segment;
use weir_benches::harness::{Flows, Harness, Hook, Subject};
use weir_benches::town::{self, NOON, Place, Town, UPLINK};
use weir_benches::{Outcome, machine, rounds};
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::flow::V4;

const FLOWS: u32 = 2_000_000;
const ROUNDS: usize = 5;
/// Packets in one measurement: short enough for many of them while flows are read.
const PACKETS: u32 = 200_000;
/// Measurements while nothing else goes on.
const ALONE: usize = 20;

pub(crate) fn print() -> Outcome<()> {
    let family = |flows: u32| FamilySizes { flows, half_open: (flows / 16).max(1) };
    let mut weir = Runner::new(&Sizes { v4: family(FLOWS), v6: family(1) })?;
    town::settle(weir.tables(), Place::BehindItsSlot)?;
    let states: Vec<_> = town::shuffled(FLOWS)
        .into_iter()
        .zip(0..)
        .map(|(n, record)| town::established::<V4>(n, record, NOON))
        .collect();
    V4::insert(weir.tables(), &states)?;
    drop(states);
    let program = weir.program(Program::UplinkXdp)?;
    let packet = rounds::subject(Hook::Xdp, Segment::Ack.shot::<V4>(), program, UPLINK, Hook::Xdp.sent());
    let mut harness = Harness::new(1, 1)?;
    let alone: Series = {
        machine::stay_on(1)?;
        (0..ALONE).map(|_| one(&mut harness, &packet)).collect::<Outcome<_>>()?
    };
    machine::stay_on(0)?;
    let is_done = AtomicBool::new(false);
    let (lists, meanwhile) = thread::scope(|scope| {
        let path = scope.spawn(|| meanwhile(harness, &packet, &is_done).map_err(|error| error.to_string()));
        let lists = read(&weir);
        is_done.store(true, Ordering::Relaxed);
        (lists, path.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    });
    let ([plain, counted], meanwhile) = (lists?, meanwhile?);
    println!();
    println!("{FLOWS} flows read: seconds, median of {ROUNDS} (least..most).");
    println!("  from the mapped records              {plain:.2}");
    println!("  with what each direction carried     {counted:.2}");
    println!(
        "An established packet on the other CPU, ns net of the harness: alone {alone}, meanwhile {meanwhile}."
    );
    Ok(())
}

/// Reads every flow again and again, without counters and with them.
fn read(weir: &Runner) -> Outcome<[Series; 2]> {
    let (mut plain, mut counted) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let flows = weir.tables().flows();
        plain.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let all = weir.tables().counted_flows()?;
        counted.push(began.elapsed().as_secs_f64());
        if [flows.len(), all.len()] != [FLOWS as usize; 2] {
            return Err(format!("{} and {} flows were read, not {FLOWS}", flows.len(), all.len()).into());
        }
    }
    Ok([plain, counted])
}

fn meanwhile(mut harness: Harness, packet: &Subject, is_done: &AtomicBool) -> Outcome<Series> {
    machine::stay_on(1)?;
    let mut figures = Series::default();
    while !is_done.load(Ordering::Relaxed) {
        figures.push(one(&mut harness, packet)?);
    }
    Ok(figures)
}

fn one(harness: &mut Harness, packet: &Subject) -> Outcome<f64> {
    rounds::net(harness, packet, Flows { count: FLOWS, first: 0, is_scattered: true }, PACKETS)
}
