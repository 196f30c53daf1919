//! The same for IPv6.

use super::{Grammar, original};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{Body, Packet6, Party, SHORTEST_V6_ON_TC, flag, packet6, spoil, tcp6, udp6};
use crate::town::{
    self, CLIENT_6, DNS_6, EMPTY_6, FLEET_6, GATEWAY_6, OFFICE, OFFICE_WEB_6, OPEN_6, PROD, SANDBOX_6,
    STICKY_6, TCP, UDP, WEB_6,
};
use weir_path::addr::Ip6;
use weir_path::flow::{Key, Phase};
use weir_path::tables::Interface;

const DOORS: [(Interface, Party<Ip6>, u8); 7] = [
    (PROD, WEB_6, TCP),
    (PROD, FLEET_6, TCP),
    (PROD, DNS_6, UDP),
    (PROD, OPEN_6, UDP),
    (PROD, OPEN_6.port(81), TCP),
    (PROD, STICKY_6, TCP),
    (OFFICE, OFFICE_WEB_6, TCP),
];

pub(super) fn client(g: &mut Grammar) -> Party<Ip6> {
    let mut ip = CLIENT_6.ip;
    let [.., a, b] = &mut ip.0;
    (*a, *b) = (g.random.byte() % 16, g.random.byte());
    Party { ip, port: 1_024 + g.random.word() % 60_000, ..CLIENT_6 }
}

pub(super) fn any_packet(g: &mut Grammar, protocol: u8, from: Party<Ip6>, to: Party<Ip6>) -> Packet6 {
    let len = if g.random.once_in(4) { g.random.below(1_300) } else { g.random.below(64) };
    let payload = g.random.bytes(len);
    let packet = if protocol == TCP {
        let flags = match g.random.below(100) {
            0 => flag::ACK | flag::FIN,
            1..5 => flag::RST,
            _ => flag::ACK,
        };
        let options = 4 * g.random.below(4);
        let [seq, ack] = [g.random.number(), g.random.number()];
        tcp6(from, to).flags(flags).numbers(seq, ack).tcp_options(&g.random.bytes(options))
    } else {
        udp6(from, to)
    };
    let label = g.random.number() & 0xf_ffff;
    packet.payload(&payload).ttl(2 + g.random.byte() % 254).labelled(g.random.byte(), label)
}

pub(super) fn open(g: &mut Grammar, _: &Model) {
    let (uplink, vip, protocol) = *g.random.pick(&DOORS);
    let (uplink, vip) = if g.has_tags || uplink == PROD { (uplink, vip) } else { (PROD, WEB_6) };
    let client = client(g);
    g.opening_6 = Some(original(&town::flow(protocol, (uplink, client, vip), (town::SLOT_1, 0))));
    let bytes = any_packet(g, protocol, client, vip).flags(flag::SYN).bytes();
    g.at_uplink(uplink, bytes);
}

/// A packet of a known flow: the next of its handshake where that has not ended, or any.
pub(super) fn of_known(g: &mut Grammar, model: &Model) -> Option<(Walk, Interface, Packet6)> {
    let flow = g.known_6(model)?;
    let [there, back] = flow.keys.map(|key| key.ends());
    let (protocol, [_, reply]) = (original(&flow).protocol(), flow.keys);
    let slot = *g.slots.iter().find(|slot| slot.zone == reply.zone())?;
    let client = Party { ip: there.src, port: there.sport.number(), ..CLIENT_6 };
    let uplink = if original(&flow).zone() == OFFICE.zone { OFFICE } else { PROD };
    let vip = Party { mac: uplink.mac, ip: there.dst, port: there.dport.number() };
    let sandbox = SANDBOX_6.port(back.sport.number());
    let inside = client.mac(slot.mac);
    let is_next = protocol == TCP && g.random.once_in(2);
    Some(match flow.phase {
        Phase::New if is_next => {
            let answer = any_packet(g, protocol, sandbox, inside).flags(flag::SYN | flag::ACK);
            (Walk::FromSlot, slot, answer.numbers(g.random.number(), flow.expected))
        }
        Phase::Answered if is_next => {
            let end = any_packet(g, protocol, client, vip).flags(flag::ACK);
            (Walk::FromUplink, uplink, end.numbers(g.random.number(), flow.expected))
        }
        _ if g.random.once_in(2) => (Walk::FromSlot, slot, any_packet(g, protocol, sandbox, inside)),
        _ => (Walk::FromUplink, uplink, any_packet(g, protocol, client, vip)),
    })
}

pub(super) fn known(g: &mut Grammar, model: &Model) {
    let Some((walk, at, packet)) = of_known(g, model) else { return open(g, model) };
    g.at(walk, at, packet.bytes());
}

/// A packet of a known flow with a few bytes changed, or cut.
pub(super) fn mangled(g: &mut Grammar, model: &Model) {
    let Some((walk, at, packet)) = of_known(g, model) else { return open(g, model) };
    let mut bytes = packet.bytes();
    for _ in 0..=g.random.below(3) {
        let (at, value) = (g.random.below(90), g.random.byte());
        bytes = spoil::put(bytes, at, &[value]);
    }
    if g.random.once_in(3) {
        bytes = spoil::cut(bytes, SHORTEST_V6_ON_TC + g.random.below(60));
    }
    g.at(walk, at, bytes);
}

/// What opens nothing and is of no flow.
pub(super) fn other(g: &mut Grammar, _: &Model) {
    let (client, slot) = (client(g), g.slot());
    let inside = client.mac(slot.mac);
    let (vip, sandbox) = (WEB_6, SANDBOX_6);
    match g.random.below(11) {
        0 => g.at_uplink(PROD, tcp6(client, town::HOST_6).bytes()),
        1 => g.at_uplink(PROD, tcp6(client, vip.port(9_999)).syn().bytes()),
        2 => g.at_uplink(PROD, tcp6(client, vip).payload(b"stray").bytes()),
        3 => g.at_uplink(PROD, packet6(client, vip, Body::EchoRequest).bytes()),
        4 => g.at_uplink(PROD, tcp6(client, vip).syn().ttl(1).bytes()),
        5 => g.at_slot(slot, tcp6(sandbox, inside).syn().bytes()),
        6 => g.at_slot(slot, udp6(Party { ip: vip.ip, ..sandbox }, inside).bytes()),
        7 => g.at_uplink(PROD, tcp6(client, EMPTY_6).syn().bytes()),
        8 => g.at_uplink(PROD, udp6(client, EMPTY_6).bytes()),
        9 => g.at_slot(slot, packet6(sandbox, GATEWAY_6, Body::EchoRequest).payload(b"odd").bytes()),
        _ => g.at_slot(slot, packet6(sandbox, inside, Body::Protocol(44)).payload(&[6; 40]).bytes()),
    }
}
