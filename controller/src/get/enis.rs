//! `weir get enis`: the ENIs of this machine.

use super::pool::{Owned, Pooled, names, percent};
use super::table::{joined, table};
use crate::config::Config;
use crate::pool::{EniState, Ports};
use serde::Serialize;
use weir_path::packet::VlanTag;

/// One ENI.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EniView {
    /// Its name, which it keeps for life.
    pub id: String,
    /// The VPC.
    pub vpc: String,
    /// The subnet.
    pub subnet: String,
    /// The connectors that share it.
    pub connectors: Vec<String>,
    /// Who it is for.
    pub tenant: String,
    /// Its addresses that take new flows.
    pub addresses: Vec<String>,
    /// Those that take none, and go when their last flow has ended.
    pub draining_addresses: Vec<String>,
    /// Its MAC; none while it is not in force.
    pub mac: Option<String>,
    /// The device of its uplink; none where the subnet is no longer configured.
    pub device: Option<String>,
    /// The VLAN of its frames; none where they have no tag.
    pub vlan: Option<u16>,
    /// `pending`, `available`, `in-use` or `detaching`.
    pub state: &'static str,
    /// Ports that flows have.
    pub live: u32,
    /// Ports that are not to be used again yet.
    pub resting: u32,
    /// How much of an address is in use towards the remote that most of it is in use towards.
    pub fullest_percent: f64,
    /// The security groups that it is in.
    pub security_groups: Vec<String>,
}

pub(super) fn enis(config: &Config, pooled: &Pooled) -> Vec<EniView> {
    pooled.enis(config).map(|owned| view(&owned, config, pooled)).collect()
}

fn view(owned: &Owned<'_>, config: &Config, pooled: &Pooled) -> EniView {
    let Owned { entry, eni, .. } = *owned;
    let Ports { live, resting } = pooled.used(owned.addresses());
    let fullest = owned.addresses().filter_map(|it| pooled.usage.fullest(it)).map(|(_, ports)| ports.used());
    let subnet = config.subnets.iter().find(|it| it.name.value == eni.subnet);
    let uplink = subnet.and_then(|it| config.uplinks.get(it.uplink));
    let is_draining = |draining| eni.addresses.iter().filter(move |it| it.draining == draining);
    let written = |draining| is_draining(draining).map(|it| it.address.to_string()).collect();
    EniView {
        id: eni.id.to_string(),
        vpc: entry.key.vpc.clone(),
        subnet: eni.subnet.clone(),
        connectors: names(config, &entry.key),
        tenant: entry.key.tenant.clone(),
        addresses: written(false),
        draining_addresses: written(true),
        mac: pooled.record(owned).map(|it| it.mac.to_string()),
        device: uplink.map(|it| it.interface.value.clone()),
        vlan: uplink.map(|it| it.vlan).filter(|tag| *tag != VlanTag::NONE).map(|tag| tag.0),
        state: state(eni.state, live).name(),
        live,
        resting,
        fullest_percent: percent(fullest.max().unwrap_or_default(), pooled.room(entry)),
        security_groups: entry.key.security_groups.clone(),
    }
}

/// Whether there are flows is known better than it is written down.
const fn state(kept: EniState, live: u32) -> EniState {
    match (kept, live) {
        (EniState::Available | EniState::InUse, 0) => EniState::Available,
        (EniState::Available | EniState::InUse, _) => EniState::InUse,
        (other, _) => other,
    }
}

pub(super) fn as_table(views: &[EniView]) -> String {
    let header = [
        "ID",
        "VPC",
        "SUBNET",
        "CONNECTORS",
        "TENANT",
        "SECURITY GROUPS",
        "ADDRESSES",
        "MAC",
        "DEVICE",
        "STATE",
        "LIVE",
        "RESTING",
        "FULLEST",
    ];
    table(
        &header,
        views.iter().map(|it| {
            let draining = it.draining_addresses.iter().map(|address| format!("{address} (draining)"));
            let device = it.device.as_deref().unwrap_or("-");
            vec![
                it.id.clone(),
                it.vpc.clone(),
                it.subnet.clone(),
                joined(&it.connectors),
                it.tenant.clone(),
                joined(&it.security_groups),
                joined(it.addresses.iter().cloned().chain(draining)),
                it.mac.clone().unwrap_or_else(|| "-".into()),
                it.vlan.map_or_else(|| device.to_owned(), |vlan| format!("{device} VLAN {vlan}")),
                it.state.into(),
                it.live.to_string(),
                it.resting.to_string(),
                format!("{}%", it.fullest_percent),
            ]
        }),
    )
}
