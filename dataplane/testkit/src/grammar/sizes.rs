//! Packets that are too long for the way on, and lengths that lie.

use super::shots::{ends, outward};
use super::{Grammar, original, shots_v6};
use crate::model::Model;
use crate::packets::{ETHERNET, spoil, udp};
use crate::town::UDP;
use weir_path::addr::Mac;
use weir_path::flow::Key;

fn long(g: &mut Grammar) -> Vec<u8> {
    let len = 1_440 + g.random.below(1_500);
    g.random.bytes(len)
}

pub(super) fn too_big(g: &mut Grammar, model: &Model) {
    let payload = long(g);
    if g.random.once_in(2) {
        let Some((slot, packet)) = outward(g, model) else { return };
        return g.at_slot(slot, packet.payload(&payload).bytes());
    }
    let Some(flow) = g.known(model) else { return };
    let (uplink, client, vip) = ends(&flow);
    let packet = g.any_packet(original(&flow).protocol(), client, vip).payload(&payload);
    g.at_uplink(uplink, packet.bytes());
}

pub(super) fn too_big_6(g: &mut Grammar, model: &Model) {
    let payload = long(g);
    let Some((walk, at, packet)) = shots_v6::of_known(g, model) else { return };
    g.at(walk, at, packet.payload(&payload).bytes());
}

/// Too long, and from a station that nobody is.
pub(super) fn untold(g: &mut Grammar, model: &Model) {
    let payload = long(g);
    let Some(flow) = g.known(model) else { return };
    let (uplink, client, vip) = ends(&flow);
    let client = client.mac(Mac([3, 0, 0, 0, 0, 1]));
    let packet = g.any_packet(original(&flow).protocol(), client, vip).payload(&payload);
    g.at_uplink(uplink, packet.bytes());
}

/// A datagram that says another length than it has.
pub(super) fn lying(g: &mut Grammar, model: &Model) {
    let known = g.known(model).filter(|flow| original(flow).protocol() == UDP);
    let (uplink, client, vip) = match known {
        Some(flow) => ends(&flow),
        None => (crate::town::PROD, g.client(), crate::town::DNS),
    };
    let len = g.random.below(60);
    let packet = udp(client, vip).payload(&g.random.bytes(len));
    let said = (g.random.below(80) as u16).to_be_bytes();
    g.at_uplink(uplink, spoil::put(packet.bytes(), ETHERNET + 24, &said));
}
