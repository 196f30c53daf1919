//! Shots that each aim at one reason: answered, passed, or dropped by name.

use super::shots::{ends, first_packet, open, outward};
use super::{Grammar, original};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{
    Arp, Body, SHORTEST_ON_TC, echo_reply, echo_request, flag, frame, ip, spoil, tcp, udp, who_has,
};
use crate::town::{self, ALIAS, DNS, GATEWAY, LAB, LAB_ONLY, PROD, SANDBOX, TCP, WEB};
use crate::world::FlowImage;
use weir_path::addr::{Ip4, Mac};
use weir_path::flow::{Key, Key4};

pub(super) fn arp_for_vip(g: &mut Grammar, _: &Model) {
    let (uplink, vip, _) = g.door();
    let asker = g.client();
    g.at_uplink(uplink, who_has(asker, vip.ip).bytes());
}

pub(super) fn arp_on_slot(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    g.at_slot(slot, who_has(SANDBOX, GATEWAY.ip).bytes());
}

pub(super) fn echo_to_vip(g: &mut Grammar, _: &Model) {
    let (uplink, vip, _) = g.door();
    let len = g.random.below(300);
    let packet = echo_request(g.client(), vip).payload(&g.random.bytes(len)).ttl(g.random.byte());
    let bytes = g.sealed(&packet);
    g.at_uplink(uplink, bytes);
}

pub(super) fn echo_on_slot(g: &mut Grammar, _: &Model) {
    let packet = echo_request(SANDBOX, GATEWAY).payload(&[g.random.byte(); 9]);
    let (slot, bytes) = (g.slot(), g.sealed(&packet));
    g.at_slot(slot, bytes);
}

pub(super) fn stray_segment(g: &mut Grammar, _: &Model) {
    let flags = *g.random.pick(&[flag::ACK, flag::FIN, flag::SYN | flag::ACK, flag::PSH | flag::ACK, 0]);
    let client = g.client();
    let packet = g.any_packet(TCP, client, WEB).flags(flags).ttl(g.random.byte());
    let bytes = g.sealed(&packet);
    g.at_uplink(PROD, bytes);
}

pub(super) fn stray_on_slot(g: &mut Grammar, _: &Model) {
    let client = g.client().mac(GATEWAY.mac);
    let packet = g.any_packet(TCP, SANDBOX, client).flags(flag::ACK);
    let (slot, bytes) = (g.slot(), g.sealed(&packet));
    g.at_slot(slot, bytes);
}

pub(super) fn unknown_device(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let bytes = g.any_packet(TCP, client, WEB).bytes();
    g.send(Walk::FromUplink, town::STRANGER, bytes);
}

pub(super) fn unbound_slot(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let bytes = g.any_packet(TCP, SANDBOX, client).bytes();
    g.send(Walk::FromSlot, town::STRANGER, bytes);
}

pub(super) fn other_station(g: &mut Grammar, _: &Model) {
    let station = *g.random.pick(&[town::BYSTANDER, Mac::BROADCAST, LAB.mac]);
    let client = g.client();
    let bytes = g.any_packet(TCP, client, WEB.mac(station)).bytes();
    g.at_uplink(PROD, bytes);
}

pub(super) fn other_protocol(g: &mut Grammar, _: &Model) {
    let ethertype = *g.random.pick(&[0x88b5, 0x88cc, 0x0800 + 1, 0x0040]);
    let payload = g.random.bytes(60);
    g.at_uplink(PROD, frame(town::ROUTER, PROD.mac, ethertype, &payload));
}

pub(super) fn tagged(g: &mut Grammar, _: &Model) {
    let (client, id) = (g.client(), g.random.word());
    let bytes = g.any_packet(TCP, client, WEB).bytes();
    g.at_uplink(PROD, spoil::tag(bytes, id));
}

pub(super) fn other_address(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let bytes = match g.random.below(3) {
        0 => who_has(client, town::HOST.ip).bytes(),
        1 => g.any_packet(TCP, client, town::HOST).bytes(),
        _ => g.any_packet(TCP, client, LAB_ONLY.mac(PROD.mac)).flags(flag::SYN).bytes(),
    };
    g.at_uplink(PROD, bytes);
}

pub(super) fn bad_header(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let good = g.any_packet(TCP, client, WEB).bytes();
    let bad = match g.random.below(4) {
        0 => spoil::put_ip(good, 0, &[g.random.byte() % 0x45]),
        1 => spoil::put_ip(good, 2, &[g.random.byte() | 0x80]),
        2 => spoil::cut(good, SHORTEST_ON_TC + g.random.below(6)),
        _ => spoil::put_ip(good, 2, &[0, 39]),
    };
    g.at_uplink(PROD, bad);
}

pub(super) fn fragment(g: &mut Grammar, _: &Model) {
    let (offset, more) = (g.random.word() % 0x2000, g.random.once_in(2));
    let client = g.client();
    let packet = g.any_packet(town::UDP, client, DNS).fragment(offset, more || offset == 0);
    g.at_uplink(PROD, packet.bytes());
}

pub(super) fn last_hop(g: &mut Grammar, model: &Model) {
    let ttl = g.random.byte() % 2;
    if let Some((slot, packet)) = outward(g, model) {
        return g.at_slot(slot, packet.ttl(ttl).bytes());
    }
    let client = g.client();
    g.at_uplink(PROD, tcp(client, WEB).syn().ttl(ttl).bytes());
}

pub(super) fn unsupported(g: &mut Grammar, _: &Model) {
    let protocol = *g.random.pick(&[2, 4, 41, 47, 50, 132]);
    if g.random.once_in(2) {
        let (slot, payload) = (g.slot(), g.random.bytes(40));
        return g.at_slot(slot, ip(SANDBOX, GATEWAY, Body::Protocol(protocol)).payload(&payload).bytes());
    }
    let packet = ip(g.client(), WEB, Body::Protocol(protocol)).payload(&g.random.bytes(40));
    g.at_uplink(PROD, packet.bytes());
}

pub(super) fn icmp_ignored(g: &mut Grammar, _: &Model) {
    let client = g.client();
    match g.random.below(3) {
        0 => g.at_uplink(PROD, echo_reply(client, WEB).bytes()),
        1 => g.at_uplink(
            PROD,
            ip(client, WEB, Body::Icmp { kind: [3, 3], word: [0; 4] }).payload(&[7; 28]).bytes(),
        ),
        _ => {
            let slot = g.slot();
            g.at_slot(slot, echo_request(SANDBOX, client).bytes());
        }
    }
}

pub(super) fn no_listener(g: &mut Grammar, _: &Model) {
    let (client, port) = (g.client(), 2_000 + g.random.word() % 60_000);
    let packet =
        if g.random.once_in(2) { tcp(client, WEB.port(port)).syn() } else { udp(client, WEB.port(port)) };
    g.at_uplink(PROD, packet.bytes());
}

pub(super) fn no_target(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let packet = if g.random.once_in(2) { tcp(client, town::EMPTY).syn() } else { udp(client, town::EMPTY) };
    g.at_uplink(PROD, packet.bytes());
}

pub(super) fn bad_source(g: &mut Grammar, _: &Model) {
    let first = *g.random.pick(&[0, 127, 224, 239, 240, 255]);
    let [a, b] = [g.random.byte(), g.random.byte()];
    let liar = g.client().ip(first, a, b, 1);
    let packet = match g.random.below(3) {
        0 => tcp(liar, WEB).syn(),
        1 => udp(liar, DNS),
        _ => echo_request(liar, WEB),
    };
    g.at_uplink(PROD, packet.bytes());
}

pub(super) fn reset(g: &mut Grammar, _: &Model) {
    let client = g.client();
    if g.random.once_in(2) {
        let slot = g.slot();
        return g.at_slot(slot, tcp(SANDBOX, client).flags(flag::RST).bytes());
    }
    g.at_uplink(PROD, tcp(client, WEB).flags(flag::RST | flag::ACK).bytes());
}

/// The client of a flow to one VIP opens the same to the other VIP, whose target is the same.
pub(super) fn reply_collision(g: &mut Grammar, model: &Model) {
    let other = |flow: &FlowImage<Key4>| {
        let (key, ends) = (original(flow), original(flow).ends());
        let vip = [WEB, ALIAS].into_iter().find(|vip| vip.ip == ends.dst)?;
        let other = if vip == WEB { ALIAS } else { WEB };
        (key.zone() == PROD.zone && matches!(ends.dport.number(), 80 | 53)).then_some(other)
    };
    let Some(flow) = g.known(model) else { return open(g, model) };
    let Some(other) = other(&flow) else { return open(g, model) };
    let (uplink, client, vip) = ends(&flow);
    first_packet(g, uplink, client, other.port(vip.port), original(&flow).protocol());
}

pub(super) fn spoofed(g: &mut Grammar, _: &Model) {
    let (slot, client) = (g.slot(), g.client());
    let liar = match g.random.below(3) {
        0 => SANDBOX.mac(town::BYSTANDER),
        1 => SANDBOX.ip(10, 1, 2, 3),
        _ => SANDBOX.mac(GATEWAY.mac).ip(198, 51, 100, 10),
    };
    let bytes = g.any_packet(TCP, liar, client).bytes();
    g.at_slot(slot, bytes);
}

pub(super) fn slot_protocol(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let payload = g.random.bytes(60);
    let bytes = frame(SANDBOX.mac, GATEWAY.mac, 0x88b5, &payload);
    let bytes = if g.random.once_in(3) { spoil::tag(bytes, 5) } else { bytes };
    g.at_slot(slot, bytes);
}

pub(super) fn slot_arp(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let request = match g.random.below(3) {
        0 => who_has(SANDBOX.ip(0, 0, 0, 0), SANDBOX.ip),
        1 => who_has(SANDBOX, Ip4([169, 254, g.random.byte(), 7])),
        _ => Arp { is_request: false, ..who_has(SANDBOX, GATEWAY.ip) },
    };
    g.at_slot(slot, request.bytes());
}

pub(super) fn not_allowed_out(g: &mut Grammar, _: &Model) {
    let (slot, to, port) = (g.slot(), g.client(), g.random.word());
    let from = SANDBOX.port(port);
    let packet = if g.random.once_in(2) { tcp(from, to).syn() } else { udp(from, to) };
    g.at_slot(slot, packet.bytes());
}
