//! A flow's first packet: which listener, which target, and what the two directions will look like.

use crate::addr::Address;
use crate::flow::open::{Draft, Opened, Terms, draft};
use crate::flow::room::take_back;
use crate::flow::store::Flows;
use crate::flow::{Hop, rolled};
use crate::hash::scale;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::tables::{GroupId, Half, Listener, Tables, Target, Vip};
use crate::translate;
use crate::walk::{Next, flow_key, leave};
use crate::wire::{Ethernet, Ip, Network, Segment};

/// How often room is made in a full table. Another CPU may be faster to take the record that was given back.
const ROOM_MADE: u32 = 3;
/// How many targets are tried where replies would collide with another flow's.
const TARGETS_TRIED: u32 = 3;

/// The step of a packet from the wire that opens a flow.
///
/// # Errors
/// The step to go on with: the flow is there, opened by this packet or on another CPU.
#[inline(always)]
pub fn walk<F: Network, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    match open_flow::<F, P, T>(p, t) {
        Ok(()) => Err(Next::Ready),
        Err(why) => Ok(leave(p, t, p.segments(), Err(why))),
    }
}

#[inline(always)]
fn open_flow<F: Network, P: Packet, T: Tables + Flows<F>>(p: &P, t: &T) -> Result<(), Reason> {
    let here = t.arrival().ok_or(Reason::UnknownInterface)?;
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::OtherProtocol) };
    let ip = F::read(p)?;
    let segment = Segment::read(p, &ip)?;
    let half = t.live();
    let vip = Vip { address: ip.dst.mapped(), zone: here.zone };
    let forward = t.listener(half, &listener(vip, &ip, &segment)).ok_or(Reason::NoListener)?;
    // Before the flow is recorded: a packet that ends here must not leave one behind.
    translate::may_go_on(&ip)?;
    // Replies go to the sender's MAC, so it must be one station's.
    if !ip.src.may_be_source() || ip.src == ip.dst || !frame.src.is_unicast() {
        return Err(Reason::BadSource);
    }
    let expected =
        segment.tcp.and_then(|_| segment.sequence(p)).map_or(0, |sequence| sequence.wrapping_add(1));
    let terms = Terms { idle: forward.idle, expected, shift: segment.window_shift(p) };
    let back = Hop::new(here.egress.id, frame.src);
    let key = flow_key::<F>(here, &ip, &segment);
    let mut drafted = draft::<F, T>(t, &key, &terms);
    for _ in rolled(ROOM_MADE) {
        if !matches!(drafted, Err(Reason::FlowTableFull)) || !take_back::<F, T>(t) {
            break;
        }
        drafted = draft::<F, T>(t, &key, &terms);
    }
    match drafted {
        Ok(draft) => place::<F, T>(t, &draft, forward.group, back),
        Err(why) => Err(why),
    }
}

/// Places a drafted flow on a target: the one that its hash says (Maglev: Eisenbud et al., NSDI 2016, section
/// 3.4), or the next where replies would collide. They go `back` to whoever sent the first packet: so no
/// neighbour table is needed, and no daemon.
///
/// # Errors
/// [`Reason::NoTarget`], [`Reason::ReplyCollision`], [`Reason::FlowTableFull`]. The draft is gone.
#[inline(never)]
fn place<F: Network, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    group: GroupId,
    back: Hop,
) -> Result<(), Reason> {
    let half = t.live();
    // The hash's upper half is left for the choice between groups, so that the two are independent.
    let hash = draft.hash::<F>(t.hash_key(half)) as u32;
    let mut why = Reason::NoTarget;
    for attempt in rolled(TARGETS_TRIED) {
        let Some(target) = choose(t, half, group, hash.rotate_left(attempt * 11)) else { break };
        // An array has a record for every number: one without a device is nobody's.
        let Some(slot) = t.interface(target.slot).filter(|slot| slot.is_in_use()) else { break };
        draft.answer_from::<F>(F::address(slot), target.port, slot.zone);
        match draft.enter::<F, T>(t, [Hop::new(slot.egress.id, slot.peer_mac), back]) {
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

/// What this packet would be heard on.
#[inline(always)]
pub(crate) fn listener<A>(vip: Vip, ip: &Ip<A>, segment: &Segment) -> Listener {
    Listener { vip, port: segment.dport, protocol: ip.protocol, zero: 0 }
}

#[inline(always)]
fn choose<T: Tables>(t: &T, half: Half, group: GroupId, hash: u32) -> Option<Target> {
    let group = t.group(half, group).filter(|group| group.cells != 0)?;
    let nth = t.cell(half, group.first_cell.wrapping_add(scale(hash, group.cells)))?;
    t.target(half, group.first_target.wrapping_add(u32::from(nth)))
}
