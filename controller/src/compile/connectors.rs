//! The pool's side of the image: whose addresses are whose, what connectors' flows leave from, and the routes of VPCs.

use super::Numbers;
use crate::config::{Config, ConnectorKey, EniKind, Family, Subnet, UdpMapping};
use crate::pool::{Entry, Facts, FreePorts, Pool};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{ConnectorImage, Route};
use weir_path::addr::Ip6;
use weir_path::tables::{Connector, ConnectorId, Owner, Source, Vip};

/// Every address of every ENI, those that drain too. What is a VIP is a VIP.
pub(super) fn owners(
    config: &Config,
    pool: &Pool,
    numbers: &Numbers,
    vips: &BTreeSet<Vip>,
) -> BTreeMap<Vip, Owner> {
    let mut owners = BTreeMap::new();
    for (entry, eni) in pool.enis() {
        let (Some(id), Some(subnet)) = (numbers.enis.get(&eni.id), subnet(config, &eni.subnet)) else {
            continue;
        };
        let owner = match entry.key.enis {
            EniKind::Own => Owner::eni(*id),
            EniKind::Host => Owner::HOST,
        };
        let addresses = eni.addresses.iter().map(|it| Vip { address: it.address, zone: subnet.zone });
        owners.extend(addresses.filter(|vip| !vips.contains(vip)).map(|vip| (vip, owner)));
    }
    owners
}

/// Every connector of the configuration that is in the pool, also one without an ENI: its slots are told so.
pub(super) fn compile(
    config: &Config,
    pool: &Pool,
    facts: &Facts,
    numbers: &Numbers,
) -> BTreeMap<ConnectorId, ConnectorImage> {
    let in_pool = |key: &ConnectorKey| pool.entry(key);
    let connectors = config.connectors.iter().filter_map(|it| Some((it, in_pool(&it.key)?)));
    let image = connectors.map(|(connector, entry)| {
        let settings = connector.settings;
        let image = ConnectorImage {
            connector: Connector {
                zone: connector.zone,
                tcp_idle: settings.tcp_idle,
                udp_idle: settings.udp_idle,
                rest: settings.rest,
                maps_udp: u8::from(entry.key.udp_mapping == UdpMapping::EndpointIndependent),
                ..Connector::default()
            },
            v4: sources(entry, Family::V4, config, facts, numbers),
            v6: sources(entry, Family::V6, config, facts, numbers),
        };
        (entry.id, image)
    });
    image.collect()
}

/// What new flows leave from.
fn sources(entry: &Entry, family: Family, config: &Config, facts: &Facts, numbers: &Numbers) -> Vec<Source> {
    let of_eni = entry.enis.iter().filter_map(|eni| {
        let subnet = subnet(config, &eni.subnet)?;
        let (number, uplink) = (*numbers.enis.get(&eni.id)?, *numbers.uplinks.get(&subnet.uplink)?);
        let ports = match entry.key.enis {
            EniKind::Own => FreePorts::ALL,
            EniKind::Host => facts.uplinks.get(subnet.uplink)?.ports,
        };
        let FreePorts { first, blocks } = ports;
        let source = move |address: Ip6| Source { address, eni: number, uplink, first, blocks };
        (blocks > 0).then(|| eni.sources(family).map(source))
    });
    of_eni.flatten().collect()
}

/// The static routes of all VPCs.
pub(super) fn routes(config: &Config) -> BTreeMap<Route, Ip6> {
    let routes = config.vpcs.iter().flat_map(|vpc| vpc.routes.iter().map(move |route| (vpc.zone, route)));
    routes
        .map(|(zone, route)| {
            let prefix = route.destination.value;
            (Route { zone, destination: prefix.address, bits: prefix.bits }, route.via.value)
        })
        .collect()
}

fn subnet<'c>(config: &'c Config, name: &str) -> Option<&'c Subnet> {
    config.subnets.iter().find(|subnet| subnet.name.value == name)
}
