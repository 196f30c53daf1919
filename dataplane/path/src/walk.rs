//! The two walks of a packet. Start here.
//!
//! ```text
//!   settled ──the flow's state may move──► moving ──it goes on──────► ready ──too big──► tell
//!      │                                      └──────it is over──┐      ▲
//!      └─────────no flow─────────────────────────────────────────┴─► unknown ──a flow's first──► opening ──┐
//!                                                                      ├─the same, from a sandbox─────► outbound ─┴─► enter ──► ready
//!                                                                      ├─a fragment, extension headers─► odd
//!                                                                      ├─an ICMP query, or its answer──► query
//!                                                                      └─an ICMP error─────────────────► relay
//! ```
//!
//! Most packets are *settled*: of a flow that is there, and with nothing to say to it. They are parsed, found,
//! rewritten and sent, all in this file. A TCP packet with SYN, FIN or RST, and every packet until its flow is
//! established, may *move* the flow's state; a few times in a timeout any packet does, and one from another station
//! than before. What is of no flow is answered, passed, dropped by name, or *opens* one: who serves and
//! who may is decided first, and then the flow is *entered*, from whichever side it comes. Packets in an *odd* shape
//! find their flow on a way of their own, and ICMP errors are *relayed* to the flow that they are about. Once its
//! flow is in order a packet is *ready*, and goes on as a settled one does. Who sent what can't go on is *told*.
//!
//! Each step is a program of its own in the kernel, reached by a tail call: so the one that most packets see stays
//! small, and each has a whole stack. Nothing waits for user space, nothing is queued, nothing is locked.
//!
//! IPv4 and IPv6 walk the same way: what differs is in [`Network`], [`crate::wire::Icmp`] and in the rewriting of headers.

use crate::addr::Mac;
use crate::flow::follow::{Found, Moved, Way, answer_to, find, move_on};
use crate::flow::store::Flows;
use crate::flow::{Ends, Hop, Key, V4, V6};
use crate::opening;
use crate::packet::{Packet, VlanTag};
use crate::reason::{Reason, Verdict};
use crate::steps::{Next, Steps};
use crate::tables::{Direction, Egress, Interface, Tables};
use crate::translate;
use crate::way::{departure, departure_asking, in_use};
use crate::wire::{Ethernet, Ip, Network, Segment, ethernet, ipv4};
use crate::{entering, meter, odd, outbound, query, relay, tell, unknown};

/// Which side a packet comes in from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The wire.
    Uplink,
    /// A sandbox.
    Slot,
}

/// As many tail calls as the kernel allows (include/linux/bpf.h, `MAX_TAIL_CALL_CNT`).
const MOST_TAIL_CALLS: u32 = 33;
/// Length of a TCP header without options, which is what the longest segment is reckoned with (RFC 6691).
const TCP_LEN: usize = crate::wire::tcp::LEN;

/// A packet that is to leave: why, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Why.
    pub why: Reason,
    /// Where to.
    pub to: Egress,
}

/// A packet from the wire, all steps.
#[inline(always)]
pub fn from_uplink<P: Packet, T: Tables + Flows<V4> + Flows<V6>>(p: &mut P, t: &T) -> Verdict {
    all_steps(p, t, From::Uplink)
}

/// A packet from a sandbox, all steps.
#[inline(always)]
pub fn from_slot<P: Packet, T: Tables + Flows<V4> + Flows<V6>>(p: &mut P, t: &T) -> Verdict {
    all_steps(p, t, From::Slot)
}

#[inline(always)]
fn all_steps<P: Packet, T: Tables + Flows<V4> + Flows<V6>>(p: &mut P, t: &T, from: From) -> Verdict {
    let mut step = settled(p, t, from);
    for _ in 0..MOST_TAIL_CALLS {
        step = match step {
            Ok(verdict) => return verdict,
            Err(Next::ReadyV4) => ready::<V4, P, T>(p, t, from),
            Err(Next::ReadyV6) => ready::<V6, P, T>(p, t, from),
            Err(Next::MovingV4) => Err(moving::<V4, P, T>(p, t, from)),
            Err(Next::MovingV6) => Err(moving::<V6, P, T>(p, t, from)),
            Err(Next::Unknown) => unknown::walk(p, t, from),
            Err(Next::OpeningV4) => opening::walk::<V4, P, T>(p, t),
            Err(Next::OpeningV6) => opening::walk::<V6, P, T>(p, t),
            Err(Next::OddV4) => odd::walk::<V4, P, T>(p, t, from),
            Err(Next::OddV6) => odd::walk::<V6, P, T>(p, t, from),
            Err(Next::RelayV4) => Ok(relay::walk::<V4, P, T>(p, t, from)),
            Err(Next::RelayV6) => Ok(relay::walk::<V6, P, T>(p, t, from)),
            Err(Next::TellV4) => Ok(tell::walk::<V4, P, T>(p, t, from)),
            Err(Next::TellV6) => Ok(tell::walk::<V6, P, T>(p, t, from)),
            Err(Next::OutboundV4) => outbound::walk::<V4, P, T>(p, t),
            Err(Next::OutboundV6) => outbound::walk::<V6, P, T>(p, t),
            Err(Next::EnterV4) => entering::walk::<V4, P, T>(p, t),
            Err(Next::EnterV6) => entering::walk::<V6, P, T>(p, t),
            Err(Next::QueryV4) => query::walk::<V4, P, T>(p, t, from),
            Err(Next::QueryV6) => query::walk::<V6, P, T>(p, t, from),
        }
    }
    // As in the kernel, where a tail call too many fails.
    leave(p, t, p.segments(), Err(Reason::NotReady))
}

/// The first step, and the last for most packets: one of a flow that is there, and that it says nothing to.
///
/// # Errors
/// The step to go on with, and the packet is untouched.
#[inline(always)]
pub fn settled<P: Packet, T: Tables + Flows<V4> + Flows<V6>>(
    p: &mut P,
    t: &T,
    from: From,
) -> Result<Verdict, Next> {
    let packets = p.segments();
    t.entered(packets);
    let (here, frame) = arrival(p, t, from).ok_or(Next::Unknown)?;
    if from == From::Slot
        && let Err(why) = meter::let_out(p, t, here)
    {
        return Ok(leave(p, t, packets, Err(why)));
    }
    let walked = match frame.ethertype {
        ethernet::IPV4 => settled_ip::<V4, P, T>(p, t, here, frame.src, from)?,
        ethernet::IPV6 => settled_ip::<V6, P, T>(p, t, here, frame.src, from)?,
        _ => return Err(Next::Unknown),
    };
    Ok(leave(p, t, packets, walked))
}

/// Where the packet came in, and its Ethernet header, if its MACs let it be a flow's.
#[inline(always)]
fn arrival<'t, P: Packet, T: Tables>(p: &P, t: &'t T, from: From) -> Option<(&'t Interface, Ethernet)> {
    let here = t.arrival(p.vlan())?;
    let frame = Ethernet::read(p)?;
    let is_right = match from {
        From::Uplink => frame.dst == here.mac || Ethernet::may_be_for_an_eni(p),
        From::Slot => frame.src == here.peer_mac,
    };
    is_right.then_some((here, frame))
}

/// Counts a packet once on its way out. It was counted once on its way in.
#[inline(always)]
pub(crate) fn leave<P: Packet, T: Tables>(
    p: &P,
    t: &T,
    packets: u32,
    walked: Result<Sent, Reason>,
) -> Verdict {
    match walked {
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

/// The established path: parse, one look-up, rewrite, send. What needs more than that goes another way.
#[inline(always)]
fn settled_ip<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    here: &Interface,
    station: Mac,
    from: From,
) -> Result<Result<Sent, Reason>, Next> {
    let ip = F::glance(p).ok().ok_or(Next::Unknown)?;
    let Known { segment, found } = known::<F, P, T>(p, t, here, &ip, from).ok_or(Next::Unknown)?;
    if ip.is_fragment {
        return Err(Next::Unknown);
    }
    if ip.payload_at != ipv4::AT + F::LEN {
        return Err(F::ODD);
    }
    if ip.hop_limit <= 1 {
        return Err(F::TELL);
    }
    if segment.is_control() || found.is_due(t.now()) {
        return Err(F::MOVING);
    }
    let way = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Next::Unknown);
    }
    let Ok(out) = exit::<F, T>(t, &way) else { return Ok(Err(Reason::NoInterface)) };
    if from == From::Uplink && out.is_slot() && !way.hop.is_from(station) {
        return Err(F::MOVING);
    }
    if !fits(p, &ip, &segment, out) || p.vlan() != out.vlan || out.is_metered(Direction::In) {
        return Err(F::READY);
    }
    let Ok(leaving) = departure(t, &way, out) else { return Err(F::READY) };
    if let Err(why) = translate::apply::<F, P>(p, &ip, &segment, &way.to, &leaving) {
        return Ok(Err(why));
    }
    found.count::<F>(p.segments(), ip.total_len(), &segment);
    Ok(Ok(Sent { why: from.known(out), to: out.egress }))
}

/// The step of a packet that may move its flow's state. Returns the step to go on with.
#[inline(always)]
pub fn moving<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Next {
    let Some((here, frame)) = arrival(p, t, from) else { return Next::Unknown };
    let Ok(ip) = F::read(p) else { return Next::Unknown };
    let Some(Known { segment, found }) = known::<F, P, T>(p, t, here, &ip, from) else {
        return Next::Unknown;
    };
    match move_on::<F, P, T>(p, t, &found, &segment) {
        Moved::IsOver => Next::Unknown,
        Moved::GoesOn => {
            if from == From::Uplink {
                answer_to::<F, T>(t, &found, Hop::new(here.egress.id, frame.src));
            }
            F::READY
        }
    }
}

/// The last step of a packet whose flow is in order.
///
/// # Errors
/// The step to go on with, and the packet is untouched.
#[inline(always)]
pub fn ready<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    from: From,
) -> Result<Verdict, Next> {
    let packets = p.segments();
    let walked = match ready_ip::<F, P, T>(p, t, from) {
        Ok(sent) => Ok(sent),
        Err(Reason::TooBig) => return Err(F::TELL),
        Err(why) => Err(why),
    };
    Ok(leave(p, t, packets, walked))
}

#[inline(always)]
fn ready_ip<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Result<Sent, Reason> {
    let Some((here, _)) = arrival(p, t, from) else { return Err(Reason::RaceLost) };
    let ip = F::read(p)?;
    let Some(Known { segment, found }) = known::<F, P, T>(p, t, here, &ip, from) else {
        return Err(Reason::RaceLost);
    };
    let way = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Reason::RaceLost);
    }
    let out = exit::<F, T>(t, &way)?;
    if !fits(p, &ip, &segment, out) {
        return Err(Reason::TooBig);
    }
    let longest = here.mtu.min(out.mtu);
    translate::clamp_segments::<P>(p, &segment, longest.saturating_sub((F::LEN + TCP_LEN) as u32))?;
    if ip.is_fragment {
        odd::note::<F, P, T>(p, t, here, &ip, (&way, out), from)?;
    }
    let leaving = departure_asking::<F, T>(t, &way, out, from, found.is_unused::<F>())?;
    meter::let_in(p, t, out)?;
    retag(p, out.vlan)?;
    translate::apply::<F, P>(p, &ip, &segment, &way.to, &leaving)?;
    let is_first = found.count::<F>(p.segments(), ip.total_len(), &segment) && found.is_original();
    let why = if is_first { Reason::Opened } else { from.known(out) };
    Ok(Sent { why, to: leaving.to })
}

/// A packet of a flow.
pub(crate) struct Known<E> {
    pub(crate) segment: Segment,
    pub(crate) found: Found<E>,
}

/// The packet's flow, if it can be a flow's and there is one.
#[inline(always)]
pub(crate) fn known<F: Network, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    here: &Interface,
    ip: &Ip<F::Address>,
    from: From,
) -> Option<Known<T::Entry>> {
    // A sandbox may send from no other address than its own.
    if from == From::Slot && ip.src != F::address(here) {
        return None;
    }
    let segment = Segment::read(p, ip).ok()?;
    let found = find::<F, T>(t, &flow_key::<F>(here, ip, &segment))?;
    Some(Known { segment, found })
}

impl From {
    /// Why a packet of a known flow leaves by `out`.
    #[inline(always)]
    pub(crate) const fn known(self, out: &Interface) -> Reason {
        match (self, out.is_slot()) {
            (Self::Uplink, true) => Reason::ToSlot,
            (Self::Uplink, false) => Reason::WireToWire,
            (Self::Slot, true) => Reason::SlotToSlot,
            (Self::Slot, false) => Reason::ToWire,
        }
    }
}

/// What flows are looked up by.
#[inline(always)]
pub(crate) fn flow_key<F: Network>(here: &Interface, ip: &Ip<F::Address>, segment: &Segment) -> F::Key {
    let ends = Ends { src: ip.src, dst: ip.dst, sport: segment.sport, dport: segment.dport };
    F::Key::new(ends, ip.protocol, here.zone)
}

/// The interface that a flow's packets leave by.
#[inline(always)]
pub(crate) fn exit<'t, F: Network, T: Tables>(
    t: &'t T,
    way: &Way<F::Address>,
) -> Result<&'t Interface, Reason> {
    in_use(t, way.hop.interface())
}

/// Whether the packet, or each of its segments, is short enough to leave by `out`.
#[inline(always)]
pub(crate) fn fits<P: Packet, A>(p: &P, ip: &Ip<A>, segment: &Segment, out: &Interface) -> bool {
    let mtu = out.mtu as usize;
    if ip.total_len() <= mtu {
        return true;
    }
    let payload = p.segment_payload();
    payload != 0 && segment.at - ipv4::AT + segment.header_len() + payload <= mtu
}

/// Gives the frame the tag of the interface that it leaves by.
#[inline(always)]
pub(crate) fn retag<P: Packet>(p: &mut P, vlan: VlanTag) -> Result<(), Reason> {
    if p.vlan() == vlan {
        return Ok(());
    }
    p.set_vlan(vlan).map_err(|_| Reason::Unchangeable)
}
