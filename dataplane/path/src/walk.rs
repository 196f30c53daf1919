//! The two walks of a packet. Start here.
//!
//! Three speeds: a packet of a known flow is parsed, found, rewritten and sent; a flow's first packet also
//! finds a listener and a target and records the flow; everything else is answered, passed or dropped by
//! name. Nothing waits for user space, nothing is queued, nothing is locked.

use crate::addr::Mac;
use crate::answer;
use crate::flow::FlowKey;
use crate::open;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::tables::{Egress, Interface, Tables, Vip};
use crate::translate;
use crate::wire::{ArpRequest, Ethernet, Ipv4, Segment, ethernet, protocol};

/// A packet that is to leave: why, and where to.
pub(crate) struct Sent {
    pub(crate) why: Reason,
    pub(crate) to: Egress,
}

/// A packet from the wire.
#[inline(always)]
pub fn from_uplink<P: Packet, T: Tables>(p: &mut P, t: &T) -> Verdict {
    counted(p, t, uplink_walk)
}

/// A packet from a sandbox.
#[inline(always)]
pub fn from_slot<P: Packet, T: Tables>(p: &mut P, t: &T) -> Verdict {
    counted(p, t, slot_walk)
}

/// Runs a walk and counts the packet once on the way in and once on the way out.
#[inline(always)]
fn counted<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    walk: impl FnOnce(&mut P, &T) -> Result<Sent, Reason>,
) -> Verdict {
    let packets = p.segments();
    t.entered(packets);
    match walk(p, t) {
        Ok(Sent { why, to }) => {
            t.left(why, packets);
            // Asked again: an answer to a packet of many segments is one packet.
            t.sent(to.id, p.segments());
            Verdict::Send(to)
        }
        Err(why) => {
            t.left(why, packets);
            why.verdict()
        }
    }
}

#[inline(always)]
fn uplink_walk<P: Packet, T: Tables>(p: &mut P, t: &T) -> Result<Sent, Reason> {
    let here = t.arrival().ok_or(Reason::UnknownInterface)?;
    let frame = Ethernet::read(p).ok_or(Reason::OtherProtocol)?;
    if frame.is_tagged(p) {
        return Err(Reason::OtherVlan);
    }
    match frame.ethertype {
        ethernet::IPV4 if frame.dst == here.mac => {}
        ethernet::IPV4 => return Err(Reason::OtherStation),
        ethernet::ARP => return arp_from_uplink(p, t, here, &frame),
        _ => return Err(Reason::OtherProtocol),
    }
    let (ip, segment) = match parse(p) {
        Ok(parsed) => parsed,
        Err(why) => return uplink_without_ports(p, t, here, &frame, why),
    };
    let key = flow_key(here, &ip, &segment);
    if let Some(flow) = t.flow(&key) {
        translate::apply(p, &ip, &segment, &flow)?;
        return Ok(Sent { why: Reason::ToSlot, to: flow.egress });
    }
    let half = t.live();
    let vip = Vip { address: ip.dst, zone: here.zone };
    if !t.is_vip(half, &vip) {
        return Err(Reason::OtherAddress);
    }
    let group = t.listener(half, &open::listener(vip, &ip, &segment)).ok_or(Reason::NoListener)?;
    if !segment.opens() {
        return answer::reset(p, here, &frame, &ip, &segment);
    }
    // Before the flow is recorded: a packet that ends here must not leave one behind.
    translate::may_go_on(&ip)?;
    let target = open::choose(t, half, group, &key)?;
    let flow = open::toward_target(t, here, &frame, &key, target)?;
    translate::apply(p, &ip, &segment, &flow)?;
    Ok(Sent { why: Reason::Opened, to: flow.egress })
}

#[inline(always)]
fn slot_walk<P: Packet, T: Tables>(p: &mut P, t: &T) -> Result<Sent, Reason> {
    let here = t.arrival().ok_or(Reason::UnboundSlot)?;
    let frame = Ethernet::read(p).ok_or(Reason::SlotProtocol)?;
    if frame.is_tagged(p) {
        return Err(Reason::SlotProtocol);
    }
    if frame.src != here.peer_mac {
        return Err(Reason::SpoofedSource);
    }
    match frame.ethertype {
        ethernet::IPV4 => {}
        ethernet::ARP => return arp_from_slot(p, here),
        _ => return Err(Reason::SlotProtocol),
    }
    let ip = Ipv4::read(p)?;
    if ip.src != here.address {
        return Err(Reason::SpoofedSource);
    }
    let segment = match Segment::read(p, &ip) {
        Ok(segment) => segment,
        Err(why) => return icmp(p, here, &frame, &ip, ip.dst == here.gateway, why),
    };
    let key = flow_key(here, &ip, &segment);
    if let Some(flow) = t.flow(&key) {
        translate::apply(p, &ip, &segment, &flow)?;
        return Ok(Sent { why: Reason::ToWire, to: flow.egress });
    }
    if segment.opens() {
        return Err(Reason::NotAllowedOut);
    }
    answer::reset(p, here, &frame, &ip, &segment)
}

#[inline(always)]
fn parse<P: Packet>(p: &P) -> Result<(Ipv4, Segment), Reason> {
    let ip = Ipv4::read(p)?;
    let segment = Segment::read(p, &ip)?;
    Ok((ip, segment))
}

#[inline(always)]
fn flow_key(here: &Interface, ip: &Ipv4, segment: &Segment) -> FlowKey {
    FlowKey {
        src: ip.src,
        dst: ip.dst,
        sport: segment.sport,
        dport: segment.dport,
        protocol: ip.protocol,
        zone: here.zone,
    }
}

/// IPv4 from the wire that cannot be a packet of a flow: only what is for a VIP is Weir's to judge.
#[inline(always)]
fn uplink_without_ports<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
    why: Reason,
) -> Result<Sent, Reason> {
    let (_, address) = Ipv4::addresses(p).ok_or(Reason::OtherProtocol)?;
    if !t.is_vip(t.live(), &Vip { address, zone: here.zone }) {
        return Err(Reason::OtherAddress);
    }
    let ip = Ipv4::read(p)?;
    icmp(p, here, frame, &ip, true, why)
}

/// What is neither TCP nor UDP: an echo request to Weir is answered, the rest leaves for `why`.
#[inline(always)]
fn icmp<P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ipv4,
    is_for_weir: bool,
    why: Reason,
) -> Result<Sent, Reason> {
    if why != Reason::UnsupportedProtocol || ip.protocol != protocol::ICMP {
        return Err(why);
    }
    if !is_for_weir {
        return Err(Reason::IcmpIgnored);
    }
    answer::echo(p, here, frame, ip)
}

#[inline(always)]
fn arp_from_uplink<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
) -> Result<Sent, Reason> {
    let request = ArpRequest::read(p).ok_or(Reason::OtherAddress)?;
    let is_for_us = frame.dst == here.mac || frame.dst == Mac::BROADCAST;
    // Who announces a VIP as its own is in conflict with us: an answer would not mend that.
    let asks = request.sender != request.target;
    if !is_for_us || !asks || !t.is_vip(t.live(), &Vip { address: request.target, zone: here.zone }) {
        return Err(Reason::OtherAddress);
    }
    answer::arp(p, here, &request)
}

#[inline(always)]
fn arp_from_slot<P: Packet>(p: &mut P, here: &Interface) -> Result<Sent, Reason> {
    let request = ArpRequest::read(p).ok_or(Reason::SlotArp)?;
    if request.sender_mac != here.peer_mac {
        return Err(Reason::SpoofedSource);
    }
    if request.target != here.gateway || request.sender != here.address {
        return Err(Reason::SlotArp);
    }
    answer::arp(p, here, &request)
}
