//! The whole way over veths, in packets a second: Weir beside the kernel's own forwarding, nftables, and programs
//! that do the least.
//!
//! Every mode is built afresh in each round, in namespaces of its own, and all of them take turns: so they share the
//! machine's moods, and none meets what another left in a table. Absolute values move by a third between runs and
//! machines: compare within one table only.
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

use clap::Parser;
use weir_benches::{Outcome, machine};
use weir_netns_tests::waiting::{catch_interrupts, go_on};

use crate::mode::Mode;
use crate::packets::{FLOWS_OPENED, Rates};
use crate::report::Report;
use crate::sockets::Seen;
use crate::way::Way;

const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 5;
/// Sockets are measured in so many of them: they take as long as the packets do.
const SOCKET_ROUNDS: usize = 5;
const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Measures the whole way between network namespaces: needs root, changes nothing outside of them
#[derive(Parser)]
#[command(name = "wire")]
struct Args {
    /// Print one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// Packets alone, in five rounds
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
    let rounds = if args.quick { QUICK_ROUNDS } else { ROUNDS };
    let mut report = Report::new(machine::describe());
    if !args.json {
        println!("{}\n{}", machine::describe(), explained(rounds));
    }
    for round in 1..=rounds {
        // Back and forth: nobody has always the same one before it.
        let mut modes = Mode::ALL;
        if round % 2 == 0 {
            modes.reverse();
        }
        for mode in modes {
            let (rates, seen) = visit(mode, args.quick || round > SOCKET_ROUNDS)?;
            let Rates { one_flow, new_flows, .. } = rates;
            let [one_flow, new_flows] = [one_flow, new_flows].map(|rate| rate / 1e6);
            eprintln!("round {round} of {rounds}: {:<20} {one_flow:.2} and {new_flows:.2} Mpps", mode.name());
            report.add(mode, rates, seen);
        }
    }
    report.end(machine::describe());
    Ok(report)
}

/// What the figures are, for whoever reads the table.
fn explained(rounds: usize) -> String {
    format!(
        "UDP in frames of 60 bytes, from a program at the client's device to one at the sandbox's, all on one CPU. One\n\
         flow: known, and answered before. New flows: each packet is its flow's first; {FLOWS_OPENED} flows, for which\n\
         there is room. By sockets, where the scheduler has its say: one TCP stream; connections with a request each;\n\
         requests on one connection. Medians of {rounds} rounds, by sockets of {SOCKET_ROUNDS} (least..most).\n"
    )
}

/// Builds one mode, measures it, and takes it down, also where something failed.
fn visit(mode: Mode, only_packets: bool) -> Outcome<(Rates, Option<Seen>)> {
    let mut way = Way::build(mode)?;
    let rates = packets::measure(&way)?;
    go_on()?;
    let seen = if only_packets { None } else { Some(sockets::measure(&mut way)?) };
    go_on()?;
    way.end()?;
    Ok((rates, seen))
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
