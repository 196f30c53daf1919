//! The flow tables from user space: every flow read without a call into the kernel, and, for tests and
//! benchmarks, tables brought into a given state.
//!
//! Records lie in mapped memory. Reading them disturbs nobody: a record that changes meanwhile is seen as it was
//! before or after, told by its life word. What each direction carried lies in the hash, and is read in batches.

mod ports;

pub use ports::{Crowded, Refused, Resting};

use crate::error::Error;
use crate::sys::Mapping;
use crate::typed_map::TypedMap;
use aya::maps::MapData;
use weir_path::addr::{Ip6, Zone};
use weir_path::flow::end::End;
use weir_path::flow::{
    Account, Counts, Ends, Entry4, Entry6, Family, Hop, Key, Key4, Key6, Life, Meta, Phase, PortUse, Record4,
    Record6, RecordId, Side, Stamp, V4, V6,
};
use weir_path::layout::{self, PortSet, Pot, SHARED_POT};
use weir_path::time::{Now, Seconds};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Which flow: its record, and which of the record's lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId {
    /// Whether it is an IPv6 flow.
    pub is_v6: bool,
    /// The number of its record.
    pub record: RecordId,
    /// Which of the record's lives.
    pub incarnation: u16,
}

impl FlowId {
    /// How it is named in an order to end it.
    pub(crate) const fn order(self, why: End) -> u64 {
        let family = if self.is_v6 { layout::ORDER_V6 } else { 0 };
        let why = if matches!(why, End::Blocked) { layout::ORDER_BLOCKED } else { 0 };
        family | why | (self.incarnation as u64) << 32 | self.record.0 as u64
    }
}

/// A flow of either family. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Which flow.
    pub id: FlowId,
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
    /// What the original direction's packets look like where they arrive.
    pub original: Ends<Ip6>,
    /// What the reply direction's packets look like where they arrive.
    pub reply: Ends<Ip6>,
    /// The address spaces of both directions.
    pub zones: [Zone; 2],
    /// How far it has come.
    pub phase: Phase,
    /// When it was opened.
    pub opened: Now,
    /// When it was last heard, as far as that was written down.
    pub seen: Now,
    /// How long it may be silent once it is established.
    pub idle: Seconds,
    /// Whose port it is that its answers come to: `reply.dport`.
    pub port: PortUse,
    /// Whose it is.
    pub account: Account,
}

/// One direction of a flow, as its entry holds it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SideState {
    /// Where its packets go.
    pub hop: Hop,
    /// What it carried.
    pub counts: Counts,
    /// TCP's acknowledgement number in the last segment that had one.
    pub acknowledged: u32,
    /// Whose it is, and until when the record need not be looked at.
    pub stamp: Stamp,
}

/// Everything about a flow of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowState<K> {
    /// The number of its record.
    pub record: RecordId,
    /// The word that decides.
    pub life: Life,
    /// The keys of both directions, by [`Side`].
    pub keys: [K; 2],
    /// What is asked for rarely.
    pub meta: Meta,
    /// Both directions, by [`Side`].
    pub sides: [SideState; 2],
}

/// What lies around a family's flows: for tests that account for every record and every place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Around {
    /// The life word of every record that was ever taken, by its number.
    pub records: Vec<Life>,
    /// The records in each pot's list of free ones, the first one first.
    pub free: Vec<Vec<RecordId>>,
    /// The words of the half-open places, see [`weir_path::flow::room::Place`].
    pub places: Vec<u64>,
}

/// How a family's flows lie in the maps.
pub trait Stored:
    Family<Key: IntoBytes + FromBytes + Immutable + Ord, Datagram: IntoBytes + FromBytes + Immutable>
{
    /// What the names of its maps end in.
    const SUFFIX: &'static str;
    /// Whether it is IPv6.
    const IS_V6: bool;
    /// An entry of the hash.
    type Entry: IntoBytes + FromBytes + Immutable + Copy;
    /// A record of the array.
    type Record: IntoBytes + FromBytes + Immutable + Copy;

    /// What a record holds.
    fn record(record: &Self::Record) -> (Life, [Self::Key; 2], Meta);
    /// A record that holds this.
    fn to_record(life: Life, keys: [Self::Key; 2], meta: Meta) -> Self::Record;
    /// What an entry holds.
    fn side(entry: &Self::Entry) -> SideState;
    /// An entry that holds this.
    fn to_entry(side: &SideState, key: Self::Key, rewrite: Ends<Self::Address>) -> Self::Entry;
}

macro_rules! stored {
    ($Family:ident, $suffix:literal, $is_v6:literal, $Key:ident, $Entry:ident, $Record:ident) => {
        impl Stored for $Family {
            const SUFFIX: &'static str = $suffix;
            const IS_V6: bool = $is_v6;
            type Entry = $Entry;
            type Record = $Record;

            fn record(record: &$Record) -> (Life, [$Key; 2], Meta) {
                (record.life, record.keys, record.meta)
            }

            fn to_record(life: Life, keys: [$Key; 2], meta: Meta) -> $Record {
                $Record { life, keys, meta, ..$Record::new_zeroed() }
            }

            fn side(entry: &$Entry) -> SideState {
                let $Entry { hop, counts, acknowledged, stamp, .. } = *entry;
                SideState { hop, counts, acknowledged, stamp }
            }

            fn to_entry(side: &SideState, key: $Key, rewrite: Ends<Self::Address>) -> $Entry {
                let SideState { hop, counts, acknowledged, stamp } = *side;
                $Entry { stamp, key, rewrite, acknowledged, hop, counts }
            }
        }
    };
}

stored!(V4, "V4", false, Key4, Entry4, Record4);
stored!(V6, "V6", true, Key6, Entry6, Record6);

/// One family's flow tables.
pub struct FlowTable<F: Stored> {
    entries: TypedMap<F::Key, F::Entry>,
    records: Mapping<F::Record>,
    pots: TypedMap<u32, Pot>,
    places: TypedMap<u32, u64>,
    datagrams: TypedMap<F::Key, F::Datagram>,
    ports: TypedMap<F::Key, u64>,
    refused: TypedMap<F::Key, u64>,
    port_sets: Mapping<PortSet>,
}

impl<F: Stored> FlowTable<F> {
    pub(crate) fn open(open: impl Fn(&str) -> Result<MapData, Error>) -> Result<Self, Error> {
        let name = |stem: &str| format!("{stem}_{}", F::SUFFIX);
        let records_name = name("RECORDS");
        let records: TypedMap<u32, F::Record> = TypedMap::new(&records_name, &open(&records_name)?)?;
        let mapping = Mapping::new(records.fd(), records.max_entries());
        let mapping =
            mapping.map_err(|source| Error::Table { operation: "mapping", table: records_name, source })?;
        let sets_name = name("PORT_SETS");
        let port_sets: TypedMap<u32, PortSet> = TypedMap::new(&sets_name, &open(&sets_name)?)?;
        let port_sets = Mapping::new(port_sets.fd(), port_sets.max_entries());
        let port_sets =
            port_sets.map_err(|source| Error::Table { operation: "mapping", table: sets_name, source })?;
        Ok(Self {
            entries: TypedMap::new(&name("FLOWS"), &open(&name("FLOWS"))?)?,
            records: mapping,
            pots: TypedMap::new(&name("POTS"), &open(&name("POTS"))?)?,
            places: TypedMap::new(&name("PLACES"), &open(&name("PLACES"))?)?,
            datagrams: TypedMap::new(&name("DATAGRAMS"), &open(&name("DATAGRAMS"))?)?,
            ports: TypedMap::new(&name("PORTS"), &open(&name("PORTS"))?)?,
            refused: TypedMap::new(&name("REFUSED"), &open(&name("REFUSED"))?)?,
            port_sets,
        })
    }

    /// How many flows fit.
    pub(crate) fn max_flows(&self) -> u32 {
        self.records.len()
    }

    /// How many flows may be half-open.
    pub(crate) fn max_half_open(&self) -> u32 {
        self.places.max_entries()
    }

    /// Every live flow, without what each direction carried.
    pub(crate) fn list(&self) -> Vec<FlowState<F::Key>> {
        self.each().collect()
    }

    fn each(&self) -> impl Iterator<Item = FlowState<F::Key>> {
        (0..self.used()).filter_map(|number| self.read(RecordId(number)))
    }

    /// How many records were ever taken: behind them there is nothing. All, where that can't be read.
    fn used(&self) -> u32 {
        let shared = self.pots.get(&SHARED_POT).ok().flatten();
        shared.map_or(self.records.len(), |[fresh, ..]| fresh.min(self.records.len().into()) as u32)
    }

    /// Every live flow, and what each direction carried. Programs are not disturbed.
    ///
    /// Millions are read in a second: what is written in the order of the hash is small, and the flows themselves
    /// are read in the order of their records.
    pub(crate) fn counted(&self) -> Result<Vec<(Flow, [Counts; 2])>, Error> {
        // By record and side: incarnation, packets, bytes. All zero is cheap, and no flow's.
        let mut carried = vec![[[0u64; 3]; 2]; self.records.len() as usize];
        self.entries.for_each(|_, entry| {
            let side = F::side(entry);
            let counted = [u64::from(side.stamp.incarnation()), side.counts.packets, side.counts.bytes];
            if let Some([original, reply]) = carried.get_mut(side.stamp.record().0 as usize) {
                match side.stamp.side() {
                    Side::Original => *original = counted,
                    Side::Reply => *reply = counted,
                }
            }
        })?;
        let counts = |flow: &FlowState<F::Key>| {
            let sides = carried.get(flow.record.0 as usize).copied().unwrap_or_default();
            sides.map(|[incarnation, packets, bytes]| {
                let is_its_own = incarnation == u64::from(flow.life.incarnation());
                if is_its_own { Counts { packets, bytes } } else { Counts::default() }
            })
        };
        Ok(self.each().map(|flow| (flow.to_flow(F::IS_V6), counts(&flow))).collect())
    }

    fn read(&self, id: RecordId) -> Option<FlowState<F::Key>> {
        let first = self.records.get(id.0)?;
        let (life, keys, meta) = F::record(&first);
        if !life.phase().is_live() {
            return None;
        }
        // Read again: a record that was taken by another flow meanwhile has another life.
        let (again, ..) = F::record(&self.records.get(id.0)?);
        let is_same = again.incarnation() == life.incarnation() && again.phase().is_live();
        is_same.then_some(FlowState { record: id, life, keys, meta, sides: [SideState::default(); 2] })
    }

    /// Every live flow, with what each direction carried. Programs are not disturbed.
    pub(crate) fn list_in_full(&self) -> Result<Vec<FlowState<F::Key>>, Error> {
        let mut flows = self.list();
        // By record: the flow's place in the list, plus one.
        let mut places = vec![0u32; self.records.len() as usize];
        for (place, flow) in (1..).zip(&flows) {
            if let Some(known) = places.get_mut(flow.record.0 as usize) {
                *known = place;
            }
        }
        self.entries.for_each(|_, entry| {
            let side = F::side(entry);
            let place = places.get(side.stamp.record().0 as usize).and_then(|place| place.checked_sub(1));
            let flow = place.and_then(|place| flows.get_mut(place as usize));
            if let Some(flow) = flow.filter(|flow| flow.life.incarnation() == side.stamp.incarnation()) {
                let [original, reply] = &mut flow.sides;
                match side.stamp.side() {
                    Side::Original => *original = side,
                    Side::Reply => *reply = side,
                }
            }
        })?;
        Ok(flows)
    }

    /// Every key in the hash.
    pub(crate) fn keys(&self) -> Result<Vec<F::Key>, Error> {
        let mut keys = Vec::new();
        self.entries.for_each(|key, _| keys.push(*key))?;
        Ok(keys)
    }

    /// What lies around the flows.
    pub(crate) fn around(&self) -> Result<Around, Error> {
        let pots = (0..layout::POTS).map(|pot| Ok(self.pots.get(&pot)?.unwrap_or_default()));
        let mut pots = pots.collect::<Result<Vec<Pot>, Error>>()?;
        let [taken, ..] = pots.pop().unwrap_or_default();
        let taken = (taken as u32).min(self.records.len());
        let read = |id: RecordId| self.records.get(id.0).map(|record| F::record(&record));
        let records = (0..taken).filter_map(|number| read(RecordId(number)).map(|(life, ..)| life)).collect();
        let list = |[first, ..]: &Pot| {
            let linked = |link: u32| link.checked_sub(1).map(RecordId);
            let next = |id: &RecordId| read(*id).and_then(|(_, _, meta)| linked(meta.account.0));
            // A list that is not in order may have no end.
            std::iter::successors(linked(*first as u32), next).take(taken as usize + 1).collect()
        };
        let free = pots.iter().map(list).collect();
        let mut places: Vec<_> = self.places.read_all()?;
        places.sort_unstable();
        Ok(Around { records, free, places: places.into_iter().map(|(_, place)| place).collect() })
    }

    /// Enters flows, each with the record that it names, in the order of the records, and moves the mark of
    /// fresh records behind them. Only where no program runs.
    pub(crate) fn insert(&self, flows: &[FlowState<F::Key>]) -> Result<(), Error> {
        let mut keys = Vec::with_capacity(2 * flows.len());
        let mut entries = Vec::with_capacity(2 * flows.len());
        let mut fresh = 0;
        for flow in flows {
            self.records.set(flow.record.0, &F::to_record(flow.life, flow.keys, flow.meta));
            let [original, reply] = flow.keys;
            let [there, back] = &flow.sides;
            keys.extend([original, reply]);
            entries.push(F::to_entry(there, original, reply.ends().reversed()));
            entries.push(F::to_entry(back, reply, original.ends().reversed()));
            fresh = fresh.max(u64::from(flow.record.0) + 1);
        }
        self.entries.set_all(&keys, &entries)?;
        let mut shared = self.pots.get(&SHARED_POT)?.unwrap_or_default();
        let [taken, ..] = &mut shared;
        *taken = fresh.max(*taken);
        self.pots.set(&SHARED_POT, &shared)
    }

    /// Empties everything. Only where no program runs.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        self.entries.remove_all(&self.keys()?)?;
        let datagrams: Vec<_> = self.datagrams.read_all()?.into_iter().map(|(key, _)| key).collect();
        self.datagrams.remove_all(&datagrams)?;
        let refused: Vec<_> = self.refused.read_all()?.into_iter().map(|(key, _)| key).collect();
        self.refused.remove_all(&refused)?;
        self.forget_ports()?;
        let used = self.pots.get(&SHARED_POT)?.map_or(0, |[fresh, ..]| fresh as u32);
        let empty = F::Record::new_zeroed();
        (0..used.min(self.records.len())).for_each(|number| self.records.set(number, &empty));
        for pot in 0..layout::POTS {
            self.pots.set(&pot, &Pot::default())?;
        }
        let places: Vec<u32> = (0..self.places.max_entries()).collect();
        self.places.set_all(&places, &vec![0; places.len()])
    }

    /// Bytes that the kernel holds for each flow that fits, all tables together.
    pub(crate) fn bytes_a_flow(&self) -> u64 {
        // kernel/bpf/hashtab.c: `struct htab_elem` before the key, and a bucket's head with its lock.
        const ELEMENT: u64 = 48;
        const BUCKET: u64 = 16;
        let up = |size: usize| size.next_multiple_of(8) as u64;
        let element = ELEMENT + up(size_of::<F::Key>()) + up(size_of::<F::Entry>());
        let entries = u64::from(self.entries.max_entries());
        let hash = entries * element + entries.next_power_of_two() * BUCKET;
        let records = u64::from(self.records.len()) * size_of::<F::Record>() as u64;
        let places = u64::from(self.places.max_entries()) * size_of::<u64>() as u64;
        let sets = u64::from(self.port_sets.len()) * size_of::<PortSet>() as u64;
        (hash + records + places + sets) / u64::from(self.records.len().max(1))
    }
}

impl<K: Key> FlowState<K> {
    /// The same for either family.
    pub(crate) fn to_flow(self, is_v6: bool) -> Flow {
        let [original, reply] = self.keys;
        Flow {
            id: FlowId { is_v6, record: self.record, incarnation: self.life.incarnation() },
            protocol: original.protocol(),
            original: original.ends().mapped(),
            reply: reply.ends().mapped(),
            zones: [original.zone(), reply.zone()],
            phase: self.life.phase(),
            opened: self.meta.opened,
            seen: self.life.seen(),
            idle: self.meta.idle,
            port: self.meta.port,
            account: self.meta.account,
        }
    }
}
