//! What the flow core needs from its tables: cells that several CPUs look at, and a few words.
//!
//! A cell stands for a place in shared memory. Nothing here is locked; words change by compare-and-swap.
//! Implementors: the BPF maps, a model on plain maps, and shared memory under threads.

use super::end::End;
use super::{Account, Counts, Ends, Family, Hop, Life, Meta, RecordId, Side};
use crate::addr::{L4Port, Zone};
use crate::asked::Asked;
use crate::tables::Claim;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 64-bit word that several CPUs change.
pub trait Word: Copy {
    /// Reads it, once.
    fn load(self) -> u64;

    /// Puts `to` in the place of `from`; `false` where it wasn't `from` any more.
    fn swap(self, from: u64, to: u64) -> bool;

    /// Adds, and returns what was there before.
    fn add(self, number: u64) -> u64;

    /// Sets these bits, and returns what was there before.
    fn set(self, bits: u64) -> u64;

    /// Clears these bits, and returns what was there before.
    fn clear(self, bits: u64) -> u64;
}

/// A set of ports: see [`crate::layout::PortSet`].
pub trait PortCells: Copy {
    /// One of its words.
    type Word: Word;

    /// The word with this number, below [`crate::layout::PORT_SET_WORDS`].
    fn word(self, nth: u32) -> Self::Word;
}

/// The number of a set of ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PortSetId(pub u32);

/// Which set of ports, and which of its lives: what is found under a remote.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct PortSetRef(u64);

impl From<u64> for PortSetRef {
    fn from(word: u64) -> Self {
        Self(word)
    }
}

impl From<PortSetRef> for u64 {
    fn from(set: PortSetRef) -> Self {
        set.0
    }
}

impl PortSetRef {
    /// No set. A set that is in use has begun a life, so none is called this.
    pub const NONE: Self = Self(0);

    /// This set, in the life that this word says.
    #[must_use]
    #[inline(always)]
    pub const fn new(id: PortSetId, life: u64) -> Self {
        Self(life >> 32 << 32 | id.0 as u64)
    }

    /// The set.
    #[must_use]
    #[inline(always)]
    pub const fn id(self) -> PortSetId {
        PortSetId(self.0 as u32)
    }

    /// Whether the set is still in that life.
    #[must_use]
    #[inline(always)]
    pub const fn is_of(self, life: u64) -> bool {
        self.0 != Self::NONE.0 && self.0 >> 32 == life >> 32
    }
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

    /// Makes the reply's key, in a record that is in nobody else's hands: answers come from here, and go to where
    /// the original direction's packets come from.
    fn answer_from(self, address: &F::Address, port: L4Port, zone: Zone);

    /// The same where it is the sender that changes: answers come from the first of these addresses, at this port, and
    /// go to the second one, at a port that is yet to be set.
    fn answer_to(self, between: [&F::Address; 2], port: L4Port, zone: Zone);

    /// Sets the port that answers come to, in a record that is in nobody else's hands.
    fn set_port(self, port: L4Port);

    /// The port that answers come to.
    fn port(self) -> L4Port;

    /// Notes the place among the half-open, in a record that is in nobody else's hands.
    fn set_place(self, place: u32);

    /// Notes whose the flow is, in a record that is in nobody else's hands.
    fn set_account(self, account: Account);

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
    /// How many sets of ports were taken that never had been before.
    FreshPorts,
    /// The head of the list of free sets of ports: a tag, and the first one's number plus one.
    FreePorts,
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
    /// Sets of ports.
    pub port_sets: u32,
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
    /// A set of ports.
    type Ports: PortCells;

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

    /// A number that none of the last 2^32 packets was given.
    fn next_number(&self) -> u32;

    /// The set of ports towards a record's remote: that of its reply's key, whose port must be zero.
    fn ports_towards(&self, record: Self::Record) -> PortSetRef;

    /// Makes this the set of ports towards a record's remote, as above, and notes the key in the set. `false` where there
    /// is one already, or no room.
    fn enter_ports(&self, record: Self::Record, set: PortSetRef) -> bool;

    /// Makes a set of ports nobody's: its remote, as the set notes it, has none.
    fn remove_ports(&self, id: PortSetId);

    /// The set of ports with this number.
    fn ports(&self, id: PortSetId) -> Option<Self::Ports>;

    /// Counts a flow that was refused because no port was free towards a record's remote, as above.
    fn refused(&self, record: Self::Record);

    /// Notes what a packet asks for that opens a flow outwards, for the next step of its walk.
    fn ask(&self, note: impl FnOnce(&mut Asked<F::Key, F::Address>));

    /// What the last step noted.
    fn asked<R>(&self, see: impl FnOnce(&Asked<F::Key, F::Address>) -> R) -> Option<R>;

    /// Runs `body` until it says that it is done, but no more often than this. In the kernel this is a loop that the
    /// verifier walks once.
    fn repeat(times: u32, body: impl FnMut() -> bool);

    /// Counts a flow that was opened. Flows opened = flows that live + flows that ended.
    fn made(&self);

    /// Tells that a record's flow ended, with its last life and what its entries hold. They are wiped, and still there.
    fn tell(&self, record: Self::Record, why: End, life: Life);
}
