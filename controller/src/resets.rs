//! RSTs for both ends of a connection that was silent for too long, each as if its peer had said it.
//!
//! ```text
//!   opener ◄── RST, from what it called ── Weir ── RST, from what it was called by ──► far end
//! ```
//!
//! A receiver believes a RST alone whose sequence number is the next one that it waits for (RFC 9293 section 3.10.7.4):
//! what its own last segment acknowledged. Pure bytes.

use crate::neighbours::Station;
use weir_path::addr::{Address, IfIndex, InterfaceId, Ip4, Ip6, Mac, Zone};
use weir_path::checksum::Sum;
use weir_path::flow::event::Event;
use weir_path::flow::{Ends, Hop};
use weir_path::tables::{Interface, NextHopId};
use weir_path::wire::{ethernet, ipv4, protocol, tcp};

/// Version 4, a header of five words; no type of service.
const V4_BEGIN: [u8; 2] = [0x45, 0];
/// An identification means nothing where nothing may be taken apart (RFC 6864 section 4.1).
const V4_ATOMIC: [u8; 4] = [0, 0, 0x40, 0];
/// Version 6, no traffic class, no flow label.
const V6_BEGIN: [u8; 4] = [0x60, 0, 0, 0];
/// How far it may go (RFC 1700 has 64).
const HOP_LIMIT: u8 = 64;
/// A header of five words, and RST alone: an acknowledgement is not asked for.
const OFFSET_AND_FLAGS: [u8; 2] = [5 << 4, tcp::RST];

/// A frame, and the device that it is to go out of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reset {
    pub(crate) device: IfIndex,
    pub(crate) frame: Vec<u8>,
}

/// What is known of who is where.
pub(crate) trait Places {
    /// An interface that is in use.
    fn interface(&self, id: InterfaceId) -> Option<Interface>;

    /// Which station a next hop is, as far as is known.
    fn next_hop(&self, id: NextHopId) -> Option<Mac>;
}

/// The RSTs for the two ends of a flow of TCP, the opener's first. An end whose place is not known, or is another's by now,
/// is left out: it is told when it sends again.
pub(crate) fn of(event: &Event, places: &impl Places) -> [Option<Reset>; 2] {
    if event.protocol != protocol::TCP {
        return [None, None];
    }
    let ([opening, serving], [there, back]) = (event.zones, event.hops);
    let [opener_takes, far_end_takes] = event.acknowledged;
    let to_opener = place(opening, back, places);
    let to_far_end = place(serving, there, places);
    [
        to_opener.map(|place| place.reset(&event.original.reversed(), opener_takes)),
        to_far_end.map(|place| place.reset(&event.reply.reversed(), far_end_takes)),
    ]
}

/// Where an end is: the device, who Weir is there, and which station the end is reached by.
#[derive(Clone, Copy)]
struct Place {
    device: IfIndex,
    own: Station,
    to: Mac,
}

/// Where the end is that a direction's packets went to. A slot or a number may be another's since the flow has ended: then
/// its address space is another one too.
fn place(zone: Zone, hop: Hop, places: &impl Places) -> Option<Place> {
    let out = places.interface(hop.interface()).filter(|out| out.is_in_use() && out.zone == zone)?;
    let station = || match hop.next_hop() {
        Some(id) => places.next_hop(id),
        None => Some(hop.station()),
    };
    let to = if out.is_slot() { out.peer_mac } else { station()? };
    let own = Station { mac: out.mac, vlan: out.vlan };
    (to.is_unicast() && to != Mac::default()).then_some(Place { device: out.egress.ifindex, own, to })
}

impl Place {
    fn reset(self, ends: &Ends<Ip6>, sequence: u32) -> Reset {
        let (ethertype, packet) = match (ends.src.as_ip4(), ends.dst.as_ip4()) {
            (Some(src), Some(dst)) => (ethernet::IPV4, v4([src, dst], &segment(ends, sequence))),
            _ => (ethernet::IPV6, v6(ends, &segment(ends, sequence))),
        };
        Reset { device: self.device, frame: self.own.frame(self.to, ethertype, &packet) }
    }
}

fn v4([src, dst]: [Ip4; 2], segment: &[u8]) -> Vec<u8> {
    let len = ((ipv4::LEN + tcp::LEN) as u16).to_be_bytes();
    let reach = [HOP_LIMIT, protocol::TCP];
    let sum = Sum::default().add2(V4_BEGIN).add2(len).add4(V4_ATOMIC).add2(reach);
    let mut packet = Vec::from(V4_BEGIN);
    packet.extend(len);
    packet.extend(V4_ATOMIC);
    packet.extend(reach);
    packet.extend(sum.plus(src.sum()).plus(dst.sum()).checksum());
    packet.extend(src.0);
    packet.extend(dst.0);
    packet.extend(segment);
    packet
}

fn v6(ends: &Ends<Ip6>, segment: &[u8]) -> Vec<u8> {
    let mut packet = Vec::from(V6_BEGIN);
    packet.extend((tcp::LEN as u16).to_be_bytes());
    packet.extend([protocol::TCP, HOP_LIMIT]);
    packet.extend(ends.src.0);
    packet.extend(ends.dst.0);
    packet.extend(segment);
    packet
}

/// The segment alone, checksummed for these addresses.
fn segment(ends: &Ends<Ip6>, sequence: u32) -> Vec<u8> {
    let addresses = match (ends.src.as_ip4(), ends.dst.as_ip4()) {
        (Some(src), Some(dst)) => src.sum().plus(dst.sum()),
        _ => ends.src.sum().plus(ends.dst.sum()),
    };
    let pseudo = addresses.add2([0, protocol::TCP]).add2((tcp::LEN as u16).to_be_bytes());
    let sequence = sequence.to_be_bytes();
    let sum = pseudo.add2(ends.sport.0).add2(ends.dport.0).add4(sequence).add2(OFFSET_AND_FLAGS);
    let mut segment = Vec::from(ends.sport.0);
    segment.extend(ends.dport.0);
    segment.extend(sequence);
    // No acknowledgement.
    segment.extend([0; 4]);
    segment.extend(OFFSET_AND_FLAGS);
    // No window.
    segment.extend([0; 2]);
    segment.extend(sum.checksum());
    // Nothing urgent.
    segment.extend([0; 2]);
    segment
}

#[cfg(test)]
mod tests;
