//! What ageing costs: a million flows that expired at once, ended by the timer; and walks that find nothing to do.

use crate::stolen;
use std::time::{Duration, Instant};
use weir_benches::Outcome;
use weir_benches::figures::Series;
use weir_benches::town::{self, NOON, Place, Town};
use weir_dataplane::test_run::Runner;
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::flow::V4;
use weir_path::layout::{BUSY_STEP_MS, LOOKED_AT_IN_A_STEP, STEP_MS};
use weir_path::time::{Now, Times};

const MILLION: u32 = 1_000_000;
const WINDOW: Duration = Duration::from_millis(200);
/// Windows without a timer, to know what everything else takes.
const WINDOWS: usize = 15;

pub(crate) fn print() -> Outcome<()> {
    println!();
    println!(
        "Ageing. Shares are of one CPU: gaps that a thread on each CPU sees, less those without the timer."
    );
    expired_by_timer()?;
    expired_by_steps()?;
    for flows in [MILLION, 2 * MILLION] {
        idle(flows)?;
    }
    Ok(())
}

/// Flows that were last heard at this time.
fn with_flows(flows: u32, heard: Now) -> Outcome<Runner> {
    let family = |flows| FamilySizes { flows, half_open: (flows / 16).max(1) };
    let runner = Runner::new(&Sizes { v4: family(flows), v6: family(1) })?;
    town::settle(runner.tables(), Place::BehindItsSlot)?;
    let states: Vec<_> = town::shuffled(flows)
        .into_iter()
        .zip(0..)
        .map(|(n, record)| town::established::<V4>(n, record, heard))
        .collect();
    V4::insert(runner.tables(), &states)?;
    Ok(runner)
}

/// A time at which flows were last heard that have expired by `now`.
fn long_before(now: Now) -> Now {
    Now(now.0.wrapping_sub(2 * u32::from(Times::TCP_IDLE.0) * Now::IN_A_SECOND))
}

/// The machine's time, as the timer will have it.
fn machine_time() -> Outcome<Now> {
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime.split(' ').next().unwrap_or_default().parse()?;
    Ok(Now((seconds * f64::from(Now::IN_A_SECOND)) as u32))
}

fn ended(runner: &Runner) -> Outcome<u64> {
    Ok(runner.tables().counters()?.ended.values().sum())
}

fn quiet_share() -> Outcome<Series> {
    (0..WINDOWS).map(|_| stolen::share(WINDOW)).collect()
}

fn expired_by_timer() -> Outcome<()> {
    let runner = with_flows(MILLION, long_before(machine_time()?))?;
    let quiet = quiet_share()?;
    let began = Instant::now();
    runner.start_ageing()?;
    let mut busy = Series::default();
    while ended(&runner)? < u64::from(MILLION) {
        busy.push(stolen::share(WINDOW)?);
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "  {MILLION} expired flows, by the timer: {took:.1} s, {:.2} % of a CPU (quiet {:.2} %, with the timer {:.2} %)",
        (busy.median() - quiet.median()) * 100.0,
        quiet.median() * 100.0,
        busy.median() * 100.0
    );
    Ok(())
}

/// The same by test runs of one step each, where the clock tells what a step takes.
fn expired_by_steps() -> Outcome<()> {
    let runner = with_flows(MILLION, long_before(NOON))?;
    let (mut steps, mut busy) = (0u32, Duration::ZERO);
    while !steps.is_multiple_of(1_000) || ended(&runner)? < u64::from(MILLION) {
        let began = Instant::now();
        runner.age_step()?;
        busy += began.elapsed();
        steps += 1;
    }
    let step = busy.as_secs_f64() / f64::from(steps);
    let each = busy.as_nanos() as f64 / f64::from(MILLION);
    println!(
        "  the same, by test runs of a step: {:.0} us a step, {each:.0} ns a flow; at a step in {BUSY_STEP_MS} ms {:.2} % of a CPU",
        step * 1e6,
        step / (step + BUSY_STEP_MS as f64 / 1e3) * 100.0
    );
    Ok(())
}

fn idle(flows: u32) -> Outcome<()> {
    let runner = with_flows(flows, NOON)?;
    let steps = flows.div_ceil(LOOKED_AT_IN_A_STEP);
    let mut walks = Series::default();
    for _ in 0..5 {
        let began = Instant::now();
        for _ in 0..steps {
            runner.age_step()?;
        }
        walks.push(began.elapsed().as_secs_f64() * 1e3);
    }
    if ended(&runner)? > 0 {
        return Err("flows ended that were heard of a moment ago".into());
    }
    let step = walks.median() / f64::from(steps);
    println!(
        "  {flows} live flows, a walk over all: {steps} steps, {walks:.1} ms; at a step in {STEP_MS} ms {:.2} % of a CPU",
        step / (step + STEP_MS as f64) * 100.0
    );
    drop(runner);
    let runner = with_flows(flows, machine_time()?)?;
    let quiet = quiet_share()?;
    runner.start_ageing()?;
    let busy = quiet_share()?;
    println!(
        "  {flows} live flows, by the timer: {:.2} % of a CPU (quiet {:.2} %, with the timer {:.2} %)",
        (busy.median() - quiet.median()) * 100.0,
        quiet.median() * 100.0,
        busy.median() * 100.0
    );
    Ok(())
}
