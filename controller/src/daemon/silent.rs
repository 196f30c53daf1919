//! Connections that were silent for too long, whose both ends are told at once: read from the ring that programs write.
//!
//! Nothing depends on it. Where no daemon reads, or an end can't be told, the next packet is answered with a RST.

use crate::events::watched;
use crate::resets::{self, Places};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};
use weir_dataplane::events::Signals;
use weir_dataplane::{Dataplane, Error};
use weir_path::addr::{InterfaceId, Mac};
use weir_path::flow::event::Event;
use weir_path::tables::{Interface, NextHopId};

/// Connections whose ends are told in a row: a flood of them takes a few milliseconds at a time, and everything else that
/// the daemon does has its turn.
const IN_A_ROW: usize = 256;

/// The ring, and whether something is in it; nothing where it can't be read.
pub(super) struct Silent(Option<(Signals, AsyncFd<OwnedFd>)>);

impl Silent {
    /// Packets, and all else that the daemon does, don't need it: a failure is reported.
    pub(super) fn open(pin_dir: &Path) -> Self {
        match ring(pin_dir) {
            Ok(ring) => Self(Some(ring)),
            Err(error) => {
                warn!(
                    "cannot hear of connections that were silent for too long: {error}; their next packets are answered"
                );
                Self(None)
            }
        }
    }

    /// The next ones, at least one, once there are any.
    pub(super) async fn next(&mut self) -> Vec<Event> {
        while let Some((ring, readable)) = &mut self.0 {
            let Ok(mut ready) = readable.readable().await else { break };
            let events: Vec<_> = std::iter::from_fn(|| ring.next_event()).take(IN_A_ROW).collect();
            // There may be more: then the ring stays readable.
            if events.len() < IN_A_ROW {
                ready.clear_ready();
            }
            if !events.is_empty() {
                return events;
            }
        }
        std::future::pending().await
    }
}

fn ring(pin_dir: &Path) -> io::Result<(Signals, AsyncFd<OwnedFd>)> {
    let ring = Signals::open(pin_dir).map_err(io::Error::other)?;
    let readable = watched(&ring)?;
    Ok((ring, readable))
}

/// Tells both ends of each.
pub(super) fn tell(events: &[Event], dataplane: &Dataplane) {
    let places = match Known::read(dataplane) {
        Ok(places) => places,
        Err(error) => return warn!("cannot tell the ends of silent connections: {error}"),
    };
    let (mut told, mut failed) = (0, None);
    for reset in events.iter().flat_map(|event| resets::of(event, &places)).flatten() {
        match dataplane.transmit(reset.device, &reset.frame) {
            Ok(()) => told += 1,
            Err(error) => failed = Some(error),
        }
    }
    debug!(connections = events.len(), told, "told the ends of connections that were silent for too long");
    if let Some(error) = failed {
        warn!("an end of a silent connection could not be told; its next packet will be answered: {error}");
    }
}

/// What the tables say of who is where, looked up once for a batch.
struct Known<'a> {
    dataplane: &'a Dataplane,
    interfaces: BTreeMap<InterfaceId, Interface>,
}

impl<'a> Known<'a> {
    fn read(dataplane: &'a Dataplane) -> Result<Self, Error> {
        let interfaces = dataplane.tables().interfaces()?.into_iter().map(|it| (it.egress.id, it)).collect();
        Ok(Self { dataplane, interfaces })
    }
}

impl Places for Known<'_> {
    fn interface(&self, id: InterfaceId) -> Option<Interface> {
        self.interfaces.get(&id).copied()
    }

    fn next_hop(&self, id: NextHopId) -> Option<Mac> {
        self.dataplane.tables().next_hop(id).ok().flatten()
    }
}
