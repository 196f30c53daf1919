//! Devices, as netlink tells of them.

use super::error::HostError;
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::{Handle, LinkUnspec};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use weir_dataplane::others::ProgramId;
use weir_path::addr::{IfIndex, Ip6, Mac};

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index in its namespace.
    pub ifindex: IfIndex,
    /// Its name.
    pub name: String,
    /// Its MAC; zero where it has none of six bytes.
    pub mac: Mac,
    /// The longest IP packet that it takes.
    pub mtu: u32,
    /// Whether it is up, as far as that is its owner's to say.
    pub is_up: bool,
    /// What it is.
    pub kind: Kind,
    /// The XDP programs on it.
    pub xdp: BTreeSet<ProgramId>,
}

/// The number that one namespace has for another (RTM_GETNSID). It means nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceId(i32);

/// What a device is, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One end of a veth pair.
    Veth {
        /// The other end's index, in its namespace.
        peer: IfIndex,
        /// Which namespace the other end is in, by this namespace's number for it; none for this one itself.
        peer_namespace: Option<NamespaceId>,
    },
    /// A TUN or TAP device.
    Tap,
    /// A device without a driver of netlink's: physical ones, mostly.
    Physical,
    /// Something else, by the kernel's name for it.
    Other(String),
}

impl Kind {
    /// Whether packets may arrive here with checksums that are yet to be completed.
    #[must_use]
    pub const fn is_software(&self) -> bool {
        matches!(self, Self::Veth { .. } | Self::Tap)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Veth { .. } => f.write_str("veth"),
            Self::Tap => f.write_str("TAP"),
            Self::Physical => f.write_str("physical device"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

pub(super) async fn devices(handle: &Handle) -> Result<BTreeMap<IfIndex, Device>, HostError> {
    Ok(list(handle).await?.iter().map(device).map(|device| (device.ifindex, device)).collect())
}

/// How many packets each device was sent.
pub(super) async fn received(handle: &Handle) -> Result<BTreeMap<IfIndex, u64>, HostError> {
    let packets = |message: &LinkMessage| {
        message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Stats64(stats) => Some(stats.rx_packets),
            _ => None,
        })
    };
    let messages = list(handle).await?;
    Ok(messages.iter().filter_map(|it| Some((IfIndex(it.header.index), packets(it)?))).collect())
}

async fn list(handle: &Handle) -> Result<Vec<LinkMessage>, HostError> {
    let error = |source| HostError::Request { doing: "listing the devices", source: Box::new(source) };
    handle.link().get().execute().try_collect().await.map_err(error)
}

/// Brings a device up.
pub(super) async fn bring_up(handle: &Handle, device: IfIndex) -> Result<(), HostError> {
    let up = LinkUnspec::new_with_index(device.0).up().build();
    let error = |source| HostError::Request { doing: "bringing a device up", source: Box::new(source) };
    handle.link().set(up).execute().await.map_err(error)
}

/// An address that the host itself has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address; an IPv4 address is mapped.
    pub address: Ip6,
    /// The device it is on.
    pub device: IfIndex,
    /// Whether it is there to stay: not temporary, deprecated or tentative (RFC 4862, 8981).
    pub is_lasting: bool,
}

/// Every address of the namespace.
pub(super) async fn addresses(handle: &Handle) -> Result<Vec<HostAddress>, HostError> {
    let error = |source| HostError::Request { doing: "listing the addresses", source: Box::new(source) };
    let messages: Vec<AddressMessage> =
        handle.address().get().execute().try_collect().await.map_err(error)?;
    let own = messages.iter().filter_map(|message| {
        let attributes = &message.attributes;
        // `Address` is the other end's on a point-to-point device; without one there is no `Local` (IPv6).
        let local = attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        let (address, device) = (Ip6::from(address?), IfIndex(message.header.index));
        Some(HostAddress { address, device, is_lasting: is_lasting(message) })
    });
    Ok(own.collect())
}

/// IPv4 addresses are. The flag of a temporary address says of an IPv4 one that another one is before it.
fn is_lasting(message: &AddressMessage) -> bool {
    const PASSING: AddressHeaderFlags = AddressHeaderFlags::Secondary
        .union(AddressHeaderFlags::Deprecated)
        .union(AddressHeaderFlags::Tentative)
        .union(AddressHeaderFlags::Dadfailed);
    message.header.family != AddressFamily::Inet6 || !message.header.flags.intersects(PASSING)
}

fn device(message: &LinkMessage) -> Device {
    let mut device = Device {
        ifindex: IfIndex(message.header.index),
        name: String::new(),
        mac: Mac::default(),
        mtu: 0,
        is_up: message.header.flags.contains(LinkFlags::Up),
        kind: Kind::Physical,
        xdp: BTreeSet::new(),
    };
    let (mut kind, mut peer, mut peer_namespace) = (None, IfIndex(0), None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                device.mac = bytes.as_slice().try_into().map(Mac).unwrap_or_default();
            }
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::Xdp(attributes) => {
                device.xdp = attributes.iter().filter_map(xdp_program).collect()
            }
            LinkAttribute::Link(index) => peer = IfIndex(*index),
            LinkAttribute::LinkNetNsId(id) => peer_namespace = Some(NamespaceId(*id)),
            LinkAttribute::LinkInfo(infos) => kind = infos.iter().find_map(info_kind),
            _ => {}
        }
    }
    device.kind = match kind {
        Some(InfoKind::Veth) => Kind::Veth { peer, peer_namespace },
        Some(InfoKind::Tun) => Kind::Tap,
        Some(other) => Kind::Other(other.to_string()),
        None => Kind::Physical,
    };
    device
}

/// The program of one mode of XDP: where there is one alone, it is told twice.
fn xdp_program(attribute: &LinkXdp) -> Option<ProgramId> {
    match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            (*id != 0).then_some(ProgramId(*id))
        }
        _ => None,
    }
}

fn info_kind(info: &LinkInfo) -> Option<InfoKind> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.clone()),
        _ => None,
    }
}

/// The number that the connection's namespace has for the one behind `file`; none where it has given it none, as
/// is so where no device of the one has its other end in the other.
pub(super) async fn namespace_id(
    handle: &Handle,
    file: BorrowedFd<'_>,
) -> Result<Option<NamespaceId>, HostError> {
    const DOING: &str = "asking for a namespace's number";
    let error = |source| HostError::Request { doing: DOING, source: Box::new(source) };
    let mut question = NsidMessage::default();
    question.attributes.push(NsidAttribute::Fd(file.as_raw_fd().cast_unsigned()));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = handle.clone().request(request).map_err(error)?;
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(found)) => {
                let ids = found.attributes.iter().filter_map(|attribute| match attribute {
                    NsidAttribute::Id(id) => Some(*id),
                    _ => None,
                });
                return Ok(ids.into_iter().find(|id| *id >= 0).map(NamespaceId));
            }
            NetlinkPayload::Error(refusal) => return Err(error(rtnetlink::Error::NetlinkError(refusal))),
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_that_passes_is_none_to_share_and_a_second_ipv4_one_is() {
        let with = |family, flags| {
            let mut message = AddressMessage::default();
            (message.header.family, message.header.flags) = (family, flags);
            is_lasting(&message)
        };
        // IFA_F_TEMPORARY is IFA_F_SECONDARY (linux/if_addr.h).
        assert!(!with(AddressFamily::Inet6, AddressHeaderFlags::Secondary));
        assert!(!with(AddressFamily::Inet6, AddressHeaderFlags::Deprecated | AddressHeaderFlags::Permanent));
        assert!(!with(AddressFamily::Inet6, AddressHeaderFlags::Tentative));
        assert!(with(AddressFamily::Inet6, AddressHeaderFlags::Permanent));
        assert!(with(AddressFamily::Inet, AddressHeaderFlags::Secondary));
    }
}
