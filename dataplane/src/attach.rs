//! Programs loaded and attached to devices, by links that outlive the process.

use crate::error::Error;
use crate::flows::Flow;
use crate::object;
use crate::pins::{self, Options, Pins, pin_error};
use crate::programs::{self, Service, program_mut};
use crate::tables::Tables;
use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use nix::fcntl::Flock;
use std::fs::File;
use std::io;
use std::path::Path;
use weir_path::addr::IfIndex;
use weir_path::flow::end::End;

/// Where a program sits on a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AttachPoint {
    /// XDP in the driver. Packets there must have complete checksums.
    UplinkXdpNative,
    /// XDP after the driver, for devices without support. Only where it is asked for.
    UplinkXdpGeneric,
    /// TC ingress (TCX) of an uplink.
    UplinkTc,
    /// TC ingress (TCX) of a slot.
    SlotTc,
}

impl AttachPoint {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::UplinkXdpNative, Self::UplinkXdpGeneric, Self::UplinkTc, Self::SlotTc];

    /// The name in the pin folder and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UplinkXdpNative => "xdp",
            Self::UplinkXdpGeneric => "xdp-generic",
            Self::UplinkTc => "tc",
            Self::SlotTc => "slot",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::UplinkXdpNative | Self::UplinkXdpGeneric => "uplink_xdp",
            Self::UplinkTc => "uplink_tc",
            Self::SlotTc => "slot_tc",
        }
    }
}

/// A program on a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attachment {
    /// The device.
    pub ifindex: IfIndex,
    /// Where on it.
    pub point: AttachPoint,
}

impl Attachment {
    fn pin_name(self) -> String {
        format!("{}-{}", self.point.name(), self.ifindex)
    }

    fn from_pin_name(name: &str) -> Option<Self> {
        let (point, ifindex) = name.rsplit_once('-')?;
        let point = AttachPoint::ALL.into_iter().find(|known| known.name() == point)?;
        Some(Self { ifindex: IfIndex(ifindex.parse().ok()?), point })
    }
}

/// Whether something was made or found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Made now.
    New,
    /// Left by an earlier process and taken over.
    Adopted,
}

/// The loaded programs and the pinned tables. Dropping it detaches nothing.
pub struct Dataplane {
    ebpf: Ebpf,
    pins: Pins,
    tables: Tables,
    origin: Origin,
    _held: Flock<File>,
}

impl Dataplane {
    /// Loads the programs over the pinned tables: those that are there after checking them, else new ones.
    ///
    /// # Errors
    /// [`Error::NotBpffs`], [`Error::Busy`], [`Error::OtherSchema`], [`Error::Layout`], [`Error::Load`]; nothing is attached.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let pins = Pins::new(&options.pin_dir);
        pins.prepare()?;
        let held = pins.hold()?;
        let adopted = pins.check_adoptable(&options.sizes)?;
        let names: Vec<_> = object::declared(&options.sizes)?.into_iter().map(|table| table.name).collect();
        let ebpf = programs::load(&options.sizes, &[], |loader| {
            for name in &names {
                loader.map_pin_path(name, pins.map(name));
            }
        })?;
        let tables = Tables::open(&options.pin_dir)?;
        // From here on flows age by themselves, whether or not there is a daemon.
        programs::run_service(&ebpf, Service::StartAgeing)?;
        let origin = if adopted { Origin::Adopted } else { Origin::New };
        Ok(Self { ebpf, pins, tables, origin, _held: held })
    }

    /// Whether the tables were there already.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Attaches a program to a device. Where an earlier process did so, its link is given the new program in
    /// one step, and no packet passes by without one.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::Attach`], [`Error::Program`].
    pub fn attach(&mut self, attachment: Attachment) -> Result<Origin, Error> {
        let device = device_name(attachment.ifindex)?;
        let pin = self.pins.links.join(attachment.pin_name());
        let earlier = open_link(&pin, attachment.ifindex)?;
        let origin = if earlier.is_some() { Origin::Adopted } else { Origin::New };
        let point = attachment.point;
        programs::load_chain(&mut self.ebpf, point.program())?;
        let error = |source| attach_error(attachment, source);
        let link: FdLink = match program_mut(&mut self.ebpf, point.program())? {
            Program::Xdp(xdp) => attach_xdp(xdp, attachment, earlier).map_err(error)?,
            Program::SchedClassifier(tc) => attach_tc(tc, &device, earlier).map_err(error)?,
            _ => return Err(Error::Object(format!("program {} has an unexpected type", point.program()))),
        };
        if origin == Origin::New {
            link.pin(&pin).map_err(|source| pin_error("pinning", &pin, io::Error::other(source)))?;
        }
        Ok(origin)
    }

    /// Detaches a program; it may be gone already.
    ///
    /// # Errors
    /// [`Error::Pin`].
    pub fn detach(&mut self, attachment: Attachment) -> Result<(), Error> {
        pins::detach_link(&self.pins.links.join(attachment.pin_name()))
    }

    /// What is attached. Links whose device is gone are removed on the way.
    ///
    /// # Errors
    /// [`Error::Pin`].
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        let mut attachments = Vec::new();
        for path in pins::entries(&self.pins.links)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match Attachment::from_pin_name(&name) {
                Some(attachment) if pins::linked_device(&path)? == Some(attachment.ifindex) => {
                    attachments.push(attachment);
                }
                Some(_) => pins::detach_link(&path)?,
                None => tracing::warn!(pin = %path.display(), "a pin that is not Weir's; left alone"),
            }
        }
        Ok(attachments)
    }

    /// Sends a frame out of a device, as it is: a VLAN tag is part of its bytes.
    ///
    /// # Errors
    /// [`Error::Transmit`]: the kernel did not take it; [`Error::Load`].
    pub fn transmit(&self, device: IfIndex, frame: &[u8]) -> Result<(), Error> {
        programs::transmit(&self.ebpf, device, frame)
    }

    /// Ends flows, both directions each, because they were [`End::Removed`] or [`End::Blocked`], and returns how many.
    ///
    /// Only programs end flows: so nobody who is stopped half-way can leave one half ended. Flows that are being
    /// opened are ended in a second pass.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Table`].
    pub fn end_flows(&mut self, why: End, ends: impl Fn(&Flow) -> bool) -> Result<u64, Error> {
        let mut ended = 0;
        for _ in 0..2 {
            let flows = self.tables.flows();
            let ids: Vec<_> = flows.iter().filter(|flow| ends(flow)).map(|flow| flow.id).collect();
            ended += programs::end_flows(&self.ebpf, &self.tables, &ids, why)?;
        }
        Ok(ended)
    }
}

/// What is attached by the links pinned under `pin_dir`, for whoever has loaded no programs.
///
/// # Errors
/// [`Error::Pin`].
pub fn attachments(pin_dir: &Path) -> Result<Vec<Attachment>, Error> {
    let mut attachments = Vec::new();
    for path in pins::entries(&Pins::new(pin_dir).links)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(attachment) = Attachment::from_pin_name(&name)
            && pins::linked_device(&path)? == Some(attachment.ifindex)
        {
            attachments.push(attachment);
        }
    }
    Ok(attachments)
}

/// Why attaching failed: the program was refused, or the link is not one that can be pinned.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

fn attach_xdp(xdp: &mut Xdp, attachment: Attachment, earlier: Option<FdLink>) -> Result<FdLink, Refusal> {
    let mode = match attachment.point {
        AttachPoint::UplinkXdpGeneric => XdpMode::Skb,
        _ => XdpMode::Driver,
    };
    let id = match earlier {
        Some(link) => xdp.attach_to_link(link.try_into()?)?,
        None => xdp.attach_to_if_index(attachment.ifindex.0, mode)?,
    };
    Ok(xdp.take_link(id)?.try_into()?)
}

fn attach_tc(tc: &mut SchedClassifier, device: &str, earlier: Option<FdLink>) -> Result<FdLink, Refusal> {
    let id = match earlier {
        Some(link) => tc.attach_to_link(link.try_into()?)?,
        None => tc.attach_with_options(
            device,
            TcAttachType::Ingress,
            TcAttachOptions::TcxOrder(LinkOrder::first()),
        )?,
    };
    Ok(tc.take_link(id)?.try_into()?)
}

/// The pinned link; `None` where nothing is pinned. One whose device is gone is removed: the index may be
/// another device's by now.
fn open_link(pin: &Path, ifindex: IfIndex) -> Result<Option<FdLink>, Error> {
    if pins::linked_device(pin)? != Some(ifindex) {
        pins::detach_link(pin)?;
        return Ok(None);
    }
    let link =
        PinnedLink::from_pin(pin).map_err(|source| pin_error("opening", pin, io::Error::other(source)))?;
    Ok(Some(link.into()))
}

fn device_name(ifindex: IfIndex) -> Result<String, Error> {
    match nix::net::if_::if_indextoname(ifindex.0) {
        // nix 0.31 takes the null pointer that says "no such device" for success, and makes it an empty name.
        Ok(name) if !name.is_empty() => Ok(name.to_string_lossy().into_owned()),
        _ => Err(Error::NoDevice { ifindex }),
    }
}

fn attach_error(attachment: Attachment, source: Refusal) -> Error {
    let code = match &source {
        Refusal::Program(ProgramError::SyscallError(error)) => error.io_error.raw_os_error(),
        _ => None,
    };
    let hint = match (code, attachment.point) {
        (Some(libc::EBUSY | libc::EEXIST), _) => {
            "; another XDP program holds the device: `ip link show` names it, detach it or use another hook"
        }
        (Some(libc::EOPNOTSUPP), AttachPoint::UplinkXdpNative) => {
            "; its driver has no native XDP: set hook = \"tc\", or \"xdp-generic\" to accept the slower mode"
        }
        (Some(libc::ERANGE), _) => {
            "; its MTU is too large for XDP on this driver: lower it, or set hook = \"tc\""
        }
        _ => "",
    };
    Error::Attach {
        program: attachment.point.program(),
        ifindex: attachment.ifindex,
        source: Box::new(source),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_named_so_that_it_can_be_read_back() {
        for point in AttachPoint::ALL {
            let attachment = Attachment { ifindex: IfIndex(42), point };
            assert_eq!(Attachment::from_pin_name(&attachment.pin_name()), Some(attachment));
        }
        assert_eq!(Attachment::from_pin_name("xdp"), None);
        assert_eq!(Attachment::from_pin_name("other-4"), None);
    }
}
