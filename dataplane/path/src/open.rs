//! A flow's first packet: which target, and both directions recorded or neither.

use crate::flow::{Flow, FlowKey};
use crate::hash::{flow_hash, scale};
use crate::reason::Reason;
use crate::tables::{Claim, Flows, GroupId, Half, Interface, Listener, Tables, Target, Vip};
use crate::wire::{Ethernet, Ipv4, Segment};

/// What this packet would be heard on.
#[inline(always)]
pub(crate) fn listener(vip: Vip, ip: &Ipv4, segment: &Segment) -> Listener {
    Listener { vip, protocol: ip.protocol, port: segment.dport }
}

/// The target that a new flow under `key` goes to (Maglev: Eisenbud et al., NSDI 2016, section 3.4).
///
/// # Errors
/// [`Reason::NoTarget`]: the group is empty.
#[inline(always)]
pub(crate) fn choose<T: Tables>(t: &T, half: Half, group: GroupId, key: &FlowKey) -> Result<Target, Reason> {
    let group = t.group(half, group).ok_or(Reason::NoTarget)?;
    if group.cells == 0 {
        return Err(Reason::NoTarget);
    }
    // The hash's upper half is left for the choice between groups, so that the two are independent.
    let hash = flow_hash(t.hash_key(half), key) as u32;
    let cell = group.first_cell.wrapping_add(scale(hash, group.cells));
    let nth = t.cell(half, cell).ok_or(Reason::NoTarget)?;
    t.target(half, group.first_target.wrapping_add(u32::from(nth))).ok_or(Reason::NoTarget)
}

/// Records the flow from the wire to `target`, and says what its packets become.
///
/// The reply's next hop is whoever sent the first packet: no neighbour table is needed, and no daemon.
///
/// # Errors
/// [`Reason::BadSource`], [`Reason::NoTarget`], and what [`record`] says.
#[inline(always)]
pub(crate) fn toward_target<T: Tables>(
    t: &T,
    uplink: &Interface,
    frame: &Ethernet,
    key: &FlowKey,
    target: Target,
) -> Result<Flow, Reason> {
    // Replies go to the sender's MAC, so it must be one station's.
    if !key.src.may_be_source() || key.src == key.dst || !frame.src.is_unicast() {
        return Err(Reason::BadSource);
    }
    // An array has a record for every number: one without a device is nobody's.
    let slot = t.interface(target.slot).filter(|slot| slot.is_in_use()).ok_or(Reason::NoTarget)?;
    let reply_key = FlowKey {
        src: slot.address,
        dst: key.src,
        sport: target.port,
        dport: key.sport,
        protocol: key.protocol,
        zone: slot.zone,
    };
    let inward = Flow {
        src: key.src,
        dst: slot.address,
        sport: key.sport,
        dport: target.port,
        dst_mac: slot.peer_mac,
        src_mac: slot.mac,
        egress: slot.egress,
        other: reply_key,
        zero: [0; 4],
    };
    let outward = Flow {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        dst_mac: frame.src,
        src_mac: uplink.mac,
        egress: uplink.egress,
        other: *key,
        zero: [0; 4],
    };
    record(t, key, &inward, &outward)
}

/// Both directions or neither. The reply's key goes in first: whoever finds the first key finds a whole flow.
///
/// A CPU that loses the race for the same flow follows the winner; one that meets another flow under the
/// reply's key gives up, because the sandbox's replies could not be told apart.
///
/// # Errors
/// [`Reason::FlowTableFull`], [`Reason::ReplyCollision`], [`Reason::RaceLost`]. Nothing is left behind.
#[inline(always)]
fn record<T: Flows>(t: &T, key: &FlowKey, inward: &Flow, outward: &Flow) -> Result<Flow, Reason> {
    match t.claim(&inward.other, outward) {
        Claim::Made => {}
        Claim::NoRoom => return Err(Reason::FlowTableFull),
        Claim::Taken => {
            let holder = t.flow(&inward.other).ok_or(Reason::RaceLost)?;
            if holder.other != *key {
                return Err(Reason::ReplyCollision);
            }
            return t.flow(key).ok_or(Reason::RaceLost);
        }
    }
    match t.claim(key, inward) {
        Claim::Made => Ok(*inward),
        Claim::NoRoom => {
            t.release(&inward.other);
            Err(Reason::FlowTableFull)
        }
        Claim::Taken => {
            t.release(&inward.other);
            t.flow(key).ok_or(Reason::RaceLost)
        }
    }
}
