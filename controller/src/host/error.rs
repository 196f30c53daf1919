//! What can be wrong with the host, and what to do about it.

use super::link::Kind;
use super::namespace::Namespace;
use std::io;

/// Why a device or a namespace can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Netlink failed.
    #[error("netlink: {doing} failed: {source}")]
    Netlink {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A netlink request was refused.
    #[error("netlink: {doing} was refused: {source}")]
    Request {
        /// What was asked.
        doing: &'static str,
        /// What the kernel said.
        source: Box<rtnetlink::Error>,
    },
    /// A device is missing.
    #[error("there is no device {name} in this network namespace; there are: {}", known.join(", "))]
    NoDevice {
        /// The device.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A device is missing in a namespace.
    #[error("there is no device {name} in namespace {namespace}; make it first, or name another")]
    NoDeviceIn {
        /// The device.
        name: String,
        /// The namespace.
        namespace: Namespace,
    },
    /// A namespace can't be entered.
    #[error(
        "cannot enter namespace {namespace}: {source}; make it with `ip netns add`, and run with CAP_SYS_ADMIN"
    )]
    Namespace {
        /// The namespace.
        namespace: Namespace,
        /// What the system said.
        source: io::Error,
    },
    /// A device in a namespace that is no veth.
    #[error(
        "{name} in namespace {namespace} is a {kind}, which can't be reached from here: use a veth pair whose other end is in the daemon's namespace, or move a TAP there and name it without netns"
    )]
    NotVethIn {
        /// The device.
        name: String,
        /// What it is.
        kind: Kind,
        /// The namespace.
        namespace: Namespace,
    },
    /// Both ends of a pair are in the sandbox's namespace.
    #[error(
        "both ends of the veth pair {name} are in namespace {namespace}; one end must be in the daemon's namespace"
    )]
    PeerBesideIt {
        /// The device.
        name: String,
        /// The namespace.
        namespace: Namespace,
    },
    /// The other end is in neither namespace.
    #[error(
        "the other end of {name} in namespace {namespace} is not in the daemon's namespace; move it here"
    )]
    PeerElsewhere {
        /// The device.
        name: String,
        /// The namespace.
        namespace: Namespace,
    },
    /// Both ends of a pair are in the daemon's namespace.
    #[error(
        "both ends of the veth pair {name} are in the daemon's own namespace, where a packet can't be handed to one of them past the other; move one end into a namespace of its own"
    )]
    SameNamespace {
        /// The device.
        name: String,
    },
    /// The sandbox's end can't be found.
    #[error(
        "the other end of {name} is in no namespace that can be seen (/run/netns, /proc/*/ns/net); name it with netns = …"
    )]
    PeerNotFound {
        /// The device.
        name: String,
    },
    /// A device that can't be a slot.
    #[error("{name} is a {kind}; a slot is a veth or a TAP")]
    NotASlot {
        /// The device.
        name: String,
        /// What it is.
        kind: Kind,
    },
    /// The ports in use can't be read.
    #[error(
        "cannot tell which ports this host uses: reading {path} failed: {source}; mount /proc, or use enis = \"own\""
    )]
    Ports {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// GRO can't be turned on.
    #[error(
        "cannot turn GRO on at {name} in namespace {namespace}: {source}; without it XDP can't redirect into the pair"
    )]
    Gro {
        /// The device.
        name: String,
        /// The namespace.
        namespace: Namespace,
        /// What the kernel said.
        source: io::Error,
    },
}
