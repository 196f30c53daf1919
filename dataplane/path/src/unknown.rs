//! Packets without a flow: whatever asks Weir for an answer, and the rest. A flow's first packet goes on to
//! [`crate::opening`].

use crate::addr::{Address, Mac};
use crate::answer::{self, Answer};
use crate::flow::{V4, V6};
use crate::opening;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::tables::{Interface, Tables, Vip};
use crate::walk::{From, Next, Sent, leave};
use crate::wire::{ArpRequest, Ethernet, Ip, Network, Segment, ethernet};

/// The step of a packet that is of no flow.
///
/// # Errors
/// Where it opens one: the step to go on with, and the packet is untouched.
#[inline(always)]
pub fn walk<P: Packet, T: Tables>(p: &mut P, t: &T, from: From) -> Result<Verdict, Next> {
    let packets = p.segments();
    let walked = match from {
        From::Slot => slot_walk(p, t),
        From::Uplink => match uplink_walk(p, t) {
            Ok(next) => return Err(next),
            Err(walked) => walked,
        },
    };
    Ok(leave(p, t, packets, walked))
}

/// Where a packet's way ends here, that is the error: the packet that goes on is the one that opens a flow.
#[inline(always)]
fn uplink_walk<P: Packet, T: Tables>(p: &mut P, t: &T) -> Result<Next, Result<Sent, Reason>> {
    let Some(here) = t.arrival() else { return Err(Err(Reason::UnknownInterface)) };
    let Some(frame) = Ethernet::read(p) else { return Err(Err(Reason::OtherProtocol)) };
    if frame.is_tagged(p) {
        return Err(Err(Reason::OtherVlan));
    }
    match frame.ethertype {
        ethernet::IPV4 if frame.dst == here.mac => {
            ip_from_uplink::<V4, P, T>(p, t, here, &frame, Next::OpeningV4)
        }
        ethernet::IPV6 if frame.dst == here.mac => {
            ip_from_uplink::<V6, P, T>(p, t, here, &frame, Next::OpeningV6)
        }
        ethernet::IPV4 | ethernet::IPV6 => Err(Err(Reason::OtherStation)),
        ethernet::ARP => Err(arp_from_uplink(p, t, here, &frame)),
        _ => Err(Err(Reason::OtherProtocol)),
    }
}

#[inline(always)]
fn ip_from_uplink<F: Network + Answer, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
    opens: Next,
) -> Result<Next, Result<Sent, Reason>> {
    // Before anything else of it is believed: what is not for a VIP is not Weir's to judge.
    let half = t.live();
    let vip = Vip { address: F::destination(p).mapped(), zone: here.zone };
    if !t.is_vip(half, &vip) {
        return Err(Err(Reason::OtherAddress));
    }
    let ip = F::read(p).map_err(Err)?;
    let segment = match Segment::read(p, &ip) {
        Ok(segment) => segment,
        Err(why) => return Err(F::icmp(p, here, frame, &ip, true, why)),
    };
    // Whether anybody listens, the next step asks.
    if segment.opens() {
        return Ok(opens);
    }
    if t.listener(half, &opening::listener(vip, &ip, &segment)).is_none() {
        return Err(Err(Reason::NoListener));
    }
    Err(answer::reset::<F, P>(p, here, frame, &ip, &segment))
}

#[inline(always)]
fn slot_walk<P: Packet, T: Tables>(p: &mut P, t: &T) -> Result<Sent, Reason> {
    let here = t.arrival().ok_or(Reason::UnboundSlot)?;
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::SlotProtocol) };
    if frame.is_tagged(p) {
        return Err(Reason::SlotProtocol);
    }
    if frame.src != here.peer_mac {
        return Err(Reason::SpoofedSource);
    }
    match frame.ethertype {
        ethernet::IPV4 => ip_from_slot::<V4, P>(p, here, &frame),
        ethernet::IPV6 => ip_from_slot::<V6, P>(p, here, &frame),
        ethernet::ARP => arp_from_slot(p, here),
        _ => Err(Reason::SlotProtocol),
    }
}

#[inline(always)]
fn ip_from_slot<F: Network + Answer, P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
) -> Result<Sent, Reason> {
    let ip: Ip<F::Address> = F::read(p)?;
    if ip.src != F::address(here) {
        return Err(Reason::SpoofedSource);
    }
    let segment = match Segment::read(p, &ip) {
        Ok(segment) => segment,
        Err(why) => return F::icmp(p, here, frame, &ip, ip.dst == F::gateway(here), why),
    };
    if segment.opens() {
        return Err(Reason::NotAllowedOut);
    }
    answer::reset::<F, P>(p, here, frame, &ip, &segment)
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
    let vip = Vip { address: request.target.mapped(), zone: here.zone };
    if !is_for_us || !asks || !t.is_vip(t.live(), &vip) {
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
