//! How long a beat of the daemon takes with two million flows of connectors: the quick look at crowded remotes, and the
//! count of everything. Takes root and a bpffs.
//! `cargo run --release -p weir-controller --example beat_time`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "this program prints a figure")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;
use weir_dataplane::flows::{FlowState, SideState};
use weir_dataplane::{Dataplane, FamilySizes, Options, Sizes};
use weir_path::addr::{InterfaceId, Ip4, L4Port, Mac, Zone};
use weir_path::flow::{Ends, Hop, Key, Key4, Life, Meta, Phase, PortUse, RecordId, Side, Stamp, V4};
use weir_path::time::{Now, Seconds};

const FLOWS: u32 = 2_000_000;
const LOOKS: usize = 21;

fn main() {
    let pin_dir = PathBuf::from(format!("/sys/fs/bpf/weir-beat-{}", std::process::id()));
    let v4 = FamilySizes { flows: 2 << 20, half_open: 65_536 };
    let v6 = FamilySizes { flows: 1_024, half_open: 64 };
    let dataplane = Dataplane::open(&Options { pin_dir: pin_dir.clone(), sizes: Sizes { v4, v6 } }).unwrap();
    let tables = dataplane.tables();
    let now = tables.now();
    let flows: Vec<_> = (0..FLOWS).map(|number| flow(number, now)).collect();
    tables.insert_flows::<V4>(&flows).unwrap();
    let quick = median(|| (tables.crowded().len(), tables.refused().unwrap().len()));
    let whole = median(|| (tables.flows().len(), tables.resting().len()));
    println!("{FLOWS} flows: {quick} us for crowded remotes and refusals, {whole} us for all ports");
    drop(dataplane);
    weir_dataplane::release(&pin_dir).unwrap();
}

fn median<T>(look: impl Fn() -> T) -> u128 {
    let time = |_| {
        let begun = Instant::now();
        black_box(look());
        begun.elapsed().as_micros()
    };
    let mut times: Vec<_> = (0..LOOKS).map(time).collect();
    times.sort_unstable();
    times.get(LOOKS / 2).copied().unwrap_or_default()
}

fn flow(number: u32, now: Now) -> FlowState<Key4> {
    const TCP: u8 = 6;
    let record = RecordId(number);
    let [binding, vpc] = [Zone::of_binding(1), Zone::of_vpc(1)].map(Option::unwrap);
    let remote = Ip4((0x0b00_0000 + number / 64_000).to_be_bytes());
    let [port, https] = [(1_024 + number % 64_000) as u16, 443].map(L4Port::new);
    let keys = [
        Key4::new(
            Ends { src: Ip4([169, 254, 100, 2]), dst: remote, sport: port, dport: https },
            TCP,
            binding,
        ),
        Key4::new(Ends { src: remote, dst: Ip4([10, 0, 1, 7]), sport: https, dport: port }, TCP, vpc),
    ];
    let side = |side| SideState {
        hop: Hop::new(InterfaceId(1), Mac([2; 6])),
        stamp: Stamp::new(record, 1, side, now),
        ..SideState::default()
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, 1, now),
        keys,
        meta: Meta { opened: now, idle: Seconds(350), port: PortUse::OWN, ..Meta::default() },
        sides: [side(Side::Original), side(Side::Reply)],
    }
}
