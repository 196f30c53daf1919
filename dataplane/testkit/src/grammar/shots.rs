//! What the generator sends: each kind of packet aims at one reason, and varies everything else.

use super::{
    Grammar, Shot, Step, aimed, chains, conversations, errors, guards, mangled, neighbours, original,
    outwards, pieces, shots_v6, sizes,
};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{Ip, Party, flag, is_tagged, spoil, tcp, udp};
use crate::town::{
    self, ALIAS, CLIENT, DNS, FLEET, GATEWAY, LAB, LAB_ONLY, LAB_WEB, OFFICE, OFFICE_DNS, OFFICE_WEB, OPEN,
    PROD, SANDBOX, STICKY, TCP, WEB, WEIGHED,
};
use crate::world::FlowImage;
use weir_path::addr::IfIndex;
use weir_path::flow::{Key, Key4};
use weir_path::packet::VlanTag;
use weir_path::tables::Interface;

/// One kind of packet, and how many of a thousand are of it.
type Kind = (usize, fn(&mut Grammar, &Model));

const KINDS: &[Kind] = &[
    (320, known_inward),
    (290, known_outward),
    (30, open),
    (25, conversations::handshake),
    (12, conversations::close),
    (2, conversations::burst),
    (80, shots_v6::known),
    (20, shots_v6::open),
    (20, shots_v6::mangled),
    (12, shots_v6::other),
    (12, aimed::arp_for_vip),
    (12, aimed::arp_on_slot),
    (12, aimed::echo_to_vip),
    (12, aimed::echo_on_slot),
    (12, aimed::stray_segment),
    (12, aimed::stray_on_slot),
    (12, aimed::unknown_device),
    (12, aimed::unbound_slot),
    (12, aimed::other_station),
    (12, aimed::other_protocol),
    (12, aimed::tagged),
    (12, aimed::other_address),
    (12, aimed::bad_header),
    (12, aimed::fragment),
    (14, aimed::last_hop),
    (12, aimed::unsupported),
    (12, aimed::icmp_ignored),
    (12, aimed::no_listener),
    (12, aimed::no_target),
    (12, aimed::bad_source),
    (12, aimed::reset),
    (36, aimed::reply_collision),
    (12, aimed::spoofed),
    (12, aimed::slot_protocol),
    (12, aimed::slot_arp),
    (12, aimed::not_allowed_out),
    (24, mangled::mangled),
    (60, mangled::mangled_shot),
    (12, mangled::other_door),
    (8, mangled::group),
    (20, chains::known),
    (10, chains::other),
    (20, errors::inward),
    (16, errors::outward),
    (14, errors::inward_6),
    (10, errors::outward_6),
    (12, errors::stray),
    (24, pieces::inward),
    (16, pieces::outward),
    (14, pieces::inward_6),
    (10, pieces::outward_6),
    (8, pieces::other),
    (12, neighbours::gateway),
    (12, neighbours::on_the_wire),
    (12, neighbours::on_a_slot),
    (16, sizes::too_big),
    (8, sizes::too_big_6),
    (6, sizes::untold),
    (12, sizes::lying),
    (40, outwards::open),
    (60, outwards::known),
    (24, outwards::probe),
    (40, guards::call),
    (12, guards::deposit),
    (60, guards::known),
];

/// What a client may ask for: where it comes in, which VIP and port, by which protocol.
pub(super) const DOORS: [(Interface, Party, u8); 15] = [
    (PROD, WEB, TCP),
    (PROD, FLEET, TCP),
    (PROD, ALIAS, TCP),
    (LAB, LAB_WEB, TCP),
    (LAB, LAB_ONLY, TCP),
    (PROD, DNS, town::UDP),
    (PROD, ALIAS.port(53), town::UDP),
    (PROD, OPEN, TCP),
    (PROD, OPEN.port(53), town::UDP),
    (PROD, STICKY, TCP),
    (PROD, STICKY.port(443), TCP),
    (PROD, WEIGHED, TCP),
    (PROD, WEIGHED, TCP),
    (OFFICE, OFFICE_WEB, TCP),
    (OFFICE, OFFICE_DNS, town::UDP),
];

impl Grammar {
    /// Plans one packet of a random kind.
    pub(super) fn shoot(&mut self, model: &Model) {
        let mut place = self.random.below(KINDS.iter().map(|(share, _)| share).sum());
        for (share, kind) in KINDS {
            if place < *share {
                return kind(self, model);
            }
            place -= share;
        }
    }

    /// What a client may ask for: all of it, or what is to be had without a tag.
    pub(super) fn door(&mut self) -> (Interface, Party, u8) {
        let (uplink, mut vip, protocol) = *self.random.pick(&DOORS);
        if uplink.vlan != VlanTag::NONE && !self.has_tags {
            return (PROD, WEB, TCP);
        }
        if vip == OPEN {
            vip = vip.port(1 + self.random.word() % 65_000);
        }
        (uplink, vip, protocol)
    }

    pub(super) fn at_uplink(&mut self, uplink: Interface, bytes: Vec<u8>) {
        let priority = u16::from(self.random.byte() % 8) << 13;
        let bytes = match uplink.vlan {
            VlanTag::NONE => bytes,
            VlanTag(id) => spoil::tag(bytes, priority | id),
        };
        self.send(Walk::FromUplink, uplink.egress.ifindex, bytes);
    }

    pub(super) fn at(&mut self, walk: Walk, at: Interface, bytes: Vec<u8>) {
        match walk {
            Walk::FromUplink => self.at_uplink(at, bytes),
            Walk::FromSlot => self.at_slot(at, bytes),
        }
    }

    pub(super) fn at_slot(&mut self, slot: Interface, bytes: Vec<u8>) {
        self.send(Walk::FromSlot, slot.egress.ifindex, bytes);
    }

    pub(super) fn send(&mut self, walk: Walk, arrival: IfIndex, bytes: Vec<u8>) {
        let bytes = self.as_tagged_as_may_be(bytes);
        self.queue.push_back(Step::Packet(Shot { walk, arrival, bytes }));
    }

    /// Without tags there is none that has a priority alone either: such a frame is taken for one without.
    pub(super) fn as_tagged_as_may_be(&self, bytes: Vec<u8>) -> Vec<u8> {
        const TAG: usize = 14;
        match bytes.get(TAG..TAG + 2) {
            Some([high, low]) if !self.has_tags && is_tagged(&bytes) && high & 0x0f == 0 && *low == 0 => {
                spoil::put(bytes, TAG + 1, &[1])
            }
            _ => bytes,
        }
    }

    pub(super) fn slot(&mut self) -> Interface {
        *self.random.pick(&self.slots)
    }

    /// Somebody on the wire: one of a few thousand addresses, behind one of two routers.
    pub(super) fn client(&mut self) -> Party {
        let router = if self.random.once_in(8) { town::BYSTANDER } else { town::ROUTER };
        let [a, b] = [self.random.byte() % 16, self.random.byte()];
        let port = 1_024 + self.random.word() % 60_000;
        CLIENT.mac(router).ip(203, 0, 100 + a, b).port(port)
    }

    /// A TCP or UDP packet that opens nothing, everything else varied.
    pub(super) fn any_packet(&mut self, protocol: u8, from: Party, to: Party) -> Ip {
        let payload_len =
            if self.random.once_in(4) { self.random.below(1_400) } else { self.random.below(64) };
        let payload = self.random.bytes(payload_len);
        let mut packet = if protocol == TCP {
            let flags = match self.random.below(100) {
                0 => flag::ACK | flag::FIN,
                1..5 => flag::RST,
                5..50 => flag::ACK | flag::PSH,
                _ => flag::ACK,
            };
            let options = 4 * self.random.below(6);
            let [seq, ack] = [self.random.number(), self.random.number()];
            let mut options = self.random.bytes(options);
            if self.random.once_in(3) {
                // A longest segment, at any offset.
                let says =
                    [vec![1; self.random.below(4)], vec![2, 4, self.random.byte() % 32, self.random.byte()]];
                options.iter_mut().zip(says.concat()).for_each(|(place, byte)| *place = byte);
            }
            tcp(from, to).flags(flags).numbers(seq, ack).tcp_options(&options)
        } else if self.random.once_in(4) {
            udp(from, to).without_checksum()
        } else {
            udp(from, to)
        };
        if self.random.once_in(6) {
            let options = 4 * self.random.below(11);
            packet = packet.ip_options(&self.random.bytes(options));
        }
        packet.payload(&payload).ttl(2 + self.random.byte() % 254).identification(self.random.word())
    }

    /// The frame, sometimes padded and sometimes with a wrong checksum.
    pub(super) fn sealed(&mut self, packet: &Ip) -> Vec<u8> {
        let mut bytes = packet.bytes();
        if self.random.once_in(10) {
            bytes = spoil::pad(bytes, self.random.below(20));
        }
        if self.random.once_in(20) {
            let at = *self.random.pick(&[24, 25, 40, 41, 50, 51]);
            bytes = spoil::put(bytes, at, &[self.random.byte()]);
        }
        bytes
    }
}

fn uplink_of(key: &Key4) -> Interface {
    *[PROD, LAB, OFFICE].iter().find(|uplink| uplink.zone == key.zone()).unwrap_or(&PROD)
}

fn known_inward(g: &mut Grammar, model: &Model) {
    let Some(flow) = g.known(model) else { return open(g, model) };
    let (uplink, client, vip) = ends(&flow);
    let packet = g.any_packet(original(&flow).protocol(), client, vip);
    let bytes = g.sealed(&packet);
    g.at_uplink(uplink, bytes);
}

fn known_outward(g: &mut Grammar, model: &Model) {
    let Some((slot, packet)) = outward(g, model) else { return open(g, model) };
    let bytes = g.sealed(&packet);
    g.at_slot(slot, bytes);
}

/// Where a flow's packets come in, its client and its VIP.
pub(super) fn ends(flow: &FlowImage<Key4>) -> (Interface, Party, Party) {
    let key = original(flow);
    let (uplink, ends) = (uplink_of(&key), key.ends());
    let client = Party { mac: town::ROUTER, ip: ends.src, port: ends.sport.number() };
    (uplink, client, Party { mac: uplink.mac, ip: ends.dst, port: ends.dport.number() })
}

/// Where a flow's answers come in, its sandbox and its client as that sees it; nothing where the slot was bound
/// anew since.
pub(super) fn inside(g: &Grammar, flow: &FlowImage<Key4>) -> Option<(Interface, Party, Party)> {
    let [_, reply] = flow.keys;
    let slot = *g.slots.iter().find(|slot| slot.zone == reply.zone())?;
    let client = Party { ip: reply.ends.dst, ..GATEWAY.port(reply.ends.dport.number()) };
    Some((slot, SANDBOX.port(reply.ends.sport.number()), client))
}

/// A packet of a known flow, from its sandbox.
pub(super) fn outward(g: &mut Grammar, model: &Model) -> Option<(Interface, Ip)> {
    let flow = g.known(model)?;
    let (slot, sandbox, client) = inside(g, &flow)?;
    Some((slot, g.any_packet(original(&flow).protocol(), sandbox, client)))
}

pub(super) fn open(g: &mut Grammar, _: &Model) {
    let (uplink, vip, protocol) = g.door();
    let client = g.client();
    first_packet(g, uplink, client, vip, protocol);
}

pub(super) fn first_packet(g: &mut Grammar, uplink: Interface, client: Party, vip: Party, protocol: u8) {
    let packet = g.any_packet(protocol, client, vip).flags(flag::SYN);
    g.opening = Some(original(&town::flow(protocol, (uplink, client, vip), (town::SLOT_1, 0))));
    let bytes = g.sealed(&packet);
    g.at_uplink(uplink, bytes);
}
