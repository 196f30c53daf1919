//! A flow's end: once, by one run, both directions.

use super::store::{EntryCell, Flows, RecordCell, Word};
use super::{Family, Life, Phase, PortUse, RecordId, Side, Stamp, ports, room, state};
use crate::quota::{self, Held};
use crate::tables::{Clock, Guards};
use crate::time::Seconds;
use crate::verifier::rolled;

/// How often a stamp is tried that other CPUs move at the same moment: as often as a few of them can.
const STAMP_TRIES: u32 = 8;

macro_rules! ends {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+) => {
        /// Why a flow ended. The number indexes the counters; the name is what people see.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum End {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl End {
            /// Every end, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The name in counters, events and documentation. Never changes its meaning.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// The end with this number.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                Self::ALL.get(number as usize).copied()
            }
        }
    };
}

ends! {
    /// Both sides of a TCP connection said that they were done.
    Closed "closed",
    /// A RST was seen, and no traffic after it.
    Reset "reset",
    /// Nothing was heard for as long as the flow may be silent.
    Idle "idle",
    /// The handshake did not end, or no answer came, in time.
    Unanswered "unanswered",
    /// It was half-open, and the oldest on a full budget: it made way for a new flow.
    MadeWay "made_way",
    /// It was over, and a SYN opened another one between the same ends.
    Replaced "replaced",
    /// What it led to was taken away.
    Removed "removed",
    /// No rule of a security group allows it any more.
    Blocked "blocked",
}

impl End {
    /// How a flow ends whose time is up in this phase.
    #[must_use]
    #[inline(always)]
    pub const fn of_time(phase: Phase) -> Self {
        match phase {
            Phase::Closing => Self::Closed,
            Phase::Reset => Self::Reset,
            Phase::Established => Self::Idle,
            _ => Self::Unanswered,
        }
    }
}

/// Ends the flow of a record whose life is still `life`; `false` where it isn't any more.
///
/// The compare-and-swap to *ending* gives this run, and no other, the right to remove the keys. The stamps are
/// wiped first, so that whoever is reading an entry throws away what it read; the record is free last. Where the flow's
/// port is to rest, the reply's key stays, and the record with it.
#[inline(never)]
pub fn end<F: Family, T: Clock + Guards + Flows<F>>(t: &T, id: RecordId, life: Life, why: End) -> bool {
    let Some(record) = t.record(id) else { return false };
    let ending = life.in_phase(Phase::Ending);
    if !life.phase().is_live() || !record.life().swap(life.0, ending.0) {
        return false;
    }
    wipe(t, record, Side::Original);
    wipe(t, record, Side::Reply);
    t.tell(record, why, life);
    t.remove(record, Side::Original);
    let meta = record.meta();
    let half_open = Held::HALF_OPEN.only_if(life.phase().is_half_open());
    quota::discharge(t, meta.account, Held::FLOW.and(half_open));
    room::leave_place(t, id, life.incarnation(), &meta);
    if state::rest(life, &meta) != Seconds(0) {
        record.life().swap(ending.0, life.in_phase(Phase::Resting).seen_at(t.now()).0);
    } else {
        clear_away(t, id, record, meta.port, ending);
    }
    true
}

/// Ends the rest of a port, if the record's life is still `life`.
#[inline(always)]
pub(super) fn wake<F: Family, T: Guards + Flows<F>>(
    t: &T,
    id: RecordId,
    record: T::Record,
    life: Life,
) -> bool {
    let ending = life.in_phase(Phase::Ending);
    let is_ours = record.life().swap(life.0, ending.0);
    if is_ours {
        clear_away(t, id, record, PortUse::OWN, ending);
    }
    is_ours
}

/// Removes the reply's key, gives its port back, and then the record, whose end is this run's.
#[inline(always)]
fn clear_away<F: Family, T: Guards + Flows<F>>(
    t: &T,
    id: RecordId,
    record: T::Record,
    port: PortUse,
    ending: Life,
) {
    t.remove(record, Side::Reply);
    if port == PortUse::OWN {
        ports::release(t, record);
        quota::discharge(t, record.meta().account, Held::PORT);
    }
    record.life().swap(ending.0, ending.next().0);
    room::give(t, id);
}

/// Makes an entry nobody's.
#[inline(always)]
fn wipe<F: Family, T: Flows<F>>(t: &T, record: T::Record, side: Side) {
    let Some(entry) = t.find_side(record, side) else { return };
    // A run that follows the flow may be moving the stamp, once in a second at most.
    for _ in rolled(STAMP_TRIES) {
        if entry.stamp().swap(entry.stamp().load(), Stamp::WIPED.0) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ends_are_numbered_and_named_and_each_is_a_sentence() {
        let names: BTreeSet<_> = End::ALL.iter().map(|end| end.name()).collect();
        assert_eq!(names.len() as u32, End::COUNT);
        for (number, end) in End::ALL.iter().enumerate() {
            assert_eq!(End::from_number(number as u32), Some(*end));
            assert!(end.meaning().trim().ends_with('.'), "{}", end.name());
        }
        assert_eq!(End::from_number(End::COUNT), None);
    }
}
