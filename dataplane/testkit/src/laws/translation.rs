//! What is sent on: translated, and nothing else.

use super::require;
use crate::anatomy::{Anatomy, bytes};
use crate::oracle::residues;
use weir_path::Reason;

const TCP: u8 = 6;
const SYN: u8 = 0x02;

/// The laws about a packet that was sent on.
pub(super) fn forwarded(before: &[u8], after: &[u8], why: Reason) -> Result<(), String> {
    let [Some(was), Some(is)] = [before, after].map(Anatomy::of) else {
        return Err("what is sent on must be IP".to_owned());
    };
    let shape = |parts: &Anatomy, frame: &[u8]| {
        let from_ip = |at: usize| at - parts.at;
        (parts.protocol, from_ip(parts.l4_at), from_ip(parts.end), from_ip(frame.len()), parts.is_fragment)
    };
    let [old, new] = [shape(&was, before), shape(&is, after)];
    require(old == new, || format!("the packet's shape was {old:?} and is {new:?}"))?;
    require(is.hop_limit > 0 && is.hop_limit + 1 == was.hop_limit, || {
        format!("the hop limit went from {} to {}", was.hop_limit, is.hop_limit)
    })?;
    as_right_as_before(before, after)?;
    match why {
        Reason::ErrorToSlot | Reason::ErrorToWire => relayed((&was, before), (&is, after)),
        _ => nothing_else((&was, before), (&is, after)),
    }
}

/// Right stays right, and what was wrong is never repaired: the receiver must be able to tell.
pub(super) fn as_right_as_before(before: &[u8], after: &[u8]) -> Result<(), String> {
    let [before, after] = [before, after].map(residues);
    require(before == after, || format!("the checksums were off by {before:?} and are by {after:?}"))
}

/// Behind the ports, or an echo's identifier, only the checksum changes, and the longest segment that a SYN says; that never grows.
fn nothing_else((was, before): (&Anatomy, &[u8]), (is, after): (&Anatomy, &[u8])) -> Result<(), String> {
    let [mut old, mut new] = [was.l4(before).to_vec(), is.l4(after).to_vec()];
    if !was.is_later {
        let is_echo = was.is_echo(before);
        let (ports, checksum) = match was.protocol {
            TCP => (0..4, 16),
            _ if is_echo => (4..6, 2),
            _ => (0..4, 6),
        };
        let free = [ports, checksum..checksum + 2].into_iter().chain(longest_segment(was, &old));
        let [said, says] = [&old, &new]
            .map(|l4| longest_segment(was, l4).and_then(|at| bytes(l4, at.start)).map(u16::from_be_bytes));
        require(says <= said, || format!("the longest segment was {said:?} and is {says:?}"))?;
        for at in free {
            for l4 in [&mut old, &mut new] {
                l4.get_mut(at.clone()).unwrap_or_default().fill(0);
            }
        }
    }
    require(old == new, || "what is behind the ports changed".to_owned())
}

/// Where a SYN says what its longest segment is (RFC 9293 section 3.7.1).
fn longest_segment(parts: &Anatomy, l4: &[u8]) -> Option<std::ops::Range<usize>> {
    let [offset, flags] = bytes(l4, 12)?;
    let end = 4 * usize::from(offset >> 4);
    let mut at = 20;
    while parts.protocol == TCP && flags & SYN != 0 && at + 4 <= end {
        match bytes(l4, at)? {
            [0, _] => return None,
            [1, _] => at += 1,
            [2, 4] => return Some(at + 2..at + 4),
            [_, len] => at += usize::from(len.max(2)),
        }
    }
    None
}

/// An error says what it said, about the packet that its receiver sent.
fn relayed((was, before): (&Anatomy, &[u8]), (is, after): (&Anatomy, &[u8])) -> Result<(), String> {
    let [Some(old), Some(new)] = [was.quoted(before), is.quoted(after)] else {
        return Err("what is sent on as an error must be one".to_owned());
    };
    let said = |parts: &Anatomy, frame| bytes::<2>(parts.l4(frame), 0).zip(bytes::<4>(parts.l4(frame), 4));
    require(said(was, before) == said(is, after), || "an error must say what it said".to_owned())?;
    as_right_as_before(&old, &new).map_err(|what| format!("in the quoted packet {what}"))?;
    let [Some(quoted), Some(now)] = [&old, &new].map(|quoted| Anatomy::of(quoted)) else {
        return Err("an error must quote IP".to_owned());
    };
    let is_first = !quoted.is_later && (matches!(quoted.protocol, TCP | 17) || quoted.is_echo(&old));
    require(is_first, || "an error about anything but TCP, UDP and echo was sent on".to_owned())?;
    let [[old_src, _], [src, _]] = [quoted.addresses(&old), now.addresses(&new)];
    let [[_, old_dst], [_, dst]] = [was.addresses(before), is.addresses(after)];
    require(old_src == old_dst && src == dst, || "an error must go to whom it is about".to_owned())?;
    require(quoted.hop_limit == now.hop_limit, || "a quoted hop limit must stay".to_owned())
}
