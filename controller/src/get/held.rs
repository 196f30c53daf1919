//! What a sandbox or a tenant holds, what it may hold, and how often more was refused: said alike of both.

use serde::Serialize;
use weir_dataplane::AccountState;
use weir_path::tables::Quota;

/// What is held, beside its limits. None is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct HeldView {
    /// Flows, half-open ones too.
    pub flows: u64,
    /// How many there may be.
    pub max_flows: Option<u32>,
    /// Half-open flows.
    pub half_open: u64,
    /// How many there may be.
    pub max_half_open: Option<u32>,
    /// Ports of ENIs, those that rest too.
    pub ports: u64,
    /// How many there may be.
    pub max_ports: Option<u32>,
    /// How many flows may be opened in a second.
    pub max_new_flows: Option<u32>,
    /// How often a flow was refused because of `max_flows`.
    pub refused_flows: u64,
    /// The same of `max_half_open`.
    pub refused_half_open: u64,
    /// The same of `max_ports`.
    pub refused_ports: u64,
    /// The same of `max_new_flows`.
    pub refused_new_flows: u64,
}

impl HeldView {
    pub(super) fn new(held: &AccountState, quota: &Quota) -> Self {
        let limit = |most: u32| (most != 0).then_some(most);
        Self {
            flows: held.flows,
            max_flows: limit(quota.flows),
            half_open: held.half_open,
            max_half_open: limit(quota.half_open),
            ports: held.ports,
            max_ports: limit(quota.ports),
            max_new_flows: limit(quota.opened_a_second),
            refused_flows: held.refused_flows,
            refused_half_open: held.refused_half_open,
            refused_ports: held.refused_ports,
            refused_new_flows: held.refused_opened,
        }
    }

    pub(super) const HEADER: [&str; 5] = ["FLOWS", "HALF-OPEN", "PORTS", "NEW FLOWS", "REFUSED"];

    pub(super) fn cells(&self) -> [String; 5] {
        let of = |held: u64, most: Option<u32>| match most {
            Some(most) => format!("{held} of {most}"),
            None => held.to_string(),
        };
        [
            of(self.flows, self.max_flows),
            of(self.half_open, self.max_half_open),
            of(self.ports, self.max_ports),
            self.max_new_flows.map_or_else(|| "any".to_owned(), |most| format!("{most} a second")),
            self.refused(),
        ]
    }

    /// How often for which reason, where at all.
    fn refused(&self) -> String {
        let kinds = [
            (self.refused_flows, "flows"),
            (self.refused_half_open, "half-open"),
            (self.refused_ports, "ports"),
            (self.refused_new_flows, "new flows"),
        ];
        let refused = kinds.into_iter().filter(|(times, _)| *times > 0);
        super::table::joined(refused.map(|(times, kind)| format!("{times} {kind}")))
    }
}
