//! The host's side: devices and namespaces, heard and spoken to by netlink.
//!
//! A slot is a device of the daemon's own namespace: the host's end of a veth pair, or a TAP. The sandbox's end of
//! the pair is in a namespace of its own; [`Host::slot`] goes from one end to the other.

mod error;
mod link;
mod namespace;
mod resolve;
mod sys;

pub use error::HostError;
pub use link::{Device, Kind};
pub use namespace::{Namespace, gro_is_on};
pub use resolve::Resolved;

use crate::config::SlotName;
use futures_util::StreamExt;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::collections::BTreeMap;
use std::io;
use weir_path::addr::IfIndex;

/// A netlink connection to the namespace that the daemon runs in.
pub struct Host {
    handle: Handle,
    events: Events,
}

/// Notices that some device came, went or changed.
type Events = futures_util::stream::BoxStream<'static, ()>;

/// A slot's device, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDevice {
    /// The host's end.
    pub device: Device,
    /// The sandbox's end; a TAP has none.
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
        let (connection, handle, messages) = new_multicast_connection(&[MulticastGroup::Link])
            .map_err(|source| HostError::Netlink { doing: "connecting", source })?;
        tokio::spawn(connection);
        Ok(Self { handle, events: messages.map(drop).boxed() })
    }

    /// Waits until a device came, went or changed. Many changes at once are one.
    pub async fn changed(&mut self) {
        if self.events.next().await.is_none() {
            // The connection is gone, and with it all events: better none than a busy loop.
            std::future::pending::<()>().await;
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
    pub async fn slot(
        &self,
        name: &SlotName,
        devices: &BTreeMap<IfIndex, Device>,
    ) -> Result<SlotDevice, HostError> {
        match &name.netns {
            Some(path) => self.slot_in(Namespace::new(path.clone()), &name.interface, devices),
            None => self.slot_here(&name.interface, devices),
        }
    }

    fn slot_in(
        &self,
        namespace: Namespace,
        name: &str,
        devices: &BTreeMap<IfIndex, Device>,
    ) -> Result<SlotDevice, HostError> {
        let inner =
            namespace.devices()?.into_values().find(|device| device.name == name).ok_or_else(|| {
                HostError::NoDeviceIn { name: name.to_owned(), namespace: namespace.clone() }
            })?;
        let Kind::Veth { peer, peer_is_here } = inner.kind else {
            return Err(HostError::NotVethIn { name: name.to_owned(), kind: inner.kind, namespace });
        };
        if peer_is_here {
            return Err(HostError::PeerBesideIt { name: name.to_owned(), namespace });
        }
        let device = devices
            .get(&peer)
            .filter(|device| matches!(device.kind, Kind::Veth { peer, .. } if peer == inner.ifindex))
            .ok_or_else(|| HostError::PeerElsewhere {
                name: name.to_owned(),
                namespace: namespace.clone(),
            })?;
        if matches!(device.kind, Kind::Veth { peer_is_here: true, .. }) {
            return Err(HostError::SameNamespace { name: device.name.clone() });
        }
        let sandbox = Some(SandboxEnd { namespace, name: name.to_owned() });
        Ok(SlotDevice { device: device.clone(), sandbox })
    }

    fn slot_here(&self, name: &str, devices: &BTreeMap<IfIndex, Device>) -> Result<SlotDevice, HostError> {
        let device = device_named(name, devices)?.clone();
        match device.kind {
            Kind::Tap => Ok(SlotDevice { device, sandbox: None }),
            Kind::Veth { peer_is_here: true, .. } => Err(HostError::SameNamespace { name: device.name }),
            Kind::Veth { peer, .. } => {
                let sandbox = namespace::find_veth_end(peer, device.ifindex)?
                    .ok_or_else(|| HostError::PeerNotFound { name: device.name.clone() })?;
                Ok(SlotDevice { device, sandbox: Some(sandbox) })
            }
            kind => Err(HostError::NotASlot { name: device.name, kind }),
        }
    }
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
