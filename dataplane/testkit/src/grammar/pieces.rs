//! Datagrams in pieces, in any order, and pieces of what is not carried in pieces.

use super::shots::{ends, inside};
use super::{Grammar, original, shots_v6};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{fragments, fragments6, tcp, tcp6, udp, udp6};
use crate::town::{DNS, OPEN, OPEN_6, PROD, UDP, WEB, WEB_6};
use weir_path::flow::Key;

/// A few of the pieces, in any order.
fn some(g: &mut Grammar, mut pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if g.random.once_in(3) {
        pieces.reverse();
    }
    if g.random.once_in(3) {
        let gone = g.random.below(pieces.len());
        pieces.remove(gone);
    }
    pieces
}

fn payload(g: &mut Grammar) -> (Vec<u8>, usize) {
    let len = 40 + g.random.below(200);
    (g.random.bytes(len), 8 * (1 + g.random.below(12)))
}

pub(super) fn inward(g: &mut Grammar, model: &Model) {
    let known = g.known(model).filter(|flow| original(flow).protocol() == UDP);
    let (uplink, client, vip) = match known {
        Some(flow) => ends(&flow),
        None => (PROD, g.client(), OPEN.port(g.random.word() | 1)),
    };
    let (payload, len) = payload(g);
    let mut packet = udp(client, vip).payload(&payload).ttl(g.random.byte());
    if g.random.once_in(5) {
        packet = packet.without_checksum();
    }
    let pieces = fragments(&packet.bytes(), g.random.word(), len);
    some(g, pieces).into_iter().for_each(|piece| g.at_uplink(uplink, piece));
}

pub(super) fn outward(g: &mut Grammar, model: &Model) {
    for _ in 0..8 {
        let Some(flow) = g.known(model) else { return };
        let Some((slot, sandbox, client)) = inside(g, &flow) else { continue };
        if original(&flow).protocol() != UDP {
            continue;
        }
        let (payload, len) = payload(g);
        let packet = udp(sandbox, client).payload(&payload).ttl(g.random.byte());
        let pieces = fragments(&packet.bytes(), g.random.word() % 16, len);
        return some(g, pieces).into_iter().for_each(|piece| g.at_slot(slot, piece));
    }
}

/// Of a known flow, in pieces, from where its packets come.
fn known_6(g: &mut Grammar, model: &Model, from: Walk) -> bool {
    for _ in 0..8 {
        let Some((walk, at, packet)) = shots_v6::of_known(g, model) else { return false };
        if walk != from || packet.protocol() != UDP {
            continue;
        }
        let (payload, len) = payload(g);
        let pieces = fragments6(&packet.payload(&payload).bytes(), g.random.number() % 16, len);
        some(g, pieces).into_iter().for_each(|piece| g.at(walk, at, piece));
        return true;
    }
    false
}

pub(super) fn inward_6(g: &mut Grammar, model: &Model) {
    if g.random.once_in(2) && known_6(g, model, Walk::FromUplink) {
        return;
    }
    let client = shots_v6::client(g);
    let (payload, len) = payload(g);
    let packet = udp6(client, OPEN_6.port(g.random.word() | 1)).payload(&payload).ttl(g.random.byte());
    let pieces = fragments6(&packet.bytes(), g.random.number(), len);
    some(g, pieces).into_iter().for_each(|piece| g.at_uplink(PROD, piece));
}

pub(super) fn outward_6(g: &mut Grammar, model: &Model) {
    known_6(g, model, Walk::FromSlot);
}

/// Pieces that come alone, and of TCP.
pub(super) fn other(g: &mut Grammar, _: &Model) {
    let (client, client_6) = (g.client(), shots_v6::client(g));
    let (payload, len) = payload(g);
    let id = g.random.number();
    let pieces = match g.random.below(4) {
        0 => fragments(&tcp(client, WEB).payload(&payload).bytes(), id as u16, len),
        1 => fragments6(&tcp6(client_6, WEB_6).payload(&payload).bytes(), id, len),
        2 => fragments(&udp(client, DNS).payload(&payload).bytes(), id as u16, len),
        _ => fragments(&udp(client, crate::town::IDLE.port(53)).payload(&payload).bytes(), id as u16, len),
    };
    let at = g.random.below(pieces.len());
    let piece = pieces.into_iter().nth(at);
    piece.into_iter().for_each(|piece| g.at_uplink(PROD, piece));
}
