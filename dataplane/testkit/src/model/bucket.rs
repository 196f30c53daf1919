//! What an interface may still say.

use super::Model;
use weir_path::addr::InterfaceId;
use weir_path::flow::store::Word;

/// The word that says how many answers an interface has left.
#[derive(Clone, Copy)]
pub(super) struct Bucket<'a> {
    pub(super) model: &'a Model,
    pub(super) id: InterfaceId,
}

impl Word for Bucket<'_> {
    fn load(self) -> u64 {
        self.model.buckets.borrow().get(&self.id).copied().unwrap_or_default()
    }

    fn swap(self, from: u64, to: u64) -> bool {
        let is_it = self.load() == from;
        if is_it {
            self.model.buckets.borrow_mut().insert(self.id, to);
        }
        is_it
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

impl Bucket<'_> {
    fn replace(self, is: impl FnOnce(u64) -> u64) -> u64 {
        let was = self.load();
        self.model.buckets.borrow_mut().insert(self.id, is(was));
        was
    }
}
