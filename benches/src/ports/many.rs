//! Many flows held at once: every port of an address towards ten remotes, and two million flows.

use std::time::Instant;
use weir_benches::Outcome;
use weir_benches::figures::Series;
use weir_benches::frames::Ports;
use weir_benches::pool::{ALL, Outward, PORTS, Terms};
use weir_path::Reason;
use weir_path::flow::V4;

use crate::Rounds;
use crate::bench::{Bench, every_port_is_one_flows, in_order};
use crate::report::{Aim, COUNT, NS, Report, SECONDS};

const REMOTES: u32 = 10;
const MILLIONS: u32 = 2_000_000;
/// So many flows go to one remote, from four addresses.
const A_REMOTE: Ports = Ports { count: 2_000, ..ALL };
const ADDRESSES: u8 = 4;

pub(crate) fn measure(report: &mut Report, rounds: &Rounds) -> Outcome<()> {
    report.section("many", "flows that live at the same time, each opened by a SYN.");
    ten_remotes(report)?;
    if !rounds.is_quick {
        millions(report, rounds)?;
    }
    Ok(())
}

fn ten_remotes(report: &mut Report) -> Outcome<()> {
    let mut bench = Bench::new::<V4>(1 << 20, Terms::ONE_ADDRESS)?;
    let all = REMOTES * PORTS;
    let mut cost = 0.0;
    let [opened] = bench.counted([Reason::Opened], |bench| {
        cost = bench.open::<V4>(in_order(0, all))?;
        Ok(())
    })?;
    let flows = bench.tables().flows();
    every_port_is_one_flows(&flows)?;
    let aim = Aim::Always(f64::from(all));
    report.add(format!("{REMOTES} remotes, one address: opened, of {all}"), one(opened), COUNT, aim);
    report.add("  live at once", one(flows.len() as f64), COUNT, aim);
    report.add("  a SYN", one(cost), NS, Aim::None);
    Ok(())
}

fn millions(report: &mut Report, rounds: &Rounds) -> Outcome<()> {
    let terms = Terms { addresses: ADDRESSES, ..Terms::ONE_ADDRESS };
    let mut bench = Bench::new::<V4>(MILLIONS, terms)?;
    let mut cost = 0.0;
    let [opened] = bench.counted([Reason::Opened], |bench| {
        cost = bench.send::<V4>(Outward::Syn, A_REMOTE, in_order(0, MILLIONS))?;
        Ok(())
    })?;
    let [mut listing, mut counted, mut held] = [(); 3].map(|()| Series::default());
    for _ in 0..rounds.few {
        let began = Instant::now();
        let flows = bench.tables().flows();
        listing.push(began.elapsed().as_secs_f64());
        held.push(flows.len() as f64);
        let began = Instant::now();
        bench.tables().counted_flows()?;
        counted.push(began.elapsed().as_secs_f64());
    }
    every_port_is_one_flows(&bench.tables().flows())?;
    let aim = Aim::Always(f64::from(MILLIONS));
    let remotes = MILLIONS / A_REMOTE.count;
    report.add(
        format!("{remotes} remotes, {ADDRESSES} addresses: opened, of {MILLIONS}"),
        one(opened),
        COUNT,
        aim,
    );
    report.add("  held", held, COUNT, aim);
    report.add("  a SYN", one(cost), NS, Aim::None);
    let bytes = bench.tables().bytes_a_flow::<V4>();
    report.add(
        "  bytes a flow, all tables, as many half-open twice over",
        one(bytes as f64),
        COUNT,
        Aim::None,
    );
    report.add("  listed", listing, SECONDS, Aim::None);
    report.add("  listed with what each direction carried", counted, SECONDS, Aim::None);
    Ok(())
}

fn one(figure: f64) -> Series {
    [figure].into_iter().collect()
}
