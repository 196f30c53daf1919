//! Packets without a flow: whatever asks Weir for an answer, and the rest. A flow's first packet goes on to
//! [`crate::opening`], what has an odd shape to [`crate::odd`], an ICMP error to [`crate::relay`].

use crate::addr::{Address, Mac};
use crate::answer;
use crate::flow::{V4, V6};
use crate::packet::{Packet, VlanTag};
use crate::reason::{Class, Reason, Verdict};
use crate::serving::heard;
use crate::steps::{Next, Steps};
use crate::tables::{Interface, NextHop, NextHopId, Owner, Tables, Vip};
use crate::walk::{From, Sent, leave};
use crate::wire::{Arp, Ethernet, Icmp, Ip, Segment, ethernet, icmp, ipv4, protocol};

/// The step of a packet that is of no flow.
///
/// # Errors
/// Where it goes on: the next step, and the packet is untouched.
#[inline(always)]
pub fn walk<P: Packet, T: Tables>(p: &mut P, t: &T, from: From) -> Result<Verdict, Next> {
    let packets = p.segments();
    let walked = match from {
        From::Slot => slot_walk(p, t),
        From::Uplink => uplink_walk(p, t),
    };
    match walked {
        Ok(next) => Err(next),
        Err(walked) => Ok(leave(p, t, packets, walked)),
    }
}

/// Where a packet's way ends here, that is the error: what goes on has a flow to find or to open.
type Walked = Result<Next, Result<Sent, Reason>>;

#[inline(always)]
fn uplink_walk<P: Packet, T: Tables>(p: &mut P, t: &T) -> Walked {
    let tag = p.vlan();
    let Some(here) = t.arrival(tag) else {
        let is_tagged = tag != VlanTag::NONE;
        return Err(Err(if is_tagged { Reason::OtherVlan } else { Reason::UnknownInterface }));
    };
    let Some(frame) = Ethernet::read(p) else { return Err(Err(Reason::OtherProtocol)) };
    match frame.ethertype {
        ethernet::IPV4 => ip_from_uplink::<V4, P, T>(p, t, here, &frame),
        ethernet::IPV6 => ip_from_uplink::<V6, P, T>(p, t, here, &frame),
        ethernet::ARP => Err(arp_from_uplink(p, t, here, &frame)),
        // A tag behind the tag.
        ethernet::VLAN | ethernet::SERVICE_VLAN => Err(Err(Reason::OtherVlan)),
        _ => Err(Err(Reason::OtherProtocol)),
    }
}

#[inline(always)]
fn ip_from_uplink<F: Steps, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
) -> Walked {
    if let Some(answered) = F::neighbour_on_uplink(p, t, here, frame) {
        return Err(answered);
    }
    if frame.dst != here.mac && !Ethernet::may_be_for_an_eni(p) {
        return Err(Err(Reason::OtherStation));
    }
    // Before anything else of it is believed: what is not for a VIP is not Weir's to judge.
    let half = t.live();
    let vip = Vip { address: F::destination(p).mapped(), zone: here.zone };
    match t.owner(half, &vip) {
        Owner::NONE => Err(Err(Reason::OtherAddress)),
        Owner::VIP => ip_to_vip::<F, P, T>(p, t, here, frame, &vip),
        Owner::HOST => ip_to_eni::<F, P>(p)
            .map_err(|walked| walked.map_err(|why| if is_spared(why) { Reason::HostsOwn } else { why })),
        _ => ip_to_eni::<F, P>(p),
    }
}

/// What is for an ENI and of no flow: nobody is let in.
#[inline(always)]
fn ip_to_eni<F: Steps, P: Packet>(p: &mut P) -> Walked {
    let ip = F::read(p).map_err(Err)?;
    F::sound(p, &ip).map_err(Err)?;
    if ip.protocol == F::PROTOCOL && !ip.is_fragment && ip.payload_len >= icmp::LEN {
        let Some(kind) = p.read(ip.payload_at) else { return Err(Err(Reason::BadHeader)) };
        let [number, _] = kind;
        if F::is_error(number) {
            return Ok(F::RELAY);
        }
        if kind == F::ECHO_REPLY {
            return Ok(F::QUERY);
        }
    }
    if is_odd::<F>(&ip) { Ok(F::ODD) } else { Err(Err(Reason::Uninvited)) }
}

/// Whether the host is to have a packet to its own address that would leave for this reason: it was Weir's only if it
/// is of a flow.
#[inline(always)]
fn is_spared(why: Reason) -> bool {
    why.class() == Class::Dropped && why != Reason::Unchangeable
}

/// The reason for which a packet leaves that is of no flow, where it may be the host's.
#[inline(always)]
pub(crate) fn spare_the_host<F: Steps, P: Packet, T: Tables>(
    p: &P,
    t: &T,
    from: From,
    why: Reason,
) -> Reason {
    let Some(here) = t.arrival(p.vlan()).filter(|_| from == From::Uplink && is_spared(why)) else {
        return why;
    };
    let vip = Vip { address: F::destination(p).mapped(), zone: here.zone };
    if t.owner(t.live(), &vip) == Owner::HOST { Reason::HostsOwn } else { why }
}

/// What is for a VIP and of no flow.
#[inline(always)]
fn ip_to_vip<F: Steps, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
    vip: &Vip,
) -> Walked {
    let ip = F::read(p).map_err(Err)?;
    F::sound(p, &ip).map_err(Err)?;
    if ip.protocol == F::PROTOCOL {
        return icmp::<F, P, T>(p, t, here, frame, &ip, From::Uplink);
    }
    if is_odd::<F>(&ip) {
        return Ok(F::ODD);
    }
    let segment = match Segment::read(p, &ip) {
        Ok(segment) => segment,
        Err(why) => return Err(Err(why)),
    };
    // Whether anybody listens, the next step asks.
    if segment.opens() {
        return Ok(F::OPENING);
    }
    if heard(t, t.live(), *vip, segment.dport, ip.protocol).is_none() {
        return Err(Err(Reason::NoListener));
    }
    Err(answer::reset_if_allowed::<F, P, T>(p, t, here, frame, &ip, &segment))
}

/// Whether the packet is a fragment that may go on, or lies behind options or extension headers.
#[inline(always)]
fn is_odd<F: Icmp>(ip: &Ip<F::Address>) -> bool {
    let is_behind_extensions = ip.payload_at != ipv4::AT + F::LEN;
    match ip.protocol {
        protocol::UDP => ip.is_fragment || is_behind_extensions,
        protocol::TCP => !ip.is_fragment && is_behind_extensions,
        _ => false,
    }
}

/// ICMP to a VIP or from a slot, or about one of their flows.
#[inline(always)]
fn icmp<F: Steps, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    from: From,
) -> Walked {
    if ip.is_fragment {
        return Err(Err(Reason::Fragment));
    }
    let Some([kind, code]) = p.read(ip.payload_at) else { return Err(Err(Reason::BadHeader)) };
    if ip.payload_len < icmp::LEN {
        return Err(Err(Reason::IcmpIgnored));
    }
    if F::is_error(kind) {
        return Ok(F::RELAY);
    }
    if [kind, code] != F::ECHO_REQUEST {
        return Err(Err(Reason::IcmpIgnored));
    }
    if from == From::Slot && !F::is_local(here, ip.dst) {
        return Ok(F::QUERY);
    }
    Err(answer::echo::<F, P, T>(p, t, here, frame, ip))
}

#[inline(always)]
fn slot_walk<P: Packet, T: Tables>(p: &mut P, t: &T) -> Walked {
    if p.vlan() != VlanTag::NONE {
        return Err(Err(Reason::SlotProtocol));
    }
    let Some(here) = t.arrival(VlanTag::NONE) else { return Err(Err(Reason::UnboundSlot)) };
    let Some(frame) = Ethernet::read(p) else { return Err(Err(Reason::SlotProtocol)) };
    if frame.src != here.peer_mac {
        return Err(Err(Reason::SpoofedSource));
    }
    match frame.ethertype {
        ethernet::IPV4 => ip_from_slot::<V4, P, T>(p, t, here, &frame),
        ethernet::IPV6 => ip_from_slot::<V6, P, T>(p, t, here, &frame),
        ethernet::ARP => Err(arp_from_slot(p, here)),
        _ => Err(Err(Reason::SlotProtocol)),
    }
}

#[inline(always)]
fn ip_from_slot<F: Steps, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
) -> Walked {
    if let Some(answered) = F::chatter_on_slot(p, here, frame) {
        return Err(answered);
    }
    let ip = F::read(p).map_err(Err)?;
    if ip.src != F::address(here) {
        return Err(Err(Reason::SpoofedSource));
    }
    F::sound(p, &ip).map_err(Err)?;
    if ip.protocol == F::PROTOCOL {
        return icmp::<F, P, T>(p, t, here, frame, &ip, From::Slot);
    }
    if is_odd::<F>(&ip) {
        return Ok(F::ODD);
    }
    let segment = match Segment::read(p, &ip) {
        Ok(segment) => segment,
        Err(why) => return Err(Err(why)),
    };
    if segment.opens() {
        return Ok(F::OUTBOUND);
    }
    Err(answer::reset_if_allowed::<F, P, T>(p, t, here, frame, &ip, &segment))
}

#[inline(always)]
fn arp_from_uplink<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
) -> Result<Sent, Reason> {
    let arp = Arp::read(p).ok_or(Reason::OtherAddress)?;
    if arp.sender == here.gateway && here.gateway != Default::default() {
        learn(t, NextHopId::gateway(here.egress.id), arp.sender_mac);
    }
    let is_for_us = frame.dst == here.mac || frame.dst == Mac::BROADCAST || Ethernet::may_be_for_an_eni(p);
    // Who announces a VIP as its own is in conflict with us: an answer would not mend that.
    let asks = arp.operation == Arp::REQUEST && arp.sender != arp.target;
    let vip = Vip { address: arp.target.mapped(), zone: here.zone };
    let Some(home) = home(t, here, &vip).filter(|_| is_for_us) else { return Err(Reason::OtherAddress) };
    if home.is_eni() && arp.sender == home.gateway {
        learn(t, NextHopId::gateway(home.egress.id), arp.sender_mac);
    }
    if !asks || !arp.sender_mac.is_unicast() {
        return Err(Reason::OtherAddress);
    }
    answer::arp::reply(p, home, &arp)
}

/// Where an address of Weir's is at home, of which neighbours may be told: at the ENI, or at the uplink.
#[inline(always)]
pub(crate) fn home<'t, T: Tables>(t: &'t T, here: &'t Interface, vip: &Vip) -> Option<&'t Interface> {
    match t.owner(t.live(), vip) {
        Owner::NONE | Owner::HOST => None,
        Owner::VIP => Some(here),
        owner => t.interface(owner.as_eni()?).filter(|eni| eni.is_in_use()),
    }
}

/// Notes which station a gateway is. It tells so itself, as any neighbour does that the kernel would believe.
#[inline(always)]
pub(crate) fn learn<T: Tables>(t: &T, gateway: NextHopId, station: Mac) {
    if station.is_unicast() && t.next_hop(gateway) != NextHop::resolved(station) {
        t.learn(gateway, station);
    }
}

#[inline(always)]
fn arp_from_slot<P: Packet>(p: &mut P, here: &Interface) -> Result<Sent, Reason> {
    let request = Arp::read(p).filter(|arp| arp.operation == Arp::REQUEST).ok_or(Reason::SlotArp)?;
    if request.sender_mac != here.peer_mac {
        return Err(Reason::SpoofedSource);
    }
    if request.target != here.local || request.sender != here.address {
        return Err(Reason::SlotArp);
    }
    answer::arp::reply(p, here, &request)
}
