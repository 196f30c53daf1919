//! The pool's side of the image: whose addresses are whose, what connectors' flows leave from, and the routes of VPCs.

use super::{Numbers, rules};
use crate::config::{Config, ConnectorKey, EniKind, Family, OnIdle, Subnet, UdpMapping};
use crate::pool::{Entry, Facts, FreePorts, Pool};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{ConnectorImage, Route};
use weir_path::addr::Ip6;
use weir_path::tables::{Connector, ConnectorId, Owner, Source, Vip};

/// Every address of every ENI, those that drain too. What is a VIP is a VIP.
pub(super) fn owners(
    config: &Config,
    pool: &Pool,
    facts: &Facts,
    numbers: &Numbers,
    vips: &BTreeSet<Vip>,
) -> BTreeMap<Vip, Owner> {
    let mut owners = BTreeMap::new();
    let subnets = subnets(config);
    for (entry, eni) in pool.enis() {
        let (Some(id), Some(subnet)) = (numbers.enis.get(&eni.id), subnets.get(eni.subnet.as_str())) else {
            continue;
        };
        let uplink = facts.uplinks.get(subnet.uplink);
        // One that the host was given since is the host's first: else it would be cut off.
        let is_hosts = |address: &Ip6| uplink.is_some_and(|facts| facts.addresses.contains(address));
        let owner = |address: &Ip6| match entry.key.enis {
            EniKind::Own if !is_hosts(address) => Owner::eni(*id),
            EniKind::Own | EniKind::Host => Owner::HOST,
        };
        let addresses = eni.addresses.iter().map(|it| Vip { address: it.address, zone: subnet.zone });
        owners.extend(addresses.filter(|vip| !vips.contains(vip)).map(|vip| (vip, owner(&vip.address))));
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
    let subnets = subnets(config);
    let in_pool = |key: &ConnectorKey| pool.entry(key);
    let connectors = config.connectors.iter().filter_map(|it| Some((it, in_pool(&it.key)?)));
    let image = connectors.map(|(connector, entry)| {
        let settings = connector.settings;
        let [rules_out, rules_in] = match rules::of_connector(connector, &config.security_groups) {
            Some(rules) => rules.map(Some),
            None => [None, None],
        };
        let image = ConnectorImage {
            connector: Connector {
                zone: connector.zone,
                tenant: numbers.tenants.get(&entry.key.tenant).copied().unwrap_or_default(),
                groups: rules::groups(connector),
                tcp_idle: settings.tcp_idle,
                udp_idle: settings.udp_idle,
                rest: settings.rest,
                maps_udp: u8::from(entry.key.udp_mapping == UdpMapping::EndpointIndependent),
                tells_idle: u8::from(settings.on_idle == OnIdle::BothEnds),
                has_services: u8::from(!connector.services.is_empty()),
                ..Connector::default()
            },
            v4: sources(entry, Family::V4, &subnets, facts, numbers),
            v6: sources(entry, Family::V6, &subnets, facts, numbers),
            rules_out,
            rules_in,
        };
        (entry.id, image)
    });
    image.collect()
}

/// What new flows leave from.
fn sources(
    entry: &Entry,
    family: Family,
    subnets: &Subnets<'_>,
    facts: &Facts,
    numbers: &Numbers,
) -> Vec<Source> {
    let of_eni = entry.enis.iter().filter_map(|eni| {
        let subnet = subnets.get(eni.subnet.as_str())?;
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

/// The subnets by their names.
type Subnets<'c> = BTreeMap<&'c str, &'c Subnet>;

fn subnets(config: &Config) -> Subnets<'_> {
    config.subnets.iter().map(|subnet| (subnet.name.value.as_str(), subnet)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile;
    use crate::config::tests::config;
    use crate::pool::{EniId, Moment, Seen, UplinkFacts, Usage, step};
    use weir_dataplane::image::Image;
    use weir_path::addr::{Address, InterfaceId, Ip4};
    use weir_path::hash::HashKey;
    use weir_path::tables::PortBlock;
    use weir_path::time::Seconds;

    const CONFIG: &str = r#"version = 1
[sandbox]
address6 = "fd00:7765:6972::2"
gateway6 = "fd00:7765:6972::1"
[[vpc]]
name = "prod"
  [[vpc.route]]
  destination = "10.9.0.0/16"
  via = "10.0.1.254"
  [[vpc.route]]
  destination = "fd00:9::/32"
  via = "fd00:1::fe"
[[uplink]]
interface = "eth0"
vpc = "prod"
[[subnet]]
name = "a"
vpc = "prod"
prefix = "10.0.1.0/24"
prefix6 = "fd00:1::/64"
[[connector]]
name = "web"
tenant = "acme"
subnets = ["a"]
min_enis = 2
tcp_idle = 400
udp_idle = 90
rest = 5
[[slot]]
netns = "sb1"
interface = "eth0"
connector = "web"
"#;

    /// The pool after one step, on a host whose uplink has this address.
    fn pooled(text: &str, host: [u8; 4]) -> (Config, Pool, Facts, Numbers) {
        let config = config(text);
        let ports = FreePorts { first: PortBlock(100), blocks: 50 };
        let uplink =
            UplinkFacts { is_there: true, addresses: vec![Ip4(host).mapped()], passing: vec![], ports };
        let facts = Facts { uplinks: vec![uplink], ..Facts::default() };
        let usage = Usage::new(Moment(1));
        let seen = Seen {
            now: Moment(1),
            facts: &facts,
            usage: &usage,
            before: None,
            is_counted: true,
            crowd: &usage,
            crowd_before: None,
        };
        let (pool, _) = step(&Pool::default(), &config, seen);
        let ids: Vec<EniId> = pool.enis().map(|(_, eni)| eni.id).collect();
        let enis = ids.into_iter().zip((10..).map(InterfaceId)).collect();
        let numbers = Numbers { enis, uplinks: [(0, InterfaceId(3))].into(), ..Numbers::default() };
        (config, pool, facts, numbers)
    }

    fn image((config, pool, facts, numbers): &(Config, Pool, Facts, Numbers)) -> Image {
        compile(config, HashKey::default(), pool, facts, numbers)
    }

    fn vip(config: &Config, address: &str) -> Vip {
        let address: std::net::IpAddr = address.parse().unwrap();
        Vip { address: address.into(), zone: config.vpcs[0].zone }
    }

    #[test]
    fn a_connector_leaves_from_the_addresses_of_its_enis_by_family() {
        let mut pooled = pooled(CONFIG, [10, 0, 1, 2]);
        let image_before = image(&pooled);
        let connector = &image_before.connectors[&ConnectorId(1)];
        let record = connector.connector;
        assert_eq!((record.zone, record.maps_udp), (pooled.0.vpcs[0].zone, 0));
        assert_eq!([record.tcp_idle, record.udp_idle, record.rest], [400, 90, 5].map(Seconds));
        let first = Source {
            address: Ip4([10, 0, 1, 4]).mapped(),
            eni: InterfaceId(10),
            uplink: InterfaceId(3),
            first: PortBlock(0),
            blocks: PortBlock::COUNT,
        };
        let second = Source { address: Ip4([10, 0, 1, 5]).mapped(), eni: InterfaceId(11), ..first };
        assert_eq!(connector.v4, [first, second]);
        assert_eq!(connector.v6.iter().map(|it| it.eni.0).collect::<Vec<_>>(), [10, 11]);
        let owner = |address| image_before.enis.get(&vip(&pooled.0, address)).copied();
        assert_eq!(owner("10.0.1.5"), Some(Owner::eni(InterfaceId(11))));
        assert_eq!(owner("fd00:1::4"), Some(Owner::eni(InterfaceId(10))));
        assert!(image_before.arena().is_ok());

        // What drains is still answered for, and takes no new flow.
        pooled.1.entries[0].enis[1].state = crate::pool::EniState::Detaching;
        let image = image(&pooled);
        assert_eq!(image.connectors[&ConnectorId(1)].v4, [first]);
        assert_eq!(image.enis, image_before.enis);
    }

    #[test]
    fn a_connector_without_enis_is_there_and_what_has_no_number_is_not() {
        let mut pooled = pooled(CONFIG, [10, 0, 1, 2]);
        pooled.3.enis.clear();
        let image = image(&pooled);
        assert_eq!(image.enis, BTreeMap::new());
        assert_eq!(image.connectors[&ConnectorId(1)].v4, []);
    }

    #[test]
    fn the_hosts_address_stays_the_hosts_and_only_its_free_ports_are_used() {
        let lines = "enis = \"host\"\naddresses = \"ipv4\"\nudp_mapping = \"endpoint_independent\"";
        let pooled = pooled(&CONFIG.replace("min_enis = 2", lines), [10, 0, 1, 2]);
        let image = image(&pooled);
        let connector = &image.connectors[&ConnectorId(1)];
        let ports: Vec<_> = connector.v4.iter().map(|it| (it.address, it.first, it.blocks)).collect();
        assert_eq!(ports, [(Ip4([10, 0, 1, 2]).mapped(), PortBlock(100), 50)]);
        assert_eq!(connector.connector.maps_udp, 1);
        assert_eq!(image.enis, BTreeMap::from([(vip(&pooled.0, "10.0.1.2"), Owner::HOST)]));
    }

    #[test]
    fn an_enis_address_that_the_host_was_given_since_is_the_hosts_first() {
        let mut pooled = pooled(CONFIG, [10, 0, 1, 2]);
        pooled.2.uplinks[0].addresses.push(Ip4([10, 0, 1, 5]).mapped());
        let owner = |address| image(&pooled).enis.get(&vip(&pooled.0, address)).copied();
        assert_eq!(owner("10.0.1.5"), Some(Owner::HOST));
        assert_eq!(owner("10.0.1.4"), Some(Owner::eni(InterfaceId(10))));
    }

    #[test]
    fn routes_lead_to_neighbours_in_their_vpc() {
        let pooled = pooled(CONFIG, [10, 0, 1, 2]);
        let routes = image(&pooled).routes;
        let by = |address: &str, bits| {
            let Vip { address, zone } = vip(&pooled.0, address);
            routes.get(&Route { zone, destination: address, bits }).map(ToString::to_string)
        };
        assert_eq!(by("10.9.0.0", 96 + 16).as_deref(), Some("10.0.1.254"));
        assert_eq!(by("fd00:9::", 32).as_deref(), Some("fd00:1::fe"));
    }
}
