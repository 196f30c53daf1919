//! What sandboxes with a connector send, what comes back, and what comes uninvited.

use super::{Grammar, original};
use crate::model::Model;
use crate::packets::{Ip, Party, echo_reply, echo_request, flag, tcp, udp};
use crate::town::{
    BOUND, BRANCH, CALLER, CALLER_2, CLERK, ENIS, FN_1, FN_2, GATEWAY, HOST_ENI, ICMP, LAB, LAB_FN, LODGER,
    NEIGHBOUR, OFFICE, OUT, PROD, SERVER, TCP,
};
use crate::world::FlowImage;
use weir_path::flow::{Key, Key4};
use weir_path::tables::Interface;

const CALLERS: [Interface; 7] = [FN_1, FN_2, LAB_FN, LODGER, CALLER, CALLER_2, CLERK];
const REMOTES: [Party; 4] = [SERVER, SERVER, NEIGHBOUR, BRANCH];

/// A sandbox opens something.
pub(super) fn open(g: &mut Grammar, _: &Model) {
    let slot = if g.random.once_in(5) { LODGER } else { *g.random.pick(&CALLERS) };
    // Where tags are not sent, nobody reaches what is behind one.
    let slot = if slot == CLERK && !g.has_tags { FN_1 } else { slot };
    let remote = *g.random.pick(&REMOTES);
    let from = OUT.port(50_000 + g.random.word() % 16);
    let to = remote.mac(GATEWAY.mac);
    let packet = match g.random.below(4) {
        0 => echo_request(from, to).identifier(from.port),
        1 => tcp(from, to).syn(),
        _ => udp(from, to),
    };
    g.at_slot(slot, packet.bytes());
}

/// A packet of a flow that a sandbox opened, one way or the other.
pub(super) fn known(g: &mut Grammar, model: &Model) {
    let flows: Vec<_> = model.state().flows.v4.into_values().filter(is_outward).collect();
    let Some(flow) = flows.get(g.random.below(flows.len().max(1))) else { return open(g, model) };
    let (there, back) = (original(flow).ends(), answer(flow).ends());
    let protocol = original(flow).protocol();
    if g.random.once_in(2) {
        let Some(slot) = BOUND.into_iter().find(|slot| slot.zone == original(flow).zone()) else { return };
        let to = Party { ip: there.dst, ..GATEWAY.port(there.dport.number()) };
        let packet = of(g, protocol, OUT.port(there.sport.number()), to, true);
        return g.at_slot(slot, packet.bytes());
    }
    let Some(uplink) = [PROD, LAB, OFFICE].into_iter().find(|it| it.zone == answer(flow).zone()) else {
        return;
    };
    if uplink == OFFICE && !g.has_tags {
        return open(g, model);
    }
    let remote = Party { ip: back.src, ..SERVER.port(back.sport.number()) };
    let eni = Party { mac: uplink.mac, ip: back.dst, port: back.dport.number() };
    let packet = of(g, protocol, remote, eni, false);
    g.at_uplink(uplink, packet.bytes());
}

/// A packet to an ENI, or to the host's own address, that nobody waits for.
pub(super) fn probe(g: &mut Grammar, model: &Model) {
    let eni = if g.random.once_in(3) { HOST_ENI } else { *g.random.pick(&ENIS) };
    let Some(uplink) = [PROD, LAB, OFFICE].into_iter().find(|it| it.zone == eni.zone) else { return };
    if uplink == OFFICE && !g.has_tags {
        return open(g, model);
    }
    let mac = if g.random.once_in(2) { eni.mac } else { uplink.mac };
    let to = Party { mac, ip: eni.local, port: g.random.word() };
    let from = g.client();
    let protocol = *g.random.pick(&[TCP, ICMP, crate::town::UDP]);
    let is_asked = g.random.once_in(2);
    let packet = of(g, protocol, from, to, is_asked);
    g.at_uplink(uplink, packet.bytes());
}

fn of(g: &mut Grammar, protocol: u8, from: Party, to: Party, is_there: bool) -> Ip {
    const FLAGS: [u8; 5] = [flag::ACK, flag::ACK, flag::SYN | flag::ACK, flag::FIN | flag::ACK, flag::RST];
    match protocol {
        TCP => tcp(from, to).flags(*g.random.pick(&FLAGS)),
        ICMP if is_there => echo_request(from, to).identifier(from.port),
        ICMP => echo_reply(from, to).identifier(to.port),
        _ => udp(from, to),
    }
}

fn is_outward(flow: &FlowImage<Key4>) -> bool {
    !answer(flow).zone().is_binding()
}

fn answer(flow: &FlowImage<Key4>) -> Key4 {
    let [_, reply] = flow.keys;
    reply
}
