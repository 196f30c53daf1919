//! Tenants that are kept apart: a loud one with rules and quotas; sandboxes that call VIPs; targets by address.

use super::{Grammar, original};
use crate::model::Model;
use crate::packets::{Ip, Party, flag, tcp, udp};
use crate::town::{
    CALLER, CLIENT, CROWD, DNS, FEW, FLEET, FN_1, FN_2, FUNCTIONS, GATEWAY, NEIGHBOUR, OUT, PROD, SERVER,
    SLOT_2, TCP, TCP_IDLE, UDP, WEB, listener,
};
use crate::world::FlowImage;
use crate::{World, town};
use weir_dataplane::image::{GroupImage, Image};
use weir_path::addr::{Address, Ip4, Ip6, Mac};
use weir_path::flow::{Ends, Key, Key4};
use weir_path::tables::{Forward, GroupId, Interface, Quota, Rule, Target, Tenant, TenantId};

/// A VIP whose target is a server's address.
const DEPOT: Party = WEB.ip(198, 51, 100, 16);
/// Who calls. The loud tenant has [`SLOT_2`], a target, and [`CROWD`].
const CALLERS: [Interface; 5] = [FN_1, FN_2, CALLER, CROWD, SLOT_2];
const LOUD: TenantId = TenantId(1);
const QUOTAS: Tenant = Tenant {
    all: Quota { flows: 8, half_open: 3, ports: 5, opened_a_second: 3 },
    each: Quota { flows: 6, half_open: 2, ports: 3, opened_a_second: 2 },
};

fn from(network: Ip4, bits: u32) -> Rule {
    let mask = Ip6((u128::MAX << (32 - bits)).to_be_bytes());
    Rule { network: network.mapped(), mask, last: u16::MAX, ..Rule::default() }
}

/// The town's configuration, with guards.
pub(super) fn image() -> Image {
    let mut image = town::image();
    image.tenants.insert(LOUD, QUOTAS);
    let few = image.connectors.get_mut(&FEW).expect("a connector of the town");
    few.connector.tenant = LOUD;
    // What it may call, and whom.
    let vips = Rule { protocol: UDP, ..from(WEB.ip, 24) };
    few.rules_out = Some(vec![Rule { protocol: TCP, ..from(SERVER.ip, 32) }, vips]);
    // Half of the clients, and other sandboxes.
    few.rules_in = Some(vec![from(Ip4([203, 0, 104, 0]), 21), from(WEB.ip, 24)]);
    let depot = GroupId(image.groups.len() as u32);
    let target = Target::at(SERVER.ip.mapped(), SERVER.l4(), FUNCTIONS);
    image.groups.push(GroupImage { targets: vec![target], cells: vec![0; 3] });
    for protocol in [TCP, UDP] {
        let heard = listener(PROD, DEPOT, protocol);
        image.vips.insert(heard.vip);
        image.listeners.insert(heard, Forward::to(depot, TCP_IDLE));
    }
    image
}

/// The town, with guards.
pub(super) fn guard(world: World) -> World {
    let mut world = World { image: image(), ..world };
    let is_it = |it: &&mut Interface| it.egress.id == SLOT_2.egress.id;
    world.interfaces.iter_mut().filter(is_it).for_each(|it| it.connector = FEW);
    // Who is not always told.
    let is_loud = |it: &&mut Interface| it.egress.id == CROWD.egress.id;
    world.interfaces.iter_mut().filter(is_loud).for_each(|it| it.answers = 1);
    world
}

/// A sandbox calls a VIP, or what it may not call.
pub(super) fn call(g: &mut Grammar, _: &Model) {
    let slot = *g.random.pick(&CALLERS);
    let from = OUT.port(51_000 + g.random.word() % 8);
    let (to, is_tcp) = *g.random.pick(&[
        (WEB, true),
        (FLEET, true),
        (DNS, false),
        (DNS, false),
        (DEPOT, true),
        (DEPOT, false),
        (SERVER, true),
        (SERVER, false),
        (NEIGHBOUR, true),
    ]);
    let to = to.mac(GATEWAY.mac);
    let packet = if is_tcp { tcp(from, to).syn() } else { udp(from, to) };
    g.at_slot(slot, packet.bytes());
}

/// A client calls the VIP whose target is an address.
pub(super) fn deposit(g: &mut Grammar, _: &Model) {
    let client = CLIENT.port(60_000 + g.random.word() % 16);
    let packet = if g.random.once_in(2) { tcp(client, DEPOT).syn() } else { udp(client, DEPOT) };
    g.at_uplink(PROD, packet.bytes());
}

/// A packet of a flow from sandbox to sandbox, or from the wire to the wire, one way or the other.
pub(super) fn known(g: &mut Grammar, model: &Model) {
    let state = model.state();
    let flows: Vec<_> = state.flows.v4.values().filter(|flow| is_turned_round(flow)).collect();
    let Some(flow) = flows.get(g.random.below(flows.len().max(1))) else { return call(g, model) };
    let [there, back] = flow.keys;
    let key = if g.random.once_in(2) { there } else { back };
    let Ends { src, dst, sport, dport } = key.ends();
    let party = |mac: Mac, ip, port: weir_path::addr::L4Port| Party { mac, ip, port: port.number() };
    if key.zone() == PROD.zone {
        let packet = of(g, key, party(CLIENT.mac, src, sport), party(PROD.mac, dst, dport));
        return g.at_uplink(PROD, packet.bytes());
    }
    let slots = super::Grammar::world().interfaces;
    let Some(slot) = slots.into_iter().find(|slot| slot.zone == key.zone()) else { return call(g, model) };
    let packet = of(g, key, party(slot.peer_mac, src, sport), party(slot.mac, dst, dport));
    g.at_slot(slot, packet.bytes());
}

fn of(g: &mut Grammar, key: Key4, from: Party, to: Party) -> Ip {
    const FLAGS: [u8; 5] = [flag::ACK, flag::ACK, flag::SYN | flag::ACK, flag::FIN | flag::ACK, flag::RST];
    if key.protocol() == TCP { tcp(from, to).flags(*g.random.pick(&FLAGS)) } else { udp(from, to) }
}

/// Whether it leads to the side that it comes from.
fn is_turned_round(flow: &FlowImage<Key4>) -> bool {
    let [_, answer] = flow.keys;
    original(flow).zone().is_binding() == answer.zone().is_binding()
}
