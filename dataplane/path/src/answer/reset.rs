//! RSTs (RFC 9293 section 3.10.7.1).

use super::{Answer, may_be_told, sent, write_macs};
use crate::addr::{Address, Mac};
use crate::checksum::{Delta, Sum};
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::{Interface, Tables};
use crate::walk::Sent;
use crate::wire::{Ethernet, Ip, Segment, Tcp, protocol, tcp};

/// A RST for a segment that belongs to no connection, if it may be. Never for a RST.
#[inline(always)]
pub(crate) fn reset_if_allowed<F: Answer, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
) -> Result<Sent, Reason> {
    if segment.tcp.is_none() || segment.is_reset() {
        return Err(Reason::ResetWithoutFlow);
    }
    if !may_be_told(frame, ip) {
        return Err(Reason::BadSource);
    }
    if !t.may_answer(here) {
        return Err(Reason::AnswerLimited);
    }
    reset::<F, P>(p, here, frame, ip, segment, Reason::AnsweredReset)
}

/// A RST for a segment that is none itself.
#[inline(always)]
pub(crate) fn reset<F: Answer, P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
    told: Reason,
) -> Result<Sent, Reason> {
    let Some(tcp) = segment.tcp.filter(|_| !segment.is_reset()) else { return Err(Reason::ResetWithoutFlow) };
    let made = write_reset::<F, P>(p, here.mac, frame, ip, segment, tcp);
    sent(here, told, made)
}

#[inline(always)]
fn write_reset<F: Answer, P: Packet>(
    p: &mut P,
    mac: Mac,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
    tcp: Tcp,
) -> Result<(), Refused> {
    let [sequence, acknowledgement] = reset_numbers(p, ip.payload_len, segment, tcp).ok_or(Refused)?;
    let reset_flags = if tcp.flags & tcp::ACK != 0 { tcp::RST } else { tcp::RST | tcp::ACK };

    p.resize(segment.at + tcp::LEN)?;
    write_macs(p, frame.src, mac)?;
    F::head_back(p, ip, tcp::LEN)?;

    let ports = [segment.dport.0, segment.sport.0];
    let offset_and_flags = [5 << 4, reset_flags];
    p.write(segment.at, ports[0])?;
    p.write(segment.at + 2, ports[1])?;
    p.write(segment.at + 4, sequence)?;
    p.write(segment.at + 8, acknowledgement)?;
    p.write(segment.at + 12, offset_and_flags)?;
    // Window, checksum and urgent pointer.
    p.write(segment.at + 14, [0; 6])?;

    let pseudo = ip.src.sum().plus(ip.dst.sum()).add2([0, protocol::TCP]);
    let parts = Delta {
        pseudo: pseudo.add2((tcp::LEN as u16).to_be_bytes()),
        body: Sum::default()
            .add2(ports[0])
            .add2(ports[1])
            .add4(sequence)
            .add4(acknowledgement)
            .add2(offset_and_flags),
    };
    p.put_l4(segment.checksum_at, parts)
}

/// The sequence and acknowledgement numbers that make the sender accept the RST.
#[inline(always)]
fn reset_numbers<P: Packet>(p: &P, segment_len: usize, segment: &Segment, tcp: Tcp) -> Option<[[u8; 4]; 2]> {
    if tcp.flags & tcp::ACK != 0 {
        return Some([tcp.acknowledgement.to_be_bytes(), [0; 4]]);
    }
    let data = (segment_len - usize::from(tcp.header_len)) as u32;
    // SYN and FIN take a sequence number each (RFC 9293 section 3.4).
    let phantom = u32::from(tcp.flags & tcp::SYN != 0) + u32::from(tcp.flags & tcp::FIN != 0);
    let next = segment.sequence(p)?.wrapping_add(data).wrapping_add(phantom);
    Some([[0; 4], next.to_be_bytes()])
}
