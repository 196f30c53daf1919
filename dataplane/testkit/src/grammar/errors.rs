//! ICMP errors about flows, and about nothing; quoted packets that were cut or changed on the way.

use super::shots::{ends, inside};
use super::{Grammar, original, shots_v6};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{Body, ETHERNET, Ip, Party, error, error6, ip, packet6, spoil};
use crate::town::{PROD, SANDBOX, TCP, WEB};
use weir_path::addr::{Ip4, Ip6};
use weir_path::flow::Key;

const KINDS: [[u8; 2]; 10] =
    [[3, 0], [3, 1], [3, 3], [3, 4], [3, 13], [11, 0], [11, 1], [12, 0], [4, 0], [5, 1]];
const KINDS_6: [[u8; 2]; 7] = [[1, 0], [1, 4], [2, 0], [3, 0], [4, 1], [1, 1], [137, 0]];

/// The beginning of what was sent, most often whole enough, sometimes not as it was.
fn quote(g: &mut Grammar, frame: Vec<u8>, header_len: usize) -> Vec<u8> {
    let least = ETHERNET + header_len + 8;
    let len = match g.random.below(8) {
        0 => g.random.below(least),
        1..4 => least,
        4 => least + g.random.below(40),
        _ => 1_000,
    };
    let mut quoted = spoil::cut(frame, len.max(ETHERNET)).split_off(ETHERNET);
    if g.random.once_in(6) {
        let at = g.random.below(quoted.len().min(64));
        quoted = spoil::put(quoted, at, &[g.random.byte()]);
    }
    quoted
}

pub(super) fn inward(g: &mut Grammar, model: &Model) {
    let Some(flow) = g.known(model) else { return };
    let (uplink, client, vip) = ends(&flow);
    let sent = g.any_packet(original(&flow).protocol(), vip, client);
    let quoted = quote(g, sent.bytes(), 20);
    let reporter = if g.random.once_in(2) { client } else { g.client() };
    let kind = *g.random.pick(&KINDS);
    let packet = error(reporter, vip, kind, g.random.number(), &quoted).ttl(g.random.byte());
    let bytes = g.sealed(&packet);
    g.at_uplink(uplink, bytes);
}

pub(super) fn outward(g: &mut Grammar, model: &Model) {
    let Some(flow) = g.known(model) else { return };
    let Some((slot, sandbox, client)) = inside(g, &flow) else { return };
    let heard = g.any_packet(original(&flow).protocol(), client, sandbox);
    let quoted = quote(g, heard.bytes(), 20);
    let kind = *g.random.pick(&KINDS);
    let packet = error(sandbox, client, kind, g.random.number(), &quoted).ttl(g.random.byte());
    let bytes = g.sealed(&packet);
    g.at_slot(slot, bytes);
}

/// About what a known flow sent the other way, from where its packets come.
fn about_6(g: &mut Grammar, model: &Model, from: Walk) {
    for _ in 0..8 {
        let Some((walk, at, packet)) = shots_v6::of_known(g, model) else { return };
        if walk != from {
            continue;
        }
        let (here, there) = packet.ends();
        let mut sent = shots_v6::any_packet(g, packet.protocol(), there, here);
        if g.random.once_in(4) {
            sent = sent.options(60, 8 + 8 * g.random.below(2));
        }
        let quoted = quote(g, sent.bytes(), 40);
        let reporter = match walk {
            Walk::FromUplink if g.random.once_in(2) => shots_v6::client(g),
            _ => here,
        };
        let kind = *g.random.pick(&KINDS_6);
        let packet = error6(reporter, there, kind, g.random.number(), &quoted).ttl(g.random.byte());
        let packet = if g.random.once_in(8) { packet.options(60, 8) } else { packet };
        return g.at(walk, at, packet.bytes());
    }
}

pub(super) fn inward_6(g: &mut Grammar, model: &Model) {
    about_6(g, model, Walk::FromUplink);
}

pub(super) fn outward_6(g: &mut Grammar, model: &Model) {
    about_6(g, model, Walk::FromSlot);
}

/// An error about no flow, or about an error.
pub(super) fn stray(g: &mut Grammar, _: &Model) {
    let (client, slot) = (g.client(), g.slot());
    let sent: Ip = match g.random.below(3) {
        0 => ip(WEB, client, Body::EchoReply).payload(b"pong"),
        1 => error(WEB, client, [3, 3], 0, &[0x45; 28]),
        _ => g.any_packet(TCP, WEB, client),
    };
    let quoted = quote(g, sent.bytes(), 20);
    if g.random.once_in(2) {
        let packet = error(SANDBOX, client, [3, 3], 0, &quoted);
        return g.at_slot(slot, packet.bytes());
    }
    let packet = error(client, WEB, [3, 1], 0, &quoted);
    g.at_uplink(PROD, packet.bytes());
    let nobody = Party { ip: Ip6::default(), ..shots_v6::client(g) };
    let group = Party { ip: Ip6([0xff; 16]), ..nobody };
    let _: Ip4 = client.ip;
    g.at_slot(
        slot,
        packet6(nobody, group, Body::Icmp { kind: [143, 0], word: [0; 4] }).payload(&[1; 20]).bytes(),
    );
}
