//! What keeps tenants apart, as plain maps.

use super::Model;
use super::view::View;
use super::watch::{Op, Watch};
use crate::world::Books;
use weir_dataplane::image::{MAX_INTERFACES, MAX_TENANTS};
use weir_path::addr::InterfaceId;
use weir_path::flow::store::Word;
use weir_path::tables::{
    AccountWord, ConnectorId, Direction, Guards, Half, Holder, MeterWord, Rates, Rule, Tenant, TenantId,
};

/// A word of an account, or of a slot's meters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GuardWord {
    /// What somebody holds, or was refused.
    Account(Holder, AccountWord),
    /// How far a bucket is filled.
    Meter(InterfaceId, Direction, MeterWord),
}

/// A word where it lies.
#[derive(Debug)]
pub struct GuardCell<'a, W> {
    model: &'a Model,
    watch: &'a W,
    which: GuardWord,
}

impl<W> Clone for GuardCell<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for GuardCell<'_, W> {}

impl<W: Watch> GuardCell<'_, W> {
    fn number(self) -> u64 {
        self.model.guards.borrow().get(&self.which).copied().unwrap_or_default()
    }

    fn replace(self, is: impl FnOnce(u64) -> u64) -> u64 {
        self.watch.access(Op::Account, || {
            let was = self.number();
            self.model.guards.borrow_mut().insert(self.which, is(was));
            was
        })
    }
}

impl<W: Watch> Word for GuardCell<'_, W> {
    fn load(self) -> u64 {
        self.watch.access(Op::Account, || self.number())
    }

    fn swap(self, from: u64, to: u64) -> bool {
        self.replace(|was| if was == from { to } else { was }) == from
    }

    fn add(self, number: u64) -> u64 {
        self.replace(|was| was.wrapping_add(number))
    }

    fn set(self, bits: u64) -> u64 {
        self.replace(|was| was | bits)
    }

    fn clear(self, bits: u64) -> u64 {
        self.replace(|was| was & !bits)
    }
}

impl<'a, W: Watch> Guards for View<'a, W> {
    type Cell = GuardCell<'a, W>;

    fn tenant(&self, half: Half, id: TenantId) -> Option<&Tenant> {
        let known = self.half(half).tenants.get(&id);
        // An array has an element for every number.
        (id.0 <= MAX_TENANTS).then_some(known.unwrap_or(&self.half(half).no_tenant))
    }

    fn account(&self, holder: Holder, which: AccountWord) -> Option<GuardCell<'a, W>> {
        Some(GuardCell { model: self.model, watch: self.watch, which: GuardWord::Account(holder, which) })
    }

    fn rule(&self, half: Half, index: u32) -> Option<&Rule> {
        self.half(half).arena.rules.get(index as usize)
    }

    fn blocked(&self, connector: ConnectorId, direction: Direction) {
        self.watch.access(Op::Statistics, || {
            *self.model.blocked.borrow_mut().entry((connector, direction)).or_default() += 1;
        });
    }

    fn rates(&self, slot: InterfaceId) -> Option<&Rates> {
        (slot.0 < MAX_INTERFACES).then_some(self.model.rates.get(&slot).unwrap_or(&self.model.no_rates))
    }

    fn meter(&self, slot: InterfaceId, direction: Direction, which: MeterWord) -> Option<GuardCell<'a, W>> {
        Some(GuardCell {
            model: self.model,
            watch: self.watch,
            which: GuardWord::Meter(slot, direction, which),
        })
    }

    fn nanoseconds(&self) -> u64 {
        u64::from(self.model.now.get().0) * 125_000_000
    }
}

impl Model {
    /// Charges what is there from the beginning.
    pub(super) fn charge(&self, books: &Books) {
        let words = books.words().map(|(holder, which, number)| (GuardWord::Account(holder, which), number));
        self.guards.borrow_mut().extend(words);
    }

    /// What sandboxes and tenants hold, and were refused.
    pub(super) fn books(&self) -> Books {
        let mut books = Books::default();
        for (which, number) in self.guards.borrow().iter() {
            if let GuardWord::Account(holder, word) = which {
                books.note(*holder, *word, *number);
            }
        }
        books
    }
}
