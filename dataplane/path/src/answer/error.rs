//! ICMP errors: what is quoted moves back, and two headers take its place in front.

use super::{Answer, write_macs};
use crate::addr::Address;
use crate::checksum::Sum;
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::Interface;
use crate::verifier::{forgotten, noise};
use crate::wire::{Ethernet, Ip, Segment, ethernet, icmp, ipv4};

/// More than is ever quoted, and all ones.
const MOST_QUOTED: usize = 0x7ff;

/// What an error says: type and code, and the four bytes behind the checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) kind: [u8; 2],
    pub(crate) word: [u8; 4],
}

/// Turns the packet into an error about itself, to its sender.
#[inline(always)]
pub(crate) fn error<F: Answer, P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
    message: Message,
) -> Result<(), Reason> {
    write::<F, P>(p, here, frame, ip, segment, message).map_err(|Refused| Reason::Unchangeable)
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
    let quoted_len = forgotten::<P>(ip.total_len().min(F::MOST_QUOTED), noise(p)) & MOST_QUOTED & !3;
    let payload_len = icmp::LEN + quoted_len;
    let from = F::local(here).unwrap_or(ip.dst);
    let quoted = cut::<P>(p, quoted_len, segment)?;
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
fn cut<P: Packet>(p: &mut P, quoted_len: usize, segment: &Segment) -> Result<Sum, Refused> {
    let noise = noise(p);
    let [at, checksum_at] =
        [segment.at, segment.checksum_at].map(|at| forgotten::<P>(at, noise) & MOST_QUOTED);
    let headers_len = at - ipv4::AT;
    let segment_len = quoted_len - headers_len;
    let checksum = p.read(checksum_at).ok_or(Refused)?;
    let is_partial = p.is_partial(checksum_at)?;
    p.write(checksum_at, checksum)?;
    p.resize(ipv4::AT + quoted_len)?;
    let headers = p.sum(ipv4::AT, headers_len).ok_or(Refused)?;
    let quoted = p.sum(at, segment_len).ok_or(Refused)?;
    let all = headers.plus(quoted);
    Ok(if is_partial { all.sub2(checksum).add2(quoted.checksum()) } else { all })
}
