//! Handles on places in the model's tables, and the words that several CPUs change.

use super::flows::{FlowModel, Kept};
use super::watch::{Op, Watch};
use weir_path::flow::store::{PortSetId, RoomWord, Word};
use weir_path::flow::{Life, RecordId, Stamp};
use weir_path::layout::PORT_SET_LIFE;

macro_rules! handle {
    ($(#[$doc:meta])* $Name:ident { $at:ident: $At:ty }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $Name<'a, F: Kept, W> {
            pub(super) table: &'a FlowModel<F>,
            pub(super) watch: &'a W,
            pub(super) $at: $At,
        }

        impl<F: Kept, W> Clone for $Name<'_, F, W> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<F: Kept, W> Copy for $Name<'_, F, W> {}
    };
}

handle!(
    /// A place in the hash: whoever's entry is there now.
    EntryAt { at: usize }
);
handle!(
    /// A place in the array of records.
    RecordAt { id: RecordId }
);
handle!(
    /// A word.
    WordAt { which: Which }
);

/// A word that several CPUs change.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// An element's stamp.
    Stamp(usize),
    /// A record's life.
    Life(RecordId),
    /// Around the records.
    Room(RoomWord),
    /// In a set of ports.
    Port(PortSetId, u32),
}

impl<F: Kept, W: Watch> WordAt<'_, F, W> {
    fn ops(self) -> [Op; 3] {
        match self.which {
            Which::Stamp(_) => [Op::LoadStamp, Op::SwapStamp, Op::SwapStamp],
            Which::Life(_) => [Op::LoadLife, Op::SwapLife, Op::SwapLife],
            Which::Room(_) => [Op::LoadWord, Op::SwapWord, Op::AddWord],
            // What happens in a set that is nobody's is one step with what led there.
            Which::Port(id, nth) if nth != PORT_SET_LIFE && !self.table.is_in_use(id) => [Op::EmptyWord; 3],
            Which::Port(..) => [Op::PortWord; 3],
        }
    }

    fn get(self) -> u64 {
        match self.which {
            Which::Stamp(at) => self.table.element(at).side.stamp.0,
            Which::Life(id) => self.table.read(id).life.0,
            Which::Room(which) => self.table.word(which),
            Which::Port(id, nth) => self.table.port_word(id, nth),
        }
    }

    fn put(self, to: u64) {
        match self.which {
            Which::Stamp(at) => self.table.write_side(at, |side| side.stamp = Stamp(to)),
            Which::Life(id) => self.table.write(id, |record| record.life = Life(to)),
            Which::Room(which) => drop(self.table.words.borrow_mut().insert(which, to)),
            Which::Port(id, nth) => self.table.put_port_word((id, nth), to),
        }
    }
}

impl<F: Kept, W: Watch> Word for WordAt<'_, F, W> {
    fn load(self) -> u64 {
        let [load, ..] = self.ops();
        self.watch.access(load, || self.get())
    }

    fn swap(self, from: u64, to: u64) -> bool {
        let [_, swap, _] = self.ops();
        self.watch.access(swap, || {
            let is_it = self.get() == from;
            if is_it {
                self.put(to);
            }
            is_it
        })
    }

    fn add(self, number: u64) -> u64 {
        let [.., add] = self.ops();
        self.watch.access(add, || {
            let was = self.get();
            self.put(was.wrapping_add(number));
            was
        })
    }

    fn set(self, bits: u64) -> u64 {
        let [.., add] = self.ops();
        self.watch.access(add, || {
            let was = self.get();
            self.put(was | bits);
            was
        })
    }

    fn clear(self, bits: u64) -> u64 {
        let [.., add] = self.ops();
        self.watch.access(add, || {
            let was = self.get();
            self.put(was & !bits);
            was
        })
    }
}
