//! How much of a CPU interrupts take away: a thread on each CPU reads the clock without a pause, and every gap
//! is time that it did not have.
//!
//! The kernel's own accounts are too coarse for this: they are sampled at ticks, and the time of a timer's callback
//! is in no program's statistics.

use std::thread;
use std::time::{Duration, Instant};
use weir_benches::{Outcome, machine};

const CPUS: usize = 2;
/// Shorter gaps are the clock's own; longer ones are other processes'.
const SHORTEST: Duration = Duration::from_micros(2);
const LONGEST: Duration = Duration::from_millis(2);

/// The share of one CPU that was taken away within this time, all CPUs together.
pub(crate) fn share(window: Duration) -> Outcome<f64> {
    let shares: Vec<Result<f64, String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| scope.spawn(move || on_cpu(cpu, window).map_err(|e| e.to_string())))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let mut sum = 0.0;
    for share in shares {
        sum += share?;
    }
    Ok(sum)
}

fn on_cpu(cpu: usize, window: Duration) -> Outcome<f64> {
    machine::stay_on(cpu)?;
    let began = Instant::now();
    let (mut last, mut taken, mut others) = (began, Duration::ZERO, Duration::ZERO);
    while last - began < window {
        let now = Instant::now();
        let gap = now - last;
        if gap > LONGEST {
            others += gap;
        } else if gap > SHORTEST {
            taken += gap;
        }
        last = now;
    }
    // What other processes had is no part of what could be measured.
    Ok(taken.as_secs_f64() / (last - began - others).as_secs_f64())
}
