//! The same after a restart: the programs are loaded anew over the tables that an earlier process left pinned.

use aya::maps::MapInfo;
use aya::programs::{ProgramFd, ProgramInfo, loaded_programs};
use std::path::{Path, PathBuf};
use weir_benches::Outcome;
use weir_benches::figures::Series;
use weir_benches::frames::Ports;
use weir_benches::harness::{Harness, Hook, Subject};
use weir_benches::pool::{self, ALL, OTHERS, Outward, PORTS, Terms};
use weir_benches::rounds::subject;
use weir_benches::town::SLOT;
use weir_dataplane::{Dataplane, FamilySizes, Options, Origin, Sizes, release};
use weir_path::Reason;
use weir_path::flow::V4;

use crate::Rounds;
use crate::bench::{every_port_is_one_flows, filled, in_order};
use crate::report::{Aim, COUNT, Report, SHARE};

const BPFFS: &str = "/sys/fs/bpf";

/// Tables of its own, that go with it.
struct Pinned(PathBuf);

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = release(&self.0) {
            eprintln!("ports: {}: {error}", self.0.display());
        }
    }
}

pub(crate) fn measure(report: &mut Report, _: &Rounds) -> Outcome<()> {
    report.section(
        "restart",
        "a dataplane with pinned tables is filled, dropped, and opened again: new programs over the same tables.",
    );
    let mut harness = Harness::new(1, 1)?;
    for fill in [5_000, 9_900, 9_999] {
        restarted(report, &mut harness, fill)?;
    }
    Ok(())
}

fn restarted(report: &mut Report, harness: &mut Harness, fill: u32) -> Outcome<()> {
    let pinned = Pinned(Path::new(BPFFS).join(format!("weir-bench-ports-{}", std::process::id())));
    let size = FamilySizes { flows: 2 * PORTS, half_open: 4 * PORTS };
    let options = Options {
        pin_dir: pinned.0.clone(),
        sizes: Sizes { v4: size, v6: FamilySizes { flows: 1, half_open: 1 } },
    };
    let dataplane = Dataplane::open(&options)?;
    pool::settle(dataplane.tables(), Terms::ONE_ADDRESS)?;
    let first = filled(fill);
    harness.run(&syn(&pinned.0, ALL)?, in_order(0, first), first)?;
    let before = opened(&dataplane)?;
    drop(dataplane);
    let dataplane = Dataplane::open(&options)?;
    if dataplane.origin() != Origin::Adopted {
        return Err("the tables were made anew, not adopted".into());
    }
    pool::settle(dataplane.tables(), Terms::ONE_ADDRESS)?;
    let left = PORTS - first;
    harness.run(&syn(&pinned.0, ALL)?, in_order(first, left), left)?;
    let after = opened(&dataplane)?;
    every_port_is_one_flows(&dataplane.tables().flows())?;
    harness.run(&syn(&pinned.0, OTHERS)?, in_order(0, OTHERS.count), OTHERS.count)?;
    let name = format!("{} %", f64::from(fill) / 100.0);
    let one = |figure: f64| [figure].into_iter().collect::<Series>();
    let [all, late] = [PORTS, OTHERS.count].map(f64::from);
    report.add(
        format!("restarted at {name}: of {left} more SYNs, opened"),
        one((after[0] - before[0]) / f64::from(left)),
        SHARE,
        Aim::Always(1.0),
    );
    report.add(format!("  opened before and after, of {all}"), one(after[0]), COUNT, Aim::Always(all));
    report.add("  refused before the last port was taken", one(after[1]), COUNT, Aim::Always(0.0));
    let refused = opened(&dataplane)?[1];
    report.add(format!("  refused cleanly at 100 %, of {late}"), one(refused), COUNT, Aim::Always(late));
    Ok(())
}

/// How many flows were opened, and how many SYNs refused.
fn opened(dataplane: &Dataplane) -> Outcome<[f64; 2]> {
    let counters = dataplane.tables().counters()?;
    let of = |why| counters.hooks.values().map(|hook| hook.of(why)).sum::<u64>() as f64;
    Ok([of(Reason::Opened), of(Reason::AnsweredPortsExhausted)])
}

/// SYNs for the slot's program that was loaded last over the tables pinned here.
fn syn(pin_dir: &Path, ports: Ports) -> Outcome<Subject> {
    Ok(subject(Hook::Tc, Outward::Syn.shot::<V4>(ports), slot_program(pin_dir)?, SLOT, Hook::Tc.sent()))
}

/// The kernel's list is asked, because programs are nobody's to have outside of the dataplane.
fn slot_program(pin_dir: &Path) -> Outcome<ProgramFd> {
    let schema = std::fs::read_dir(pin_dir)?.next().ok_or("nothing is pinned")??;
    let words = MapInfo::from_pin(schema.path().join("maps/WORDS"))?.id();
    let mut last: Option<ProgramInfo> = None;
    // In the order of their numbers. One that goes away meanwhile is somebody else's.
    for program in loaded_programs().filter_map(Result::ok) {
        let is_named = program.name_as_str() == Some("slot_tc");
        if is_named && program.map_ids()?.is_some_and(|maps| maps.contains(&words)) {
            last = Some(program);
        }
    }
    Ok(last.ok_or("the slot's program is not loaded")?.fd()?)
}
