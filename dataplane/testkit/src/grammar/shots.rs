//! What the generator sends: each kind of packet aims at one reason, and varies everything else.

use super::{
    Grammar, Shot, Step, chains, conversations, errors, neighbours, original, pieces, shots_v6, sizes,
};
use crate::executor::Walk;
use crate::model::Model;
use crate::packets::{
    Arp, Body, Ip, Party, SHORTEST_ON_TC, SHORTEST_V6_ON_TC, echo_reply, echo_request, flag, frame, ip,
    is_tagged, spoil, tcp, udp, who_has,
};
use crate::town::{
    self, ALIAS, CLIENT, DNS, FLEET, GATEWAY, LAB, LAB_ONLY, LAB_WEB, OFFICE, OFFICE_DNS, OFFICE_WEB, OPEN,
    PROD, SANDBOX, STICKY, TCP, WEB, WEIGHED,
};
use crate::world::FlowImage;
use weir_path::addr::{IfIndex, Ip4, Mac};
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
    (12, arp_for_vip),
    (12, arp_on_slot),
    (12, echo_to_vip),
    (12, echo_on_slot),
    (12, stray_segment),
    (12, stray_on_slot),
    (12, unknown_device),
    (12, unbound_slot),
    (12, other_station),
    (12, other_protocol),
    (12, tagged),
    (12, other_address),
    (12, bad_header),
    (12, fragment),
    (12, last_hop),
    (12, unsupported),
    (12, icmp_ignored),
    (12, no_listener),
    (12, no_target),
    (12, bad_source),
    (12, reset),
    (36, reply_collision),
    (12, spoofed),
    (12, slot_protocol),
    (12, slot_arp),
    (12, not_allowed_out),
    (24, mangled),
    (60, mangled_shot),
    (12, other_door),
    (8, group),
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
    fn as_tagged_as_may_be(&self, bytes: Vec<u8>) -> Vec<u8> {
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

fn open(g: &mut Grammar, _: &Model) {
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

fn arp_for_vip(g: &mut Grammar, _: &Model) {
    let (uplink, vip, _) = g.door();
    let asker = g.client();
    g.at_uplink(uplink, who_has(asker, vip.ip).bytes());
}

fn arp_on_slot(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    g.at_slot(slot, who_has(SANDBOX, GATEWAY.ip).bytes());
}

fn echo_to_vip(g: &mut Grammar, _: &Model) {
    let (uplink, vip, _) = g.door();
    let len = g.random.below(300);
    let packet = echo_request(g.client(), vip).payload(&g.random.bytes(len)).ttl(g.random.byte());
    let bytes = g.sealed(&packet);
    g.at_uplink(uplink, bytes);
}

fn echo_on_slot(g: &mut Grammar, _: &Model) {
    let packet = echo_request(SANDBOX, GATEWAY).payload(&[g.random.byte(); 9]);
    let (slot, bytes) = (g.slot(), g.sealed(&packet));
    g.at_slot(slot, bytes);
}

fn stray_segment(g: &mut Grammar, _: &Model) {
    let flags = *g.random.pick(&[flag::ACK, flag::FIN, flag::SYN | flag::ACK, flag::PSH | flag::ACK, 0]);
    let client = g.client();
    let packet = g.any_packet(TCP, client, WEB).flags(flags).ttl(g.random.byte());
    let bytes = g.sealed(&packet);
    g.at_uplink(PROD, bytes);
}

fn stray_on_slot(g: &mut Grammar, _: &Model) {
    let client = g.client().mac(GATEWAY.mac);
    let packet = g.any_packet(TCP, SANDBOX, client).flags(flag::ACK);
    let (slot, bytes) = (g.slot(), g.sealed(&packet));
    g.at_slot(slot, bytes);
}

fn unknown_device(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let bytes = g.any_packet(TCP, client, WEB).bytes();
    g.send(Walk::FromUplink, town::STRANGER, bytes);
}

fn unbound_slot(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let bytes = g.any_packet(TCP, SANDBOX, client).bytes();
    g.send(Walk::FromSlot, town::STRANGER, bytes);
}

fn other_station(g: &mut Grammar, _: &Model) {
    let station = *g.random.pick(&[town::BYSTANDER, Mac::BROADCAST, LAB.mac]);
    let client = g.client();
    let bytes = g.any_packet(TCP, client, WEB.mac(station)).bytes();
    g.at_uplink(PROD, bytes);
}

fn other_protocol(g: &mut Grammar, _: &Model) {
    let ethertype = *g.random.pick(&[0x88b5, 0x88cc, 0x0800 + 1, 0x0040]);
    let payload = g.random.bytes(60);
    g.at_uplink(PROD, frame(town::ROUTER, PROD.mac, ethertype, &payload));
}

fn tagged(g: &mut Grammar, _: &Model) {
    let (client, id) = (g.client(), g.random.word());
    let bytes = g.any_packet(TCP, client, WEB).bytes();
    g.at_uplink(PROD, spoil::tag(bytes, id));
}

fn other_address(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let bytes = match g.random.below(3) {
        0 => who_has(client, town::HOST.ip).bytes(),
        1 => g.any_packet(TCP, client, town::HOST).bytes(),
        _ => g.any_packet(TCP, client, LAB_ONLY.mac(PROD.mac)).flags(flag::SYN).bytes(),
    };
    g.at_uplink(PROD, bytes);
}

fn bad_header(g: &mut Grammar, _: &Model) {
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

fn fragment(g: &mut Grammar, _: &Model) {
    let (offset, more) = (g.random.word() % 0x2000, g.random.once_in(2));
    let client = g.client();
    let packet = g.any_packet(town::UDP, client, DNS).fragment(offset, more || offset == 0);
    g.at_uplink(PROD, packet.bytes());
}

fn last_hop(g: &mut Grammar, model: &Model) {
    let ttl = g.random.byte() % 2;
    if let Some((slot, packet)) = outward(g, model) {
        return g.at_slot(slot, packet.ttl(ttl).bytes());
    }
    let client = g.client();
    g.at_uplink(PROD, tcp(client, WEB).syn().ttl(ttl).bytes());
}

fn unsupported(g: &mut Grammar, _: &Model) {
    let protocol = *g.random.pick(&[2, 4, 41, 47, 50, 132]);
    if g.random.once_in(2) {
        let (slot, payload) = (g.slot(), g.random.bytes(40));
        return g.at_slot(slot, ip(SANDBOX, GATEWAY, Body::Protocol(protocol)).payload(&payload).bytes());
    }
    let packet = ip(g.client(), WEB, Body::Protocol(protocol)).payload(&g.random.bytes(40));
    g.at_uplink(PROD, packet.bytes());
}

fn icmp_ignored(g: &mut Grammar, _: &Model) {
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

fn no_listener(g: &mut Grammar, _: &Model) {
    let (client, port) = (g.client(), 2_000 + g.random.word() % 60_000);
    let packet =
        if g.random.once_in(2) { tcp(client, WEB.port(port)).syn() } else { udp(client, WEB.port(port)) };
    g.at_uplink(PROD, packet.bytes());
}

fn no_target(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let packet = if g.random.once_in(2) { tcp(client, town::EMPTY).syn() } else { udp(client, town::EMPTY) };
    g.at_uplink(PROD, packet.bytes());
}

fn bad_source(g: &mut Grammar, _: &Model) {
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

fn reset(g: &mut Grammar, _: &Model) {
    let client = g.client();
    if g.random.once_in(2) {
        let slot = g.slot();
        return g.at_slot(slot, tcp(SANDBOX, client).flags(flag::RST).bytes());
    }
    g.at_uplink(PROD, tcp(client, WEB).flags(flag::RST | flag::ACK).bytes());
}

/// The client of a flow to one VIP opens the same to the other VIP, whose target is the same.
fn reply_collision(g: &mut Grammar, model: &Model) {
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

fn spoofed(g: &mut Grammar, _: &Model) {
    let (slot, client) = (g.slot(), g.client());
    let liar = match g.random.below(3) {
        0 => SANDBOX.mac(town::BYSTANDER),
        1 => SANDBOX.ip(10, 1, 2, 3),
        _ => SANDBOX.mac(GATEWAY.mac).ip(198, 51, 100, 10),
    };
    let bytes = g.any_packet(TCP, liar, client).bytes();
    g.at_slot(slot, bytes);
}

fn slot_protocol(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let payload = g.random.bytes(60);
    let bytes = frame(SANDBOX.mac, GATEWAY.mac, 0x88b5, &payload);
    let bytes = if g.random.once_in(3) { spoil::tag(bytes, 5) } else { bytes };
    g.at_slot(slot, bytes);
}

fn slot_arp(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let request = match g.random.below(3) {
        0 => who_has(SANDBOX.ip(0, 0, 0, 0), SANDBOX.ip),
        1 => who_has(SANDBOX, Ip4([169, 254, g.random.byte(), 7])),
        _ => Arp { is_request: false, ..who_has(SANDBOX, GATEWAY.ip) },
    };
    g.at_slot(slot, request.bytes());
}

fn not_allowed_out(g: &mut Grammar, _: &Model) {
    let (slot, to, port) = (g.slot(), g.client(), g.random.word());
    let from = SANDBOX.port(port);
    let packet = if g.random.once_in(2) { tcp(from, to).syn() } else { udp(from, to) };
    g.at_slot(slot, packet.bytes());
}

/// A packet of a known flow with a few bytes changed, or cut: whatever it is now, all must agree.
fn mangled(g: &mut Grammar, model: &Model) {
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
fn mangled_shot(g: &mut Grammar, model: &Model) {
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
fn other_door(g: &mut Grammar, _: &Model) {
    let client = g.client();
    let packet = match g.random.below(3) {
        0 => tcp(client, town::IDLE).syn(),
        1 => udp(client, town::IDLE.port(53)),
        _ => g.any_packet(TCP, client, OPEN).flags(flag::ACK),
    };
    g.at_uplink(PROD, packet.bytes());
}

/// What a sandbox says to many.
fn group(g: &mut Grammar, _: &Model) {
    let slot = g.slot();
    let to = g.client().ip(224 + g.random.byte() % 16, 0, 0, 251);
    let to = if g.random.once_in(2) { to.mac(Mac::BROADCAST) } else { to };
    let packet = if g.random.once_in(2) { udp(SANDBOX, to) } else { tcp(SANDBOX, to) };
    g.at_slot(slot, packet.bytes());
}
