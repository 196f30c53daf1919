//! What is recorded, and no longer wanted: what of it must stay for its flows, and what can go.

use super::{Frames, Observed, frames};
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{IfIndex, Zone};
use weir_path::tables::Interface;

/// Records and flows that nothing in the configuration stands for any more.
#[derive(Default)]
pub(super) struct Unwanted {
    /// Slots that still have flows.
    pub(super) draining: Vec<Interface>,
    /// What nothing refers to.
    pub(super) done: Vec<Interface>,
    /// What only flows refer to, which leave by it. Its number must not become another interface's before they
    /// have ended: their packets would go there.
    pub(super) held: Vec<Interface>,
    /// What of that still takes frames, which no other interface does: a device's other uplinks keep its program.
    pub(super) withdrawn: Vec<Interface>,
    /// What has lost its device, and its flows with it.
    pub(super) gone: Vec<Interface>,
    /// Uplinks that have lost their device, while another one leads to the same VPC.
    pub(super) lost: Vec<Interface>,
    /// Bindings that have flows but no slot: what a crash can leave.
    pub(super) orphans: Vec<Zone>,
}

impl Unwanted {
    pub(super) fn of(records: &BTreeMap<Frames, Interface>, observed: &Observed) -> Self {
        let mut unwanted = Self { orphans: orphans(observed), ..Self::default() };
        let is_left = |zone| records.values().any(|record| record.zone == zone);
        for known in &observed.interfaces {
            let (ifindex, zone) = (known.egress.ifindex, known.zone);
            let has_flows = zone.is_binding() && observed.flow_bindings.contains(&zone.number());
            let is_held = observed.exits.contains(&known.egress.id);
            let is_another_kind =
                |it: &Interface| it.egress.ifindex == ifindex && it.is_slot() != known.is_slot();
            let fate = match records.get(&frames(known)) {
                Some(record) if record.egress.id == known.egress.id => continue,
                // Its flows would go on to a device that isn't there; those of the VPC's other uplinks go on.
                _ if is_left(zone) && !zone.is_binding() && !observed.present.contains(&ifindex) => {
                    &mut unwanted.lost
                }
                // The same slot or VPC under another record, here or on another device: its flows go on.
                _ if is_left(zone) && is_held => &mut unwanted.held,
                _ if is_left(zone) => &mut unwanted.done,
                // The device is gone, or is another thing now.
                None if !observed.present.contains(&ifindex) => &mut unwanted.gone,
                None if records.values().any(is_another_kind) => &mut unwanted.gone,
                Some(_) => &mut unwanted.gone,
                None if has_flows => &mut unwanted.draining,
                None if is_held => &mut unwanted.held,
                None => &mut unwanted.done,
            };
            fate.push(*known);
        }
        let takes_frames = |it: &&Interface| {
            observed.in_force.contains(&it.egress.id) && !records.contains_key(&frames(it)) && !it.is_slot()
        };
        unwanted.withdrawn = unwanted.held.iter().filter(takes_frames).copied().collect();
        unwanted
    }

    pub(super) fn draining_devices(&self) -> impl Iterator<Item = IfIndex> {
        self.draining.iter().map(|record| record.egress.ifindex)
    }
}

fn orphans(observed: &Observed) -> Vec<Zone> {
    let known: BTreeSet<_> = observed.interfaces.iter().map(|it| it.zone).collect();
    let with_flows = observed.flow_bindings.iter().filter_map(|number| Zone::of_binding(*number));
    with_flows.filter(|zone| !known.contains(zone)).collect()
}
