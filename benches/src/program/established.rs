//! Packets of established flows: Weir beside the floor program, both hooks, and IPv6 beside IPv4.

use weir_benches::figures::Series;
use weir_benches::frames::Segment;
use weir_benches::harness::{Flows, Harness, Hook, Subject};
use weir_benches::rounds::{self, subject};
use weir_benches::town::{self, Place, Town, UPLINK};
use weir_benches::{Outcome, machine};
use weir_dataplane::test_run::{Program, Runner};
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::flow::{V4, V6};

const ROUNDS: usize = 9;
/// Packets a round, or one a flow where there are more flows.
const PACKETS: u32 = 1_000_000;
const MOST: u32 = 2_000_000;
const MOST_V6: u32 = 1_000_000;

pub(crate) fn print() -> Outcome<()> {
    println!();
    println!("Established TCP, ns a packet net of the harness, and the ratio to the floor program.");
    println!(
        "Tables of {MOST} flows ({MOST_V6} for IPv6); medians of {ROUNDS} rounds of {PACKETS} packets or more (least..most)."
    );
    println!(
        "{:>9} {:>9}  {:<18} {:<18} {:<20} {:<18} {:<18} {:<20} {:<18} v6/v4",
        "flows", "in table", "floor", "weir", "ratio", "floor TC", "weir TC", "ratio", "weir v6"
    );
    let mut bench = Bench::new()?;
    bench.fill(&town::shuffled(1_000), 0)?;
    bench.row(1_000, 1_000)?;
    let mut bench = Bench::new()?;
    let million = town::shuffled(1_000_000);
    bench.fill(&million, 0)?;
    for flows in [1_000, 100_000, 1_000_000] {
        bench.row(flows, 1_000_000)?;
    }
    let another: Vec<u32> = million.iter().map(|n| n + 1_000_000).collect();
    bench.fill_v4(&another, 1_000_000)?;
    bench.row(MOST, MOST)?;
    println!("{}", machine::describe());
    Ok(())
}

struct Bench {
    harness: Harness,
    weir: Runner,
}

impl Bench {
    fn new() -> Outcome<Self> {
        let family = |flows| FamilySizes { flows, half_open: flows / 16 };
        let weir = Runner::new(&Sizes { v4: family(MOST), v6: family(MOST_V6) })?;
        town::settle(weir.tables(), Place::BehindItsSlot)?;
        Ok(Self { harness: Harness::new(MOST, 1)?, weir })
    }

    /// Enters flows in this order, both families, into records from `first` on.
    fn fill(&mut self, numbers: &[u32], first: u32) -> Outcome<()> {
        self.fill_v4(numbers, first)?;
        V6::insert(self.weir.tables(), &flows::<V6>(numbers, first))
    }

    fn fill_v4(&mut self, numbers: &[u32], first: u32) -> Outcome<()> {
        self.harness.fill_floor(numbers)?;
        V4::insert(self.weir.tables(), &flows::<V4>(numbers, first))
    }

    fn row(&mut self, count: u32, in_table: u32) -> Outcome<()> {
        let [v4, v6] = [Segment::Ack.shot::<V4>(), Segment::Ack.shot::<V6>()];
        let xdp = self.weir.program(Program::UplinkXdp)?;
        let tc = self.weir.program(Program::UplinkTc)?;
        let sent = |hook: Hook, shot, program| subject(hook, shot, program, UPLINK, hook.sent());
        let mut subjects: Vec<Subject> = vec![
            sent(Hook::Xdp, v4, self.harness.program("floor")?),
            sent(Hook::Xdp, v4, xdp.try_clone()?),
            sent(Hook::Tc, v4, self.harness.program("floor_tc")?),
            sent(Hook::Tc, v4, tc),
        ];
        if count <= MOST_V6 {
            subjects.push(sent(Hook::Xdp, v6, xdp));
        }
        let flows = Flows { count, first: 0, is_scattered: true };
        let all: Vec<&Subject> = subjects.iter().collect();
        let figures = rounds::measure(&mut self.harness, &all, flows, PACKETS.max(count), ROUNDS)?;
        let [floor, weir, floor_tc, weir_tc, rest @ ..] = figures.as_slice() else {
            return Err("a subject was not measured".into());
        };
        print!("{count:>9} {in_table:>9}  {floor:<18} {weir:<18} {:<20.2} ", weir.over(floor));
        print!("{floor_tc:<18} {weir_tc:<18} {:<20.2} ", weir_tc.over(floor_tc));
        match rest {
            [v6] => println!("{v6:<18} {:.2}", Series::over(v6, weir)),
            _ => println!("-"),
        }
        Ok(())
    }
}

fn flows<T: Town>(numbers: &[u32], first: u32) -> Vec<weir_dataplane::flows::FlowState<T::Key>> {
    let records = first..;
    numbers.iter().zip(records).map(|(n, record)| town::established::<T>(*n, record, town::NOON)).collect()
}
