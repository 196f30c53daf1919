//! ICMP errors: what is quoted moves back, and two headers take its place in front.

use super::{Answer, sent, write_macs};
use crate::addr::Address;
use crate::checksum::Sum;
use crate::packet::{self, Packet, Refused};
use crate::reason::Reason;
use crate::tables::Interface;
use crate::walk::Sent;
use crate::wire::{Ethernet, Ip, Segment, ethernet, icmp, ipv4};

/// The most bytes of headers in front of a segment, in whole steps of eight.
const MOST_HEADERS: usize = 40 + crate::wire::MOST_EXTENSION_BYTES;

/// What an error says: type and code, and the four bytes behind the checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) kind: [u8; 2],
    pub(crate) word: [u8; 4],
}

/// An error about the packet, to its sender.
#[inline(always)]
pub(crate) fn error<F: Answer, P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
    message: Message,
    told: Reason,
) -> Result<Sent, Reason> {
    let made = write::<F, P>(p, here, frame, ip, segment, message);
    sent(here, told, made)
}

#[inline(always)]
fn write<F: Answer, P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
    message: Message,
) -> Result<(), Refused> {
    // Whole words, so that they can be summed up.
    let quoted_len = ip.total_len().min(F::MOST_QUOTED) & !3;
    let payload_len = icmp::LEN + quoted_len;
    let from = F::local(here).unwrap_or(ip.dst);
    let quoted = cut::<F, P>(p, quoted_len, segment)?;
    p.insert(F::LEN + icmp::LEN)?;

    write_macs(p, frame.src, here.mac)?;
    p.write(ethernet::TYPE, frame.ethertype)?;
    F::head_error(p, from, ip.src, payload_len)?;
    let pseudo =
        from.sum().plus(ip.src.sum()).add2((payload_len as u16).to_be_bytes()).add2([0, F::PROTOCOL]);
    let sum = quoted.add2(message.kind).add4(message.word);
    let sum = if F::ICMP_SUMS_ADDRESSES { sum.plus(pseudo) } else { sum };
    let at = ipv4::AT + F::LEN;
    p.write(at, message.kind)?;
    p.write(at + icmp::CHECKSUM, sum.checksum())?;
    p.write(at + icmp::CHECKSUM + 2, message.word)
}

/// Cuts the packet to what is quoted of it, and sums that up: as it will be when its checksum, which may be partial
/// yet, is completed on the way out.
#[inline(always)]
fn cut<F: Answer, P: Packet>(p: &mut P, quoted_len: usize, segment: &Segment) -> Result<Sum, Refused> {
    let headers_len = segment.at - ipv4::AT;
    let segment_len = quoted_len - headers_len;
    let checksum = p.read(segment.checksum_at).ok_or(Refused)?;
    let is_partial = p.is_partial(segment.checksum_at)?;
    p.write(segment.checksum_at, checksum)?;
    p.resize(ipv4::AT + quoted_len)?;
    let headers = packet::sum(p, ipv4::AT, headers_len, MOST_HEADERS).ok_or(Refused)?;
    let quoted = packet::sum(p, segment.at, segment_len, F::MOST_QUOTED & !7).ok_or(Refused)?;
    let all = headers.plus(quoted);
    Ok(if is_partial { all.sub2(checksum).add2(quoted.checksum()) } else { all })
}
