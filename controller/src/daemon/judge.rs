//! Flows judged again after the rules have changed, for the connectors that want it.

use super::Daemon;
use crate::compile::rulebook::{Rulebook, Slots, Tracked};
use tracing::{info, warn};
use weir_dataplane::flows::Flow;
use weir_path::flow::end::End;

/// The rules that are in force, and whom they are about.
pub(super) struct InForce {
    pub(super) rules: Rulebook,
    pub(super) slots: Slots,
}

impl Daemon {
    /// Ends the flows that no rule allows any more, where the rules are others than those that all flows were judged by. The
    /// new ones are live already: what is opened from here on was asked for by them. Says whether it is done.
    pub(super) fn judge(&mut self, InForce { rules, slots }: InForce) -> bool {
        if self.judged.as_ref() == Some(&rules) {
            return true;
        }
        if rules.is_strict() {
            let is_blocked = |flow: &Flow| !rules.allows(&tracked(flow), &slots);
            match self.dataplane.end_flows(End::Blocked, is_blocked) {
                Ok(0) => {}
                Ok(flows) => info!(flows, "ended flows that no rule allows any more"),
                Err(error) => {
                    self.judged = None;
                    warn!("cannot judge flows by the new rules, trying again: {error}");
                    return false;
                }
            }
        }
        self.judged = Some(rules);
        true
    }
}

const fn tracked(flow: &Flow) -> Tracked {
    let Flow { protocol, original, reply, zones, .. } = *flow;
    Tracked { protocol, original, reply, zones }
}
