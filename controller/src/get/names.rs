//! What the configuration calls the places where flows lead, and those whose they are.

use crate::config::{Config, Place, SlotName};
use crate::store::SlotRecord;
use std::collections::BTreeMap;
use weir_path::addr::{InterfaceId, Ip6, L4Port, Zone};
use weir_path::flow::{Account, Ends};
use weir_path::tables::{Interface, TenantId, Vip};

/// The names of tenants, and those of targets, by the place and the port that serve; no port for a target that serves on
/// all of them.
///
/// A binding's number is fresh, so a name stays right for as long as a flow can have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    bindings: BTreeMap<(u32, Option<L4Port>), String>,
    addresses: BTreeMap<(Vip, Option<L4Port>), String>,
    tenants: TenantNames,
}

/// The names of tenants, by their numbers.
pub(crate) type TenantNames = BTreeMap<TenantId, String>;

impl Names {
    pub(crate) fn new(
        config: &Config,
        slots: &[SlotRecord],
        interfaces: &[Interface],
        tenants: TenantNames,
    ) -> Self {
        let known: BTreeMap<&str, u32> = slots
            .iter()
            .filter_map(|record| {
                let interface = interfaces.iter().find(|it| it.egress.id == InterfaceId(record.interface))?;
                interface.zone.is_binding().then(|| (record.slot.as_str(), interface.zone.number()))
            })
            .collect();
        let (mut bindings, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for group in &config.groups {
            for target in &group.targets {
                // The same place may serve in several groups: the first name stays.
                let name = || target.name.value.clone();
                match (&target.place, zone_of(config, group.connector)) {
                    (Place::Slot(slot), _) => {
                        if let Some(binding) = known.get(slot.value.to_string().as_str()) {
                            bindings.entry((*binding, target.port)).or_insert_with(name);
                        }
                    }
                    (Place::Address(address), Some(zone)) => {
                        let place = Vip { address: address.value, zone };
                        addresses.entry((place, target.port)).or_insert_with(name);
                    }
                    (Place::Address(_), None) => {}
                }
            }
        }
        Self { bindings, addresses, tenants }
    }

    /// Who serves a flow with these answers.
    pub(crate) fn target(&self, serving: Zone, reply: &Ends<Ip6>) -> Option<&str> {
        if serving.is_binding() {
            return at(&self.bindings, serving.number(), reply.sport);
        }
        at(&self.addresses, Vip { address: reply.src, zone: serving }, reply.sport)
    }

    /// Whose a flow is.
    pub(crate) fn tenant(&self, account: Account) -> Option<&str> {
        self.tenants.get(&account.tenant()?).map(String::as_str)
    }

    /// Takes over newer names. Those of targets that were taken out stay: their flows are still to end.
    pub(crate) fn renew(&mut self, newer: Self) {
        self.bindings.extend(newer.bindings);
        self.addresses.extend(newer.addresses);
        self.tenants.extend(newer.tenants);
    }
}

fn at<K: Ord + Copy>(names: &BTreeMap<(K, Option<L4Port>), String>, place: K, port: L4Port) -> Option<&str> {
    let of_all_ports = || names.get(&(place, None));
    names.get(&(place, Some(port))).or_else(of_all_ports).map(String::as_str)
}

/// The VPC of a connector, by its place in the configuration.
pub(super) fn zone_of(config: &Config, connector: Option<usize>) -> Option<Zone> {
    config.connectors.get(connector?).map(|it| it.zone)
}

/// The number of a slot's binding; none while its device is missing.
pub(super) fn binding(slot: &SlotName, slots: &[SlotRecord], interfaces: &[Interface]) -> Option<u32> {
    let name = slot.to_string();
    let record = slots.iter().find(|record| record.slot == name)?;
    let interface = interfaces.iter().find(|it| it.egress.id == InterfaceId(record.interface))?;
    interface.zone.is_binding().then(|| interface.zone.number())
}
