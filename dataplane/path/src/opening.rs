//! A flow's first packet: which listener, which target, and what the two directions will look like.

use crate::addr::{Address, L4Port, Mac};
use crate::flow::open::{Draft, Opened, Terms, draft};
use crate::flow::room::take_back;
use crate::flow::store::Flows;
use crate::flow::{Hop, Part, rolled};
use crate::hash::scale;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::tables::{Forward, GroupId, Half, Interface, Listener, Tables, Target, Vip};
use crate::walk::{Next, Steps, flow_key, leave};
use crate::wire::{Ethernet, Network, Segment};

/// How often room is made in a full table. Another CPU may be faster to take the record that was given back.
const ROOM_MADE: u32 = 3;
/// How many targets are tried where replies would collide with another flow's.
const TARGETS_TRIED: u32 = 3;

/// The step of a packet from the wire that opens a flow.
///
/// # Errors
/// The step to go on with: the flow is there, opened by this packet or on another CPU; or the sender is to be told
/// why it is not.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    match open_flow::<F, P, T>(p, t) {
        Ok(()) => Err(F::READY),
        Err(Reason::TtlExpired | Reason::NoTarget) => Err(F::TELL),
        Err(why) => Ok(leave(p, t, p.segments(), Err(why))),
    }
}

#[inline(always)]
fn open_flow<F: Network, P: Packet, T: Tables + Flows<F>>(p: &P, t: &T) -> Result<(), Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::UnknownInterface) };
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::OtherProtocol) };
    let ip = F::read(p)?;
    let segment = Segment::read(p, &ip)?;
    let half = t.live();
    let vip = Vip { address: ip.dst.mapped(), zone: here.zone };
    let Some(forward) = heard(t, half, vip, segment.dport, ip.protocol) else {
        return Err(Reason::NoListener);
    };
    if ip.hop_limit <= 1 {
        return Err(Reason::TtlExpired);
    }
    // Replies go to the sender's MAC, so it must be one station's.
    if !ip.src.may_be_source() || ip.src == ip.dst || !frame.src.is_unicast() {
        return Err(Reason::BadSource);
    }
    let part = match forward.is_sticky {
        0 if ip.is_fragment => Part::Addresses,
        0 => Part::Flow,
        _ => Part::Source,
    };
    let expected =
        segment.tcp.and_then(|_| segment.sequence(p)).map_or(0, |sequence| sequence.wrapping_add(1));
    let terms = Terms { idle: forward.idle, expected, shift: segment.window_shift(p) };
    let key = flow_key::<F>(here, &ip, &segment);
    let mut drafted = draft::<F, T>(t, &key, &terms);
    for _ in rolled(ROOM_MADE) {
        if !matches!(drafted, Err(Reason::FlowTableFull)) || !take_back::<F, T>(t) {
            break;
        }
        drafted = draft::<F, T>(t, &key, &terms);
    }
    let draft = drafted?;
    let hash = draft.hash::<F>(part, t.hash_key(half));
    // The upper half chooses the group, the lower one the target, so that the two are independent.
    let Some(group) = forward.choose((hash >> 32) as u32) else {
        draft.abandon::<F, T>(t);
        return Err(Reason::NoTarget);
    };
    let back = back::<F, T>(t, here, ip.src, frame.src);
    let choice = Choice { group, hash: hash as u32, dport: segment.dport, station: frame.src };
    place::<F, T>(t, &draft, &choice, back)
}

/// Where replies go: to whoever sent the first packet, or to the uplink's gateway if the client is not on the link.
/// A gateway that isn't known yet is not waited for: the sender can take the reply as well.
#[inline(always)]
fn back<F: Network, T: Tables>(t: &T, here: &Interface, client: F::Address, station: Mac) -> Hop {
    match F::gateway(here) {
        Some((gateway, _)) if !F::is_on_link(here, client) && t.next_hop(gateway).is_some() => {
            Hop::to_next_hop(here.egress.id, gateway)
        }
        _ => Hop::new(here.egress.id, station),
    }
}

/// Who serves a new flow, as far as that is decided.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Choice {
    group: GroupId,
    hash: u32,
    station: Mac,
    dport: L4Port,
}

/// Places a drafted flow on a target: the one that its hash says (Maglev: Eisenbud et al., NSDI 2016, section
/// 3.4), or the next where replies would collide.
///
/// # Errors
/// [`Reason::NoTarget`], [`Reason::ReplyCollision`], [`Reason::FlowTableFull`]. The draft is gone.
#[inline(never)]
fn place<F: Network, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    choice: &Choice,
    back: Hop,
) -> Result<(), Reason> {
    let half = t.live();
    let mut why = Reason::NoTarget;
    for attempt in rolled(TARGETS_TRIED) {
        let hash = choice.hash.rotate_left(attempt * 11);
        let Some(target) = choose(t, half, choice.group, hash) else { break };
        // An array has a record for every number: one without a device is nobody's.
        let Some(slot) = t.interface(target.slot).filter(|slot| slot.is_in_use()) else { break };
        let port = if target.port == Listener::ANY_PORT { choice.dport } else { target.port };
        draft.answer_from::<F>(F::address(slot), port, slot.zone);
        match draft.enter::<F, T>(t, [Hop::new(slot.egress.id, choice.station), back]) {
            Opened::Made => return Ok(()),
            Opened::Collides => why = Reason::ReplyCollision,
            Opened::Full => {
                why = Reason::FlowTableFull;
                break;
            }
            Opened::Joined => {
                draft.abandon::<F, T>(t);
                return Ok(());
            }
        }
    }
    draft.abandon::<F, T>(t);
    Err(why)
}

/// What the listener of this port does, or the one of all ports.
#[inline(always)]
pub(crate) fn heard<T: Tables>(t: &T, half: Half, vip: Vip, port: L4Port, protocol: u8) -> Option<&Forward> {
    let listener = Listener { vip, port, protocol, zero: 0 };
    if let Some(forward) = t.listener(half, &listener) {
        return Some(forward);
    }
    t.listener(half, &Listener { port: Listener::ANY_PORT, ..listener })
}

/// The target that these 32 bits of hash choose.
#[inline(always)]
pub(crate) fn choose<T: Tables>(t: &T, half: Half, group: GroupId, hash: u32) -> Option<Target> {
    let group = t.group(half, group).filter(|group| group.cells != 0)?;
    let nth = t.cell(half, group.first_cell.wrapping_add(scale(hash, group.cells)))?;
    t.target(half, group.first_target.wrapping_add(u32::from(nth)))
}
