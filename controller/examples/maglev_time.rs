//! How long it takes to build a Maglev table of 65,537 cells for 1,000 targets: the median of many builds.
//! `cargo run --release -p weir-controller --example maglev_time`
#![expect(clippy::print_stdout, reason = "this program prints a figure")]

use std::hint::black_box;
use std::time::Instant;
use weir_controller::compile::maglev;

const TARGETS: usize = 1_000;
const CELLS: u32 = 65_537;
const BUILDS: usize = 201;

fn main() {
    let names: Vec<_> = (0..TARGETS).map(|number| format!("sandbox-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut times: Vec<_> = (0..BUILDS)
        .map(|_| {
            let begun = Instant::now();
            black_box(maglev::table(black_box(&names), CELLS));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    if let Some(median) = times.get(BUILDS / 2) {
        println!(
            "maglev {CELLS} cells x {TARGETS} targets: median of {BUILDS} builds {} us",
            median.as_micros()
        );
    }
}
