//! A flow's first packet: which listener, which target, and what the two directions will look like.

use crate::addr::{Address, L4Port, Mac};
use crate::flow::open::{Draft, Opened, Rival, Terms, draft};
use crate::flow::room::take_back;
use crate::flow::store::Flows;
use crate::flow::{Hop, Key, Part};
use crate::hash::scale;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::steps::{Next, Steps};
use crate::tables::{Forward, GroupId, Half, Interface, Listener, Tables, Target, Vip};
use crate::verifier::{rolled, rolled_over};
use crate::walk::{flow_key, leave};
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
    // Filled in place: there is no room for a copy on the stack.
    let mut asked = Asked::<F::Key>::default();
    ask::<F, P, T>(p, t, t.live(), &mut asked)?;
    let Asked { key, terms, choice, hops } = &asked;
    let mut drafted = Err(Reason::FlowTableFull);
    for _ in rolled_over::<P>(1 + ROOM_MADE) {
        drafted = draft::<F, T>(t, key, terms);
        if !matches!(drafted, Err(Reason::FlowTableFull)) || !take_back::<F, T>(t) {
            break;
        }
    }
    // Not copied: there is no room for it.
    match &drafted {
        Ok(draft) if draft.take_place::<F, T>(t) => place::<F, T>(t, draft, choice, hops),
        Ok(draft) => {
            draft.abandon::<F, T>(t);
            Err(Reason::HalfOpenFull)
        }
        Err(why) => Err(*why),
    }
}

/// What a first packet asks for.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Asked<K> {
    key: K,
    /// Where it comes from, and where replies go.
    hops: [Hop; 2],
    terms: Terms,
    choice: Choice,
}

/// Reads a first packet. A function of its own: what it has on the stack is gone when the flow is made.
#[inline(never)]
fn ask<F: Network, P: Packet, T: Tables>(
    p: &P,
    t: &T,
    half: Half,
    asked: &mut Asked<F::Key>,
) -> Result<(), Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::UnknownInterface) };
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::OtherProtocol) };
    let ip = F::read(p)?;
    let segment = Segment::read(p, &ip)?;
    let vip = Vip { address: ip.dst.mapped(), zone: here.zone };
    let Some(forward) = heard::<P, T>(t, half, vip, segment.dport, ip.protocol) else {
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
    asked.key = flow_key::<F>(here, &ip, &segment);
    asked.hops = [Hop::new(here.egress.id, frame.src), back::<F, T>(t, here, ip.src, frame.src)];
    // Its port is the client's: there is nothing to rest.
    asked.terms.idle = forward.idle;
    asked.terms.expected = expected;
    asked.terms.shift = segment.window_shift(p);
    // The upper half chooses the group, the lower one the target, so that the two are independent.
    let hash = asked.key.hash(part, t.hash_key(half));
    let Some(group) = forward.choose((hash >> 32) as u32) else { return Err(Reason::NoTarget) };
    asked.choice = Choice { group, hash: hash as u32, dport: segment.dport };
    Ok(())
}

/// Where replies go: to whoever sent the first packet, or to the uplink's gateway if the client is not on the link.
/// A gateway that isn't known yet is not waited for: the sender can take the reply as well.
#[inline(always)]
fn back<F: Network, T: Tables>(t: &T, here: &Interface, client: F::Address, station: Mac) -> Hop {
    match F::gateway(here) {
        Some((gateway, _)) if !F::is_on_link(here, client) && t.next_hop(gateway).is_resolved() => {
            Hop::to_next_hop(here.egress.id, gateway)
        }
        _ => Hop::new(here.egress.id, station),
    }
}

/// Who serves a new flow, as far as that is decided.
#[derive(Clone, Copy, Default)]
struct Choice {
    group: GroupId,
    hash: u32,
    dport: L4Port,
}

/// Places a drafted flow on a target: the one that its hash says (Maglev: Eisenbud et al., NSDI 2016, section
/// 3.4), or the next where replies would collide. Its packets come `from` a station, and its replies go `back`.
///
/// # Errors
/// [`Reason::NoTarget`], [`Reason::ReplyCollision`], [`Reason::FlowTableFull`]. The draft is gone.
#[inline(never)]
fn place<F: Network, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    choice: &Choice,
    [from, back]: &[Hop; 2],
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
        match draft.enter::<F, T>(t, [from.by(slot.egress.id), *back], Rival::MayBeTheSame) {
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
pub(crate) fn heard<P: Packet, T: Tables>(
    t: &T,
    half: Half,
    vip: Vip,
    port: L4Port,
    protocol: u8,
) -> Option<&Forward> {
    let mut listener = Listener { vip, port, protocol, zero: 0 };
    // One place for both keys: there is little room on the stack.
    for _ in rolled_over::<P>(2) {
        let forward = t.listener(half, &listener);
        if forward.is_some() {
            return forward;
        }
        listener.port = Listener::ANY_PORT;
    }
    None
}

/// The target that these 32 bits of hash choose.
#[inline(always)]
pub(crate) fn choose<T: Tables>(t: &T, half: Half, group: GroupId, hash: u32) -> Option<Target> {
    let group = t.group(half, group).filter(|group| group.cells != 0)?;
    let nth = t.cell(half, group.first_cell.wrapping_add(scale(hash, group.cells)))?;
    t.target(half, group.first_target.wrapping_add(u32::from(nth)))
}
