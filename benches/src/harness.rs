//! The harness that packets are measured in.
//!
//! ```text
//! kernel test run ─► harness (restores the frame, picks a flow) ─tail call─► empty | floor | Weir's program
//! ```
//!
//! A test run that repeats feeds a program its own output. So a program of `benches/ebpf/` makes each packet
//! afresh and calls the one under test; what it costs itself, with an empty program behind it, is taken off.

use crate::Outcome;
use crate::frames::{FRAME, Shot};
use aya::maps::{Array, DevMap, HashMap, Map, MapData, ProgramArray};
use aya::programs::{Program, ProgramFd, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use weir_path::addr::{IfIndex, Ip4, L4Port};
use weir_path::flow::Ends;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WEIR_BENCH_OBJECT_PATH"));

/// Programs that are run without a tail call, or that are called.
const XDP: [&str; 7] =
    ["harness", "empty", "floor", "bare_insert_v4", "bare_remove_v4", "bare_insert_v6", "bare_remove_v6"];
const TC: [&str; 4] = ["harness_tc", "empty_tc", "floor_tc", "shorten_tc"];

/// Which kind of program is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// TC.
    Tc,
}

impl Hook {
    /// What a program returns that sends a packet: `XDP_REDIRECT`, `TC_ACT_REDIRECT`.
    #[must_use]
    pub const fn sent(self) -> u32 {
        match self {
            Self::Xdp => 4,
            Self::Tc => 7,
        }
    }
}

/// What a bare program returns that did its work: `XDP_TX`.
pub const DONE: u32 = 3;

/// What to measure.
pub struct Subject {
    /// Where it runs.
    pub hook: Hook,
    /// What each flow's packets are, one after the other, and who gets them.
    pub shots: Vec<(Shot, ProgramFd)>,
    /// The device they come in by.
    pub ingress: IfIndex,
    /// What the last program must return, else the figure means nothing.
    pub action: u32,
}

/// Which flows packets belong to.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    /// How many.
    pub count: u32,
    /// The first one.
    pub first: u32,
    /// Whether packets pick them without a pattern, else one after the other.
    pub is_scattered: bool,
}

/// The harness, loaded, and the floor's tables.
pub struct Harness {
    ebpf: Ebpf,
    shots: Array<MapData, Shot>,
    plan: Array<MapData, [u32; 4]>,
    listed: Array<MapData, u32>,
    cursor: Array<MapData, u32>,
    under_test: [ProgramArray<MapData>; 2],
}

impl Harness {
    /// Loads it, with tables of as many flows as Weir's.
    ///
    /// # Errors
    /// What the kernel refused: it takes root.
    pub fn new(flows_v4: u32, flows_v6: u32) -> Outcome<Self> {
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::DISABLE);
        for (name, flows) in [("FLOOR_FLOWS", flows_v4), ("BARE_V4", flows_v4), ("BARE_V6", flows_v6)] {
            loader.map_max_entries(name, flows * 2);
        }
        let mut ebpf = loader.load(OBJECT)?;
        for name in XDP.into_iter().chain(TC) {
            match ebpf.program_mut(name) {
                Some(Program::Xdp(program)) => program.load()?,
                Some(Program::SchedClassifier(program)) => program.load()?,
                _ => return Err(format!("the harness lacks the program {name}").into()),
            }
        }
        DevMap::try_from(map(&mut ebpf, "FLOOR_DEVICES")?)?.set(0, crate::town::UPLINK.0, None, 0)?;
        Ok(Self {
            shots: Array::try_from(map(&mut ebpf, "SHOTS")?)?,
            plan: Array::try_from(map(&mut ebpf, "PLAN")?)?,
            listed: Array::try_from(map(&mut ebpf, "LISTED")?)?,
            cursor: Array::try_from(map(&mut ebpf, "CURSOR")?)?,
            under_test: [
                ProgramArray::try_from(map(&mut ebpf, "UNDER_TEST")?)?,
                ProgramArray::try_from(map(&mut ebpf, "UNDER_TEST_TC")?)?,
            ],
            ebpf,
        })
    }

    /// A handle on one of the harness's own programs.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn program(&self, name: &str) -> Outcome<ProgramFd> {
        let fd = match self.ebpf.program(name) {
            Some(Program::Xdp(program)) => program.fd()?,
            Some(Program::SchedClassifier(program)) => program.fd()?,
            _ => return Err(format!("the harness lacks the program {name}").into()),
        };
        Ok(fd.try_clone()?)
    }

    /// Enters flows of these numbers into the floor's table, both directions.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn fill_floor(&mut self, numbers: &[u32]) -> Outcome<()> {
        use crate::town::{SANDBOX_PORT, Town, VIP_PORT, client_port};
        use weir_path::flow::V4;
        let [vip_port, sandbox_port] = [VIP_PORT, SANDBOX_PORT].map(L4Port::new);
        self.enter_floor(numbers.iter().flat_map(|n| {
            let (client, port) = (V4::client(*n), client_port(*n));
            [
                Ends { src: client, dst: V4::VIP, sport: port, dport: vip_port },
                Ends { src: V4::SANDBOX, dst: client, sport: sandbox_port, dport: port },
            ]
        }))
    }

    /// Enters directions of TCP flows into the floor's table.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn enter_floor(&mut self, directions: impl IntoIterator<Item = Ends<Ip4>>) -> Outcome<()> {
        const TO: [u32; 8] = [0x0a64_fea9, 0x901f, 1, 2, 3, 0, 0, 0];
        const TCP: u32 = 6;
        let map = self.ebpf.map_mut("FLOOR_FLOWS").ok_or("the harness lacks the floor's table")?;
        let mut floor: HashMap<_, [u32; 4], [u32; 8]> = HashMap::try_from(map)?;
        for Ends { src, dst, sport: L4Port([a, b]), dport: L4Port([c, d]) } in directions {
            let [src, dst, ports] = [src.0, dst.0, [a, b, c, d]].map(u32::from_ne_bytes);
            floor.insert([src, dst, ports, TCP], TO, 0)?;
        }
        Ok(())
    }

    /// Says which ports flows have, by their number below 65,536: for frames whose ports are listed.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn list_ports(&mut self, ports: impl IntoIterator<Item = (u32, L4Port)>) -> Outcome<()> {
        for (flow, port) in ports {
            self.listed.set(flow, u32::from(port.number()), 0)?;
        }
        Ok(())
    }

    /// Mean nanoseconds of one packet, the harness included.
    ///
    /// # Errors
    /// What the kernel refused, or a packet that took another way than it should.
    pub fn time(&mut self, subject: &Subject, flows: Flows, packets: u32) -> Outcome<f64> {
        match self.run(subject, flows, packets)? {
            (took, action) if action == subject.action => Ok(took),
            (_, action) => Err(format!("a packet left with action {action}, not {}", subject.action).into()),
        }
    }

    /// The same, and how the last packet left, whatever that is.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn run(&mut self, subject: &Subject, flows: Flows, packets: u32) -> Outcome<(f64, u32)> {
        let [xdp, tc] = &mut self.under_test;
        let under_test = if subject.hook == Hook::Xdp { xdp } else { tc };
        for (nth, (shot, program)) in subject.shots.iter().enumerate() {
            self.shots.set(nth as u32, shot, 0)?;
            under_test.set(nth as u32, program, 0)?;
        }
        let in_a_row = subject.shots.len() as u32;
        self.plan.set(0, [flows.count, flows.first, u32::from(flows.is_scattered), in_a_row], 0)?;
        self.cursor.set(0, 0, 0)?;
        let frame = [0; FRAME];
        let context = match subject.hook {
            // `struct xdp_md`: data, its end, metadata, ingress device, queue, egress device.
            Hook::Xdp => words(&[0, FRAME as u32, 0, subject.ingress.0, 0, 0]),
            // `struct __sk_buff`: all zero but the device, its eleventh word.
            Hook::Tc => {
                words(&std::array::from_fn::<_, 48, _>(|at| if at == 10 { subject.ingress.0 } else { 0 }))
            }
        };
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.ctx_in = Some(&context);
        options.repeat = packets;
        let ran = match (subject.hook, self.ebpf.program("harness"), self.ebpf.program("harness_tc")) {
            (Hook::Xdp, Some(Program::Xdp(program)), _) => program.test_run(options)?,
            (Hook::Tc, _, Some(Program::SchedClassifier(program))) => program.test_run(options)?,
            _ => return Err("the harness lacks its own program".into()),
        };
        Ok((ran.duration.as_nanos() as f64, ran.return_value))
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn map(ebpf: &mut Ebpf, name: &str) -> Outcome<Map> {
    ebpf.take_map(name).ok_or_else(|| format!("the harness lacks the table {name}").into())
}
