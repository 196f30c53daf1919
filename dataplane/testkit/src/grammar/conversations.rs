//! Packets that belong together: whole handshakes, whole ends, and bursts of first packets.

use super::shots::{ends, first_packet, inside};
use super::{Grammar, original};
use crate::model::Model;
use crate::packets::{flag, tcp};
use crate::town::TCP;
use weir_path::flow::{Key, Phase};

/// Goes on with the handshake of a half-open flow, as its ends would; opens one where there is none.
pub(super) fn handshake(g: &mut Grammar, model: &Model) {
    for _ in 0..8 {
        let Some(flow) = g.known(model) else { break };
        if !flow.phase.is_half_open() || original(&flow).protocol() != TCP {
            continue;
        }
        let Some((slot, sandbox, client_inside)) = inside(g, &flow) else { continue };
        let (uplink, client, vip) = ends(&flow);
        let scale = [1, 3, 3, g.random.byte() % 16];
        if flow.phase == Phase::New {
            let answer = tcp(sandbox, client_inside).flags(flag::SYN | flag::ACK).tcp_options(&scale);
            let bytes = answer.numbers(g.random.number(), flow.expected).bytes();
            return g.at_slot(slot, bytes);
        }
        let bytes = tcp(client, vip).numbers(g.random.number(), flow.expected).bytes();
        return g.at_uplink(uplink, bytes);
    }
    let (uplink, vip, protocol) = g.door();
    let client = g.client();
    first_packet(g, uplink, client, vip, protocol);
}

/// Both FINs, or a RST that is believed; and then perhaps a SYN between the same ends.
pub(super) fn close(g: &mut Grammar, model: &Model) {
    let Some(flow) = g.known(model).filter(|flow| original(flow).protocol() == TCP) else { return };
    let Some((slot, sandbox, client_inside)) = inside(g, &flow) else { return };
    let (uplink, client, vip) = ends(&flow);
    let [there, back] = flow.sides;
    let (Some(there), Some(back)) = (there, back) else { return };
    if g.random.once_in(2) {
        let fin = flag::FIN | flag::ACK;
        g.at_uplink(uplink, tcp(client, vip).flags(fin).bytes());
        g.at_slot(slot, tcp(sandbox, client_inside).flags(fin).bytes());
    } else if g.random.once_in(2) {
        let number = back.acknowledged.wrapping_add(g.random.word().into());
        g.at_uplink(uplink, tcp(client, vip).flags(flag::RST).numbers(number, 0).bytes());
    } else {
        let number = there.acknowledged.wrapping_add(g.random.word().into());
        g.at_slot(slot, tcp(sandbox, client_inside).flags(flag::RST).numbers(number, 0).bytes());
    }
    if g.random.once_in(2) {
        first_packet(g, uplink, client, vip, TCP);
    }
}

/// More first packets at once than may be half-open.
pub(super) fn burst(g: &mut Grammar, _: &Model) {
    for _ in 0..40 {
        let (uplink, vip, protocol) = g.door();
        let client = g.client();
        first_packet(g, uplink, client, vip, protocol);
    }
}
