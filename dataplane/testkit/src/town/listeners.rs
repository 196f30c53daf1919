//! The town's configuration: who listens where, for whom.

use super::{
    ALIAS, CELLS, DNS, DNS_6, EMPTY, EMPTY_6, FLEET, FLEET_6, GONE, HASH_KEY, IDLE, LAB, LAB_ONLY, LAB_WEB,
    NOBODY, OFFICE, OFFICE_DNS, OFFICE_WEB, OFFICE_WEB_6, OPEN, OPEN_6, PROD, SLOT_1, SLOT_2, SLOT_3, STICKY,
    STICKY_6, TCP, TCP_IDLE, TIMES, UDP, UDP_IDLE, WEB, WEB_6, WEIGHED,
};
use crate::packets::Party;
use std::collections::BTreeMap;
use weir_dataplane::image::{GroupImage, Image};
use weir_path::addr::{Address, InterfaceId, L4Port};
use weir_path::tables::{Forward, GroupId, Interface, Listener, MAX_SHARES, Share, Target, Vip};
use weir_path::time::Seconds;

/// The configuration.
#[must_use]
pub fn image() -> Image {
    let target = |slot: InterfaceId, port| Target::in_slot(slot, L4Port::new(port));
    let [one, two, three] = [SLOT_1, SLOT_2, SLOT_3].map(|slot| slot.egress.id);
    let groups = vec![
        group(vec![target(one, 8_080)]),
        group(vec![target(one, 8_443), target(two, 8_443), target(three, 8_443)]),
        group(vec![target(two, 5_353)]),
        group(vec![]),
        group(vec![target(NOBODY, 8_080)]),
        group(vec![target(three, 8_080)]),
        group(vec![target(one, 0)]),
        group(vec![target(one, 0), target(two, 0), target(three, 0)]),
    ];
    let listeners = listeners();
    let mut image = Image {
        hash_key: HASH_KEY,
        times: TIMES,
        vips: listeners.keys().map(|listener| listener.vip).collect(),
        listeners,
        groups,
        ..Image::default()
    };
    super::connectors::connect(&mut image);
    image
}

fn listeners() -> BTreeMap<Listener, Forward> {
    let [web, fleet, dns, empty, gone, lab, kept, spread] = [0, 1, 2, 3, 4, 5, 6, 7].map(GroupId);
    let to_one = [
        (listener(PROD, WEB, TCP), web),
        (listener(PROD, FLEET, TCP), fleet),
        (listener(PROD, DNS, UDP), dns),
        (listener(PROD, EMPTY, TCP), empty),
        (listener(PROD, EMPTY, UDP), empty),
        (listener(PROD, GONE, TCP), gone),
        (listener(PROD, ALIAS, TCP), web),
        (listener(PROD, ALIAS.port(53), UDP), dns),
        (listener(LAB, LAB_WEB, TCP), lab),
        (listener(LAB, LAB_ONLY, TCP), lab),
        (listener(PROD, WEB_6, TCP), web),
        (listener(PROD, FLEET_6, TCP), fleet),
        (listener(PROD, DNS_6, UDP), dns),
        (listener(PROD, EMPTY_6, TCP), empty),
        (listener(PROD, EMPTY_6, UDP), empty),
        (listener(PROD, OPEN.port(80), TCP), web),
        (listener(PROD, OPEN.port(0), TCP), kept),
        (listener(PROD, OPEN.port(0), UDP), spread),
        (listener(PROD, OPEN.port(0), Listener::FRAGMENTS), spread),
        (listener(PROD, OPEN_6.port(0), TCP), kept),
        (listener(PROD, OPEN_6.port(0), UDP), spread),
        (listener(PROD, OPEN_6.port(0), Listener::FRAGMENTS), spread),
        (listener(OFFICE, OFFICE_WEB, TCP), web),
        (listener(OFFICE, OFFICE_DNS, UDP), dns),
        (listener(OFFICE, OFFICE_DNS.port(0), Listener::FRAGMENTS), dns),
        (listener(OFFICE, OFFICE_WEB_6, TCP), web),
    ];
    let forward =
        |(listener, group): (Listener, GroupId)| (listener, Forward::to(group, idle(listener.protocol)));
    let sticky = Forward { is_sticky: 1, ..Forward::to(fleet, TCP_IDLE) };
    let share = |group, up_to| Share { group, up_to };
    let last = share(fleet, 1_000);
    let nobody = Forward { shares: [share(web, 0); MAX_SHARES], ..Forward::to(web, UDP_IDLE) };
    let shares = [share(web, 0), share(lab, 300), last, last, last];
    to_one
        .into_iter()
        .map(forward)
        .chain([
            (listener(PROD, STICKY, TCP), sticky),
            (listener(PROD, STICKY.port(443), TCP), sticky),
            (listener(PROD, STICKY, UDP), sticky),
            (listener(PROD, STICKY.port(0), Listener::FRAGMENTS), sticky),
            (listener(PROD, STICKY_6, TCP), sticky),
            (listener(PROD, IDLE, TCP), nobody),
            (listener(PROD, IDLE.port(53), UDP), nobody),
            (listener(PROD, IDLE.port(0), Listener::FRAGMENTS), nobody),
            (listener(PROD, WEIGHED, TCP), Forward { shares, ..Forward::to(web, TCP_IDLE) }),
        ])
        .collect()
}

pub(super) const fn idle(protocol: u8) -> Seconds {
    if protocol == TCP { TCP_IDLE } else { UDP_IDLE }
}

/// What a listener at `vip` is called in the tables.
#[must_use]
pub fn listener<A: Address>(uplink: Interface, vip: Party<A>, protocol: u8) -> Listener {
    let address = vip.ip.mapped();
    Listener { vip: Vip { address, zone: uplink.zone }, port: vip.l4(), protocol, zero: 0 }
}

fn group(targets: Vec<Target>) -> GroupImage {
    let cells = match targets.len() {
        0 => Vec::new(),
        count => (0..CELLS).map(|cell| (cell % count) as u16).collect(),
    };
    GroupImage { targets, cells }
}
