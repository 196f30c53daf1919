//! The real programs run on single packets by the kernel (`BPF_PROG_TEST_RUN`), over tables of their own.
//!
//! For tests and benchmarks. Nothing is pinned and nothing is attached; all of it goes when the runner does.

use crate::error::Error;
use crate::events::{EVENTS, Events};
use crate::flows::FlowId;
use crate::object::Sizes;
use crate::programs::{self, ProgramSize, Service, own_map, program, unexpected};
use crate::tables::Tables;
use aya::Ebpf;
use aya::programs::{Program as AyaProgram, ProgramFd, TestRun, TestRunOptions};
use std::time::Duration;
use weir_path::addr::IfIndex;
use weir_path::flow::end::End;

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

/// More than the longest frame that a test run takes: a page and a bit.
const LONGEST: usize = 1 << 16;

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
    /// Loads everything over tables of these sizes. No timer runs: the time is what [`Tables::set_now`] says.
    ///
    /// # Errors
    /// [`Error::Load`]: it takes root and Linux 6.6.
    pub fn new(sizes: &Sizes) -> Result<Self, Error> {
        Self::with(sizes, &Program::ALL)
    }

    /// The same with these programs alone, and those that they go on with: each costs the verifier its time.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with(sizes: &Sizes, programs: &[Program]) -> Result<Self, Error> {
        let hooks: Vec<_> = programs.iter().map(|program| program.name()).collect();
        let ebpf = programs::load(sizes, &hooks, |_| {})?;
        let tables = Tables::from_maps(|name| own_map(&ebpf, name))?;
        Ok(Self { ebpf, tables, room: vec![0; LONGEST] })
    }

    /// Starts to listen to flows that end.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Table`].
    pub fn events(&self) -> Result<Events, Error> {
        let tables = Tables::from_maps(|name| own_map(&self.ebpf, name))?;
        Events::listen(own_map(&self.ebpf, EVENTS)?, tables)
    }

    /// Starts the ageing timer: from here on the time is the machine's, and flows age by themselves.
    ///
    /// # Errors
    /// [`Error::Load`].
    pub fn start_ageing(&self) -> Result<(), Error> {
        programs::run_service(&self.ebpf, Service::StartAgeing).map(drop)
    }

    /// One step of ageing, at the time that the tables say.
    ///
    /// # Errors
    /// [`Error::Load`].
    pub fn age_step(&self) -> Result<(), Error> {
        programs::run_service(&self.ebpf, Service::AgeStep).map(drop)
    }

    /// Ends these flows, if they are still there, and returns how many were.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Table`].
    pub fn end_flows(&self, flows: &[FlowId]) -> Result<u64, Error> {
        programs::end_flows(&self.ebpf, &self.tables, flows, End::Removed)
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
        programs::sizes(&self.ebpf)
    }

    /// A handle on a program, for harnesses that call it by tail call.
    ///
    /// # Errors
    /// [`Error::Object`], [`Error::Load`].
    pub fn program(&mut self, program: Program) -> Result<ProgramFd, Error> {
        programs::program_fd(&mut self.ebpf, program.name())
    }

    /// Runs one packet that comes in by `ingress`, which must be a device of this network namespace.
    ///
    /// # Errors
    /// [`Error::Load`]: what the kernel refused, such as frames shorter than 34 bytes on TC.
    pub fn run(&mut self, program: Program, ingress: IfIndex, packet: &[u8]) -> Result<Ran, Error> {
        let Self { ebpf, room, .. } = self;
        run(ebpf, program, ingress, packet, room)
    }

    /// A hand of its own for a thread: what several run at the same time meets on the same tables.
    #[must_use]
    pub fn hand(&self) -> Hand<'_> {
        Hand { ebpf: &self.ebpf, room: vec![0; LONGEST] }
    }
}

/// One of several threads' hold on a [`Runner`].
pub struct Hand<'a> {
    ebpf: &'a Ebpf,
    room: Vec<u8>,
}

impl Hand<'_> {
    /// As [`Runner::run`].
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn run(&mut self, program: Program, ingress: IfIndex, packet: &[u8]) -> Result<Ran, Error> {
        run(self.ebpf, program, ingress, packet, &mut self.room)
    }
}

fn run(ebpf: &Ebpf, which: Program, ingress: IfIndex, packet: &[u8], room: &mut [u8]) -> Result<Ran, Error> {
    let xdp = xdp_context(ingress, packet.len());
    let tc = tc_context(ingress);
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    options.data_out = Some(room);
    let result = match program(ebpf, which.name())? {
        AyaProgram::Xdp(program) => {
            options.ctx_in = Some(&xdp);
            program.test_run(options)
        }
        AyaProgram::SchedClassifier(program) => {
            options.ctx_in = Some(&tc);
            program.test_run(options)
        }
        _ => return Err(unexpected(which.name())),
    };
    let result = result.map_err(Error::load)?;
    let bytes = room.get(..result.data_size_out as usize).unwrap_or_default().to_vec();
    Ok(Ran { action: result.return_value as i32, bytes, duration: result.duration })
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
