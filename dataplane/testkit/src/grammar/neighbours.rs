//! ARP and Neighbour Discovery: asked, told, probed, and forged.

use super::{Grammar, STATIONS, shots_v6};
use crate::model::Model;
use crate::packets::{Arp, Neighbour, Party, is_at, spoil, who_has};
use crate::town::{self, GATEWAY_6, OPEN_6, PROD, SANDBOX_6, WEB_6};
use weir_path::addr::{Ip6, Mac};

/// The gateway of prod says where it is, or somebody else does in its name.
pub(super) fn gateway(g: &mut Grammar, _: &Model) {
    let prod = g.prod;
    let station = *g.random.pick(&STATIONS);
    let gateway = Party { mac: station, ip: prod.gateway, port: 0 };
    let gateway_6 = Party { mac: station, ip: prod.gateway6, port: 0 };
    let weir = Party { mac: prod.mac, ip: prod.local, port: 0 };
    let weir_6 = Party { mac: prod.mac, ip: prod.local6, port: 0 };
    let told = Neighbour::tells(gateway_6, weir_6, g.random.byte());
    let bytes = match g.random.below(8) {
        0 => is_at((station, gateway.ip), weir).bytes(),
        1 => Arp { frame_to: Mac::BROADCAST, ..who_has(gateway, gateway.ip) }.bytes(),
        2 => who_has(gateway, town::WEB.ip).bytes(),
        3 => told.bytes(),
        4 => told.bare().bytes(),
        5 => Neighbour::asks(gateway_6, WEB_6.ip).bytes(),
        6 => Neighbour { hop_limit: g.random.byte(), ..told }.bytes(),
        _ => spoil::put(told.bytes(), 56 + g.random.below(20), &[g.random.byte()]),
    };
    g.at_uplink(PROD, bytes);
}

pub(super) fn on_the_wire(g: &mut Grammar, _: &Model) {
    let client = shots_v6::client(g);
    let vip = *g.random.pick(&[WEB_6, OPEN_6, town::HOST_6]);
    let asks = Neighbour::asks(client, vip.ip);
    let asked = match g.random.below(6) {
        0 => Neighbour::probes(client.mac, vip.ip),
        1 => asks.bare(),
        2 => Neighbour { hop_limit: g.random.byte(), ..asks },
        3 => Neighbour { macs: [client.mac, PROD.mac], ips: [client.ip, vip.ip], ..asks },
        _ => asks,
    };
    let bytes = asked.bytes();
    let is_forged = g.random.once_in(6);
    let at = 54 + g.random.below(30);
    let bytes = if is_forged { spoil::put(bytes, at, &[g.random.byte()]) } else { bytes };
    g.at_uplink(PROD, bytes);
}

pub(super) fn on_a_slot(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let link_local = Party { ip: town::ip6(0xfe80_0000_0000_0000, 2), ..SANDBOX_6 };
    let asks = Neighbour::asks(SANDBOX_6, GATEWAY_6.ip);
    let said = match g.random.below(7) {
        0 => Neighbour::probes(SANDBOX_6.mac, SANDBOX_6.ip),
        1 => Neighbour::asks(SANDBOX_6, WEB_6.ip),
        2 => Neighbour::asks(link_local, GATEWAY_6.ip),
        3 => Neighbour::tells(SANDBOX_6, Party { ip: Ip6([0xff; 16]), ..GATEWAY_6 }, g.random.byte()),
        4 => Neighbour { hop_limit: g.random.byte(), ..asks },
        5 => Neighbour::asks(Party { ip: WEB_6.ip, ..SANDBOX_6 }, GATEWAY_6.ip),
        _ => asks,
    };
    g.at_slot(slot, said.bytes());
}
