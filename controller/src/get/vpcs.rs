//! `weir get vpcs`: address spaces, the ways to them, and what of them ENIs have.

use super::pool::Pooled;
use super::table::{joined, table};
use crate::config::{Config, Prefix, Subnet, Uplink, Vpc};
use serde::Serialize;
use weir_path::packet::VlanTag;

/// One VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcView {
    /// Its name.
    pub name: String,
    /// Its uplinks, each with its VLAN where it has one: `eth0`, `eth0.7`.
    pub uplinks: Vec<String>,
    /// Its subnets.
    pub subnets: Vec<SubnetView>,
    /// Its routes.
    pub routes: Vec<RouteView>,
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetView {
    /// Its name.
    pub name: String,
    /// Its uplink.
    pub uplink: Option<String>,
    /// Its IPv4 addresses.
    pub prefix: Option<String>,
    /// Its IPv6 addresses.
    pub prefix6: Option<String>,
    /// The IPv4 gateway.
    pub gateway: Option<String>,
    /// The IPv6 gateway.
    pub gateway6: Option<String>,
    /// How many ENIs are in it.
    pub enis: usize,
    /// How many of its addresses they have.
    pub addresses: usize,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteView {
    /// The addresses.
    pub destination: String,
    /// Who takes what is for them.
    pub via: String,
}

pub(super) fn vpcs(config: &Config, pooled: &Pooled) -> Vec<VpcView> {
    config.vpcs.iter().map(|vpc| view(vpc, config, pooled)).collect()
}

fn view(vpc: &Vpc, config: &Config, pooled: &Pooled) -> VpcView {
    let uplinks = config.uplinks.iter().filter(|it| it.zone == vpc.zone).map(uplink_name);
    let subnets = config.subnets.iter().filter(|it| it.zone == vpc.zone);
    let route = |destination: Prefix, via: String| RouteView { destination: destination.to_string(), via };
    VpcView {
        name: vpc.name.value.clone(),
        uplinks: uplinks.collect(),
        subnets: subnets.map(|it| subnet_view(it, config, pooled)).collect(),
        routes: vpc.routes.iter().map(|it| route(it.destination.value, it.via.value.to_string())).collect(),
    }
}

fn subnet_view(subnet: &Subnet, config: &Config, pooled: &Pooled) -> SubnetView {
    let own = || pooled.pool.enis().filter(|(_, eni)| eni.subnet == subnet.name.value);
    let gateway = |it: Option<crate::config::SubnetPrefix>| Some(it?.gateway?.to_string());
    SubnetView {
        name: subnet.name.value.clone(),
        uplink: config.uplinks.get(subnet.uplink).map(uplink_name),
        prefix: subnet.v4.map(|it| it.prefix.to_string()),
        prefix6: subnet.v6.map(|it| it.prefix.to_string()),
        gateway: gateway(subnet.v4),
        gateway6: gateway(subnet.v6),
        enis: own().count(),
        addresses: own().map(|(_, eni)| eni.addresses.len()).sum(),
    }
}

/// A device with its tag.
fn uplink_name(uplink: &Uplink) -> String {
    let device = &uplink.interface.value;
    match uplink.vlan {
        VlanTag::NONE => device.clone(),
        VlanTag(vlan) => format!("{device}.{vlan}"),
    }
}

pub(super) fn as_table(views: &[VpcView]) -> String {
    let subnets = table(
        &["VPC", "UPLINKS", "SUBNET", "UPLINK", "PREFIXES", "GATEWAYS", "ENIS", "ADDRESSES"],
        views.iter().flat_map(|vpc| {
            let head = vec![vpc.name.clone(), joined(&vpc.uplinks)];
            let row = |subnet: Option<&SubnetView>| [head.clone(), subnet_cells(subnet)].concat();
            if vpc.subnets.is_empty() {
                return vec![row(None)];
            }
            vpc.subnets.iter().map(|subnet| row(Some(subnet))).collect()
        }),
    );
    let routes = views.iter().flat_map(|vpc| {
        vpc.routes.iter().map(|it| vec![vpc.name.clone(), it.destination.clone(), it.via.clone()])
    });
    let routes: Vec<_> = routes.collect();
    if routes.is_empty() {
        return subnets;
    }
    format!("{subnets}\n\n{}", table(&["VPC", "ROUTE", "VIA"], routes))
}

fn subnet_cells(subnet: Option<&SubnetView>) -> Vec<String> {
    let Some(subnet) = subnet else { return vec!["-".to_owned(); 6] };
    vec![
        subnet.name.clone(),
        subnet.uplink.clone().unwrap_or_else(|| "-".to_owned()),
        joined([&subnet.prefix, &subnet.prefix6].into_iter().flatten()),
        joined([&subnet.gateway, &subnet.gateway6].into_iter().flatten()),
        subnet.enis.to_string(),
        subnet.addresses.to_string(),
    ]
}
