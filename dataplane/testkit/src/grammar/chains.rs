//! IPv6 packets behind extension headers, as many as may be and more.

use super::{Grammar, shots_v6};
use crate::model::Model;
use crate::packets::{Body, Packet6, packet6};
use crate::town::{PROD, TCP, WEB_6};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// With up to seven headers of any kind, most of them short.
fn chained(g: &mut Grammar, packet: Packet6) -> Packet6 {
    (0..=g.random.below(4) * g.random.below(3)).fold(packet, |packet, _| match g.random.below(8) {
        0..3 => packet.options(DESTINATION, 8 + 8 * g.random.below(3)),
        3..5 => packet.options(HOP_BY_HOP, 8),
        5 => packet.extension(ROUTING, &[0, 0, u8::from(g.random.once_in(2)), 0, 0, 0, 0]),
        6 => {
            // Most are whole packets; a few are pieces of some.
            let piece = if g.random.once_in(3) { g.random.byte() } else { 0 };
            packet.extension(FRAGMENT, &[0, 0, piece, 1, 2, 3, 4])
        }
        _ => packet.options(DESTINATION, 8 + 8 * g.random.below(20)),
    })
}

/// A packet of a known flow.
pub(super) fn known(g: &mut Grammar, model: &Model) {
    let Some((walk, at, packet)) = shots_v6::of_known(g, model) else { return shots_v6::open(g, model) };
    let bytes = chained(g, packet).bytes();
    g.at(walk, at, bytes);
}

/// A packet of no flow.
pub(super) fn other(g: &mut Grammar, _: &Model) {
    let client = shots_v6::client(g);
    let packet = match g.random.below(3) {
        0 => packet6(client, WEB_6, Body::EchoRequest).payload(b"even"),
        1 => shots_v6::any_packet(g, TCP, client, WEB_6),
        _ => packet6(client, WEB_6, Body::Protocol(132)).payload(&[1; 20]),
    };
    let bytes = chained(g, packet).bytes();
    g.at_uplink(PROD, bytes);
}
