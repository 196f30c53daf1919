//! A new flow: both directions entered, or neither.
//!
//! The record is drafted first: taken, filled, and given a place among the half-open. Then the keys are claimed,
//! the reply's first: whoever finds the packet's own key finds a whole flow. Nobody ends a flow that is opening,
//! so what is undone here is still ours.

use super::ports::Search;
use super::room::{self, Place};
use super::store::{EntryCell, Flows, RecordCell, Word};
use super::{Account, Family, Hop, Key, Life, Meta, Phase, PortUse, RecordId, Side, Stamp};
use crate::quota::{self, Held};
use crate::reason::Reason;
use crate::tables::{Claim, Tables};
use crate::time::Seconds;

/// A flow to be: its record is this run's alone.
#[derive(Clone, Copy, Debug)]
pub struct Draft<R> {
    id: RecordId,
    record: R,
    life: Life,
}

/// What a flow is opened with.
#[derive(Clone, Copy, Default, Debug)]
pub struct Terms {
    /// How long it may be silent once it is established.
    pub idle: Seconds,
    /// TCP: what the answer must acknowledge.
    pub expected: u32,
    /// TCP: the opener's window shift.
    pub shift: u8,
    /// Whose the port is that answers come to.
    pub port: PortUse,
    /// How long that port is to rest afterwards, where it is the flow's own.
    pub rest: Seconds,
    /// 1 where both ends are told when the flow was silent for too long; else 0.
    pub tells_idle: u8,
    /// Whose flow it is.
    pub account: Account,
}

/// What became of an attempt to enter a draft's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// Both directions are in.
    Made,
    /// Another CPU opened the same flow first: it is there, under the same keys.
    Joined,
    /// The reply's key is another flow's.
    Collides,
    /// The table of entries is full.
    Full,
}

/// Who it is, where the reply's key is taken already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rival {
    /// Perhaps this flow, opened on another CPU at the same moment: both would make the same key.
    MayBeTheSame,
    /// Another flow, or a port that rests: the key has a port that was chosen at random.
    IsAnother,
}

/// A draft of the flow whose first packet has this key.
///
/// # Errors
/// [`Reason::FlowTableFull`]: no record is free, nor over.
#[inline(never)]
pub fn draft<F: Family, T: Tables + Flows<F>>(
    t: &T,
    original: &F::Key,
    terms: &Terms,
) -> Result<Draft<T::Record>, Reason> {
    let now = t.now();
    let Some((id, record)) = room::take(t) else { return Err(Reason::FlowTableFull) };
    let free = record.life().load();
    let life = Life::new(Phase::Opening, Life(free).incarnation().max(1), now);
    let Terms { idle, expected, shift, port, rest, tells_idle, account: _ } = *terms;
    let account = Account::NOBODYS;
    let meta =
        Meta { opened: now, place: 0, expected, account, idle, shifts: [shift, 0], rest, port, tells_idle };
    record.fill(original, &meta);
    record.life().swap(free, life.0);
    Ok(Draft { id, record, life })
}

impl<R: Copy> Draft<R> {
    /// The flow's record.
    #[inline(always)]
    pub const fn record(&self) -> R {
        self.record
    }

    /// Charges the flow to an account, and takes a place among the half-open flows, whose last owner makes way.
    /// [`Search::NotFound`] where that was done, and a port is next.
    #[inline(never)]
    pub fn admit<F: Family, T>(&self, t: &T, account: Account, port: Held) -> Search
    where
        T: Tables + Flows<F, Record = R>,
        R: RecordCell<F>,
    {
        if !quota::charge(t, account, port) {
            return Search::OverQuota;
        }
        self.record.set_account(account);
        let mine = Place::of(self.id, self.life.incarnation(), self.life.seen());
        let Some((place, had)) = room::take_place(t, mine) else { return Search::HalfOpenFull };
        self.record.set_place(place);
        room::make_way(t, had);
        Search::NotFound
    }

    /// Enters both directions, or neither; after a collision another answer may be tried.
    #[inline(always)]
    pub fn enter<F: Family, T>(&self, t: &T, [there, back]: [Hop; 2], rival: Rival) -> Opened
    where
        T: Tables + Flows<F, Record = R>,
        R: RecordCell<F>,
    {
        match self.claim_reply::<F, T>(t, back, rival) {
            Opened::Made => self.complete::<F, T>(t, there),
            otherwise => otherwise,
        }
    }

    /// Enters the reply's direction, which nobody believes yet.
    #[inline(always)]
    pub fn claim_reply<F: Family, T>(&self, t: &T, back: Hop, rival: Rival) -> Opened
    where
        T: Tables + Flows<F, Record = R>,
        R: RecordCell<F>,
    {
        match t.claim(self.record, Side::Reply, back) {
            Claim::Made => Opened::Made,
            Claim::Taken if rival == Rival::MayBeTheSame && is_same::<F, T>(t, self.record) => Opened::Joined,
            Claim::Taken => Opened::Collides,
            Claim::NoRoom => Opened::Full,
        }
    }

    /// Enters the other direction as well, and lets packets believe both; or takes the reply's back.
    #[inline(always)]
    pub fn complete<F: Family, T>(&self, t: &T, there: Hop) -> Opened
    where
        T: Tables + Flows<F, Record = R>,
        R: RecordCell<F>,
    {
        let opened = match t.claim(self.record, Side::Original, there) {
            Claim::Made => {
                self.publish::<F, T>(t, Side::Reply);
                self.publish::<F, T>(t, Side::Original);
                self.record.life().swap(self.life.0, self.life.in_phase(Phase::New).0);
                t.made();
                return Opened::Made;
            }
            Claim::Taken => Opened::Joined,
            Claim::NoRoom => Opened::Full,
        };
        t.remove(self.record, Side::Reply);
        opened
    }

    /// Gives everything back: the flow is not to be.
    #[inline(always)]
    pub fn abandon<F: Family, T>(&self, t: &T)
    where
        T: Tables + Flows<F, Record = R>,
        R: RecordCell<F>,
    {
        let meta = self.record.meta();
        let held = Held::FLOW.and(Held::HALF_OPEN).and(Held::PORT.only_if(meta.port == PortUse::OWN));
        quota::discharge(t, meta.account, held);
        room::leave_place(t, self.id, self.life.incarnation(), &meta);
        self.record.life().swap(self.life.0, self.life.next().0);
        room::give(t, self.id);
    }

    /// Lets packets believe an entry. Not before it lies in the table whole: a CPU may be reading what was in its
    /// place before.
    #[inline(always)]
    fn publish<F: Family, T>(&self, t: &T, side: Side)
    where
        T: Flows<F, Record = R>,
        R: RecordCell<F>,
    {
        let stamp = Stamp::new(self.id, self.life.incarnation(), side, self.life.seen());
        if let Some(entry) = t.find_side(self.record, side) {
            entry.stamp().swap(Stamp::WIPED.0, stamp.0);
        }
    }
}

/// Whether the reply's key, which could not be claimed, is the same flow's, opened on another CPU.
#[inline(always)]
fn is_same<F: Family, T: Flows<F>>(t: &T, record: T::Record) -> bool {
    let Some(entry) = t.find_side(record, Side::Reply) else { return true };
    let stamp = Stamp(entry.stamp().load());
    // Being entered, or being removed, by another CPU: as likely by one that opens this flow.
    if stamp == Stamp::WIPED {
        return true;
    }
    t.record(stamp.record()).is_some_and(|theirs| theirs.key(Side::Original).is(&record.key(Side::Original)))
}
