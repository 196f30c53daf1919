//! What the path says itself: right, to whoever asked, and never about an answer.

use super::require;
use super::translation::as_right_as_before;
use crate::anatomy::{Anatomy, ETHERNET, bytes};
use crate::oracle::{Sum, checksums};
use weir_path::Reason;

const RST: u8 = 0x04;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The laws about an answer.
pub(super) fn answered(before: &[u8], after: &[u8], why: Reason) -> Result<(), String> {
    let is_tcp = Anatomy::of(before).is_some_and(|parts| parts.protocol == TCP);
    match why {
        Reason::AnsweredArp => arp(before, after),
        Reason::AnsweredNdp => advertisement(before, after),
        Reason::AnsweredEcho => turned(before, after).and_then(|()| as_right_as_before(before, after)),
        Reason::AnsweredNoTarget
        | Reason::AnsweredNotAllowedOut
        | Reason::AnsweredBlockedOut
        | Reason::AnsweredQuota
        | Reason::AnsweredNoRoute
        | Reason::AnsweredPortsExhausted
        | Reason::AnsweredNoRoom
            if is_tcp =>
        {
            reset(before, after)
        }
        Reason::AnsweredReset => reset(before, after),
        _ => error(before, after),
    }
}

fn arp(before: &[u8], after: &[u8]) -> Result<(), String> {
    let at = if before.get(12..14) == Some(&[0x81, 0]) { ETHERNET + 4 } else { ETHERNET };
    require(bytes(after, at + 6) == Some([0, 2]), || "an ARP answer must be a reply".to_owned())?;
    require(before.len() == after.len(), || "an ARP answer must keep its length".to_owned())
}

fn advertisement(before: &[u8], after: &[u8]) -> Result<(), String> {
    let (was, is) = whole(before, after)?;
    let is_advertisement = is.is_icmp() && is.hop_limit == 255 && is.l4(after).first() == Some(&136);
    require(is_advertisement, || "who solicits must get an advertisement".to_owned())?;
    require(target(&was, before) == target(&is, after), || "for the address that was asked for".to_owned())?;
    ends_with_itself(&is, after)
}

fn target<'a>(parts: &Anatomy, frame: &'a [u8]) -> Option<&'a [u8]> {
    parts.l4(frame).get(8..24)
}

fn reset(before: &[u8], after: &[u8]) -> Result<(), String> {
    turned(before, after)?;
    let (was, is) = whole(before, after)?;
    let flags = |parts: &Anatomy, frame| parts.l4(frame).get(13).copied().unwrap_or_default();
    require(flags(&was, before) & RST == 0, || "a RST was answered with a RST".to_owned())?;
    require(flags(&is, after) & RST != 0, || "the answer is no RST".to_owned())?;
    ends_with_itself(&is, after)
}

/// An error of the path's own: about TCP, UDP, or an echo request or its answer, to its sender, quoting what it sent.
fn error(before: &[u8], after: &[u8]) -> Result<(), String> {
    let (was, is) = whole(before, after)?;
    ends_with_itself(&is, after)?;
    require(is.is_error(after), || "the answer is no error".to_owned())?;
    let is_about = (matches!(was.protocol, TCP | UDP) || was.is_echo(before)) && !was.is_later;
    require(is_about, || "an error was made about what shows no ports".to_owned())?;
    let [[src, dst], [_, told]] = [was.addresses(before), is.addresses(after)];
    require(src == told, || "an error must go to the sender".to_owned())?;
    one_place(before, [src, dst])?;
    macs_turned(before, after)?;
    let quoted = is.l4(after).get(8..).unwrap_or_default();
    let sent = before.get(was.at..was.end).unwrap_or_default();
    let most = if is.is_v6 { 1_280 - 48 } else { 576 - 28 };
    let is_much = quoted.len() == (sent.len().min(most) & !3);
    require(is_much && sent.starts_with(quoted), || "an error must quote what was sent".to_owned())
}

/// An answer to one packet, back the way that it came.
fn turned(before: &[u8], after: &[u8]) -> Result<(), String> {
    let (was, is) = whole(before, after)?;
    let [[src, dst], [from, to]] = [was.addresses(before), is.addresses(after)];
    require(src == to && dst == from, || "an answer must go back".to_owned())?;
    one_place(before, [src, dst])?;
    macs_turned(before, after)
}

fn macs_turned(before: &[u8], after: &[u8]) -> Result<(), String> {
    require(after.get(..6) == before.get(6..12), || "an answer must go to the station that asked".to_owned())
}

/// Nobody is answered in the name of many, or for many (RFC 1122 section 3.2.2, RFC 4443 section 2.4e).
fn one_place(frame: &[u8], addresses: [&[u8]; 2]) -> Result<(), String> {
    let is_group = |address: &&[u8]| match address {
        [first, _, _, _] => *first >= 224,
        [first, ..] => *first == 0xff,
        [] => true,
    };
    let is_many = [0, 6].iter().any(|at| frame.get(*at).is_some_and(|first| first & 1 != 0));
    let is_many = is_many || addresses.iter().any(is_group);
    require(!is_many, || "an answer was made to or about a group".to_owned())
}

fn whole(before: &[u8], after: &[u8]) -> Result<(Anatomy, Anatomy), String> {
    let parts = Anatomy::of(before).zip(Anatomy::of(after));
    let is_tag_kept = |(was, is): &(Anatomy, Anatomy)| was.tag.is_some() == is.tag.is_some();
    parts.filter(is_tag_kept).ok_or_else(|| "an answer must be IP, and keep its tag".to_owned())
}

/// What the path wrote has right checksums, and nothing behind it.
fn ends_with_itself(parts: &Anatomy, frame: &[u8]) -> Result<(), String> {
    let sums = checksums(frame);
    let ip = if parts.is_v6 { Sum::None } else { Sum::Right };
    require(sums.ip == ip && sums.l4 == Sum::Right, || format!("an answer's checksums are {sums:?}"))?;
    require(parts.end == frame.len(), || "an answer must end where it says".to_owned())
}
