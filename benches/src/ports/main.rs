//! Ports of an ENI's address: whether every one of them is found, whatever is in use, and what that costs.
//!
//! The real programs run over real maps, in test runs. Packets open all flows that there are, but for those of
//! `established`. Absolute values move by a third between runs and machines: compare within one run only.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod bench;
mod cost;
mod crowded;
mod established;
mod growth;
mod many;
mod report;
mod restart;

use std::process::ExitCode;

use clap::Parser;
use weir_benches::{Outcome, machine};

use crate::report::Report;

/// The sections, by the names that they are asked for with.
type Section = (&'static str, fn(&mut Report, &Rounds) -> Outcome<()>);
const SECTIONS: [Section; 6] = [
    ("growth", growth::measure),
    ("crowded", crowded::measure),
    ("restart", restart::measure),
    ("cost", cost::measure),
    ("established", established::measure),
    ("many", many::measure),
];

/// Measures how flows find the ports of an ENI's address: needs root, changes nothing outside of its own tables
#[derive(Parser)]
#[command(name = "ports")]
struct Args {
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// Fewer rounds, and no millions of flows
    #[arg(long)]
    quick: bool,
    /// Only these: growth, crowded, restart, cost, established, many
    sections: Vec<String>,
}

/// How often things are measured.
pub(crate) struct Rounds {
    /// What is quick.
    pub(crate) many: usize,
    /// What fills tables.
    pub(crate) few: usize,
    /// Whether millions are left out.
    pub(crate) is_quick: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(report) if args.json => println!("{}", report.for_programs()),
        Ok(report) => println!("\n{}", report.verdict()),
        Err(error) => {
            eprintln!("\nports: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(args: &Args) -> Outcome<Report> {
    let known = |name: &str| SECTIONS.iter().any(|(known, _)| *known == name);
    if let Some(unknown) = args.sections.iter().find(|name| !known(name)) {
        let names: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no section {unknown}; there are {}", names.join(", ")).into());
    }
    machine::stay_on(0)?;
    machine::go_first()?;
    let rounds = if args.quick {
        Rounds { many: 5, few: 2, is_quick: true }
    } else {
        Rounds { many: 15, few: 5, is_quick: false }
    };
    let mut report = Report::new(!args.json);
    report.machine(machine::describe());
    for (name, measure) in SECTIONS {
        if args.sections.is_empty() || args.sections.iter().any(|wanted| wanted == name) {
            measure(&mut report, &rounds)?;
        }
    }
    report.machine(machine::describe());
    Ok(report)
}
