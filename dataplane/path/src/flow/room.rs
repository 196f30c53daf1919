//! Room for flows: free records, the budget of half-open flows, and taking back what is over.
//!
//! Records are kept in lists of free ones, one a pot, so that CPUs don't fight for one word; a CPU whose own
//! list is empty takes from the others', so the last record is usable by everyone. Half-open flows have a
//! place each in a ring; a new flow takes the next place, and the flow that is there makes way if it had
//! its time. So a flood of SYNs or datagrams runs in its own circle, and can't push out an established flow.

use super::end::{End, end, wake};
use super::store::{Flows, RecordCell, Room, RoomWord, Word};
use super::{Family, Life, Meta, Phase, RecordId, state};
use crate::tables::{Clock, Guards, Tables};
use crate::time::{Now, Times};
use crate::verifier::rolled;

/// How often a busy list is tried before the next one.
const TRIES: u32 = 4;
/// How many records an opening run looks at for one to take back, where there is no free one.
const LOOKS: u32 = 8;
/// How many places of its own ring an opening run looks at before those of the others.
const OWN_PLACES: u32 = 4;
/// How long a half-open flow keeps its place whatever comes: two round trips across a continent.
const HALF_OPEN_GRACE: u16 = 2;

/// A record for a new flow, with nobody else knowing of it.
#[inline(always)]
pub(super) fn take<F: Family, T: Flows<F>>(t: &T) -> Option<(RecordId, T::Record)> {
    let room = t.room();
    let own = t.own_pot();
    if let Some(taken) = pop(t, own) {
        return Some(taken);
    }
    if let Some(taken) = fresh(t, &room) {
        return Some(taken);
    }
    for step in rolled(Room::MAX_POTS) {
        if step >= room.pots {
            return None;
        }
        if let Some(taken) = pop(t, (own + step) % room.pots) {
            return Some(taken);
        }
    }
    None
}

/// A record that was never taken before.
#[inline(always)]
fn fresh<F: Family, T: Flows<F>>(t: &T, room: &Room) -> Option<(RecordId, T::Record)> {
    let fresh = t.word(RoomWord::Fresh)?;
    // Looked at first, so that the word stays where it is once all are taken.
    if fresh.load() >= u64::from(room.records) {
        return None;
    }
    let id = fresh.add(1);
    if id >= u64::from(room.records) {
        return None;
    }
    let id = RecordId(id as u32);
    Some((id, t.record(id)?))
}

#[inline(always)]
fn pop<F: Family, T: Flows<F>>(t: &T, pot: u32) -> Option<(RecordId, T::Record)> {
    let head = t.word(RoomWord::Free(pot))?;
    for _ in rolled(TRIES) {
        let was = head.load();
        let id = RecordId((was as u32).checked_sub(1)?);
        // Another CPU may have the record by now and its link may be anything: then the tag has moved on.
        let record = t.record(id)?;
        if head.swap(was, tagged(was, record.next())) {
            return Some((id, record));
        }
    }
    None
}

/// Puts a free record into this CPU's list. Where the list is too busy, the ageing walk does it later.
#[inline(always)]
pub(super) fn give<F: Family, T: Flows<F>>(t: &T, id: RecordId) {
    let (Some(record), Some(head)) = (t.record(id), t.word(RoomWord::Free(t.own_pot()))) else { return };
    for _ in rolled(TRIES) {
        let was = head.load();
        record.link(was as u32);
        if head.swap(was, tagged(was, id.0 + 1)) {
            return;
        }
    }
    let life = Life(record.life().load());
    record.life().swap(life.0, life.in_phase(Phase::Lost).0);
}

/// A list's head after a change: the tag tells that it changed though it may look the same.
#[inline(always)]
pub(super) const fn tagged(was: u64, first: u32) -> u64 {
    ((was >> 32).wrapping_add(1) << 32) | first as u64
}

/// Ends the first flow that is over, or was silent for too long, among the next few records.
#[inline(never)]
pub(crate) fn take_back<F: Family, T: Tables + Flows<F>>(t: &T) -> bool {
    let Some(hand) = t.word(RoomWord::Hand) else { return false };
    let (now, times) = (t.now(), t.times(t.live()));
    let records = u64::from(t.room().records.max(1));
    let start = hand.add(u64::from(LOOKS));
    for step in rolled(LOOKS) {
        let id = RecordId((start.wrapping_add(u64::from(step)) % records) as u32);
        if age(t, id, now, &times, true) {
            return true;
        }
    }
    false
}

/// Ends a record's flow if it was silent for too long, or is over and `is_needed`; and the rest of its port in the same
/// way. Gives back a lost record.
#[inline(always)]
pub fn age<F: Family, T: Clock + Guards + Flows<F>>(
    t: &T,
    id: RecordId,
    now: Now,
    times: &Times,
    is_needed: bool,
) -> bool {
    let Some(record) = t.record(id) else { return false };
    let life = Life(record.life().load());
    let phase = life.phase();
    if matches!(phase, Phase::Lost) {
        let free = life.in_phase(Phase::Free);
        if record.life().swap(life.0, free.0) {
            give(t, id);
        }
        return false;
    }
    let meta = record.meta();
    if matches!(phase, Phase::Resting) {
        let is_rested = now.since(life.seen()) >= meta.rest.in_eighths();
        return (is_rested || is_needed) && wake(t, id, record, life);
    }
    if !phase.is_live() {
        return false;
    }
    let is_up = state::is_expired(life, record.protocol(), &meta, times, now);
    (is_up || is_needed && phase.is_over()) && end(t, id, life, End::of_time(phase))
}

/// What a half-open place holds: whose it is, and since when.
///
/// ```text
///  63 ──────────────── 32   31 ──────── 16   15 ──────── 0
///   record number plus one     incarnation     opened (eighths)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(u64);

impl Place {
    /// A place that can be had.
    pub const NOBODYS: Self = Self(0);

    /// The place of this flow.
    #[must_use]
    #[inline(always)]
    pub const fn of(id: RecordId, incarnation: u16, opened: Now) -> Self {
        Self(((id.0 as u64 + 1) << 32) | (incarnation as u64) << 16 | opened.0 as u16 as u64)
    }

    /// Whose it is.
    #[inline(always)]
    const fn record(self) -> Option<RecordId> {
        match (self.0 >> 32) as u32 {
            0 => None,
            number => Some(RecordId(number - 1)),
        }
    }

    #[inline(always)]
    const fn incarnation(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether a flow that opens with `newer` may have it.
    #[inline(always)]
    const fn yields_to(self, newer: Self) -> bool {
        self.0 == 0 || (newer.0 as u16).wrapping_sub(self.0 as u16) >= HALF_OPEN_GRACE
    }
}

/// A place for a half-open flow: its number plus one, and whose it was. `None` where every place that was looked
/// at was taken a moment ago.
#[inline(always)]
pub(super) fn take_place<F: Family, T: Flows<F>>(t: &T, mine: Place) -> Option<(u32, Place)> {
    let room = t.room();
    let own = t.own_pot();
    for step in rolled(OWN_PLACES + Room::MAX_POTS - 1) {
        let beyond_own = (step + 1).saturating_sub(OWN_PLACES);
        if beyond_own >= room.pots {
            return None;
        }
        let pot = (own + beyond_own) % room.pots;
        let turn = t.word(RoomWord::Turn(pot))?.add(1);
        let number = pot * room.places_in_pot + (turn % u64::from(room.places_in_pot.max(1))) as u32;
        let place = t.word(RoomWord::Place(number))?;
        let had = Place(place.load());
        if had.yields_to(mine) && place.swap(had.0, mine.0) {
            return Some((number + 1, had));
        }
    }
    None
}

/// Ends the half-open flow that had this place.
#[inline(always)]
pub(super) fn make_way<F: Family, T: Clock + Guards + Flows<F>>(t: &T, had: Place) {
    let Some(id) = had.record() else { return };
    let Some(record) = t.record(id) else { return };
    for _ in rolled(TRIES) {
        let life = Life(record.life().load());
        let is_still = life.incarnation() == had.incarnation() && life.phase().is_half_open();
        if !is_still || end(t, id, life, End::MadeWay) {
            return;
        }
    }
}

/// Frees the place of a flow that is no longer half-open. It may be another flow's by now.
#[inline(always)]
pub(super) fn leave_place<F: Family, T: Flows<F>>(t: &T, id: RecordId, incarnation: u16, meta: &Meta) {
    let Some(number) = meta.place.checked_sub(1) else { return };
    if let Some(place) = t.word(RoomWord::Place(number)) {
        place.swap(Place::of(id, incarnation, meta.opened).0, Place::NOBODYS.0);
    }
}
