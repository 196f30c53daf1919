//! One family's flow tables as plain maps. An element that was removed is the next one to be given out, as in
//! the kernel's preallocated hash: so whoever still holds it reads another flow's entry.

use super::watch::{Answer, Op, Watch};
use crate::world::{Answers, FlowImage, Keyed, answers, rest};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use weir_dataplane::FamilySizes;
use weir_dataplane::flows::{FlowState, SideState, Stored};
use weir_path::asked::Asked;
use weir_path::flow::store::{PortSetId, PortSetRef, Room, RoomWord};
use weir_path::flow::{Ends, Hop, Key, Life, Meta, Phase, RecordId, Side, Stamp, V4, V6};
use weir_path::layout::FLOWS_A_PORT_SET;
use weir_path::tables::Claim;
use weir_path::time::{Now, Seconds};
use zerocopy::FromZeros;

/// A family that the model keeps flows of.
pub trait Kept: Stored<Key: Keyed + Answer, Datagram: std::fmt::Debug> + std::fmt::Debug {
    /// The access that reads what a direction's packets become.
    fn rewrite<W: Watch>(watch: &W, really: impl FnOnce() -> Ends<Self::Address>) -> Ends<Self::Address>;

    /// The access that reads where a datagram's fragments go.
    fn datagram<W: Watch>(
        watch: &W,
        really: impl FnOnce() -> Option<Self::Datagram>,
    ) -> Option<Self::Datagram>;
}

macro_rules! kept {
    ($($Family:ty),+) => {
        $(impl Kept for $Family {
            fn rewrite<W: Watch>(watch: &W, really: impl FnOnce() -> Ends<Self::Address>) -> Ends<Self::Address> {
                watch.access(Op::Rewrite, really)
            }

            fn datagram<W: Watch>(
                watch: &W,
                really: impl FnOnce() -> Option<Self::Datagram>,
            ) -> Option<Self::Datagram> {
                watch.access(Op::Datagram, really)
            }
        })+
    };
}

kept!(V4, V6);

/// The tables of one family.
#[derive(Clone, Debug)]
pub struct FlowModel<F: Kept> {
    pub(super) room: Room,
    /// Which element lies under a key.
    keys: RefCell<BTreeMap<F::Key, usize>>,
    elements: RefCell<Vec<Element<F>>>,
    /// Elements that were removed, the last one on top.
    removed: RefCell<Vec<usize>>,
    records: RefCell<BTreeMap<RecordId, Record<F::Key>>>,
    pub(super) words: RefCell<BTreeMap<RoomWord, u64>>,
    /// Where the ageing walk stands.
    pub(super) next_to_age: Cell<u32>,
    /// Where fragments without ports go.
    pub(super) datagrams: RefCell<BTreeMap<F::Key, F::Datagram>>,
    /// Which set of ports each remote has.
    pub(super) port_sets: RefCell<BTreeMap<F::Key, PortSetRef>>,
    /// The words of sets of ports that are not zero.
    pub(super) port_words: RefCell<BTreeMap<(PortSetId, u32), u64>>,
    /// Where the walk over sets of ports stands.
    pub(super) next_ports: Cell<u32>,
    /// How often each remote was refused a port.
    pub(super) refused: RefCell<BTreeMap<F::Key, u64>>,
    /// What a packet asks for, between two steps.
    pub(super) asked: RefCell<Asked<F::Key, F::Address>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Element<F: Kept> {
    pub(super) key: F::Key,
    pub(super) rewrite: Ends<F::Address>,
    pub(super) side: SideState,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record<K> {
    pub(super) life: Life,
    pub(super) keys: [K; 2],
    pub(super) meta: Meta,
}

impl<F: Kept> FlowModel<F> {
    pub(super) fn new(sizes: FamilySizes, pots: u32) -> Self {
        let FamilySizes { flows, half_open } = sizes;
        Self {
            room: Room {
                records: flows,
                pots,
                places_in_pot: (half_open / pots).max(1),
                port_sets: (flows / FLOWS_A_PORT_SET).max(1),
            },
            keys: RefCell::default(),
            elements: RefCell::default(),
            removed: RefCell::default(),
            records: RefCell::default(),
            words: RefCell::default(),
            next_to_age: Cell::new(0),
            datagrams: RefCell::default(),
            port_sets: RefCell::default(),
            port_words: RefCell::default(),
            next_ports: Cell::new(0),
            refused: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Enters a flow under the record that it names.
    pub(super) fn insert(&self, flow: &FlowState<F::Key>) {
        let FlowState { record, life, keys, meta, sides } = *flow;
        self.records.borrow_mut().insert(record, Record { life, keys, meta });
        let [original, reply] = keys;
        for (key, other, side) in [(original, reply, Side::Original), (reply, original, Side::Reply)] {
            let [there, back] = sides;
            let state = if side == Side::Original { there } else { back };
            if state.stamp == Stamp::WIPED {
                continue;
            }
            let rewrite = other.ends().reversed();
            assert_eq!(self.put(Element { key, rewrite, side: state }), Claim::Made, "{key:?}");
        }
        let mut words = self.words.borrow_mut();
        let fresh = words.entry(RoomWord::Fresh).or_default();
        *fresh = (*fresh).max(u64::from(record.0) + 1);
    }

    fn put(&self, element: Element<F>) -> Claim {
        let mut keys = self.keys.borrow_mut();
        if keys.contains_key(&element.key) {
            return Claim::Taken;
        }
        let mut elements = self.elements.borrow_mut();
        let at = match self.removed.borrow_mut().pop() {
            Some(at) => at,
            None if elements.len() < 2 * self.room.records as usize => {
                elements.push(element);
                elements.len() - 1
            }
            None => return Claim::NoRoom,
        };
        elements.iter_mut().skip(at).take(1).for_each(|place| *place = element);
        keys.insert(element.key, at);
        Claim::Made
    }

    pub(super) fn lookup(&self, key: &F::Key) -> Option<usize> {
        self.keys.borrow().get(key).copied()
    }

    pub(super) fn claim(&self, id: RecordId, side: Side, hop: Hop) -> Claim {
        let record = self.read(id);
        let (key, other) = (record.key(side), record.key(side.other()));
        let side = SideState { hop, ..SideState::default() };
        self.put(Element { key, rewrite: other.ends().reversed(), side })
    }

    pub(super) fn remove(&self, key: &F::Key) {
        if let Some(at) = self.keys.borrow_mut().remove(key) {
            self.removed.borrow_mut().push(at);
        }
    }

    pub(super) fn key_of(&self, id: RecordId, side: Side) -> F::Key {
        self.read(id).key(side)
    }

    pub(super) fn read(&self, id: RecordId) -> Record<F::Key> {
        self.records.borrow().get(&id).copied().unwrap_or_else(Record::empty)
    }

    pub(super) fn write(&self, id: RecordId, change: impl FnOnce(&mut Record<F::Key>)) {
        change(self.records.borrow_mut().entry(id).or_insert_with(Record::empty));
    }

    pub(super) fn element(&self, at: usize) -> Element<F> {
        self.elements.borrow().get(at).copied().expect("a place that was given out")
    }

    pub(super) fn write_side(&self, at: usize, change: impl FnOnce(&mut SideState)) {
        if let Some(element) = self.elements.borrow_mut().get_mut(at) {
            change(&mut element.side);
        }
    }

    /// The record of the live flow whose original direction has this key.
    pub(super) fn record_of(&self, original: &F::Key) -> Option<(RecordId, Life)> {
        let records = self.records.borrow();
        let mut live = records.iter().filter(|(_, record)| record.life.phase().is_live());
        live.find(|(_, record)| record.key(Side::Original) == *original)
            .map(|(id, record)| (*id, record.life))
    }

    /// Every live flow, with what each direction carried.
    pub(super) fn states(&self) -> Vec<FlowState<F::Key>> {
        let side = |id, record: &Record<F::Key>, side| {
            let own = Stamp::new(id, record.life.incarnation(), side, Now(0));
            let found = self.lookup(&record.key(side)).map(|at| self.element(at).side);
            found.filter(|found| found.stamp.is_of_the_same(own)).unwrap_or_default()
        };
        let records = self.records.borrow();
        let live = records.iter().filter(|(_, record)| record.life.phase().is_live());
        live.map(|(id, record)| {
            let Record { life, keys, meta } = *record;
            let sides = [Side::Original, Side::Reply].map(|which| side(*id, record, which));
            FlowState { record: *id, life, keys, meta, sides }
        })
        .collect()
    }

    pub(super) fn images(&self) -> Vec<FlowImage<F::Key>> {
        self.states().iter().map(FlowImage::of).collect()
    }

    /// Every live flow.
    #[must_use]
    pub fn all(&self) -> Vec<FlowImage<F::Key>> {
        self.images()
    }

    /// How many entries there are.
    pub(super) fn entries(&self) -> usize {
        self.keys.borrow().len()
    }

    /// How many ports rest.
    #[must_use]
    pub fn resting(&self) -> usize {
        self.rests().len()
    }

    /// The ports that rest.
    pub(super) fn rests(&self) -> Vec<(Answers, (Now, Seconds))> {
        let rest = |record: &Record<F::Key>| rest(record.life, record.keys, record.meta);
        self.records.borrow().values().filter_map(rest).collect()
    }

    /// How often each remote was refused a port.
    pub(super) fn refusals(&self) -> Vec<(Answers, u64)> {
        self.refused.borrow().iter().map(|(key, count)| (answers(key), *count)).collect()
    }

    /// Records that no list holds, no flow has, and no port that rests: how many will never be taken again.
    #[must_use]
    pub fn leaked(&self) -> usize {
        let fresh = self.used() as usize;
        let is_used = |phase: Phase| phase.is_live() || phase == Phase::Resting;
        let used = self.records.borrow().values().filter(|record| is_used(record.life.phase())).count();
        let free = (0..self.room.pots).map(|pot| self.free_in(pot)).sum::<usize>();
        fresh.saturating_sub(used + free)
    }

    /// How many records were ever taken.
    pub(super) fn used(&self) -> u32 {
        self.word(RoomWord::Fresh).min(u64::from(self.room.records)) as u32
    }

    fn free_in(&self, pot: u32) -> usize {
        let mut head = self.word(RoomWord::Free(pot)) as u32;
        let mut count = 0;
        while let Some(number) = head.checked_sub(1) {
            count += 1;
            assert!(count <= self.room.records, "the list of free records goes round in a ring");
            head = self.read(RecordId(number)).meta.account.0;
        }
        count as usize
    }

    /// Half-open places that are taken.
    #[must_use]
    pub fn places_taken(&self) -> usize {
        let words = self.words.borrow();
        words.iter().filter(|(which, word)| matches!(which, RoomWord::Place(_)) && **word != 0).count()
    }

    pub(super) fn port_word(&self, id: PortSetId, nth: u32) -> u64 {
        self.port_words.borrow().get(&(id, nth)).copied().unwrap_or_default()
    }

    pub(super) fn word(&self, which: RoomWord) -> u64 {
        self.words.borrow().get(&which).copied().unwrap_or_default()
    }

    /// Everything there is, for telling one state from another.
    pub(super) fn write_down(&self, to: &mut impl std::fmt::Write) -> std::fmt::Result {
        let entries = self.keys.borrow();
        let elements = self.elements.borrow();
        let words = self.words.borrow();
        let mut words = words.iter().filter(|(_, word)| **word != 0);
        write!(to, "{entries:?}{elements:?}{:?}{:?}", self.removed.borrow(), self.records.borrow())?;
        write!(to, "{:?}{:?}", self.datagrams.borrow(), self.port_sets.borrow())?;
        let port_words = self.port_words.borrow();
        port_words.iter().filter(|(_, word)| **word != 0).try_for_each(|word| write!(to, "{word:?}"))?;
        words.try_for_each(|word| write!(to, "{word:?}"))
    }
}

impl<K: Key + FromZeros> Record<K> {
    fn empty() -> Self {
        Self { life: Life(0), keys: [K::new_zeroed(), K::new_zeroed()], meta: Meta::default() }
    }

    pub(super) fn key(&self, side: Side) -> K {
        let [original, reply] = self.keys;
        if side == Side::Original { original } else { reply }
    }
}
