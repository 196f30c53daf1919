//! The ports of an address: finding one that is free towards a remote, and giving it back.
//!
//! What decides is the flow table: the reply's key has the port in it, so entering it is the claim. A remote towards
//! which few ports are in use has nothing besides: a port that is chosen at random is nearly always free. Where it isn't a
//! few times in a row, the remote is given a *set*: a bit a port, and a bit a block of 64 that is full. So the last free
//! port of 64,512 is found as fast as the first one.
//!
//! Bits are hints. One that is missing costs a look into the flow table, and is set by it: so a set that is made late
//! learns what it missed. One that is set and shouldn't be would lose a port, so that must not stay:
//! 1. Who claims a port sets its bit first, then looks for the key, then enters it. Where the key is there, the bit stays.
//! 2. Who gives a port back removes the key first, then looks for a set, then clears the bit.
//! 3. Who fills a block sets the bit of the full ones, then looks at the block again.
//! 4. A set that is taken away begins another life before it is wiped. Who set a bit meanwhile looks at the life
//!    afterwards, and clears what it set.

mod sets;

pub use sets::tend;

use super::open::{Draft, Opened, Rival};
use super::store::{Flows, PortCells, PortSetRef, RecordCell, Word};
use super::{Family, Hop, Side};
use crate::addr::L4Port;
use crate::hash::scale;
use crate::layout::{FULL_BLOCKS, PORT_SET_LIFE, PORT_SET_RUN, PORT_SET_USED};
use crate::tables::{PortBlock, Source, Tables};
use crate::verifier::rolled;
use sets::{obtain, take_away};

/// How many random ports are tried before a remote is given a set: at a third of all in use four fail once in eighty.
const GUESSES: u32 = 4;
/// How many steps a search in a set takes at most: looks at a port, and steps past words of full blocks. Nearly always the
/// first look finds one. It takes many only where a set was made late: then, with 99 % of all ports in use, a packet
/// finds one nearly always, and goes on from there with the next one. Enough for all ports of a single block.
const STEPS: u32 = 1_536;
/// How many words of sixty-four blocks there are.
const GROUPS: u32 = 16;

/// What became of a flow that wants a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Search {
    /// Nobody was asked: the remote can't be reached.
    NoRoute,
    /// The one port that it may have is another flow's.
    Collides,
    /// Its sandbox, or the tenant, has as much as it may.
    OverQuota,
    /// No half-open flow has had its time.
    HalfOpenFull,
    /// The flow is in.
    Made,
    /// Another CPU opened the same flow first.
    Joined,
    /// Every port of the address that was tried is in use, or rests.
    Exhausted,
    /// The same of all addresses.
    AllExhausted,
    /// None of those that were looked at was free.
    NotFound,
    /// The table of entries is full.
    TableFull,
}

impl From<Opened> for Search {
    #[inline(always)]
    fn from(opened: Opened) -> Self {
        match opened {
            Opened::Made => Self::Made,
            Opened::Joined => Self::Joined,
            Opened::Collides => Self::Collides,
            Opened::Full => Self::TableFull,
        }
    }
}

/// Whether all ports of the address are known to be in use towards the draft's remote. Its port must be zero.
#[inline(always)]
pub fn are_exhausted<F: Family, T: Flows<F>>(t: &T, record: T::Record, source: &Source) -> bool {
    let known = t.ports_towards(record);
    let Some(set) = t.ports(known.id()) else { return false };
    let mut full = u64::MAX;
    for group in rolled(GROUPS) {
        full &= set.word(FULL_BLOCKS + group).load();
    }
    full == u64::MAX && known.is_of(set.word(PORT_SET_LIFE).load()) && is_for(set, source)
}

/// Whether a set was made for the ports that the address may use now.
#[inline(always)]
fn is_for(set: impl PortCells, source: &Source) -> bool {
    set.word(PORT_SET_RUN).load() == run(source)
}

/// Which ports an address may use, in a word.
#[inline(always)]
const fn run(source: &Source) -> u64 {
    (source.first.0 as u64) << 16 | source.blocks as u64
}

/// What a drafted flow wants a port of.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Wanted<'a> {
    /// The address, and which of its ports may be had.
    pub source: &'a Source,
    /// Where the search begins; random.
    pub seed: u64,
    /// Where the flow's packets go that way, and this way.
    pub hops: [Hop; 2],
    /// The set of ports towards its remote.
    pub known: PortSetRef,
}

/// Whether a block is one of a [`run`].
#[inline(always)]
const fn is_in_run(run: u64, block: u16) -> bool {
    let (first, blocks) = ((run >> 16) as u16, run as u16);
    block.wrapping_sub(first) < blocks
}

/// Enters a drafted flow under a port that is free towards its remote. Its port must be zero.
#[inline(always)]
pub fn enter<F: Family, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    wanted: &mut Wanted<'_>,
) -> Search {
    let record = draft.record();
    wanted.known = t.ports_towards(record);
    if wanted.known != PortSetRef::NONE && is_outdated::<F, T>(t, wanted) {
        wanted.known = PortSetRef::NONE;
    }
    if wanted.known == PortSetRef::NONE {
        let guessed = guess::<F, T>(t, draft, wanted);
        if guessed != Search::NotFound {
            return guessed;
        }
        record.set_port(L4Port::new(0));
        wanted.known = obtain::<F, T>(t, record, wanted.source);
    }
    search::<F, T>(t, draft, wanted)
}

/// Whether the set was made for other ports than the address may use now. Then it is taken away.
#[inline(always)]
fn is_outdated<F: Family, T: Flows<F>>(t: &T, wanted: &Wanted<'_>) -> bool {
    let id = wanted.known.id();
    let Some(set) = t.ports(id) else { return true };
    let life = set.word(PORT_SET_LIFE).load();
    let is_outdated = wanted.known.is_of(life) && !is_for(set, wanted.source);
    if is_outdated {
        take_away::<F, T>(t, id, set, life);
    }
    is_outdated
}

/// Tries a few random ports.
#[inline(never)]
fn guess<F: Family, T: Tables + Flows<F>>(t: &T, draft: &Draft<T::Record>, wanted: &Wanted<'_>) -> Search {
    for nth in rolled(GUESSES) {
        draft.record().set_port(random_port(wanted, nth));
        match claim::<F, T>(t, draft, &wanted.hops) {
            Opened::Made => return Search::Made,
            Opened::Joined => return Search::Joined,
            Opened::Full => return Search::TableFull,
            Opened::Collides => {}
        }
    }
    Search::NotFound
}

/// One of the source's ports: another one for every `nth`.
#[inline(always)]
fn random_port(wanted: &Wanted<'_>, nth: u32) -> L4Port {
    let Wanted { source, seed, .. } = wanted;
    let seed = seed.wrapping_add(u64::from(nth)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let block = u32::from(source.first.0) + scale((seed >> 32) as u32, u32::from(source.blocks));
    PortBlock(block as u16).port((seed >> 20) as u32)
}

/// Enters the flow under the port that its record has, if that is free. Most that aren't are seen by a look, which costs
/// an eighth of an attempt.
#[inline(always)]
fn claim<F: Family, T: Tables + Flows<F>>(t: &T, draft: &Draft<T::Record>, hops: &[Hop; 2]) -> Opened {
    if t.find_side(draft.record(), Side::Reply).is_some() {
        return Opened::Collides;
    }
    draft.enter::<F, T>(t, *hops, Rival::IsAnother)
}

/// Where a search in a set stands.
struct Place {
    /// The block that is looked at next.
    block: u32,
    /// How many words of full blocks were passed by.
    passed: u32,
    steps: u32,
    found: Search,
}

/// Looks for a free port in a set; at random where there is none to be had.
#[inline(never)]
fn search<F: Family, T: Tables + Flows<F>>(t: &T, draft: &Draft<T::Record>, wanted: &Wanted<'_>) -> Search {
    let Wanted { source, seed, known, .. } = wanted;
    let set = t.ports(known.id()).filter(|set| known.is_of(set.word(PORT_SET_LIFE).load()));
    let begin = u32::from(source.first.0) + scale((seed >> 32) as u32, u32::from(source.blocks));
    let mut at = Place { block: begin, passed: 0, steps: 0, found: Search::NotFound };
    T::repeat(STEPS, || {
        at.steps += 1;
        let Some(set) = set else {
            draft.record().set_port(random_port(wanted, at.steps));
            return at.is_done(claim::<F, T>(t, draft, &wanted.hops));
        };
        let Some((block, place)) = at.next_port(set, (seed >> 20) as u32) else {
            return at.found != Search::NotFound;
        };
        let bit = 1 << place;
        if set.word(block).set(bit) & bit != 0 {
            return false;
        }
        set.word(PORT_SET_USED).add(1);
        mark_if_full(set, block);
        draft.record().set_port(PortBlock(block as u16).port(place));
        let opened = claim::<F, T>(t, draft, &wanted.hops);
        let is_the_ports = matches!(opened, Opened::Made | Opened::Collides);
        if !is_the_ports || !known.is_of(set.word(PORT_SET_LIFE).load()) {
            unmark(set, block, bit);
        }
        // On to another block: where few ports are free, they lie close together, and those of one block tell little of
        // the others. Not past the last one: the way round costs as many looks as there are words of blocks.
        (at.block, at.passed) = (next_block(source, block), 0);
        at.is_done(opened)
    });
    at.found
}

/// The block behind this one among the source's, or the first of them.
#[inline(always)]
fn next_block(source: &Source, block: u32) -> u32 {
    let first = u32::from(source.first.0);
    if block + 1 < first + u32::from(source.blocks) { block + 1 } else { first }
}

impl Place {
    /// Whether the search is over with this attempt.
    #[inline(always)]
    const fn is_done(&mut self, opened: Opened) -> bool {
        self.found = match opened {
            Opened::Made => Search::Made,
            Opened::Joined => Search::Joined,
            Opened::Full => Search::TableFull,
            Opened::Collides => return false,
        };
        true
    }

    /// The next port that the set holds for free: its block, and its place there. `None` where that is further on.
    #[inline(always)]
    fn next_port(&mut self, set: impl PortCells, rotation: u32) -> Option<(u32, u32)> {
        let group = self.block / 64 % GROUPS;
        let open = !set.word(FULL_BLOCKS + group).load() & (u64::MAX << (self.block % 64));
        if open == 0 {
            self.block = (group + 1) % GROUPS * 64;
            self.passed += 1;
            // The first word of them is looked at twice: from where the search began, and up to there.
            if self.passed > GROUPS {
                self.found = Search::Exhausted;
            }
            return None;
        }
        self.block = group * 64 + open.trailing_zeros();
        let free = !set.word(self.block).load();
        if free == 0 {
            mark_if_full(set, self.block);
            return None;
        }
        let rotation = rotation % 64;
        Some((self.block, (free.rotate_right(rotation).trailing_zeros() + rotation) % 64))
    }
}

/// Says of a block that it is full, if it is.
#[inline(always)]
fn mark_if_full(set: impl PortCells, block: u32) {
    if set.word(block).load() != u64::MAX {
        return;
    }
    let full = set.word(FULL_BLOCKS + block / 64);
    full.set(1 << (block % 64));
    if set.word(block).load() != u64::MAX {
        full.clear(1 << (block % 64));
    }
}

/// Says of a port that it is free, if it was in use.
#[inline(always)]
fn unmark(set: impl PortCells, block: u32, bit: u64) {
    if set.word(block).clear(bit) & bit != 0 {
        set.word(PORT_SET_USED).add(u64::MAX);
    }
    set.word(FULL_BLOCKS + block / 64).clear(1 << (block % 64));
}

/// Gives the port of a record back, whose reply's key is gone. The record is this run's, and its port is zero afterwards.
#[inline(always)]
pub(super) fn release<F: Family, T: Flows<F>>(t: &T, record: T::Record) {
    let (PortBlock(block), place) = PortBlock::of(record.port());
    record.set_port(L4Port::new(0));
    let known = t.ports_towards(record);
    let Some(set) = t.ports(known.id()) else { return };
    // A flow may be older than the set, and have a port that the address may not use any more: that stays full.
    let may_be_used = is_in_run(set.word(PORT_SET_RUN).load(), block);
    if may_be_used && block < PortBlock::COUNT && known.is_of(set.word(PORT_SET_LIFE).load()) {
        unmark(set, u32::from(block), 1 << place);
    }
}
