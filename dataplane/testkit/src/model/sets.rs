//! Sets of ports, for those who close the books: what each says, and whether all are accounted for.

use super::flows::{FlowModel, Kept};
use weir_path::flow::store::{PortSetId, PortSetRef, RoomWord};
use weir_path::flow::{Ends, Key};
use weir_path::layout::{PORT_SET_LIFE, PORT_SET_USED};
use weir_path::tables::PortBlock;

impl<F: Kept> FlowModel<F> {
    /// Words that are zero are not kept, so that there are few of them.
    pub(super) fn put_port_word(&self, which: (PortSetId, u32), to: u64) {
        let mut words = self.port_words.borrow_mut();
        if to == 0 {
            words.remove(&which)
        } else {
            words.insert(which, to)
        };
    }

    /// Whether a set is somebody's: its life's lowest bit says so.
    pub(super) fn is_in_use(&self, id: PortSetId) -> bool {
        self.port_word(id, PORT_SET_LIFE) >> 32 & 1 != 0
    }

    /// The bits that are set in sets of ports that are in use, and those that a set says it has.
    #[must_use]
    pub fn port_bits(&self) -> Vec<(u32, u64)> {
        let sets: Vec<_> = self.port_sets.borrow().values().map(|set| set.id()).collect();
        let bits =
            |id| (0..u32::from(PortBlock::COUNT)).map(|nth| self.port_word(id, nth).count_ones()).sum();
        sets.into_iter().map(|id| (bits(id), self.port_word(id, PORT_SET_USED))).collect()
    }

    /// The replies' keys whose ports sets hold for taken, in sets that are in use.
    #[must_use]
    pub fn marked(&self) -> Vec<F::Key> {
        let ports = |(key, set): (&F::Key, &PortSetRef)| -> Vec<F::Key> {
            let blocks = (0..PortBlock::COUNT).map(|block| (block, self.port_word(set.id(), block.into())));
            let places = |(block, word): (u16, u64)| {
                (0..PortBlock::PORTS).filter(move |place| word >> place & 1 != 0).map(move |it| (block, it))
            };
            let with = |(block, place)| {
                let ends = Ends { dport: PortBlock(block).port(place), ..key.ends() };
                F::Key::new(ends, key.protocol(), key.zone())
            };
            blocks.flat_map(places).map(with).collect()
        };
        self.port_sets.borrow().iter().flat_map(ports).collect()
    }

    /// Whether there is an entry under this key, whoever's it is.
    #[must_use]
    pub fn has_entry(&self, key: &F::Key) -> bool {
        self.lookup(key).is_some()
    }

    /// Sets of ports that were taken and are neither in use nor in the list of those that are nobody's.
    #[must_use]
    pub fn lost_sets(&self) -> usize {
        let fresh = self.word(RoomWord::FreshPorts).min(self.room.port_sets.into()) as usize;
        let mut head = self.word(RoomWord::FreePorts) as u32;
        let mut free = 0;
        while let Some(id) = head.checked_sub(1) {
            free += 1;
            assert!(free <= fresh, "the list of sets of ports goes round in a ring");
            head = self.port_word(PortSetId(id), PORT_SET_LIFE) as u32;
        }
        fresh.saturating_sub(free + self.port_sets.borrow().len())
    }
}
