//! How long the flow tables take to read: `cargo run --release --example flows_time -- 2000000`, as root.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::time::{Duration, Instant};
use weir_dataplane::flows::{FlowState, SideState};
use weir_dataplane::test_run::Runner;
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::addr::{InterfaceId, Ip4, L4Port, Mac, Zone};
use weir_path::flow::{Counts, Ends, Hop, Key, Key4, Life, Meta, Phase, RecordId, Side, Stamp, V4};
use weir_path::time::{Now, Seconds};

fn main() {
    let count: u32 = std::env::args().nth(1).map_or(2_000_000, |count| count.parse().unwrap());
    let size = |flows| FamilySizes { flows, half_open: 1_024 };
    let runner = Runner::new(&Sizes { v4: size(count), v6: size(1_024) }).unwrap();
    let tables = runner.tables();
    let flows: Vec<_> = (0..count).map(flow).collect();
    tables.insert_flows::<V4>(&flows).unwrap();

    timed("flows without what they carried", || tables.flows().len());
    timed("keys", || tables.flow_keys::<V4>().unwrap().len());
    timed("flows with what they carried", || tables.counted_flows().unwrap().len());
}

/// Prints how long this took, and how much of it the process had a CPU.
fn timed(what: &str, read: impl FnOnce() -> usize) {
    let (begun, busy) = (Instant::now(), on_cpu());
    let seen = read();
    println!("{seen} {what}: {:?}, {:?} on the CPU", begun.elapsed(), on_cpu() - busy);
}

/// `/proc/self/schedstat` (Documentation/scheduler/sched-stats.rst): the first number is nanoseconds on a CPU.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// The flow in this record.
fn flow(number: u32) -> FlowState<Key4> {
    const TCP: u8 = 6;
    let record = RecordId(number);
    let client = Ip4((0x0a00_0000 + number / 50_000).to_be_bytes());
    let (vip, sandbox) = (Ip4([198, 51, 100, 10]), Ip4([169, 254, 100, 2]));
    let (from, port) = (L4Port::new((number % 50_000) as u16 + 1_024), L4Port::new(8_080));
    let ends = [
        Ends { src: client, dst: vip, sport: from, dport: L4Port::new(80) },
        Ends { src: sandbox, dst: client, sport: port, dport: from },
    ];
    let zones = [Zone::of_vpc(1).unwrap(), Zone::of_binding(1).unwrap()];
    let [original, reply] = ends;
    let [vpc, binding] = zones;
    let side = |side| SideState {
        hop: Hop::new(InterfaceId(0), Mac([2; 6])),
        counts: Counts { packets: 1, bytes: 60 },
        acknowledged: 0,
        stamp: Stamp::new(record, 1, side, Now(0)),
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, 1, Now(0)),
        keys: [Key4::new(original, TCP, vpc), Key4::new(reply, TCP, binding)],
        meta: Meta { idle: Seconds(350), ..Meta::default() },
        sides: [side(Side::Original), side(Side::Reply)],
    }
}
