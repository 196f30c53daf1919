//! What a packet costs in the kernel: Weir's programs beside the floor program, in one run.
//!
//! ```text
//! kernel test run ─► harness (restores the frame, picks a flow) ─tail call─► empty | floor | uplink_xdp
//! ```
//!
//! Each round measures the three one after the other, so that they share the machine's moods; what the empty
//! program costs is taken off the other two, round by round, and the median is printed. Compare within one
//! table only.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use aya::maps::{Array, DevMap, HashMap, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use std::error::Error;
use weir_dataplane::test_run::{Program, Runner};
use weir_path::addr::{IfIndex, InterfaceId, Ip4, L4Port, Mac, Zone};
use weir_path::flow::{Flow, FlowKey};
use weir_path::tables::{Delivery, Egress, Interface};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WEIR_BENCH_OBJECT_PATH"));

const ROUNDS: usize = 7;
const PACKETS: u32 = 1_000_000;
const MAX_FLOWS: u32 = 1 << 20;
/// Flows that packets belong to, and flows that the table holds.
const CASES: [(u32, u32); 7] = [
    (1, 1),
    (1_000, 1_000),
    (100_000, 100_000),
    (1_000_000, 1_000_000),
    (1, 1_000_000),
    (1_000, 1_000_000),
    (100_000, 1_000_000),
];

const LOOPBACK: IfIndex = IfIndex(1);
const VIP: Ip4 = Ip4([198, 51, 100, 10]);
const UPLINK_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
const SANDBOX: Ip4 = Ip4([169, 254, 100, 2]);
const SANDBOX_MAC: Mac = Mac([2, 0x57, 0x45, 0x49, 0x52, 2]);
const GATEWAY_MAC: Mac = Mac([2, 0x57, 0x45, 0x49, 0x52, 1]);
const TCP: u8 = 6;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut bench = Bench::new()?;
    println!(
        "established IPv4 TCP, ns a packet, net of the harness: median of {ROUNDS} rounds of {PACKETS} packets"
    );
    println!("{:>10} {:>10} {:>8} {:>8} {:>8}   ratio", "flows", "in table", "harness", "floor", "weir");
    for (flows, in_table) in CASES {
        bench.fill(in_table)?;
        let row = bench.measure(flows)?;
        println!(
            "{flows:>10} {in_table:>10} {:>8.1} {:>8.1} {:>8.1}   {:.2}",
            row.harness, row.floor, row.weir, row.ratio
        );
    }
    for size in bench.weir.program_sizes()? {
        println!("{}: {} instructions, {} verifier steps", size.name, size.instructions, size.verified);
    }
    Ok(())
}

struct Row {
    harness: f64,
    floor: f64,
    weir: f64,
    ratio: f64,
}

struct Bench {
    harness: Ebpf,
    weir: Runner,
    slots: ProgramArray<aya::maps::MapData>,
    filled: u32,
}

impl Bench {
    fn new() -> Outcome<Self> {
        let mut harness = EbpfLoader::new().verifier_log_level(VerifierLogLevel::DISABLE).load(OBJECT)?;
        for name in ["harness", "empty", "floor"] {
            xdp(&mut harness, name)?.load()?;
        }
        let weir = Runner::new(MAX_FLOWS)?;
        weir.tables().set_interface(&uplink())?;
        weir.tables().set_interface(&slot())?;
        let mut template: Array<_, [u8; 60]> = Array::try_from(map(&mut harness, "TEMPLATE")?)?;
        template.set(0, template_frame(), 0)?;
        DevMap::try_from(map(&mut harness, "FLOOR_DEVICES")?)?.set(0, LOOPBACK.0, None, 0)?;
        let slots = ProgramArray::try_from(map(&mut harness, "UNDER_TEST")?)?;
        Ok(Self { harness, weir, slots, filled: 0 })
    }

    /// Enters flows up to this many, both directions in each table. Flow n is what the harness makes of n.
    fn fill(&mut self, flows: u32) -> Outcome<()> {
        if flows < self.filled {
            return Err("cases must be ordered by the size of the table".into());
        }
        let mut floor: HashMap<_, [u32; 4], [u32; 8]> =
            HashMap::try_from(map_ref(&mut self.harness, "FLOOR_FLOWS")?)?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for n in self.filled..flows {
            let (key, inward, outward) = flow(n);
            let ports = u32::from_ne_bytes([key.sport.0[0], key.sport.0[1], key.dport.0[0], key.dport.0[1]]);
            let address = |ip: Ip4| u32::from_ne_bytes(ip.0);
            floor.insert(
                [address(key.src), address(key.dst), ports, 6],
                [address(SANDBOX), 0x901f, 1, 2, 3, 0, 0, 0],
                0,
            )?;
            floor.insert([address(SANDBOX), address(key.src), ports.rotate_left(16), 6], [0; 8], 0)?;
            keys.extend([key, inward.other]);
            values.extend([inward, outward]);
        }
        self.weir.tables().insert_flows(&keys, &values)?;
        self.filled = flows;
        Ok(())
    }

    fn measure(&mut self, flows: u32) -> Outcome<Row> {
        let mut count: Array<_, u32> = Array::try_from(map_ref(&mut self.harness, "FLOW_COUNT")?)?;
        count.set(0, flows, 0)?;
        let (mut harness, mut floor, mut weir, mut ratio) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let empty_fd = xdp(&mut self.harness, "empty")?.fd()?.try_clone()?;
            let base = self.time(&empty_fd, 2)?;
            let floor_fd = xdp(&mut self.harness, "floor")?.fd()?.try_clone()?;
            let floor_ns = self.time(&floor_fd, 4)? - base;
            let weir_fd = program_fd(&mut self.weir)?;
            let weir_ns = self.time(&weir_fd, 4)? - base;
            harness.push(base);
            floor.push(floor_ns);
            weir.push(weir_ns);
            ratio.push(weir_ns / floor_ns);
        }
        Ok(Row { harness: median(harness), floor: median(floor), weir: median(weir), ratio: median(ratio) })
    }

    /// Mean ns of one run; the last packet must have left with `action`, else the figure means nothing.
    fn time(&mut self, program: &ProgramFd, action: u32) -> Outcome<f64> {
        self.slots.set(0, program, 0)?;
        let frame = template_frame();
        let context: Vec<u8> =
            [0, frame.len() as u32, 0, LOOPBACK.0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.ctx_in = Some(&context);
        options.repeat = PACKETS;
        let result = xdp(&mut self.harness, "harness")?.test_run(options)?;
        if result.return_value != action {
            return Err(format!("a packet left with action {}, not {action}", result.return_value).into());
        }
        Ok(result.duration.as_nanos() as f64)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn program_fd(weir: &mut Runner) -> Outcome<ProgramFd> {
    Ok(weir.program(Program::UplinkXdp)?)
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Outcome<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).ok_or("the harness lacks a program")?.try_into()?)
}

fn map(ebpf: &mut Ebpf, name: &str) -> Outcome<aya::maps::Map> {
    ebpf.take_map(name).ok_or_else(|| format!("the harness lacks the table {name}").into())
}

fn map_ref<'a>(ebpf: &'a mut Ebpf, name: &str) -> Outcome<&'a mut aya::maps::Map> {
    ebpf.map_mut(name).ok_or_else(|| format!("the harness lacks the table {name}").into())
}

fn zone(zone: Option<Zone>) -> Zone {
    zone.unwrap_or_default()
}

fn uplink() -> Interface {
    Interface {
        egress: Egress { ifindex: LOOPBACK, id: InterfaceId(0), delivery: Delivery::TRANSMIT },
        mac: UPLINK_MAC,
        zone: zone(Zone::of_vpc(1)),
        ..Interface::default()
    }
}

fn slot() -> Interface {
    Interface {
        egress: Egress { ifindex: IfIndex(2), id: InterfaceId(1), delivery: Delivery::VETH_PEER },
        mac: GATEWAY_MAC,
        peer_mac: SANDBOX_MAC,
        address: SANDBOX,
        gateway: Ip4([169, 254, 100, 1]),
        zone: zone(Zone::of_binding(1)),
        ..Interface::default()
    }
}

/// The key and both directions of flow `n`, as opening it would record them.
fn flow(n: u32) -> (FlowKey, Flow, Flow) {
    let key = FlowKey {
        src: Ip4((0x0a00_0000 | (n >> 14)).to_be_bytes()),
        dst: VIP,
        sport: L4Port::new(1024 + (n & 0x3fff) as u16),
        dport: L4Port::new(80),
        protocol: TCP,
        zone: uplink().zone,
    };
    let reply = FlowKey {
        src: SANDBOX,
        dst: key.src,
        sport: L4Port::new(8080),
        dport: key.sport,
        protocol: TCP,
        zone: slot().zone,
    };
    let inward = Flow {
        other: reply,
        src: key.src,
        dst: SANDBOX,
        dst_mac: SANDBOX_MAC,
        dport: reply.sport,
        src_mac: GATEWAY_MAC,
        sport: key.sport,
        egress: slot().egress,
        zero: [0; 4],
    };
    let outward = Flow {
        other: key,
        src: VIP,
        dst: key.src,
        dst_mac: CLIENT_MAC,
        dport: key.sport,
        src_mac: UPLINK_MAC,
        sport: key.dport,
        egress: uplink().egress,
        zero: [0; 4],
    };
    (key, inward, outward)
}

/// A TCP ACK of flow 0. The checksums are not looked at by the programs; tests elsewhere see to them.
fn template_frame() -> [u8; 60] {
    let mut frame = [0; 60];
    let (key, ..) = flow(0);
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(place) = frame.get_mut(at) {
                *place = *byte;
            }
            at += 1;
        }
    };
    put(&UPLINK_MAC.0);
    put(&CLIENT_MAC.0);
    put(&[0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0]);
    put(&key.src.0);
    put(&key.dst.0);
    put(&key.sport.0);
    put(&key.dport.0);
    put(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}
