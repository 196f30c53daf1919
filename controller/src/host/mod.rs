//! The host's side: devices and namespaces, heard and spoken to by netlink.
//!
//! A slot is a device of the daemon's own namespace: the host's end of a veth pair, or a TAP. The sandbox's end of
//! the pair is in a namespace of its own; [`Host::slot`] goes from one end to the other.

mod error;
mod filters;
mod link;
mod namespace;
mod ports;
mod resolve;
mod sys;

pub use error::HostError;
pub use filters::Filter;
pub use link::{Device, HostAddress, Kind, NamespaceId};
pub use namespace::{Namespace, gro_is_on};
pub use ports::free_ports;
pub use resolve::{Devices, Resolved};

use crate::config::SlotName;
use futures_util::StreamExt;
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use weir_path::addr::IfIndex;

/// Netlink connections to the namespace that the daemon runs in: one for questions, one that hears of changes, so
/// that a storm of changes can't drown an answer.
pub struct Host {
    handle: Handle,
    events: Events,
}

/// Notices that some device came, went or changed, or has other addresses.
type Events = futures_util::stream::BoxStream<'static, ()>;

/// A slot's device, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDevice {
    /// The host's end.
    pub device: Device,
    /// The sandbox's end. A TAP has none, and the end of a veth may be where nobody can look.
    pub sandbox: Option<SandboxEnd>,
}

/// The sandbox's end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxEnd {
    /// The namespace it is in.
    pub namespace: Namespace,
    /// Its name there.
    pub name: String,
}

impl Host {
    /// Connects. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn connect() -> Result<Self, HostError> {
        let error = |source| HostError::Netlink { doing: "connecting", source };
        let (connection, handle, _) = new_connection().map_err(error)?;
        tokio::spawn(connection);
        let events = listen().map_err(error)?;
        Ok(Self { handle, events })
    }

    /// Waits until a device came, went or changed, or has other addresses. Many changes at once are one.
    pub async fn changed(&mut self) {
        if self.events.next().await.is_none() {
            // What was missed meanwhile is unknown, so a new connection is a change too.
            match listen() {
                Ok(events) => self.events = events,
                Err(error) => {
                    tracing::error!(
                        "devices are not watched any more; restart the daemon (netlink: {error})"
                    );
                    std::future::pending::<()>().await;
                }
            }
        }
        while futures_util::FutureExt::now_or_never(self.events.next()).flatten().is_some() {}
    }

    /// Every device of the namespace.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub async fn devices(&self) -> Result<BTreeMap<IfIndex, Device>, HostError> {
        link::devices(&self.handle).await
    }

    /// The device behind a slot's name, both ends of it.
    ///
    /// # Errors
    /// [`HostError`]: what is missing, or why it can't be a slot.
    pub fn slot(&self, name: &SlotName, around: &Surroundings) -> Result<SlotDevice, HostError> {
        match &name.netns {
            Some(path) => slot_in(Namespace::new(path.clone()), &name.interface, around),
            None => slot_here(&name.interface, around),
        }
    }

    /// Every address that the host itself has in this namespace.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn addresses(&self) -> Result<Vec<HostAddress>, HostError> {
        link::addresses(&self.handle).await
    }

    /// How many packets each device was sent: a veth's or TAP's by its sandbox.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn received(&self) -> Result<BTreeMap<IfIndex, u64>, HostError> {
        link::received(&self.handle).await
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn bring_up(&self, device: IfIndex) -> Result<(), HostError> {
        link::bring_up(&self.handle, device).await
    }

    /// The MACs that devices let in besides their own.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn filters(&self) -> Result<BTreeSet<Filter>, HostError> {
        filters::list(&self.handle).await
    }

    /// Lets a device take frames for a MAC. One that it takes already is no error.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn add_filter(&self, filter: Filter) -> Result<(), HostError> {
        filters::add(&self.handle, filter).await
    }

    /// Takes a filter away. One that is gone is no error.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn remove_filter(&self, filter: Filter) -> Result<(), HostError> {
        filters::remove(&self.handle, filter).await
    }

    /// What slots are looked for in.
    ///
    /// # Errors
    /// [`HostError::Request`].
    pub async fn surroundings(&self) -> Result<Surroundings, HostError> {
        Ok(Surroundings { devices: self.devices().await?, ends: OnceCell::new() })
    }
}

/// Every device of the caller's namespace, for whoever is not, or must not be, within a tokio runtime.
///
/// # Errors
/// [`HostError::Netlink`], [`HostError::Request`].
pub fn devices_at_once() -> Result<BTreeMap<IfIndex, Device>, HostError> {
    let netlink = |source| HostError::Netlink { doing: "connecting", source };
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(netlink)?;
        runtime.block_on(async {
            let (connection, handle, _) = new_connection().map_err(netlink)?;
            tokio::spawn(connection);
            link::devices(&handle).await
        })
    };
    // A thread of its own: a runtime can't wait within another one.
    let asked = std::thread::scope(|scope| scope.spawn(ask).join());
    asked.unwrap_or_else(|_| Err(netlink(io::Error::other("the thread that asked stopped"))))
}

/// The daemon's namespace and those around it, looked at once for many slots.
pub struct Surroundings {
    /// Every device of the daemon's namespace.
    pub devices: BTreeMap<IfIndex, Device>,
    /// The sandboxes' ends of its veth pairs; only looked for where a slot is named without its namespace.
    ends: OnceCell<BTreeMap<IfIndex, SandboxEnd>>,
}

fn slot_in(namespace: Namespace, name: &str, around: &Surroundings) -> Result<SlotDevice, HostError> {
    let inside = namespace.look()?;
    let inner = inside
        .devices
        .values()
        .find(|device| device.name == name)
        .ok_or_else(|| HostError::NoDeviceIn { name: name.to_owned(), namespace: namespace.clone() })?;
    match inner.kind {
        Kind::Veth { .. } if namespace.is_own() => {
            return Err(HostError::SameNamespace { name: name.to_owned() });
        }
        Kind::Veth { peer_namespace: Some(_), .. } => {}
        Kind::Veth { .. } => return Err(HostError::PeerBesideIt { name: name.to_owned(), namespace }),
        ref kind => {
            return Err(HostError::NotVethIn { name: name.to_owned(), kind: kind.clone(), namespace });
        }
    }
    let outer = inside.other_end_outside(inner).and_then(|outer| around.devices.get(&outer));
    let device = outer
        .ok_or_else(|| HostError::PeerElsewhere { name: name.to_owned(), namespace: namespace.clone() })?
        .clone();
    Ok(SlotDevice { device, sandbox: Some(SandboxEnd { namespace, name: name.to_owned() }) })
}

fn slot_here(name: &str, around: &Surroundings) -> Result<SlotDevice, HostError> {
    let device = device_named(name, &around.devices)?.clone();
    match device.kind {
        Kind::Tap => Ok(SlotDevice { device, sandbox: None }),
        Kind::Veth { peer_namespace: None, .. } => Err(HostError::SameNamespace { name: device.name }),
        Kind::Veth { .. } => {
            let sandbox = around.ends.get_or_init(namespace::veth_ends).get(&device.ifindex).cloned();
            Ok(SlotDevice { device, sandbox })
        }
        kind => Err(HostError::NotASlot { name: device.name, kind }),
    }
}

fn listen() -> io::Result<Events> {
    const GROUPS: [MulticastGroup; 3] =
        [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _, messages) = new_multicast_connection(&GROUPS)?;
    tokio::spawn(connection);
    Ok(messages.map(drop).boxed())
}

/// The name of a device of the calling thread's namespace; none where it doesn't exist.
pub(crate) fn name_of(ifindex: IfIndex) -> Option<String> {
    // nix 0.31 makes an empty name of a device that does not exist.
    let name = nix::net::if_::if_indextoname(ifindex.0).ok().filter(|name| !name.is_empty())?;
    Some(name.to_string_lossy().into_owned())
}

/// The device of this name.
///
/// # Errors
/// [`HostError::NoDevice`].
pub fn device_named<'d>(name: &str, devices: &'d BTreeMap<IfIndex, Device>) -> Result<&'d Device, HostError> {
    devices.values().find(|device| device.name == name).ok_or_else(|| HostError::NoDevice {
        name: name.to_owned(),
        known: devices.values().map(|device| device.name.clone()).collect(),
    })
}

impl SandboxEnd {
    /// Turns GRO on, which gives the end the NAPI that XDP needs to redirect into the pair. Says whether it was off.
    ///
    /// # Errors
    /// [`HostError::Namespace`], [`HostError::Gro`].
    pub fn enable_gro(&self) -> Result<bool, HostError> {
        self.namespace.enter(|| sys::enable_gro(&self.name))?.map_err(|source: io::Error| HostError::Gro {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            source,
        })
    }
}
