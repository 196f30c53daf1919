//! The counters, read out: what came in at each hook, and for which reasons it left.

use crate::error::Error;
use crate::typed_map::TypedMap;
use std::collections::BTreeMap;
use weir_path::Reason;
use weir_path::addr::InterfaceId;
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
