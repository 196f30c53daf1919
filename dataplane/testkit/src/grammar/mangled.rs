//! Shots that were others, and are spoiled; and those that come by another door or go to a group.

use super::shots::{ends, open, outward};
use super::{Grammar, Step, original};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{SHORTEST_ON_TC, SHORTEST_V6_ON_TC, flag, spoil, tcp, udp};
use crate::town::{self, OPEN, PROD, SANDBOX, TCP};
use weir_path::addr::Mac;
use weir_path::flow::Key;

/// A packet of a known flow with a few bytes changed, or cut: whatever it is now, all must agree.
pub(super) fn mangled(g: &mut Grammar, model: &Model) {
    let (walk, arrival, bytes) = match (g.random.once_in(2), g.known(model)) {
        (true, Some(flow)) => {
            let (uplink, client, vip) = ends(&flow);
            (Walk::FromUplink, uplink, g.any_packet(original(&flow).protocol(), client, vip).bytes())
        }
        _ => match outward(g, model) {
            Some((slot, packet)) => (Walk::FromSlot, slot, packet.bytes()),
            None => return open(g, model),
        },
    };
    let mut bytes = bytes;
    for _ in 0..=g.random.below(3) {
        let (at, value) = (g.random.below(70), g.random.byte());
        bytes = spoil::put(bytes, at, &[value]);
    }
    if g.random.once_in(3) {
        let len = SHORTEST_ON_TC + g.random.below(60);
        bytes = spoil::cut(bytes, len);
    }
    g.at(walk, arrival, bytes);
}

/// Any packet, with a few bytes changed, or cut.
pub(super) fn mangled_shot(g: &mut Grammar, model: &Model) {
    let before = g.queue.len();
    g.shoot(model);
    let changes = 1 + g.random.below(3);
    let mut spoils: Vec<_> = (0..changes).map(|_| (14 + g.random.below(110), g.random.byte())).collect();
    if g.random.once_in(3) {
        // Where a bit decides most: lengths, offsets, numbers of protocols.
        spoils.push((
            *g.random.pick(&[16, 17, 18, 19, 20, 21, 22, 23, 54, 55, 58, 59, 62, 63]),
            g.random.byte(),
        ));
    }
    let cut = (g.random.once_in(4)).then(|| SHORTEST_V6_ON_TC + g.random.below(80));
    let mut planned = g.queue.split_off(before);
    for step in &mut planned {
        let Step::Packet(shot) = step else { continue };
        let bytes = std::mem::take(&mut shot.bytes);
        let bytes = spoils.iter().fold(bytes, |bytes, (at, value)| spoil::put(bytes, *at, &[*value]));
        let bytes = cut.map_or(bytes.clone(), |len| spoil::cut(bytes, len));
        shot.bytes = g.as_tagged_as_may_be(bytes);
    }
    g.queue.extend(planned);
}

/// A first packet to where nobody serves, or one that nobody hears.
pub(super) fn other_door(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let packet = match g.random.below(3) {
        0 => tcp(client, town::IDLE).syn(),
        1 => udp(client, town::IDLE.port(53)),
        _ => g.any_packet(TCP, client, OPEN).flags(flag::ACK),
    };
    g.at_uplink(PROD, packet.bytes());
}

/// What a sandbox says to many.
pub(super) fn group(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let to = g.client().ip(224 + g.random.byte() % 16, 0, 0, 251);
    let to = if g.random.once_in(2) { to.mac(Mac::BROADCAST) } else { to };
    let packet = if g.random.once_in(2) { udp(SANDBOX, to) } else { tcp(SANDBOX, to) };
    g.at_slot(slot, packet.bytes());
}
