//! What the flow core needs from its tables: cells that several CPUs look at, and a few words.
//!
//! A cell stands for a place in shared memory. Nothing here is locked; words change by compare-and-swap.
//! Implementors: the BPF maps, a model on plain maps, and shared memory under threads.

use super::end::End;
use super::{Counts, Ends, Family, Hop, Life, Meta, Part, RecordId, Side};
use crate::addr::{L4Port, Zone};
use crate::hash::HashKey;
use crate::tables::Claim;

/// A 64-bit word that several CPUs change.
pub trait Word: Copy {
    /// Reads it, once.
    fn load(self) -> u64;

    /// Puts `to` in the place of `from`; `false` where it wasn't `from` any more.
    fn swap(self, from: u64, to: u64) -> bool;

    /// Adds, and returns what was there before.
    fn add(self, number: u64) -> u64;
}

/// One direction's entry.
pub trait EntryCell<F: Family>: Copy {
    /// The stamp's word.
    type Stamp: Word;

    /// Whose the entry is.
    fn stamp(self) -> Self::Stamp;

    /// Whether it lies under this key.
    fn is_under(self, key: &F::Key) -> bool;

    /// What the direction's packets become.
    fn rewrite(self) -> Ends<F::Address>;

    /// Where they go.
    fn hop(self) -> Hop;

    /// Says where they go from now on, if that is still `from`.
    fn swap_hop(self, from: Hop, to: Hop) -> bool;

    /// TCP's acknowledgement number in the last segment that had one.
    fn acknowledged(self) -> u32;

    /// Notes it.
    fn set_acknowledged(self, number: u32);

    /// What went through.
    fn counts(self) -> Counts;

    /// Counts packets, and returns how many there were before.
    fn count(self, packets: u32, bytes: u32) -> u64;
}

/// A flow's record.
pub trait RecordCell<F: Family>: Copy {
    /// The life word's.
    type Life: Word;

    /// The word that decides.
    fn life(self) -> Self::Life;

    /// The key of one direction.
    fn key(self, side: Side) -> F::Key;

    /// The IP protocol number (RFC 790) of both keys.
    fn protocol(self) -> u8;

    /// What is asked for rarely.
    fn meta(self) -> Meta;

    /// Fills a record that is in nobody else's hands, but for the reply's key.
    fn fill(self, original: &F::Key, meta: &Meta);

    /// The keyed hash of a part of the original direction's key.
    fn hash(self, part: Part, secret: HashKey) -> u64;

    /// Makes the reply's key, in a record that is in nobody else's hands: answers come from here, and go to where
    /// the original direction's packets come from.
    fn answer_from(self, address: F::Address, port: L4Port, zone: Zone);

    /// Notes what the handshake waits for.
    fn expect(self, acknowledgement: u32);

    /// Notes a side's window shift.
    fn set_shift(self, side: Side, shift: u8);

    /// In a free record: the next one in its list, plus one.
    fn next(self) -> u32;

    /// In a free record: sets it.
    fn link(self, next: u32);
}

/// The words around the records. A *pot* is one CPU's share, or a few CPUs'.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RoomWord {
    /// How many records were taken that never had been before.
    Fresh,
    /// Where the search for records to take back stands.
    Hand,
    /// The head of a pot's list of free records: a tag, and the first one's number plus one.
    Free(u32),
    /// Where a pot's ring of half-open places stands.
    Turn(u32),
    /// One place for a half-open flow.
    Place(u32),
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Records: flows that fit.
    pub records: u32,
    /// How many pots there are, at least 1, at most [`Room::MAX_POTS`].
    pub pots: u32,
    /// Half-open flows that fit into each pot's ring.
    pub places_in_pot: u32,
}

impl Room {
    /// More CPUs than this share pots.
    pub const MAX_POTS: u32 = 16;
}

/// One family's flow tables.
pub trait Flows<F: Family> {
    /// An entry.
    type Entry: EntryCell<F>;
    /// A record.
    type Record: RecordCell<F>;
    /// A word around the records.
    type Word: Word;

    /// The entry under this key. By the time it is looked at, the place may be another entry's.
    fn find(&self, key: &F::Key) -> Option<Self::Entry>;

    /// Enters one direction of a record's flow, unless its key is there already. What its packets become is the
    /// other direction's key, turned round. Its stamp is [`super::Stamp::WIPED`]: nobody believes it yet.
    fn claim(&self, record: Self::Record, side: Side, hop: Hop) -> Claim;

    /// The entry of one direction of a record's flow.
    fn find_side(&self, record: Self::Record, side: Side) -> Option<Self::Entry>;

    /// Takes one direction of a record's flow out. Only for whoever claimed it or ended the flow.
    fn remove(&self, record: Self::Record, side: Side);

    /// The record with this number.
    fn record(&self, id: RecordId) -> Option<Self::Record>;

    /// How much there is.
    fn room(&self) -> Room;

    /// The pot of the CPU that runs this.
    fn own_pot(&self) -> u32;

    /// A word around the records.
    fn word(&self, which: RoomWord) -> Option<Self::Word>;

    /// Where the fragments of the datagram with this key go, if the first one was here.
    fn datagram(&self, key: &F::Key) -> Option<F::Datagram>;

    /// Notes where they go. What was noted least recently makes way.
    fn note_datagram(&self, key: &F::Key, datagram: &F::Datagram);

    /// Counts the datagrams that are given an identification of Weir's.
    fn next_datagram(&self) -> u32;

    /// Counts a flow that was opened. Flows opened = flows that live + flows that ended.
    fn made(&self);

    /// Tells that a record's flow ended, with its last life and what both directions carried. Its keys are gone.
    fn tell(&self, record: Self::Record, why: End, life: Life, counts: &[Counts; 2]);
}
