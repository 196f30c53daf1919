//! Devices, as netlink tells of them.

use super::error::HostError;
use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use std::collections::BTreeMap;
use std::fmt;
use weir_path::addr::{IfIndex, Mac};

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index in its namespace.
    pub ifindex: IfIndex,
    /// Its name.
    pub name: String,
    /// Its MAC; zero where it has none of six bytes.
    pub mac: Mac,
    /// What it is.
    pub kind: Kind,
}

/// What a device is, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One end of a veth pair.
    Veth {
        /// The other end's index, in its namespace.
        peer: IfIndex,
        /// Whether the other end is in the same namespace.
        peer_is_here: bool,
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
    let messages: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(|source| HostError::Request {
            doing: "listing the devices",
            source: Box::new(source),
        })?;
    Ok(messages.iter().map(device).map(|device| (device.ifindex, device)).collect())
}

fn device(message: &LinkMessage) -> Device {
    let mut device = Device {
        ifindex: IfIndex(message.header.index),
        name: String::new(),
        mac: Mac::default(),
        kind: Kind::Physical,
    };
    let (mut kind, mut peer, mut peer_is_here) = (None, IfIndex(0), true);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                device.mac = bytes.as_slice().try_into().map(Mac).unwrap_or_default();
            }
            LinkAttribute::Link(index) => peer = IfIndex(*index),
            LinkAttribute::LinkNetNsId(_) => peer_is_here = false,
            LinkAttribute::LinkInfo(infos) => kind = infos.iter().find_map(info_kind),
            _ => {}
        }
    }
    device.kind = match kind {
        Some(InfoKind::Veth) => Kind::Veth { peer, peer_is_here },
        Some(InfoKind::Tun) => Kind::Tap,
        Some(other) => Kind::Other(other.to_string()),
        None => Kind::Physical,
    };
    device
}

fn info_kind(info: &LinkInfo) -> Option<InfoKind> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.clone()),
        _ => None,
    }
}
