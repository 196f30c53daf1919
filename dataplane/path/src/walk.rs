//! The two walks of a packet. Start here.
//!
//! ```text
//!   settled ──the flow's state may move──► moving ──it goes on──────► ready
//!      │                                      └──────it is over──┐      ▲
//!      └─────────no flow─────────────────────────────────────────┴─► unknown ──a flow's first──► opening
//! ```
//!
//! Most packets are *settled*: of a flow that is there, and with nothing to say to it. They are parsed, found,
//! rewritten and sent, all in this file. A TCP packet with SYN, FIN or RST, and every packet until its flow is
//! established, may *move* the flow's state; a few times in a timeout any packet does. What is of no flow is
//! answered, passed, dropped by name, or *opens* one. Once that is done a packet is *ready*, and goes on as a
//! settled one does. Each step is a program of its own in the kernel, reached by a tail call: so the one that
//! most packets see stays small, and each has a whole stack. Nothing waits for user space, nothing is queued,
//! nothing is locked.
//!
//! IPv4 and IPv6 walk the same way: what differs is in [`Network`] and in the rewriting of headers.

use crate::flow::follow::{Found, Moved, Way, find, move_on};
use crate::flow::store::Flows;
use crate::flow::{Ends, Key, V4, V6};
use crate::opening;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::tables::{Egress, Interface, Tables};
use crate::translate::{self, Header};
use crate::unknown;
use crate::wire::{Ethernet, Ip, Network, Segment, ethernet};

/// A step that another program takes: its place in the arrays of programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Next {
    /// The packet's flow is in order.
    Ready,
    /// The packet may move an IPv4 flow's state.
    MovingV4,
    /// The packet may move an IPv6 flow's state.
    MovingV6,
    /// The packet is of no flow.
    Unknown,
    /// The packet opens an IPv4 flow.
    OpeningV4,
    /// The packet opens an IPv6 flow.
    OpeningV6,
}

impl Next {
    /// How many there are.
    pub const COUNT: u32 = 6;
}

/// Which side a packet comes in from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The wire.
    Uplink,
    /// A sandbox.
    Slot,
}

/// A packet that is to leave: why, and where to.
pub(crate) struct Sent {
    pub(crate) why: Reason,
    pub(crate) to: Egress,
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
    loop {
        step = match step {
            Ok(verdict) => return verdict,
            Err(Next::Ready) => Ok(ready(p, t, from)),
            Err(Next::MovingV4) => Err(moving::<V4, P, T>(p, t, from)),
            Err(Next::MovingV6) => Err(moving::<V6, P, T>(p, t, from)),
            Err(Next::Unknown) => unknown::walk(p, t, from),
            Err(Next::OpeningV4) => opening::walk::<V4, P, T>(p, t),
            Err(Next::OpeningV6) => opening::walk::<V6, P, T>(p, t),
        }
    }
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
    let (here, ethertype) = arrival(p, t, from).ok_or(Next::Unknown)?;
    let walked = match ethertype {
        ethernet::IPV4 => settled_ip::<V4, P, T>(p, t, here, from, Next::MovingV4)?,
        ethernet::IPV6 => settled_ip::<V6, P, T>(p, t, here, from, Next::MovingV6)?,
        _ => return Err(Next::Unknown),
    };
    Ok(leave(p, t, packets, walked))
}

/// The last step of a packet whose flow is in order.
#[inline(always)]
pub fn ready<P: Packet, T: Tables + Flows<V4> + Flows<V6>>(p: &mut P, t: &T, from: From) -> Verdict {
    let packets = p.segments();
    let walked = match arrival(p, t, from) {
        Some((here, ethernet::IPV4)) => ready_ip::<V4, P, T>(p, t, here, from),
        Some((here, ethernet::IPV6)) => ready_ip::<V6, P, T>(p, t, here, from),
        _ => Err(Reason::RaceLost),
    };
    leave(p, t, packets, walked)
}

/// The step of a packet that may move its flow's state. Returns the step to go on with.
#[inline(always)]
pub fn moving<F: Network, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Next {
    let Some((here, _)) = arrival(p, t, from) else { return Next::Unknown };
    let Some(Known { segment, found, .. }) = known::<F, P, T>(p, t, here, from) else { return Next::Unknown };
    match move_on::<F, P, T>(p, t, &found, &segment) {
        Moved::GoesOn => Next::Ready,
        Moved::IsOver => Next::Unknown,
    }
}

/// Where the packet came in, and its ethertype, if its MACs and the lack of a tag let it be a flow's.
#[inline(always)]
fn arrival<'t, P: Packet, T: Tables>(p: &P, t: &'t T, from: From) -> Option<(&'t Interface, [u8; 2])> {
    let here = t.arrival()?;
    let frame = Ethernet::read(p)?;
    let is_right = match from {
        From::Uplink => frame.dst == here.mac,
        From::Slot => frame.src == here.peer_mac,
    };
    (is_right && !frame.is_tagged(p)).then_some((here, frame.ethertype))
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

/// The established path: parse, one look-up, rewrite, send.
#[inline(always)]
fn settled_ip<F: Network + Header, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    here: &Interface,
    from: From,
    moving: Next,
) -> Result<Result<Sent, Reason>, Next> {
    let Known { ip, segment, found } = known::<F, P, T>(p, t, here, from).ok_or(Next::Unknown)?;
    if let Err(why) = translate::may_go_on(&ip) {
        return Ok(Err(why));
    }
    if segment.is_control() || found.is_due(t.now()) {
        return Err(moving);
    }
    let way = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Next::Unknown);
    }
    found.count::<F>(p.segments(), ip.total_len(), &segment);
    Ok(send::<F, P, T>(p, t, &ip, &segment, &way, from.known()))
}

#[inline(always)]
fn ready_ip<F: Network + Header, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    here: &Interface,
    from: From,
) -> Result<Sent, Reason> {
    let Known { ip, segment, found } = known::<F, P, T>(p, t, here, from).ok_or(Reason::RaceLost)?;
    let way = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Reason::RaceLost);
    }
    let is_first = found.count::<F>(p.segments(), ip.total_len(), &segment) && from == From::Uplink;
    let why = if is_first { Reason::Opened } else { from.known() };
    send::<F, P, T>(p, t, &ip, &segment, &way, why)
}

/// A packet of a flow.
struct Known<F: Network, E> {
    ip: Ip<F::Address>,
    segment: Segment,
    found: Found<E>,
}

/// The packet's headers and its flow, if it can be a flow's and there is one.
#[inline(always)]
fn known<F: Network, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    here: &Interface,
    from: From,
) -> Option<Known<F, T::Entry>> {
    let ip = F::read(p).ok()?;
    // A sandbox may send from no other address than its own.
    if from == From::Slot && ip.src != F::address(here) {
        return None;
    }
    let segment = Segment::read(p, &ip).ok()?;
    let found = find::<F, T>(t, &flow_key::<F>(here, &ip, &segment))?;
    Some(Known { ip, segment, found })
}

impl From {
    /// Why a packet of a known flow leaves.
    #[inline(always)]
    const fn known(self) -> Reason {
        match self {
            Self::Uplink => Reason::ToSlot,
            Self::Slot => Reason::ToWire,
        }
    }
}

/// What flows are looked up by.
#[inline(always)]
pub(crate) fn flow_key<F: Network>(here: &Interface, ip: &Ip<F::Address>, segment: &Segment) -> F::Key {
    let ends = Ends { src: ip.src, dst: ip.dst, sport: segment.sport, dport: segment.dport };
    F::Key::new(ends, ip.protocol, here.zone)
}

/// Turns the packet into what its flow says, and sends it where the flow leads.
#[inline(always)]
pub(crate) fn send<F: Network + Header, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ip: &Ip<F::Address>,
    segment: &Segment,
    way: &Way<F::Address>,
    why: Reason,
) -> Result<Sent, Reason> {
    let out = t.interface(way.hop.interface()).filter(|out| out.is_in_use()).ok_or(Reason::NoInterface)?;
    translate::apply::<F, P>(p, ip, segment, &way.to, [way.hop.mac, out.mac])?;
    Ok(Sent { why, to: out.egress })
}
