//! What services and targets by address are in the tables.

use crate::compile::rules::tests::image;
use crate::config::tests::{GUARDED, config};
use std::collections::BTreeSet;
use weir_dataplane::image::Image;
use weir_path::addr::{Address, Ip4, L4Port};
use weir_path::tables::{Connector, ConnectorId, Forward, Listener, Target};
use weir_path::time::Times;

/// In the order of their keys: `acme`'s comes first.
const WEB: ConnectorId = ConnectorId(1);
const HOST: ConnectorId = ConnectorId(2);

fn services(image: &Image) -> Vec<(Listener, Forward)> {
    let its = |listener: &Listener| listener.vip.zone == Connector::services(WEB);
    image.listeners.iter().filter(|(listener, _)| its(listener)).map(|(it, to)| (*it, *to)).collect()
}

fn target(image: &Image, forward: &Forward) -> Target {
    let group = &image.groups[forward.choose(0).unwrap().0 as usize];
    assert_eq!((group.targets.len(), &group.cells[..]), (1, &[0][..]));
    group.targets[0]
}

#[test]
fn a_service_is_a_listener_in_its_connectors_own_space_and_a_group_of_one_target() {
    let image = image(GUARDED);
    let [(listener, forward)] = services(&image)[..] else { panic!("{:?}", image.listeners) };
    assert_eq!(listener.vip.address, Ip4([169, 254, 100, 1]).mapped());
    assert_eq!((listener.port.number(), listener.protocol), (9_001, 6));
    assert_eq!((forward.idle, forward.tells_idle), (Times::TCP_IDLE, 1));
    let there = Target::at(Ip4([10, 255, 0, 1]).mapped(), L4Port::new(9_001), HOST);
    assert_eq!(target(&image, &forward), there);
    let has = |id| image.connectors[&id].connector.has_services;
    assert_eq!((has(WEB), has(HOST)), (1, 0));
    assert!(image.arena().is_ok());
}

#[test]
fn a_services_address_is_nobodys_in_any_vpc() {
    let zones: BTreeSet<_> = image(GUARDED).vips.iter().map(|vip| vip.zone).collect();
    assert_eq!(zones, [config(GUARDED).vpcs[0].zone].into());
}

#[test]
fn a_service_of_both_transports_is_two_listeners_of_one_group_and_no_fragments() {
    let image = image(&GUARDED.replacen("protocol = \"tcp\"\n  via", "protocol = \"tcp_udp\"\n  via", 1));
    let [(tcp, to), (udp, too)] = services(&image)[..] else { panic!("{:?}", image.listeners) };
    assert_eq!((tcp.protocol, udp.protocol), (6, 17));
    assert_eq!(to.shares, too.shares);
    assert_eq!((to.idle, too.idle), (Times::TCP_IDLE, Times::UDP_IDLE));
}

#[test]
fn targets_by_address_are_reached_by_their_groups_connector_and_placed_like_others() {
    let image = image(GUARDED);
    let group = &image.groups[0];
    let targets: Vec<_> =
        group.targets.iter().map(|it| (it.address.to_string(), it.connector, it.port)).collect();
    let port = L4Port::new(5_432);
    assert_eq!(targets, [("10.0.1.50".to_owned(), WEB, port), ("10.0.1.51".to_owned(), WEB, port)]);
    let names = ["db-1", "db-2"];
    assert_eq!(group.cells, crate::compile::maglev::table(&names, group.cells.len() as u32));
    let listener = image.listeners.iter().find(|(it, _)| it.port == port).unwrap();
    assert_eq!(listener.1.tells_idle, 1);
}
