//! Turning a packet into what its flow says: MACs, addresses, ports, hop limit, checksums.

use crate::addr::{Address, Ip4, Ip6, L4Port};
use crate::checksum::{Delta, Sum, mend_l4};
use crate::flow::{Ends, Family, V4, V6};
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::way::Departure;
use crate::wire::{Icmp, Ip, Quoted, Quotes, Segment, ethernet, icmp, ipv4, ipv6, protocol};

/// Rewrites one packet of a flow that may go one hop further.
///
/// # Errors
/// [`Reason::Unchangeable`], with the packet to be dropped.
#[inline(always)]
pub(crate) fn apply<F: Header, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    segment: &Segment,
    to: &Ends<F::Address>,
    macs: &Departure,
) -> Result<(), Reason> {
    write::<F, P>(p, ip, segment, to, macs).map_err(|Refused| Reason::Unchangeable)
}

#[inline(always)]
fn write<F: Header, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    segment: &Segment,
    to: &Ends<F::Address>,
    macs: &Departure,
) -> Result<(), Refused> {
    let addresses = ip.src.replaced_by(to.src).plus(ip.dst.replaced_by(to.dst));

    write_macs(p, macs)?;
    F::rewrite(p, ip, to, addresses)?;

    let l4 = Delta { pseudo: addresses, body: Sum::default() }
        .body2(segment.sport.0, to.sport.0)
        .body2(segment.dport.0, to.dport.0);
    p.write(segment.at, to.sport.0)?;
    p.write(segment.at + 2, to.dport.0)?;
    p.fix_l4(segment.checksum_at, l4, ip.protocol == protocol::UDP)
}

/// Rewrites an ICMP query, or the answer to one: its identifier is what stands for a port.
///
/// # Errors
/// As for [`apply`].
#[inline(always)]
pub(crate) fn apply_to_query<F: Header + Icmp, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    segment: &Segment,
    to: &Ends<F::Address>,
    macs: &Departure,
) -> Result<(), Reason> {
    write_query::<F, P>(p, ip, segment, to, macs).map_err(|Refused| Reason::Unchangeable)
}

#[inline(always)]
fn write_query<F: Header + Icmp, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    segment: &Segment,
    to: &Ends<F::Address>,
    macs: &Departure,
) -> Result<(), Refused> {
    let addresses = ip.src.replaced_by(to.src).plus(ip.dst.replaced_by(to.dst));
    write_macs(p, macs)?;
    F::rewrite(p, ip, to, addresses)?;
    let pseudo = if F::ICMP_SUMS_ADDRESSES { addresses } else { Sum::default() };
    let change = Delta { pseudo, body: Sum::default() }
        .body2(segment.sport.0, to.sport.0)
        .body2(segment.dport.0, to.dport.0);
    // One of the two is zero, before and after.
    let [[a, b], [c, d]] = [to.sport.0, to.dport.0];
    p.write(segment.at + icmp::IDENTIFIER, [a | c, b | d])?;
    p.fix_l4(segment.checksum_at, change, false)
}

/// Rewrites the IP header alone, of a fragment that has no other one.
///
/// # Errors
/// As for [`apply`].
#[inline(always)]
pub(crate) fn apply_to_header<F: Header, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    to: &Ends<F::Address>,
    macs: &Departure,
) -> Result<(), Reason> {
    let addresses = ip.src.replaced_by(to.src).plus(ip.dst.replaced_by(to.dst));
    let made = write_macs(p, macs).and_then(|()| F::rewrite(p, ip, to, addresses));
    made.map_err(|Refused| Reason::Unchangeable)
}

#[inline(always)]
fn write_macs<P: Packet>(p: &mut P, macs: &Departure) -> Result<(), Refused> {
    p.write(ethernet::DST, macs.dst.0)?;
    p.write(ethernet::SRC, macs.src.0)
}

/// Lowers what a SYN says of the longest segment that its sender takes, so that nobody sends what does not fit
/// through here (RFC 4459 section 3.2 tells why not to rely on answers alone).
///
/// # Errors
/// As for [`apply`].
#[inline(always)]
pub(crate) fn clamp_segments<P: Packet>(p: &mut P, segment: &Segment, most: u32) -> Result<(), Reason> {
    if !segment.is_syn() {
        return Ok(());
    }
    let Some(at) = segment.max_segment(p) else { return Ok(()) };
    let Some(was) = p.read(at) else { return Ok(()) };
    if u32::from(u16::from_be_bytes(was)) <= most {
        return Ok(());
    }
    let is = (most as u16).to_be_bytes();
    let is_odd = !(at - segment.at).is_multiple_of(2);
    let delta = if is_odd { Delta::default().odd_body2(was, is) } else { Delta::default().body2(was, is) };
    let made = p.write(at, is).and_then(|()| p.fix_l4(segment.checksum_at, delta, false));
    made.map_err(|Refused| Reason::Unchangeable)
}

/// Rewrites an ICMP error about a packet of a flow, which quotes what that packet became: what is quoted becomes
/// what its sender sent (RFC 5508 section 4.2). `to` is what the flow's packets this way become, `outer` what the
/// error does.
///
/// The quoted packet's own checksums are mended as far as they are there, right or wrong: they stay as right or as
/// wrong as they are. The error's checksum follows every byte that changes, so it is right even where the quoted one
/// was cut off.
///
/// # Errors
/// As for [`apply`].
#[inline(always)]
pub(crate) fn apply_to_error<F: Header + Quotes, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    quoted: &Quoted<F::Address>,
    [to, outer]: [&Ends<F::Address>; 2],
    macs: &Departure,
) -> Result<(), Reason> {
    write_error::<F, P>(p, ip, quoted, [to, outer], macs).map_err(|Refused| Reason::Unchangeable)
}

#[inline(always)]
fn write_error<F: Header + Quotes, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    quoted: &Quoted<F::Address>,
    [to, outer]: [&Ends<F::Address>; 2],
    macs: &Departure,
) -> Result<(), Refused> {
    let sent = to.reversed();
    let addresses = quoted.src.replaced_by(sent.src).plus(quoted.dst.replaced_by(sent.dst));
    let ports = Delta { pseudo: addresses, body: Sum::default() }
        .body2(quoted.sport.0, sent.sport.0)
        .body2(quoted.dport.0, sent.dport.0);
    let mut body = ports.whole();
    let is_query = quoted.protocol == F::PROTOCOL;
    if is_query {
        let [[a, b], [c, d]] = [sent.sport.0, sent.dport.0];
        p.write(quoted.l4_at + icmp::IDENTIFIER, [a | c, b | d])?;
    } else {
        p.write(quoted.l4_at, sent.sport.0)?;
        p.write(quoted.l4_at + 2, sent.dport.0)?;
    }
    if quoted.checksum_at != 0 {
        let was = p.read(quoted.checksum_at).ok_or(Refused)?;
        let is_apart = is_query && !F::ICMP_SUMS_ADDRESSES;
        let covered = if is_apart { Delta { pseudo: Sum::default(), ..ports } } else { ports };
        let is = mend_l4(was, covered, quoted.protocol == protocol::UDP);
        p.write(quoted.checksum_at, is)?;
        body = body.sub2(was).add2(is);
    }
    let body = body.plus(F::rewrite_quoted(p, quoted, &sent, addresses)?);

    write_macs(p, macs)?;
    let addresses = ip.src.replaced_by(outer.src).plus(ip.dst.replaced_by(outer.dst));
    F::rewrite(p, ip, outer, addresses)?;
    let pseudo = if F::ICMP_SUMS_ADDRESSES { addresses } else { Sum::default() };
    p.fix_l4(ip.payload_at + icmp::CHECKSUM, Delta { pseudo, body }, false)
}

/// A family's IP header, rewritten.
pub trait Header: Family {
    /// Writes the addresses, and one hop less. `addresses` is how a checksum changes by that.
    fn rewrite<P: Packet>(
        p: &mut P,
        ip: &Ip<Self::Address>,
        to: &Ends<Self::Address>,
        addresses: Sum,
    ) -> Result<(), Refused>;

    /// Writes the identification of a fragment.
    fn identify<P: Packet>(p: &mut P, at: usize, was: [L4Port; 2], is: [L4Port; 2]) -> Result<(), Refused>;

    /// Writes the addresses of a quoted header, which is no hop further. Returns how what lies behind the addresses
    /// and ports changes a checksum.
    fn rewrite_quoted<P: Packet>(
        p: &mut P,
        quoted: &Quoted<Self::Address>,
        to: &Ends<Self::Address>,
        addresses: Sum,
    ) -> Result<Sum, Refused>;
}

impl Header for V4 {
    #[inline(always)]
    fn rewrite<P: Packet>(p: &mut P, ip: &Ip<Ip4>, to: &Ends<Ip4>, addresses: Sum) -> Result<(), Refused> {
        let [ttl, was] = [[ip.hop_limit - 1, ip.protocol], [ip.hop_limit, ip.protocol]];
        let header = addresses.sub2(was).add2(ttl);
        let checksum = p.read(ipv4::CHECKSUM).ok_or(Refused)?;
        p.write(ipv4::TTL, ttl)?;
        p.write(ipv4::CHECKSUM, header.mend(checksum))?;
        p.write(ipv4::SRC, to.src.0)?;
        p.write(ipv4::DST, to.dst.0)
    }

    #[inline(always)]
    fn identify<P: Packet>(
        p: &mut P,
        at: usize,
        [was, _]: [L4Port; 2],
        [is, _]: [L4Port; 2],
    ) -> Result<(), Refused> {
        let checksum = p.read(ipv4::CHECKSUM).ok_or(Refused)?;
        p.write(ipv4::CHECKSUM, Sum::default().sub2(was.0).add2(is.0).mend(checksum))?;
        p.write(at, is.0)
    }

    #[inline(always)]
    fn rewrite_quoted<P: Packet>(
        p: &mut P,
        quoted: &Quoted<Ip4>,
        to: &Ends<Ip4>,
        addresses: Sum,
    ) -> Result<Sum, Refused> {
        let [checksum, src, dst] = [ipv4::CHECKSUM, ipv4::SRC, ipv4::DST].map(|at| quoted.at + at - ipv4::AT);
        let was = p.read(checksum).ok_or(Refused)?;
        let is = addresses.mend(was);
        p.write(checksum, is)?;
        p.write(src, to.src.0)?;
        p.write(dst, to.dst.0)?;
        Ok(Sum::default().sub2(was).add2(is))
    }
}

impl Header for V6 {
    #[inline(always)]
    fn rewrite<P: Packet>(p: &mut P, ip: &Ip<Ip6>, to: &Ends<Ip6>, addresses: Sum) -> Result<(), Refused> {
        // No checksum of IPv6's own makes up for what changes in its header.
        p.changed(addresses.sub2([0, ip.hop_limit]).add2([0, ip.hop_limit - 1]));
        p.write(ipv6::HOP_LIMIT, [ip.hop_limit - 1])?;
        p.write(ipv6::SRC, to.src.0)?;
        p.write(ipv6::DST, to.dst.0)
    }

    #[inline(always)]
    fn identify<P: Packet>(
        p: &mut P,
        at: usize,
        [a, b]: [L4Port; 2],
        [c, d]: [L4Port; 2],
    ) -> Result<(), Refused> {
        p.changed(Sum::default().sub2(a.0).sub2(b.0).add2(c.0).add2(d.0));
        p.write(at, c.0)?;
        p.write(at + 2, d.0)
    }

    #[inline(always)]
    fn rewrite_quoted<P: Packet>(
        p: &mut P,
        quoted: &Quoted<Ip6>,
        to: &Ends<Ip6>,
        _: Sum,
    ) -> Result<Sum, Refused> {
        let [src, dst] = [ipv6::SRC, ipv6::DST].map(|at| quoted.at + at - ipv6::AT);
        p.write(src, to.src.0)?;
        p.write(dst, to.dst.0)?;
        Ok(Sum::default())
    }
}
