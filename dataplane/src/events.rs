//! Flows that ended, as they end: read from the ring that the programs write.
//!
//! Programs write only while somebody wants to know. One reader at a time: each event is read once.

use crate::error::Error;
use crate::pins::Pins;
use crate::tables::Tables;
use aya::maps::{Map, RingBuf};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use weir_path::flow::event::Event;
use zerocopy::FromBytes;

/// The ring of flows whose ends are to be told, among the pinned tables.
const SIGNALS: &str = "SIGNALS";
/// The name of the ring among the pinned tables.
pub(crate) const EVENTS: &str = "EVENTS";

/// A reader of flows that end. While there is one, the programs tell; when it is dropped, they stop.
pub struct Events {
    ring: RingBuf<aya::maps::MapData>,
    tables: Tables,
}

impl Events {
    /// Starts to listen to the dataplane pinned under `pin_dir`.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where there is none.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let tables = Tables::open(pin_dir)?;
        let map = Pins::new(pin_dir).open_map(EVENTS)?;
        let map = map.ok_or_else(|| Error::NotRunning { pin_dir: pin_dir.to_owned() })?;
        Self::listen(map, tables)
    }

    pub(crate) fn listen(map: aya::maps::MapData, tables: Tables) -> Result<Self, Error> {
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(Error::load)?;
        tables.want_events(true);
        Ok(Self { ring, tables })
    }

    /// The next event; `None` where there is none yet. [`Self::as_fd`] becomes readable when there is.
    pub fn next_event(&mut self) -> Option<Event> {
        let item = self.ring.next()?;
        Event::read_from_bytes(&item).ok()
    }

    /// Events that were lost since the tables were made, because nobody read fast enough.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn lost(&self) -> Result<u64, Error> {
        self.tables.events_lost()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::sys::borrow(self.ring.as_raw_fd(), self)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.tables.want_events(false);
    }
}

/// A reader of flows that were silent for too long, and whose both ends are to be told. Programs write them whether anybody
/// reads or not; what finds no room is told by a RST in answer to the next packet, as where nobody asked.
pub struct Signals {
    ring: RingBuf<aya::maps::MapData>,
}

impl Signals {
    /// Starts to listen to the dataplane pinned under `pin_dir`. What was written before is read first.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where there is none.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let map = Pins::new(pin_dir).open_map(SIGNALS)?;
        let map = map.ok_or_else(|| Error::NotRunning { pin_dir: pin_dir.to_owned() })?;
        Ok(Self { ring: RingBuf::try_from(Map::RingBuf(map)).map_err(Error::load)? })
    }

    /// The next flow; `None` where there is none yet. [`Self::as_fd`] becomes readable when there is.
    pub fn next_event(&mut self) -> Option<Event> {
        let item = self.ring.next()?;
        Event::read_from_bytes(&item).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::sys::borrow(self.ring.as_raw_fd(), self)
    }
}
