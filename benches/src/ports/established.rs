//! Packets of established outbound flows, both directions: Weir beside the floor program, and IPv6 beside IPv4.

use weir_benches::Outcome;
use weir_benches::figures::Series;
use weir_benches::harness::{Flows, Harness, Hook, Subject};
use weir_benches::pool::{self, ALL, Outward, Terms};
use weir_benches::rounds::{self, subject};
use weir_benches::town::{self, NOON, SLOT, Town, UPLINK};
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::flow::{V4, V6};

use crate::Rounds;
use crate::report::{Aim, NS, RATIO, Report};

/// Packets a round, or one a flow where there are more flows.
const PACKETS: u32 = 200_000;

/// A direction, and a hook that its packets meet.
struct Way {
    name: &'static str,
    segment: Outward,
    hook: Hook,
    program: Program,
    floor: &'static str,
}

const WAYS: [Way; 4] = [
    way("slot to wire, TC", Outward::Ack, Hook::Tc, Program::SlotTc),
    way("wire to slot, XDP", Outward::AckBack, Hook::Xdp, Program::UplinkXdp),
    way("wire to slot, TC", Outward::AckBack, Hook::Tc, Program::UplinkTc),
    way("slot to wire, XDP (never attached)", Outward::Ack, Hook::Xdp, Program::SlotXdp),
];

const fn way(name: &'static str, segment: Outward, hook: Hook, program: Program) -> Way {
    let floor = match hook {
        Hook::Xdp => "floor",
        Hook::Tc => "floor_tc",
    };
    Way { name, segment, hook, program, floor }
}

impl Way {
    fn subject<T: Town>(&self, program: aya::programs::ProgramFd) -> Subject {
        let ingress = if self.segment.is_reply() { UPLINK } else { SLOT };
        subject(self.hook, self.segment.shot::<T>(ALL), program, ingress, self.hook.sent())
    }
}

pub(crate) fn measure(report: &mut Report, rounds: &Rounds) -> Outcome<()> {
    report.section(
        "established",
        "TCP packets of flows that the sandbox opened, ns net of the harness, beside the least a NAT can do.",
    );
    table(report, rounds, 1_000, &[1_000])?;
    if rounds.is_quick {
        return table(report, rounds, 100_000, &[100_000]);
    }
    table(report, rounds, 1_000_000, &[1_000, 1_000_000])
}

/// Packets of so many flows each, where so many are in the tables.
fn table(report: &mut Report, rounds: &Rounds, in_table: u32, flows: &[u32]) -> Outcome<()> {
    let size = FamilySizes { flows: in_table, half_open: 1 };
    let mut weir = Runner::new(&Sizes { v4: size, v6: size })?;
    pool::settle(weir.tables(), Terms::ONE_ADDRESS)?;
    weir.tables().set_now(NOON);
    let mut harness = Harness::new(in_table, 1)?;
    let numbers = town::shuffled(in_table);
    harness.enter_floor(numbers.iter().flat_map(|n| pool::ends::<V4>(*n)))?;
    fill::<V4>(&weir, &numbers)?;
    fill::<V6>(&weir, &numbers)?;
    for count in flows {
        row(report, &mut harness, &mut weir, rounds, (*count, in_table))?;
    }
    Ok(())
}

fn fill<T: Town>(weir: &Runner, numbers: &[u32]) -> Outcome<()> {
    let flows: Vec<_> =
        numbers.iter().zip(0..).map(|(n, record)| pool::established::<T>(*n, record)).collect();
    T::insert(weir.tables(), &flows)
}

fn row(
    report: &mut Report,
    harness: &mut Harness,
    weir: &mut Runner,
    rounds: &Rounds,
    (count, in_table): (u32, u32),
) -> Outcome<()> {
    let mut subjects = Vec::new();
    for way in &WAYS {
        let program = weir.program(way.program)?;
        subjects.push(way.subject::<V4>(harness.program(way.floor)?));
        subjects.push(way.subject::<V4>(program.try_clone()?));
        subjects.push(way.subject::<V6>(program));
    }
    let flows = Flows { count, first: 0, is_scattered: true };
    let all: Vec<&Subject> = subjects.iter().collect();
    let packets = PACKETS.max(count);
    let figures = rounds::measure(harness, &all, flows, packets, rounds.few)?;
    for (way, figures) in WAYS.iter().zip(figures.chunks_exact(3)) {
        let [floor, v4, v6] = figures else { return Err("a subject was not measured".into()) };
        say(report, &format!("{}, {count} of {in_table}", way.name), floor, v4, v6);
    }
    Ok(())
}

fn say(report: &mut Report, name: &str, floor: &Series, v4: &Series, v6: &Series) {
    report.add(format!("{name}: / floor"), v4.over(floor), RATIO, Aim::None);
    report.add("  Weir", v4.clone(), NS, Aim::None);
    report.add("  floor", floor.clone(), NS, Aim::None);
    report.add("  IPv6 / IPv4", v6.over(v4), RATIO, Aim::None);
}
