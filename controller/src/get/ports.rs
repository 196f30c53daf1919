//! `weir get ports` and `weir ports`: how many ports of which address are in use, and towards whom most.

use super::flows::protocol_name;
use super::pool::{Owned, Pooled, names, percent};
use super::table::{endpoint, joined, table};
use crate::config::Config;
use crate::pool::{Ports, Remote};
use serde::Serialize;
use weir_path::tables::Vip;

/// One address of an ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortView {
    /// The ENI.
    pub eni: String,
    /// The address.
    pub address: String,
    /// The VPC.
    pub vpc: String,
    /// The connectors that share it.
    pub connectors: Vec<String>,
    /// Ports that flows have, towards all remotes together.
    pub live: u32,
    /// Ports that are not to be used again yet, towards all remotes together.
    pub resting: u32,
    /// Ports left towards the remote that has the fewest.
    pub left: u32,
    /// How often a flow was refused because no port was left.
    pub refused: u64,
}

/// A remote that ports of an address are in use towards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemoteView {
    /// The ENI.
    pub eni: String,
    /// The address.
    pub address: String,
    /// The remote's address.
    pub remote: String,
    /// The remote's port; 0 of what has none.
    pub remote_port: u16,
    /// `tcp`, `udp`, `icmp`, or `udp_mapping`: ports that sandboxes' UDP ports have, whatever the remote.
    pub protocol: &'static str,
    /// Ports that flows have.
    pub live: u32,
    /// Ports that are not to be used again yet.
    pub resting: u32,
    /// Ports that are left.
    pub free: u32,
    /// How much is in use.
    pub percent: f64,
    /// How often a flow towards it was refused because no port was left.
    pub refused: u64,
    /// Who the ENI is for.
    pub tenant: String,
    /// When no port is left, if it goes on as it does; none where it doesn't grow.
    pub seconds_left: Option<f64>,
}

pub(super) fn ports(config: &Config, pooled: &Pooled) -> Vec<PortView> {
    let of_eni = |owned: Owned<'_>| {
        let view = |address: Vip| {
            let Ports { live, resting } = pooled.usage.of(address);
            let fullest = pooled.usage.fullest(address).map_or(0, |(_, ports)| ports.used());
            PortView {
                eni: owned.eni.id.to_string(),
                address: address.address.to_string(),
                vpc: owned.entry.key.vpc.clone(),
                connectors: names(config, &owned.entry.key),
                live,
                resting,
                left: pooled.room(owned.entry).saturating_sub(fullest),
                refused: pooled.refused(address),
            }
        };
        owned.addresses().map(view).collect::<Vec<_>>()
    };
    pooled.enis(config).flat_map(of_eni).collect()
}

/// The fullest remotes, the fullest one first, by two looks that are `seconds` apart.
pub(super) fn fullest(
    config: &Config,
    before: &Pooled,
    now: &Pooled,
    seconds: f64,
    most: usize,
) -> Vec<RemoteView> {
    let mut all = Vec::new();
    for owned in now.enis(config) {
        for address in owned.addresses() {
            all.extend(now.usage.remotes(address).map(|(remote, ports)| (owned, address, remote, ports)));
        }
    }
    let room = |owned: &Owned<'_>| now.room(owned.entry);
    // Shares as whole numbers, so that there is one order.
    all.sort_by_key(|(owned, address, remote, ports)| {
        let millionths = u64::from(ports.used()) * 1_000_000 / u64::from(room(owned).max(1));
        (std::cmp::Reverse(millionths), *address, *remote)
    });
    all.truncate(most);
    let view = |(owned, address, remote, ports): (Owned<'_>, Vip, Remote, Ports)| {
        let used_before = before.usage.towards(address, remote).used();
        let free = room(&owned).saturating_sub(ports.used());
        let slope = f64::from(ports.used().saturating_sub(used_before)) / seconds;
        RemoteView {
            eni: owned.eni.id.to_string(),
            address: address.address.to_string(),
            remote: remote.address.to_string(),
            remote_port: remote.port.number(),
            protocol: protocol_name(remote.protocol),
            live: ports.live,
            resting: ports.resting,
            free,
            percent: percent(ports.used(), room(&owned)),
            refused: now.refusals.get(&(address, remote)).copied().unwrap_or_default(),
            tenant: owned.entry.key.tenant.clone(),
            seconds_left: (slope > 0.0).then(|| (f64::from(free) / slope * 10.0).round() / 10.0),
        }
    };
    all.into_iter().map(view).collect()
}

pub(super) fn as_table(views: &[PortView]) -> String {
    table(
        &["ENI", "ADDRESS", "VPC", "CONNECTORS", "LIVE", "RESTING", "LEFT", "REFUSED"],
        views.iter().map(|it| {
            vec![
                it.eni.clone(),
                it.address.clone(),
                it.vpc.clone(),
                joined(&it.connectors),
                it.live.to_string(),
                it.resting.to_string(),
                it.left.to_string(),
                it.refused.to_string(),
            ]
        }),
    )
}

pub(super) fn fullest_as_table(views: &[RemoteView]) -> String {
    let header = [
        "ENI", "ADDRESS", "REMOTE", "PROTOCOL", "LIVE", "RESTING", "FREE", "USED", "REFUSED", "TENANT",
        "FULL IN",
    ];
    table(
        &header,
        views.iter().map(|it| {
            vec![
                it.eni.clone(),
                it.address.clone(),
                endpoint(&it.remote, it.remote_port),
                it.protocol.into(),
                it.live.to_string(),
                it.resting.to_string(),
                it.free.to_string(),
                format!("{}%", it.percent),
                it.refused.to_string(),
                it.tenant.clone(),
                it.seconds_left.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s")),
            ]
        }),
    )
}
