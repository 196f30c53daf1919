//! What is recorded, and no longer wanted: what of it must stay for its flows, and what can go.

use super::{Observed, Records, frames};
use std::collections::BTreeSet;
use weir_path::addr::{IfIndex, Zone};
use weir_path::tables::{ConnectorId, Interface};

/// Records and flows that nothing in the configuration stands for any more.
#[derive(Default)]
pub(super) struct Unwanted {
    /// Slots that still have flows.
    pub(super) draining: Vec<Interface>,
    /// Slots whose sandboxes may still open flows: as they are written so that they may not.
    pub(super) closed: Vec<Interface>,
    /// What nothing refers to.
    pub(super) done: Vec<Interface>,
    /// What only flows refer to, which leave by it. Its number must not become another interface's before they
    /// have ended: their packets would go there.
    pub(super) held: Vec<Interface>,
    /// What of that still takes frames, which no other interface does: a device's other uplinks keep its program.
    pub(super) withdrawn: Vec<Interface>,
    /// What has lost its device, and its flows with it.
    pub(super) gone: Vec<Interface>,
    /// Uplinks that have lost their device, while another one leads to the same VPC; ENIs that nobody has any more.
    pub(super) lost: Vec<Interface>,
    /// Bindings that have flows but no slot: what a crash can leave.
    pub(super) orphans: Vec<Zone>,
}

impl Unwanted {
    pub(super) fn of(records: &Records, observed: &Observed) -> Self {
        let mut unwanted = Self { orphans: orphans(observed), ..Self::default() };
        let (enis, devices): (Vec<&Interface>, _) = observed.interfaces.iter().partition(|it| it.is_eni());
        unwanted.sort_devices(&devices, records, observed);
        unwanted.sort_enis(&enis, records, observed);
        unwanted
    }

    fn sort_devices(&mut self, known: &[&Interface], records: &Records, observed: &Observed) {
        let records = &records.devices;
        let is_left = |zone| records.values().any(|record| record.zone == zone);
        for known in known {
            let (ifindex, zone) = (known.egress.ifindex, known.zone);
            let has_flows = zone.is_binding() && observed.flow_bindings.contains(&zone.number());
            let is_held = observed.exits.contains(&known.egress.id);
            let is_another_kind =
                |it: &Interface| it.egress.ifindex == ifindex && it.is_slot() != known.is_slot();
            let fate = match records.get(&frames(known)) {
                Some(record) if record.egress.id == known.egress.id => continue,
                // Its flows would go on to a device that isn't there; those of the VPC's other uplinks go on.
                _ if is_left(zone) && !zone.is_binding() && !observed.present.contains(&ifindex) => {
                    &mut self.lost
                }
                // The same slot or VPC under another record, here or on another device: its flows go on.
                _ if is_left(zone) && is_held => &mut self.held,
                _ if is_left(zone) => &mut self.done,
                // The device is gone, or is another thing now.
                None if !observed.present.contains(&ifindex) => &mut self.gone,
                None if records.values().any(is_another_kind) => &mut self.gone,
                Some(_) => &mut self.gone,
                None if has_flows => &mut self.draining,
                None if is_held => &mut self.held,
                None => &mut self.done,
            };
            fate.push(**known);
        }
        let takes_frames =
            |it: &&Interface| observed.in_force.contains(&it.egress.id) && !records.contains_key(&frames(it));
        let is_uplink = |it: &&Interface| !it.is_slot();
        self.withdrawn = self.held.iter().filter(takes_frames).filter(is_uplink).copied().collect();
        let opens = |it: &&Interface| it.is_slot() && it.connector != ConnectorId::NONE;
        let opening = self.draining.iter().chain(&self.done).filter(takes_frames).filter(opens);
        // Under its own number: whoever reads it meanwhile reads the one or the other.
        self.closed = opening.map(|known| Interface { connector: ConnectorId::NONE, ..*known }).collect();
    }

    /// While its connector has others, an ENI's record stays until the flows that leave by it have ended: it drains, or
    /// it changed and goes on under another number. What is left of a connector that is gone ends.
    fn sort_enis(&mut self, known: &[&Interface], records: &Records, observed: &Observed) {
        let kept: BTreeSet<_> = records.enis.iter().map(|record| record.egress.id).collect();
        let connectors: BTreeSet<_> = records.enis.iter().map(|it| (it.zone, it.connector)).collect();
        for known in known.iter().filter(|known| !kept.contains(&known.egress.id)) {
            let is_present = observed.present.contains(&known.egress.ifindex);
            let has_siblings = connectors.contains(&(known.zone, known.connector));
            let fate = if !has_siblings || !is_present {
                &mut self.lost
            } else if observed.exits.contains(&known.egress.id) {
                &mut self.held
            } else {
                &mut self.done
            };
            fate.push(**known);
        }
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
