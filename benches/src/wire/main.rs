//! The whole way over veths, in packets a second: Weir beside the kernel's own forwarding, nftables, and programs
//! that do the least.
//!
//! Every round builds all modes afresh, side by side, in namespaces of their own. They take turns of a tenth of a
//! second or so: thus they share the machine's moods. Absolute values move by a third between runs and machines:
//! compare within one table only.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod mode;
mod packets;
mod programs;
mod report;
mod sockets;
mod way;

use std::fs;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Parser;
use weir_benches::{Outcome, machine};
use weir_netns_tests::waiting::{catch_interrupts, go_on};

use crate::mode::Mode;
use crate::packets::{FLOWS_OPENED, Line, MOST, Traffic};
use crate::report::Report;
use crate::way::Way;

const ROUNDS: usize = 5;
const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Measures the whole way between network namespaces: needs root, changes nothing outside of them
#[derive(Parser)]
#[command(name = "wire")]
struct Args {
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// Packets alone
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(report) if args.json => println!("{}", report.for_programs()),
        Ok(report) => println!("{}", report.for_people()),
        Err(error) => {
            eprintln!("\nwire: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(args: &Args) -> Outcome<Report> {
    catch_interrupts()?;
    conntrack_has_room()?;
    // The first CPU is the load's: servers and the daemon inherit another one from here.
    machine::stay_on(thread::available_parallelism().map_or(1, NonZero::get) - 1)?;
    let mut report = Report::new(machine::describe());
    if !args.json {
        println!("{}\n{}", machine::describe(), explained(args.quick));
    }
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        one_round(&mut report, args.quick)?;
        eprintln!("round {round} of {ROUNDS} took {:.0} s", begun.elapsed().as_secs_f32());
    }
    report.end(machine::describe());
    Ok(report)
}

/// What the figures are, for whoever reads the table.
fn explained(only_packets: bool) -> String {
    let [one_flow, new_flows] = [Traffic::OneFlow, Traffic::NewFlows].map(|traffic| traffic.turns() * ROUNDS);
    let packets = format!(
        "UDP in frames of 60 bytes, from a program at the client's device to one at the sandbox's, all on one CPU. One\n\
         flow: known, and answered before. New flows: each packet is its flow's first; {FLOWS_OPENED} flows, for which\n\
         there is room. Medians (least..most) of {one_flow} turns, of {new_flows} for new flows.\n"
    );
    if only_packets {
        return packets;
    }
    let sockets = "By sockets, where the scheduler has its say: one TCP stream; connections with a request each; requests on one";
    format!("{packets}{sockets}\nconnection. Medians (least..most) of {ROUNDS} rounds.\n")
}

/// Builds all modes, measures them in turn, and takes them down, also where something failed.
fn one_round(report: &mut Report, only_packets: bool) -> Outcome<()> {
    let mut ways = Vec::new();
    for mode in Mode::ALL {
        ways.push(Way::build(mode)?);
        go_on()?;
    }
    packets(report, &ways)?;
    if !only_packets {
        for way in &mut ways {
            report.add_seen(way.mode(), sockets::measure(way)?);
            go_on()?;
        }
    }
    ways.into_iter().try_for_each(Way::end)
}

fn packets(report: &mut Report, ways: &[Way]) -> Outcome<()> {
    let mut lines = Vec::new();
    for way in ways {
        lines.push((way, Line::lay(way)?));
    }
    for traffic in [Traffic::OneFlow, Traffic::NewFlows] {
        for _ in 0..traffic.turns() {
            for (way, line) in &mut lines {
                report.add_packets(way.mode(), traffic, line.pour(way, traffic)?);
            }
            // Back and forth: nobody has always the same one before it.
            lines.reverse();
            go_on()?;
        }
    }
    ways.iter().try_for_each(opened_flows)
}

/// An error where packets came that should have opened flows, and too few flows were.
fn opened_flows(way: &Way) -> Outcome<()> {
    match way.flows_opened()? {
        Some(opened) if (opened as f64) < MOST * f64::from(FLOWS_OPENED) => {
            Err(format!("{} opened {opened} flows, not {FLOWS_OPENED}", way.mode().name()).into())
        }
        _ => Ok(()),
    }
}

/// The limit is the machine's, not a namespace's, so it is not for this program to change.
fn conntrack_has_room() -> Outcome<()> {
    let text = fs::read_to_string(CONNTRACK_MAX).map_err(|error| {
        format!("{CONNTRACK_MAX}: {error}; nftables wants conntrack: modprobe nf_conntrack")
    })?;
    let most: u32 = text.trim().parse()?;
    if most >= FLOWS_OPENED {
        return Ok(());
    }
    Err(format!(
        "conntrack has room for {most} flows, and {FLOWS_OPENED} are opened: sysctl -w net.netfilter.nf_conntrack_max={FLOWS_OPENED}"
    )
    .into())
}
