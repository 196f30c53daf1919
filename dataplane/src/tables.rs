//! The pinned tables: the configuration written, flows and counters read.

use crate::counters::{self, Counters};
use crate::error::Error;
use crate::image::{Arena, Image};
use crate::pins::Pins;
use crate::sys::{self, SharedWord};
use crate::typed_map::TypedMap;
use aya::maps::MapData;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use weir_path::addr::{InterfaceId, Zone};
use weir_path::flow::{Flow, FlowKey};
use weir_path::hash::HashKey;
use weir_path::layout::{
    self, CELLS_IN_LINE, COUNTERS, CellLine, ListenerKey, MAX_IFINDEX, MAX_INTERFACES, VipKey,
};
use weir_path::tables::{Group, GroupId, Half, Interface, Target};

/// The dataplane's tables. They need no program and no daemon: whoever may open the pins can read them.
pub struct Tables {
    epoch: SharedWord,
    hash_keys: TypedMap<u32, HashKey>,
    vips: TypedMap<VipKey, u32>,
    listeners: TypedMap<ListenerKey, GroupId>,
    groups: TypedMap<u32, Group>,
    targets: TypedMap<u32, Target>,
    cells: TypedMap<u32, CellLine>,
    ifindexes: TypedMap<u32, u32>,
    interfaces: TypedMap<u32, Interface>,
    flows: TypedMap<FlowKey, Flow>,
    counters: TypedMap<u32, u64>,
    sent: TypedMap<u32, u64>,
}

impl Tables {
    /// Opens the tables pinned under `pin_dir`.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where there are none; [`Error::Layout`] where they are another build's.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let pins = Pins::new(pin_dir);
        Self::from_maps(|name| {
            pins.open_map(name)?.ok_or_else(|| Error::NotRunning { pin_dir: pin_dir.to_owned() })
        })
    }

    pub(crate) fn from_maps(open: impl Fn(&str) -> Result<MapData, Error>) -> Result<Self, Error> {
        let epoch: TypedMap<u32, u64> = TypedMap::new("EPOCH", &open("EPOCH")?)?;
        let epoch = SharedWord::map(epoch.fd()).map_err(|source| Error::Table {
            operation: "mapping",
            table: "EPOCH".into(),
            source,
        })?;
        Ok(Self {
            epoch,
            hash_keys: TypedMap::new("HASH_KEYS", &open("HASH_KEYS")?)?,
            vips: TypedMap::new("VIPS", &open("VIPS")?)?,
            listeners: TypedMap::new("LISTENERS", &open("LISTENERS")?)?,
            groups: TypedMap::new("GROUPS", &open("GROUPS")?)?,
            targets: TypedMap::new("TARGETS", &open("TARGETS")?)?,
            cells: TypedMap::new("CELLS", &open("CELLS")?)?,
            ifindexes: TypedMap::new("IFINDEXES", &open("IFINDEXES")?)?,
            interfaces: TypedMap::new("INTERFACES", &open("INTERFACES")?)?,
            flows: TypedMap::new("FLOWS", &open("FLOWS")?)?,
            counters: TypedMap::new("COUNTERS", &open("COUNTERS")?)?,
            sent: TypedMap::new("SENT", &open("SENT")?)?,
        })
    }

    /// How many configurations were made live so far.
    ///
    /// # Errors
    /// None at present.
    pub fn epoch(&self) -> Result<u64, Error> {
        Ok(self.epoch.load())
    }

    /// Makes a configuration live: writes the whole idle half, flips one word, and returns the new epoch once
    /// no program can still be reading the old half. A packet sees one configuration or the other.
    ///
    /// Where it fails, the configuration in force stays in force.
    ///
    /// # Errors
    /// [`Error::Image`] where it doesn't fit, [`Error::Table`] where the kernel refuses.
    pub fn apply(&self, image: &Image) -> Result<u64, Error> {
        let arena = image.arena()?;
        // Asked for before anything is written, too: after the flip nothing may fail.
        grace_period()?;
        let epoch = self.epoch.load();
        let idle = Half::of_epoch(epoch).other();
        self.clear_half(idle)?;
        self.write_addresses(idle, image)?;
        self.write_arena(idle, &arena)?;
        self.epoch.store(epoch.wrapping_add(1));
        if let Err(error) = grace_period() {
            tracing::warn!("a program may still read the old configuration for a moment: {error}");
        }
        Ok(epoch.wrapping_add(1))
    }

    fn clear_half(&self, half: Half) -> Result<(), Error> {
        let half = half.index() as u8;
        let vips: Vec<_> =
            self.vips.read_all()?.into_iter().map(|(key, _)| key).filter(|key| key.half == half).collect();
        self.vips.remove_all(&vips)?;
        let listeners: Vec<_> = self
            .listeners
            .read_all()?
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| key.half == half)
            .collect();
        self.listeners.remove_all(&listeners)?;
        Ok(())
    }

    fn write_addresses(&self, half: Half, image: &Image) -> Result<(), Error> {
        self.hash_keys.set(&half.index(), &image.hash_key)?;
        let vips: Vec<_> = image.vips.iter().map(|vip| VipKey::new(half, *vip)).collect();
        self.vips.set_all(&vips, &vec![1; vips.len()])?;
        let (listeners, groups): (Vec<_>, Vec<_>) = image
            .listeners
            .iter()
            .map(|(listener, group)| (ListenerKey::new(half, *listener), *group))
            .unzip();
        self.listeners.set_all(&listeners, &groups)
    }

    fn write_arena(&self, half: Half, arena: &Arena) -> Result<(), Error> {
        let groups: Vec<_> = indices(arena.groups.len(), |i| layout::group_index(half, GroupId(i)));
        self.groups.set_all(&groups, &arena.groups)?;
        let targets: Vec<_> = indices(arena.targets.len(), |i| layout::target_index(half, i));
        self.targets.set_all(&targets, &arena.targets)?;
        let lines: Vec<_> = arena.cells.chunks(CELLS_IN_LINE as usize).map(line).collect();
        let places: Vec<_> = indices(lines.len(), |i| layout::cell_line(half, i * CELLS_IN_LINE));
        self.cells.set_all(&places, &lines)
    }

    /// The interfaces in use, by number.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let known = self.interfaces.read_all()?;
        Ok(known.into_iter().map(|(_, interface)| interface).filter(|it| it.egress.ifindex.0 != 0).collect())
    }

    /// Writes an interface's record, then makes packets that come in by its device find it.
    ///
    /// # Errors
    /// [`Error::InterfaceRange`], [`Error::Table`].
    pub fn set_interface(&self, interface: &Interface) -> Result<(), Error> {
        let egress = interface.egress;
        if egress.id.0 >= MAX_INTERFACES || egress.ifindex.0 >= MAX_IFINDEX || egress.ifindex.0 == 0 {
            return Err(Error::InterfaceRange {
                id: egress.id,
                ifindex: egress.ifindex,
                max_id: MAX_INTERFACES,
                max_ifindex: MAX_IFINDEX,
            });
        }
        self.interfaces.set(&egress.id.0, interface)?;
        self.ifindexes.set(&egress.ifindex.0, &layout::stored_interface(egress.id))
    }

    /// Forgets an interface. Packets that come in by its device are nobody's from here on.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn clear_interface(&self, interface: &Interface) -> Result<(), Error> {
        let stored = layout::stored_interface(interface.egress.id);
        if self.ifindexes.get(&interface.egress.ifindex.0)? == Some(stored) {
            self.ifindexes.set(&interface.egress.ifindex.0, &0)?;
        }
        // A program may still be reading the record, and the number is free for another one afterwards.
        grace_period()?;
        self.interfaces.set(&interface.egress.id.0, &Interface::default())?;
        self.sent.zero(interface.egress.id.0)
    }

    /// Every direction of every flow. Programs are not disturbed.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        self.flows.read_all()
    }

    /// Ends all flows that have a direction in this zone, both directions, and returns how many entries went.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn forget_zone(&self, zone: Zone) -> Result<u64, Error> {
        self.end_flows(|key, flow| key.zone == zone || flow.other.zone == zone)
    }

    fn end_flows(&self, ends: impl Fn(&FlowKey, &Flow) -> bool) -> Result<u64, Error> {
        let ended: BTreeSet<_> = self
            .flows()?
            .into_iter()
            .filter(|(key, flow)| ends(key, flow))
            .flat_map(|(key, flow)| [key, flow.other])
            .collect();
        self.flows.remove_all(&ended.into_iter().collect::<Vec<_>>())
    }

    /// Ends all flows whose packets leave by this interface, both directions, and returns how many entries went.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn forget_interface(&self, id: InterfaceId) -> Result<u64, Error> {
        self.end_flows(|_, flow| flow.egress.id == id)
    }

    /// Everything counted since the tables were made.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn counters(&self) -> Result<Counters, Error> {
        let hooks = counters::read_hooks(&self.counters)?;
        let mut sent = BTreeMap::new();
        for interface in self.interfaces()? {
            let id = interface.egress.id;
            let packets = self.sent.sum(id.0)?;
            if packets > 0 {
                sent.insert(id, packets);
            }
        }
        Ok(Counters { hooks, sent })
    }

    /// How many flows fit, both directions together.
    ///
    /// # Errors
    /// None at present.
    pub fn max_flows(&self) -> Result<u32, Error> {
        Ok(self.flows.max_entries() / 2)
    }

    /// Enters one direction of a flow: for tests and benchmarks, which want a table in a given state.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::Table`].
    pub fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Error> {
        self.flows.set(key, flow)
    }

    /// Enters many directions at once.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::Table`].
    pub fn insert_flows(&self, keys: &[FlowKey], flows: &[Flow]) -> Result<(), Error> {
        self.flows.set_all(keys, flows)
    }

    /// Takes out one direction of a flow; it may be gone already.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn remove_flow(&self, key: &FlowKey) -> Result<(), Error> {
        self.flows.remove(key)
    }

    /// Empties everything: interfaces, flows, counters, and both halves of the configuration.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn clear(&self) -> Result<(), Error> {
        for interface in self.interfaces()? {
            self.sent.zero(interface.egress.id.0)?;
            self.clear_interface(&interface)?;
        }
        let keys: Vec<_> = self.flows()?.into_iter().map(|(key, _)| key).collect();
        self.flows.remove_all(&keys)?;
        for counter in 0..COUNTERS {
            self.counters.zero(counter)?;
        }
        self.apply(&Image::default())?;
        self.apply(&Image::default()).map(drop)
    }

    /// The packets sent out of one interface.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn sent(&self, id: InterfaceId) -> Result<u64, Error> {
        self.sent.sum(id.0)
    }
}

fn grace_period() -> Result<(), Error> {
    sys::grace_period().map_err(|source| Error::Table {
        operation: "waiting for the readers (membarrier)",
        table: "EPOCH".into(),
        source,
    })
}

fn indices(count: usize, index: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..count as u32).map(index).collect()
}

fn line(cells: &[u16]) -> CellLine {
    let mut line = CellLine::default();
    line.iter_mut().zip(cells).for_each(|(place, cell)| *place = *cell);
    line
}
