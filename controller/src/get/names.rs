//! What the configuration calls the places where flows lead.

use crate::config::{Config, SlotName};
use crate::store::SlotRecord;
use std::collections::BTreeMap;
use weir_path::addr::{InterfaceId, L4Port};
use weir_path::tables::Interface;

/// The names of targets, by the binding and the port that serve; no port for a target that serves on all of them.
///
/// A binding's number is fresh, so a name stays right for as long as a flow can have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(BTreeMap<(u32, Option<L4Port>), String>);

impl Names {
    pub(crate) fn new(config: &Config, slots: &[SlotRecord], interfaces: &[Interface]) -> Self {
        let bindings: BTreeMap<&str, u32> = slots
            .iter()
            .filter_map(|record| {
                let interface = interfaces.iter().find(|it| it.egress.id == InterfaceId(record.interface))?;
                interface.zone.is_binding().then(|| (record.slot.as_str(), interface.zone.number()))
            })
            .collect();
        let mut names = BTreeMap::new();
        for target in config.groups.iter().flat_map(|group| &group.targets) {
            let slot = target.place.slot().map(|slot| slot.value.to_string());
            if let Some(binding) = slot.and_then(|slot| bindings.get(slot.as_str())) {
                // The same place may serve in several groups: the first name stays.
                names.entry((*binding, target.port)).or_insert_with(|| target.name.value.clone());
            }
        }
        Self(names)
    }

    pub(crate) fn target(&self, binding: u32, port: L4Port) -> Option<&str> {
        let of_all_ports = || self.0.get(&(binding, None));
        self.0.get(&(binding, Some(port))).or_else(of_all_ports).map(String::as_str)
    }

    /// Takes over newer names. Those of targets that were taken out stay: their flows are still to end.
    pub(crate) fn renew(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }
}

/// The number of a slot's binding; none while its device is missing.
pub(super) fn binding(slot: &SlotName, slots: &[SlotRecord], interfaces: &[Interface]) -> Option<u32> {
    let name = slot.to_string();
    let record = slots.iter().find(|record| record.slot == name)?;
    let interface = interfaces.iter().find(|it| it.egress.id == InterfaceId(record.interface))?;
    interface.zone.is_binding().then(|| interface.zone.number())
}
