//! What the configuration and the pool add to the devices: ENIs on uplinks, connectors and rates of slots, gateways of
//! uplinks without an address.

use super::{Meters, Wanted, WantedUplink};
use crate::config::{Config, Family, SlotBinding, SlotName, Subnet};
use crate::pool::{Eni, EniId, Entry, Pool};
use std::collections::BTreeMap;
use weir_path::addr::{Address, IfIndex, Ip4, Ip6, Mac};
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Delivery, Egress, Interface};

/// An ENI that should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedEni {
    /// Its name.
    pub id: EniId,
    /// The place of its uplink in [`Config::uplinks`].
    pub uplink: usize,
    /// Whose it is.
    pub connector: ConnectorId,
    /// Its own MAC, where it has one.
    pub mac: Option<Mac>,
    /// Its IPv4 side.
    pub v4: Option<EniSide<Ip4>>,
    /// Its IPv6 side.
    pub v6: Option<EniSide<Ip6>>,
}

/// One family of an ENI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EniSide<A> {
    /// Its first address.
    pub local: A,
    /// How many bits its neighbours share with it.
    pub on_link: u8,
    /// Who takes what is for others.
    pub gateway: Option<A>,
}

/// Adds to the devices that were found what the pool has for them. `slots` says which device each slot is.
pub fn connect(wanted: &mut Wanted, config: &Config, pool: &Pool, slots: &BTreeMap<SlotName, IfIndex>) {
    for uplink in &mut wanted.uplinks {
        let gateway = |family| {
            let subnets = config.subnets.iter().filter(|subnet| subnet.uplink == uplink.place);
            subnets.filter_map(|subnet| subnet.prefix(family)?.gateway).next()
        };
        (uplink.gateway, uplink.gateway6) = (gateway(Family::V4).map(Ip4::of_mapped), gateway(Family::V6));
    }
    let connector = |binding: &SlotBinding| {
        let entry = pool.entry(&config.connectors.get(binding.connector?)?.key)?;
        Some((*slots.get(&binding.slot.value)?, entry.id))
    };
    let connectors: BTreeMap<IfIndex, ConnectorId> = config.slots.iter().filter_map(connector).collect();
    let metered = |binding: &SlotBinding| Some((*slots.get(&binding.slot.value)?, (&binding.rates).into()));
    let meters: BTreeMap<IfIndex, Meters> = config.slots.iter().filter_map(metered).collect();
    for slot in &mut wanted.slots {
        slot.connector = connectors.get(&slot.ifindex).copied().unwrap_or(ConnectorId::NONE);
        slot.meters = meters.get(&slot.ifindex).copied().unwrap_or_default();
    }
    let subnets: BTreeMap<&str, &Subnet> =
        config.subnets.iter().map(|subnet| (subnet.name.value.as_str(), subnet)).collect();
    let subnet = |eni: &Eni| subnets.get(eni.subnet.as_str()).copied();
    wanted.enis = pool.enis().filter_map(|(entry, eni)| Some(wanted_eni(entry, eni, subnet(eni)?))).collect();
}

fn wanted_eni(entry: &Entry, eni: &Eni, subnet: &Subnet) -> WantedEni {
    // Whether it drains or not: its record stays the same for as long as the address is there.
    let first = |family| eni.addresses.iter().map(|it| it.address).find(|it| Family::of(*it) == family);
    let v4 = subnet.v4.zip(first(Family::V4)).map(|(v4, local)| EniSide {
        local: Ip4::of_mapped(local),
        on_link: v4.prefix.written_bits(),
        gateway: v4.gateway.map(Ip4::of_mapped),
    });
    let v6 = subnet.v6.zip(first(Family::V6)).map(|(v6, local)| EniSide {
        local,
        on_link: v6.prefix.written_bits(),
        gateway: v6.gateway,
    });
    let mac = eni.mac(&entry.key);
    WantedEni { id: eni.id, uplink: subnet.uplink, connector: entry.id, mac, v4, v6 }
}

/// How many times a second a first packet that leaves by an ENI may make the kernel ask the link for a neighbour: what a
/// record's rate of answers is on an ENI, which answers nobody. A scan of a subnet would else fill the kernel's table.
const QUESTIONS_PER_SECOND: u32 = 100;

/// The record of an ENI: its uplink's way out, under its own addresses.
pub(super) fn eni_record(eni: &WantedEni, uplink: &WantedUplink) -> Interface {
    // The kernel, which would ask for neighbours, knows no tags of Weir's: there, all goes by the gateway.
    let on_link = |bits: u8| if uplink.vlan == VlanTag::NONE { bits } else { 0 };
    Interface {
        egress: Egress { ifindex: uplink.ifindex, delivery: Delivery::TRANSMIT, ..Egress::default() },
        mac: eni.mac.unwrap_or(uplink.mac),
        zone: uplink.zone,
        mtu: uplink.mtu,
        vlan: uplink.vlan,
        answers: QUESTIONS_PER_SECOND,
        connector: eni.connector,
        local: eni.v4.map(|it| it.local).unwrap_or_default(),
        on_link: eni.v4.map(|it| on_link(it.on_link)).unwrap_or_default(),
        gateway: eni.v4.and_then(|it| it.gateway).unwrap_or_default(),
        local6: eni.v6.map(|it| it.local).unwrap_or_default(),
        on_link6: eni.v6.map(|it| on_link(it.on_link)).unwrap_or_default(),
        gateway6: eni.v6.and_then(|it| it.gateway).unwrap_or_default(),
        ..Interface::default()
    }
}
