//! The programs of the object: loaded, joined by tail calls, and run without a packet.

use crate::error::Error;
use crate::flows::FlowId;
use crate::object::{self, OBJECT, Sizes};
use crate::tables::Tables;
use aya::maps::{MapData, ProgramArray};
use aya::programs::{Program, ProgramError, ProgramFd, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use std::io;
use weir_path::addr::IfIndex;
use weir_path::flow::end::End;
use weir_path::layout::{self, MAX_ORDERS};
use weir_path::steps::Next;
use zerocopy::IntoBytes;

/// The programs that hooks begin with, and the arrays of those that they go on with.
const CHAINS: [(&str, &str); 3] =
    [("uplink_xdp", "UPLINK_XDP_NEXT"), ("uplink_tc", "UPLINK_TC_NEXT"), ("slot_tc", "SLOT_TC_NEXT")];

/// The same for what is never attached.
const TEST_CHAIN: (&str, &str) = ("slot_xdp", "SLOT_XDP_NEXT");

/// What the programs for each step are called, behind the name of their hook's first one.
const STEPS: [(u32, &str); layout::STEPS as usize] = [
    (Next::ReadyV4 as u32, "ready_v4"),
    (Next::ReadyV6 as u32, "ready_v6"),
    (Next::MovingV4 as u32, "moving_v4"),
    (Next::MovingV6 as u32, "moving_v6"),
    (Next::Unknown as u32, "unknown"),
    (Next::OpeningV4 as u32, "opening_v4"),
    (Next::OpeningV6 as u32, "opening_v6"),
    (Next::OddV4 as u32, "odd_v4"),
    (Next::OddV6 as u32, "odd_v6"),
    (Next::RelayV4 as u32, "relay_v4"),
    (Next::RelayV6 as u32, "relay_v6"),
    (Next::TellV4 as u32, "tell_v4"),
    (Next::TellV6 as u32, "tell_v6"),
    (Next::OutboundV4 as u32, "outbound_v4"),
    (Next::OutboundV6 as u32, "outbound_v6"),
    (Next::EnterV4 as u32, "enter_v4"),
    (Next::EnterV6 as u32, "enter_v6"),
    (Next::QueryV4 as u32, "query_v4"),
    (Next::QueryV6 as u32, "query_v6"),
    (layout::TAGGED_STEP, "tagged"),
];

/// A program that runs without a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// Starts the ageing timer, or gives it this build's code.
    StartAgeing,
    /// One step of ageing.
    AgeStep,
    /// Ends the flows that are named in the table of orders.
    EndFlows,
    /// Sends a frame.
    Transmit,
}

impl Service {
    const ALL: [Self; 4] = [Self::StartAgeing, Self::AgeStep, Self::EndFlows, Self::Transmit];

    const fn name(self) -> &'static str {
        match self {
            Self::StartAgeing => "start_ageing",
            Self::AgeStep => "age_step",
            Self::EndFlows => "end_flows",
            Self::Transmit => "transmit",
        }
    }
}

/// How large a program is, for the budget.
#[derive(Clone, Debug)]
pub struct ProgramSize {
    /// The program.
    pub name: String,
    /// Instructions after the kernel's rewriting.
    pub instructions: u32,
    /// Instructions that the verifier walked.
    pub verified: u32,
}

/// Loads the object, with the programs of these hooks and what runs without a packet. A hook that is not among them is
/// loaded when a device is attached: the verifier takes its time for each program. `prepare` may say where maps are pinned.
pub(crate) fn load<'a>(
    sizes: &Sizes,
    hooks: &[&str],
    prepare: impl FnOnce(&mut EbpfLoader<'a>),
) -> Result<Ebpf, Error> {
    let pots = object::pots()?;
    let [v4, v6] = [sizes.v4, sizes.v6].map(|family| object::room(family, pots));
    let mut loader = EbpfLoader::new();
    // aya would ask for the verifier's log again and again: a refused program would take minutes.
    loader.verifier_log_level(VerifierLogLevel::DISABLE);
    for (name, entries) in object::sized(sizes, pots) {
        loader.map_max_entries(name, entries);
    }
    prepare(&mut loader);
    let ebpf = {
        let mut loader = loader;
        loader.override_global("ROOM_V4", v4.as_slice(), true).override_global(
            "ROOM_V6",
            v6.as_slice(),
            true,
        );
        loader.load(OBJECT).map_err(Error::load)
    };
    let mut ebpf = ebpf?;
    for first in hooks {
        load_chain(&mut ebpf, first)?;
    }
    for service in Service::ALL {
        load_program(&mut ebpf, service.name())?;
    }
    Ok(ebpf)
}

/// Loads a hook's first program and those that it goes on with. Where that was done, nothing happens.
pub(crate) fn load_chain(ebpf: &mut Ebpf, first: &str) -> Result<(), Error> {
    let mut chains = CHAINS.into_iter().chain([TEST_CHAIN]);
    let Some((_, next)) = chains.find(|(known, _)| *known == first) else { return Err(unexpected(first)) };
    let is_loaded = match program_mut(ebpf, first)? {
        Program::Xdp(xdp) => xdp.fd().is_ok(),
        Program::SchedClassifier(tc) => tc.fd().is_ok(),
        _ => false,
    };
    if is_loaded {
        return Ok(());
    }
    // The first one last: it is what says that the others are there.
    join(ebpf, first, next)?;
    load_program(ebpf, first)
}

/// Loads the programs that `first` goes on with, and enters them into its array.
fn join(ebpf: &mut Ebpf, first: &str, array: &str) -> Result<(), Error> {
    for (step, stem) in STEPS {
        let name = format!("{first}_{stem}");
        if ebpf.program(&name).is_none() {
            // A sandbox opens no flows yet, and TC has no tags in the bytes.
            continue;
        }
        load_program(ebpf, &name)?;
        let program = program_fd(ebpf, &name)?;
        let map = ebpf.map_mut(array).ok_or_else(|| missing_table(array))?;
        let mut array: ProgramArray<_> = map.try_into().map_err(Error::load)?;
        array.set(step, &program, 0).map_err(Error::load)?;
    }
    Ok(())
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), Error> {
    let loaded = match program_mut(ebpf, name)? {
        Program::Xdp(xdp) => xdp.load(),
        Program::SchedClassifier(tc) => tc.load(),
        _ => return Err(unexpected(name)),
    };
    match loaded {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(Error::Program { program: name.to_owned(), source: Box::new(error) }),
    }
}

/// A handle on a loaded program.
pub(crate) fn program_fd(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd, Error> {
    let fd = match program_mut(ebpf, name)? {
        Program::Xdp(xdp) => xdp.fd(),
        Program::SchedClassifier(tc) => tc.fd(),
        _ => return Err(unexpected(name)),
    };
    fd.map_err(Error::load)?.try_clone().map_err(Error::load)
}

pub(crate) fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Program, Error> {
    ebpf.program(name).ok_or_else(|| missing_program(name))
}

pub(crate) fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, Error> {
    ebpf.program_mut(name).ok_or_else(|| missing_program(name))
}

fn missing_program(name: &str) -> Error {
    Error::Object(format!("program {name} is missing"))
}

pub(crate) fn unexpected(name: &str) -> Error {
    Error::Object(format!("program {name} has an unexpected type"))
}

fn missing_table(name: &str) -> Error {
    Error::Object(format!("table {name} is missing"))
}

/// The maps of an object that was loaded without pins.
pub(crate) fn own_map(ebpf: &Ebpf, name: &str) -> Result<MapData, Error> {
    use aya::maps::Map;
    let map = ebpf.map(name).ok_or_else(|| missing_table(name))?;
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::LruHashMap(data)
    | Map::LpmTrie(data)
    | Map::PerCpuArray(data)
    | Map::RingBuf(data)) = map
    else {
        return Err(Error::Object(format!("table {name} has an unexpected type")));
    };
    let id = data.info().map_err(Error::load)?.id();
    MapData::from_id(id).map_err(Error::load)
}

pub(crate) fn sizes(ebpf: &Ebpf) -> Result<Vec<ProgramSize>, Error> {
    let mut sizes = Vec::new();
    for (name, program) in ebpf.programs() {
        let info = program.info().map_err(Error::load)?;
        sizes.push(ProgramSize {
            name: name.to_owned(),
            // Eight bytes an instruction.
            instructions: info.size_translated().unwrap_or(0) / 8,
            verified: info.verified_instruction_count().unwrap_or(0),
        });
    }
    sizes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sizes)
}

/// Runs a program that needs no packet, and returns what it returned.
pub(crate) fn run_service(ebpf: &Ebpf, service: Service) -> Result<u32, Error> {
    // The kernel wants a frame that could be one.
    run_on(ebpf, service, &[0; 64], &[])
}

/// Sends a frame out of a device.
pub(crate) fn transmit(ebpf: &Ebpf, device: IfIndex, frame: &[u8]) -> Result<(), Error> {
    // `struct __sk_buff` up to its control block, whose first word says where to.
    const CONTROL_BLOCK: usize = 12;
    let mut context = [0u32; CONTROL_BLOCK + 1];
    if let Some(first) = context.last_mut() {
        *first = device.0;
    }
    let source = match run_on(ebpf, Service::Transmit, frame, context.as_bytes())? as i32 {
        0 => return Ok(()),
        error if error < 0 => io::Error::from_raw_os_error(error.saturating_neg()),
        // `NET_XMIT_DROP` and its like (include/linux/netdevice.h): what queues answer, also those of devices that
        // are down.
        _ => io::Error::other("its queue dropped the frame"),
    };
    Err(Error::Transmit { ifindex: device, source })
}

fn run_on(ebpf: &Ebpf, service: Service, frame: &[u8], context: &[u8]) -> Result<u32, Error> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.ctx_in = (!context.is_empty()).then_some(context);
    let Program::SchedClassifier(program) = program(ebpf, service.name())? else {
        return Err(unexpected(service.name()));
    };
    Ok(program.test_run(options).map_err(Error::load)?.return_value)
}

/// Ends these flows, if they are still there, because they were [`End::Removed`] or [`End::Blocked`], and returns how many were.
pub(crate) fn end_flows(ebpf: &Ebpf, tables: &Tables, flows: &[FlowId], why: End) -> Result<u64, Error> {
    let mut ended = 0;
    for chunk in flows.chunks(MAX_ORDERS as usize) {
        tables.order(chunk, why)?;
        ended += u64::from(run_service(ebpf, Service::EndFlows)?);
    }
    Ok(ended)
}
