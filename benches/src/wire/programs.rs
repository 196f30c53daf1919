//! The programs of `benches/ebpf/src/wire/`, loaded with what they must know, and attached.

use aya::programs::Program;
use aya::programs::tc::TcAttachType;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use weir_benches::Outcome;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::topology::{SANDBOX, VIP};
use weir_path::addr::{IfIndex, Mac};

use crate::mode::PORT_OFFSET;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WEIR_WIRE_OBJECT_PATH"));

/// What a bare way must know of the devices that it joins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Devices {
    pub(crate) uplink: IfIndex,
    pub(crate) slot: IfIndex,
    /// Destination and source of what goes to the sandbox.
    pub(crate) to_sandbox: [Mac; 2],
    /// Destination and source of what goes to the client.
    pub(crate) to_client: [Mac; 2],
}

impl Devices {
    /// For programs that send nothing on.
    pub(crate) const NONE: Self = Self {
        uplink: IfIndex(0),
        slot: IfIndex(0),
        to_sandbox: [Mac([0; 6]); 2],
        to_client: [Mac([0; 6]); 2],
    };
}

/// Does something inside a namespace, in a thread of its own, and tells what failed.
pub(crate) fn inside<T: Send + 'static>(
    netns: &Netns,
    act: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    netns.enter(move || act().map_err(|error| told(error.as_ref())))?.map_err(Into::into)
}

/// An error with all that caused it: aya's own texts leave out what the kernel said.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Loads one of each of these programs. Devices are those of the calling thread's namespace.
pub(crate) fn load(names: &[&str], devices: &Devices) -> Outcome<Ebpf> {
    let [to_sandbox, to_client] = [devices.to_sandbox, devices.to_client].map(|macs| macs.map(|mac| mac.0));
    let [vip, sandbox] = [VIP.octets(), SANDBOX.octets()];
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::DISABLE)
        .override_global("UPLINK", &devices.uplink.0, true)
        .override_global("SLOT", &devices.slot.0, true)
        .override_global("TO_SANDBOX", to_sandbox.as_flattened(), true)
        .override_global("TO_CLIENT", to_client.as_flattened(), true)
        .override_global("VIP", vip.as_slice(), true)
        .override_global("SANDBOX", sandbox.as_slice(), true)
        .override_global("PORT_OFFSET", &PORT_OFFSET, true)
        .override_global("SINK_PORT", &ECHO_PORT, true)
        .load(OBJECT)?;
    for name in names {
        match ebpf.program_mut(name) {
            Some(Program::Xdp(program)) => program.load()?,
            Some(Program::SchedClassifier(program)) => program.load()?,
            _ => return Err(lacking(name)),
        }
    }
    Ok(ebpf)
}

/// Attaches a program to a device of the calling thread's namespace: on native XDP, or where packets come in on TC.
/// It is detached when `ebpf` is dropped.
pub(crate) fn attach(ebpf: &mut Ebpf, name: &str, device: &str) -> Outcome<()> {
    let attached = match ebpf.program_mut(name) {
        Some(Program::Xdp(program)) => program.attach(device, XdpMode::Driver).map(drop),
        Some(Program::SchedClassifier(program)) => program.attach(device, TcAttachType::Ingress).map(drop),
        _ => return Err(lacking(name)),
    };
    attached.map_err(|error| format!("cannot attach {name} to {device}: {}", told(&error)).into())
}

fn lacking(what: &str) -> Box<dyn std::error::Error> {
    format!("the wire's object lacks {what}; build it again: cargo clean -p weir-benches").into()
}

/// A table of the object.
pub(crate) fn table<'a>(ebpf: &'a mut Ebpf, name: &str) -> Outcome<&'a mut aya::maps::Map> {
    ebpf.map_mut(name).ok_or_else(|| lacking(name))
}
