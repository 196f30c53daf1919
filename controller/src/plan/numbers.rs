//! Numbers for what is new: dense ones for interfaces, fresh ones for bindings.

use super::{Observed, PlanError, WantedSlot};
use std::collections::BTreeSet;
use weir_path::addr::{InterfaceId, Zone};
use weir_path::layout::MAX_INTERFACES;
use weir_path::tables::{ConnectorId, Interface};

/// Which numbers are taken.
pub(super) struct Numbers {
    interfaces: BTreeSet<u32>,
    bindings: BTreeSet<u32>,
    last_binding: u32,
    wanted: usize,
}

fn recorded_numbers(observed: &Observed) -> impl Iterator<Item = InterfaceId> {
    observed.interfaces.iter().map(|it| it.egress.id)
}

impl Numbers {
    pub(super) fn new(observed: &Observed, wanted: usize) -> Self {
        let recorded = observed.interfaces.iter().map(|it| it.zone).filter(|zone| zone.is_binding());
        let mut bindings = observed.flow_bindings.clone();
        bindings.extend(recorded.map(Zone::number));
        Self {
            // What is held under a number would be the next one's.
            interfaces: recorded_numbers(observed)
                .chain(observed.charged.iter().copied())
                .map(|id| id.0)
                .collect(),
            last_binding: bindings.last().copied().unwrap_or(0),
            bindings,
            wanted,
        }
    }

    /// `record` under the number that it has already, else under the lowest free one.
    ///
    /// A record that changed gets another number, so that programs which read the old one meanwhile read a whole
    /// one, and flows that leave by it go on as they did. Three numbers in it stand for themselves, and flows are to
    /// follow them at once: how long packets may be, how many answers are made, and which ways are measured.
    pub(super) fn interface(
        &mut self,
        mut record: Interface,
        observed: &Observed,
    ) -> Result<Interface, PlanError> {
        let same = observed.interfaces.iter().find(|known| {
            record.egress.id = known.egress.id;
            let Interface { mtu, answers, metered, .. } = **known;
            **known == Interface { mtu, answers, metered, ..record }
        });
        if same.is_some() {
            return Ok(record);
        }
        let free = (0..MAX_INTERFACES).find(|id| !self.interfaces.contains(id));
        let id = free.ok_or(PlanError::NoInterfaceNumber { wanted: self.wanted, max: MAX_INTERFACES })?;
        self.interfaces.insert(id);
        record.egress.id = InterfaceId(id);
        Ok(record)
    }

    /// The binding of a slot. It stays for as long as the device does: flows have it in their keys. But what one
    /// connector's sandbox opened must not reach the sandbox of another one: there the slot is bound anew, and what
    /// the old binding has left ends. A slot that drains opens nothing any more; what it opened before tells.
    pub(super) fn binding_of(&mut self, slot: &WantedSlot, observed: &Observed) -> Result<Zone, PlanError> {
        let on_device = |it: &&Interface| it.zone.is_binding() && it.egress.ifindex == slot.ifindex;
        let mut known = observed.interfaces.iter().filter(on_device);
        let is_led_to = |it: &&Interface| observed.in_force.contains(&it.egress.id);
        let before = known.clone().find(is_led_to).or_else(|| known.next());
        let keeps = |before: &&Interface| {
            let opens_anew =
                before.connector == ConnectorId::NONE && !observed.opened.contains(&before.zone.number());
            before.connector == slot.connector || opens_anew
        };
        before.filter(keeps).map_or_else(|| self.binding(), |before| Ok(before.zone))
    }

    /// A binding that no slot has and no flow remembers: one more than the last, from the start again at the end.
    ///
    /// A slot that is bound anew must not see packets of the sandbox it had before.
    pub(super) fn binding(&mut self) -> Result<Zone, PlanError> {
        let after = (self.last_binding.saturating_add(1)..=Zone::MAX_NUMBER).chain(1..=self.last_binding);
        let free = after.into_iter().find(|number| !self.bindings.contains(number));
        let zone = free.and_then(Zone::of_binding);
        let zone = zone.ok_or(PlanError::NoBindingNumber { max: Zone::MAX_NUMBER })?;
        self.last_binding = zone.number();
        self.bindings.insert(zone.number());
        Ok(zone)
    }
}
