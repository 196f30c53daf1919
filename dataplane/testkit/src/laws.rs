//! What must hold whatever the packet: checked on every random packet, and on whatever a fuzzer finds.
//!
//! Each law says in an error what it saw, so that a failing packet explains itself.

use crate::executor::{End, Ran, Walk};
use crate::oracle::{Sum, checksums};
use crate::world::{FlowTable, State};
use weir_path::Reason;
use weir_path::addr::Ip4;
use weir_path::reason::Class;

const ETHERNET: usize = 14;
const TTL: usize = ETHERNET + 8;
const IP_SRC: usize = ETHERNET + 12;
const ARP_OPERATION: usize = ETHERNET + 6;

/// The laws about one packet: what went in, what came out, and why.
///
/// # Errors
/// The law that it breaks.
pub fn packet(packet: &[u8], ran: &Ran, why: Reason) -> Result<(), String> {
    let expected = match why.class() {
        Class::Forwarded | Class::Answered => End::Send,
        Class::Passed => End::Pass,
        Class::Dropped => End::Drop,
    };
    require(ran.end == expected, || format!("{why:?} must end as {expected:?}, not as {:?}", ran.end))?;
    match why.class() {
        Class::Passed => untouched(packet, ran, why),
        // A refused change may come in the middle of others.
        Class::Dropped if why == Reason::Unchangeable => Ok(()),
        Class::Dropped => untouched(packet, ran, why),
        Class::Forwarded => forwarded(packet, &ran.bytes),
        Class::Answered => answered(packet, &ran.bytes, why),
    }
}

/// Fail closed: what leaves a sandbox leaves with an address of Weir's, never with its own.
///
/// # Errors
/// Where a sandbox's own address shows.
pub fn no_leak(why: Reason, bytes: &[u8], sandbox: Ip4) -> Result<(), String> {
    let src = four(bytes, IP_SRC);
    require(why != Reason::ToWire || src != Some(sandbox.0), || {
        format!("a packet left with its sandbox's own address {sandbox}")
    })
}

/// Both or neither: each direction's other direction is there, and points back.
///
/// # Errors
/// The first direction that is alone.
pub fn both_or_neither(flows: &FlowTable) -> Result<(), String> {
    for (key, flow) in flows {
        let other = flows.get(&flow.other).map(|other| other.other);
        require(other == Some(*key), || {
            format!("{key:?} points to {:?}, which points to {other:?}", flow.other)
        })?;
    }
    Ok(())
}

/// The laws about the tables around one packet: exact conservation, and flows that only opening may add.
///
/// # Errors
/// The law that is broken.
pub fn tables(before: &State, after: &State, walk: Walk, why: Reason) -> Result<(), String> {
    both_or_neither(&after.flows)?;
    let mut expected = before.walks.clone();
    let counters = expected.entry(walk).or_default();
    counters.entered += 1;
    *counters.left.entry(why).or_default() += 1;
    require(after.walks == expected, || format!("counters are {:02x?}, not {expected:02x?}", after.walks))?;

    let sent = |state: &State| state.sent.values().sum::<u64>();
    let left = u64::from(matches!(why.class(), Class::Forwarded | Class::Answered));
    require(sent(after) == sent(before) + left, || format!("{why:?} must send {left} packets"))?;

    let kept = before.flows.iter().all(|(key, flow)| after.flows.get(key) == Some(flow));
    require(kept, || "a flow was changed or taken out by a packet".into())?;
    let opened = if why == Reason::Opened { 2 } else { 0 };
    require(after.flows.len() == before.flows.len() + opened, || {
        format!(
            "{why:?} must add {opened} directions; there were {}, there are {}",
            before.flows.len(),
            after.flows.len()
        )
    })
}

/// Conservation at rest: what came in at each walk is what left it, and what was sent is what was to be sent.
///
/// # Errors
/// The numbers that differ.
pub fn conservation(state: &State) -> Result<(), String> {
    for (walk, counters) in &state.walks {
        let left: u64 = counters.left.values().sum();
        require(left == counters.entered, || format!("{walk:?}: {} came in, {left} left", counters.entered))?;
    }
    let to_send: u64 = (state.walks.values().flat_map(|walk| &walk.left))
        .filter(|(why, _)| matches!(why.class(), Class::Forwarded | Class::Answered))
        .map(|(_, packets)| packets)
        .sum();
    let sent: u64 = state.sent.values().sum();
    require(to_send == sent, || format!("{to_send} packets were to be sent, {sent} were"))
}

fn untouched(packet: &[u8], ran: &Ran, why: Reason) -> Result<(), String> {
    require(packet == ran.bytes, || format!("{why:?} must leave the packet as it was"))
}

fn forwarded(before: &[u8], after: &[u8]) -> Result<(), String> {
    require(before.len() == after.len(), || "a forwarded packet must keep its length".into())?;
    let hops = |bytes: &[u8]| bytes.get(TTL).copied().unwrap_or_default();
    require(hops(after).checked_add(1) == Some(hops(before)) && hops(after) > 0, || {
        format!("the hop limit went from {} to {}", hops(before), hops(after))
    })?;
    same_checksums(before, after)
}

/// Right stays right, and what was wrong is never repaired: the receiver must be able to tell.
fn same_checksums(before: &[u8], after: &[u8]) -> Result<(), String> {
    let [before, after] = [checksums(before), checksums(after)];
    require(before == after, || format!("the checksums were {before:?} and are {after:?}"))
}

fn answered(before: &[u8], after: &[u8], why: Reason) -> Result<(), String> {
    match why {
        Reason::AnsweredArp => {
            let operation = after.get(ARP_OPERATION..ARP_OPERATION + 2);
            require(operation == Some(&[0, 2]), || "an ARP answer must be a reply".into())?;
            require(before.len() == after.len(), || "an ARP answer must keep its length".into())
        }
        Reason::AnsweredEcho => same_checksums(before, after),
        _ => {
            let [was, is] = [before, after].map(tcp_flags);
            require(was & RST == 0, || "a RST was answered with a RST".into())?;
            require(is & RST != 0, || "the answer is no RST".into())?;
            let sums = checksums(after);
            require(sums.ip == Sum::Right && sums.l4 == Sum::Right, || {
                format!("a RST's checksums are {sums:?}")
            })
        }
    }
}

const RST: u8 = 0x04;

fn tcp_flags(frame: &[u8]) -> u8 {
    let words = frame.get(ETHERNET).copied().unwrap_or_default() & 0x0f;
    frame.get(ETHERNET + 4 * usize::from(words) + 13).copied().unwrap_or_default()
}

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
