//! MACs that a device lets in besides its own: the filters that a card has (`bridge fdb show dev …`, "self permanent").
//!
//! Filters are the device's, not the process's: they stay when it dies. So whoever adds one writes it down first, and
//! adds none that is there already: that one is somebody else's, and taking it away would make them deaf.

use super::HostError;
use futures_util::TryStreamExt;
use rtnetlink::packet_core::ErrorMessage;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Error, Handle};
use std::collections::BTreeSet;
use weir_path::addr::{IfIndex, Mac};

/// A MAC, one station's or a group's, that a device lets in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Filter {
    /// The device.
    pub device: IfIndex,
    /// The MAC.
    pub mac: Mac,
}

/// Every filter of every device.
pub(super) async fn list(handle: &Handle) -> Result<BTreeSet<Filter>, HostError> {
    let asked = handle.neighbours().get().set_address_family(AddressFamily::Bridge);
    let known: Vec<_> = asked.execute().try_collect().await.map_err(refused("listing the MAC filters"))?;
    // Others are what bridges and tunnels have learnt.
    let own = known.iter().filter(|it| it.header.flags.contains(NeighbourFlags::Own));
    Ok(own.filter_map(filter).collect())
}

fn filter(message: &NeighbourMessage) -> Option<Filter> {
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })?;
    Some(Filter { device: IfIndex(message.header.ifindex), mac: Mac(mac) })
}

/// Adds a filter. One that is there already is no error.
pub(super) async fn add(handle: &Handle, filter: Filter) -> Result<(), HostError> {
    let request = handle.neighbours().add_bridge(filter.device.0, &filter.mac.0);
    // Without NLM_F_EXCL the kernel says nothing of one that is there (net/core/rtnetlink.c, ndo_dflt_fdb_add).
    let request = request.state(NeighbourState::Permanent).flags(NeighbourFlags::Own).replace();
    request.execute().await.map_err(refused("adding a MAC filter"))
}

/// Removes a filter. One that is gone, with its device or without, is no error.
pub(super) async fn remove(handle: &Handle, filter: Filter) -> Result<(), HostError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = filter.device.0;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(filter.mac.0.to_vec()));
    match handle.neighbours().del(message).execute().await {
        Err(Error::NetlinkError(error)) if is_gone(&error) => Ok(()),
        done => done.map_err(refused("removing a MAC filter")),
    }
}

fn is_gone(error: &ErrorMessage) -> bool {
    let number = error.code.map_or(0, |code| code.get().saturating_abs());
    [libc::ENOENT, libc::ENODEV].contains(&number)
}

fn refused(doing: &'static str) -> impl FnOnce(Error) -> HostError {
    move |source| HostError::Request { doing, source: Box::new(source) }
}
