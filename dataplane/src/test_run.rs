//! The real programs run on single packets by the kernel (`BPF_PROG_TEST_RUN`), over tables of their own.
//!
//! For tests and benchmarks. Nothing is pinned and nothing is attached; all of it goes when the runner does.

use crate::attach::{ProgramSize, load_program, loader, own_map, program_mut, program_sizes};
use crate::error::Error;
use crate::object::OBJECT;
use crate::tables::Tables;
use aya::Ebpf;
use aya::programs::{Program as AyaProgram, ProgramFd, TestRun, TestRunOptions};
use std::time::Duration;
use weir_path::addr::IfIndex;

/// The programs that can be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// The walk from the wire, on XDP.
    UplinkXdp,
    /// The walk from the wire, on TC.
    UplinkTc,
    /// The walk from a sandbox, on TC.
    SlotTc,
    /// The walk from a sandbox, on XDP: never attached, so that every fixture can run on both hooks.
    SlotXdp,
}

impl Program {
    const ALL: [Self; 4] = [Self::UplinkXdp, Self::UplinkTc, Self::SlotTc, Self::SlotXdp];

    const fn name(self) -> &'static str {
        match self {
            Self::UplinkXdp => "uplink_xdp",
            Self::UplinkTc => "uplink_tc",
            Self::SlotTc => "slot_tc",
            Self::SlotXdp => "slot_xdp",
        }
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The program's return code: `XDP_*` or `TC_ACT_*`.
    pub action: i32,
    /// The packet afterwards.
    pub bytes: Vec<u8>,
    /// How long it took; for many runs of one call, the mean of one.
    pub duration: Duration,
}

/// Loaded programs over tables of their own.
pub struct Runner {
    ebpf: Ebpf,
    tables: Tables,
    room: Vec<u8>,
}

impl Runner {
    /// Loads everything, with room for `max_flows` flows.
    ///
    /// # Errors
    /// [`Error::Load`]: it takes root and Linux 6.6.
    pub fn new(max_flows: u32) -> Result<Self, Error> {
        let mut ebpf = loader(max_flows).load(OBJECT).map_err(Error::load)?;
        for program in Program::ALL {
            load_program(&mut ebpf, program.name())?;
        }
        let tables = Tables::from_maps(|name| own_map(&ebpf, name))?;
        // The longest frame that a test run takes is a page and a bit.
        Ok(Self { ebpf, tables, room: vec![0; 1 << 16] })
    }

    /// The tables that the programs see.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// How large the programs are.
    ///
    /// # Errors
    /// [`Error::Load`].
    pub fn program_sizes(&self) -> Result<Vec<ProgramSize>, Error> {
        program_sizes(&self.ebpf)
    }

    /// A handle on a program, for harnesses that call it by tail call.
    ///
    /// # Errors
    /// [`Error::Object`], [`Error::Load`].
    pub fn program(&mut self, program: Program) -> Result<ProgramFd, Error> {
        let fd = match program_mut(&mut self.ebpf, program.name())? {
            AyaProgram::Xdp(xdp) => xdp.fd(),
            AyaProgram::SchedClassifier(tc) => tc.fd(),
            _ => return Err(Error::Object(format!("program {} has an unexpected type", program.name()))),
        };
        fd.map_err(Error::load)?.try_clone().map_err(Error::load)
    }

    /// Runs one packet that comes in by `ingress`, which must be a device of this network namespace.
    ///
    /// # Errors
    /// [`Error::Load`]: what the kernel refused, such as frames shorter than 34 bytes on TC.
    pub fn run(&mut self, program: Program, ingress: IfIndex, packet: &[u8]) -> Result<Ran, Error> {
        let xdp = xdp_context(ingress, packet.len());
        let tc = tc_context(ingress);
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut self.room);
        let result = match program_mut(&mut self.ebpf, program.name())? {
            AyaProgram::Xdp(program) => {
                options.ctx_in = Some(&xdp);
                program.test_run(options)
            }
            AyaProgram::SchedClassifier(program) => {
                options.ctx_in = Some(&tc);
                program.test_run(options)
            }
            _ => return Err(Error::Object(format!("program {} has an unexpected type", program.name()))),
        };
        let result = result.map_err(Error::load)?;
        let bytes = self.room.get(..result.data_size_out as usize).unwrap_or_default().to_vec();
        Ok(Ran { action: result.return_value as i32, bytes, duration: result.duration })
    }
}

/// `struct xdp_md` (include/uapi/linux/bpf.h): data, its end, metadata, ingress device, queue, egress device.
fn xdp_context(ingress: IfIndex, len: usize) -> Vec<u8> {
    [0, len as u32, 0, ingress.0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct __sk_buff` (include/uapi/linux/bpf.h): all zero but the device.
fn tc_context(ingress: IfIndex) -> Vec<u8> {
    const LEN: usize = 192;
    const IFINDEX: usize = 40;
    let mut context = vec![0; IFINDEX];
    context.extend(ingress.0.to_ne_bytes());
    context.resize(LEN, 0);
    context
}
