//! The pool that sets of ports come from, and go back to.

use super::{GROUPS, run};
use crate::flow::Family;
use crate::flow::room::tagged;
use crate::flow::store::{Flows, PortCells, PortSetId, PortSetRef, RoomWord, Word};
use crate::layout::{FULL_BLOCKS, PORT_SET_BORN, PORT_SET_LIFE, PORT_SET_RUN, PORT_SET_USED};
use crate::tables::{PortBlock, Source, Tables};
use crate::time::Now;
use crate::verifier::rolled;

/// A set of which few bits are set is taken away only if it is older than this, in eighths of a second.
const YOUNG: u32 = 60 * Now::IN_A_SECOND;
/// How often a word is tried that other CPUs change at the same moment.
const TRIES: u32 = 4;
/// In a set's life: set while it is somebody's. Each change adds one, so it is the lowest bit of the incarnation.
const IN_USE: u64 = 1 << 32;

/// A set for a record's remote: a new one, or the one that another CPU made meanwhile; none where all are in use.
#[inline(never)]
pub(super) fn obtain<F: Family, T: Tables + Flows<F>>(
    t: &T,
    record: T::Record,
    source: &Source,
) -> PortSetRef {
    let Some(id) = take::<F, T>(t) else { return PortSetRef::NONE };
    let Some(set) = t.ports(id) else { return PortSetRef::NONE };
    let free = set.word(PORT_SET_LIFE).load();
    let life = (free >> 32 << 32).wrapping_add(IN_USE);
    wipe::<F, T>(set, source);
    for (nth, is) in [(PORT_SET_BORN, u64::from(t.now().0)), (PORT_SET_RUN, run(source))] {
        set.word(nth).clear(u64::MAX);
        set.word(nth).set(is);
    }
    set.word(PORT_SET_LIFE).swap(free, life);
    let made = PortSetRef::new(id, life);
    if t.enter_ports(record, made) {
        return made;
    }
    set.word(PORT_SET_LIFE).swap(life, life.wrapping_add(IN_USE));
    give::<F, T>(t, id, set);
    t.ports_towards(record)
}

/// Empties a set. What is no block of the source's is full.
#[inline(always)]
fn wipe<F: Family, T: Flows<F>>(set: T::Ports, source: &Source) {
    let mut block = 0;
    T::repeat(FULL_BLOCKS, || {
        set.word(block).clear(u64::MAX);
        block += 1;
        false
    });
    set.word(PORT_SET_USED).clear(u64::MAX);
    let (first, end) = (u32::from(source.first.0), u32::from(source.first.0) + u32::from(source.blocks));
    let mut group = 0;
    T::repeat(GROUPS, || {
        let full = set.word(FULL_BLOCKS + group);
        full.clear(u64::MAX);
        full.set(low_bits(first.saturating_sub(group * 64)) | !low_bits(end.saturating_sub(group * 64)));
        group += 1;
        false
    });
}

/// A word with this many of its lowest bits set.
#[inline(always)]
const fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// A set that is nobody's.
#[inline(always)]
fn take<F: Family, T: Flows<F>>(t: &T) -> Option<PortSetId> {
    let head = t.word(RoomWord::FreePorts)?;
    for _ in rolled(TRIES) {
        let was = head.load();
        let Some(id) = (was as u32).checked_sub(1).map(PortSetId) else { break };
        let next = t.ports(id)?.word(PORT_SET_LIFE).load() as u32;
        if head.swap(was, tagged(was, next)) {
            return Some(id);
        }
    }
    let (fresh, all) = (t.word(RoomWord::FreshPorts)?, u64::from(t.room().port_sets));
    if fresh.load() >= all {
        return None;
    }
    let id = fresh.add(1);
    (id < all).then_some(PortSetId(id as u32))
}

/// Puts a set into the list of those that are nobody's. Where the list is too busy it is lost until the tables are made
/// anew: it takes sets being made and taken away on many CPUs at one moment.
#[inline(always)]
fn give<F: Family, T: Flows<F>>(t: &T, id: PortSetId, set: T::Ports) {
    let Some(head) = t.word(RoomWord::FreePorts) else { return };
    for _ in rolled(TRIES) {
        let (was, life) = (head.load(), set.word(PORT_SET_LIFE));
        let before = life.load();
        life.swap(before, before >> 32 << 32 | u64::from(was as u32));
        if head.swap(was, tagged(was, id.0 + 1)) {
            return;
        }
    }
}

/// Takes a set away whose remote has few flows by now.
#[inline(always)]
pub fn tend<F: Family, T: Tables + Flows<F>>(t: &T, id: PortSetId, now: Now) {
    let Some(set) = t.ports(id) else { return };
    let life = set.word(PORT_SET_LIFE).load();
    // A sixteenth of the ports that the address may use.
    let few = (set.word(PORT_SET_RUN).load() & 0xffff) * u64::from(PortBlock::PORTS) / 16;
    let is_few = (set.word(PORT_SET_USED).load() as i64) < few as i64;
    let is_young = now.since(Now(set.word(PORT_SET_BORN).load() as u32)) < YOUNG;
    if life & IN_USE != 0 && is_few && !is_young {
        take_away::<F, T>(t, id, set, life);
    }
}

/// Takes a set away, if its life is still this one.
#[inline(always)]
pub(super) fn take_away<F: Family, T: Flows<F>>(t: &T, id: PortSetId, set: T::Ports, life: u64) {
    if set.word(PORT_SET_LIFE).swap(life, life.wrapping_add(IN_USE)) {
        t.remove_ports(id);
        give::<F, T>(t, id, set);
    }
}
