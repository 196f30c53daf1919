//! The counters, read out: what came in at each hook, and for which reasons it left.

use crate::error::Error;
use crate::typed_map::TypedMap;
use std::collections::BTreeMap;
use weir_path::Reason;
use weir_path::addr::InterfaceId;
use weir_path::flow::end::End;
pub use weir_path::layout::Hook;
use weir_path::layout::{entered_counter, reason_counter};

/// What one hook counted since the dataplane was made. A GSO packet counts its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookCounters {
    /// Packets that came in.
    pub entered: u64,
    /// Packets that left, by the number of the [`Reason`].
    pub reasons: Vec<u64>,
}

impl HookCounters {
    /// Packets that left for this reason.
    #[must_use]
    pub fn of(&self, why: Reason) -> u64 {
        self.reasons.get(why as usize).copied().unwrap_or(0)
    }

    /// Packets that left, for all reasons together. At rest this is what came in.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.reasons.iter().sum()
    }
}

/// Everything the dataplane counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By hook.
    pub hooks: BTreeMap<Hook, HookCounters>,
    /// Packets sent out of each interface, where there were any.
    pub sent: BTreeMap<InterfaceId, u64>,
    /// Flows that were opened: as many as live and ended together.
    pub opened: u64,
    /// Flows that ended, by why, where there were any.
    pub ended: BTreeMap<End, u64>,
    /// Flows that ended without being told, because nobody read fast enough.
    pub events_lost: u64,
    /// Flows that were silent for too long, and whose ends nobody told at once, because the daemon did not read fast enough.
    pub signals_lost: u64,
}

pub(crate) fn read_ends(ended: &TypedMap<u32, u64>) -> Result<BTreeMap<End, u64>, Error> {
    let mut ends = BTreeMap::new();
    for why in End::ALL {
        let flows = ended.sum(*why as u32)?;
        if flows > 0 {
            ends.insert(*why, flows);
        }
    }
    Ok(ends)
}

pub(crate) fn read_hooks(counters: &TypedMap<u32, u64>) -> Result<BTreeMap<Hook, HookCounters>, Error> {
    let mut hooks = BTreeMap::new();
    for hook in Hook::ALL {
        let entered = counters.sum(entered_counter(hook))?;
        let reasons = Reason::ALL
            .iter()
            .map(|why| counters.sum(reason_counter(hook, *why)))
            .collect::<Result<Vec<_>, _>>()?;
        hooks.insert(hook, HookCounters { entered, reasons });
    }
    Ok(hooks)
}
