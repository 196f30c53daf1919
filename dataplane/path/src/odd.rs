//! Packets in an odd shape: fragments, IPv4 packets with options, and IPv6 packets with extension headers.
//!
//! The first fragment of a datagram shows ports: it goes the way of its flow, and leaves a note for the others. One
//! that comes before it goes where a first one that opens a flow would be placed, if all UDP listeners of its address
//! agree on that; else it is dropped by name. Nothing is reassembled and nothing held.

use crate::addr::{Address, L4Port, Zone};
use crate::answer;
use crate::flow::datagram::{self, Datagram, as_ports};
use crate::flow::follow::{Way, find, leads_to_slot};
use crate::flow::store::Flows;
use crate::flow::{Ends, Hop, Key, Part};
use crate::meter;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::serving::{choose, heard, rules_in};
use crate::steps::{Next, Steps};
use crate::tables::{Interface, Listener, Owner, Tables, Vip};
use crate::translate;
use crate::unknown::spare_the_host;
use crate::walk::{From, Sent, exit, flow_key, leave, retag};
use crate::way::departure_asking;
use crate::wire::{Ethernet, Ip, Network, Segment, protocol};

/// The step of a packet in an odd shape.
///
/// # Errors
/// The step to go on with, and the packet is untouched.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    from: From,
) -> Result<Verdict, Next> {
    let packets = p.segments();
    let walked = match odd::<F, P, T>(p, t, from) {
        Ok(next) => return Err(next),
        Err(walked) => walked.map_err(|why| spare_the_host::<F, P, T>(p, t, from, why)),
    };
    Ok(leave(p, t, packets, walked))
}

/// Where a packet's way ends here, that is the error.
#[inline(always)]
fn odd<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    from: From,
) -> Result<Next, Result<Sent, Reason>> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Err(Reason::RaceLost)) };
    let Some(frame) = Ethernet::read(p) else { return Err(Err(Reason::BadHeader)) };
    let ip = F::read(p).map_err(Err)?;
    F::fair(p, &ip).map_err(Err)?;
    if ip.is_later {
        return Err(later::<F, P, T>(p, t, here, &ip, from));
    }
    let segment = Segment::read(p, &ip).map_err(Err)?;
    if let Some(found) = find::<F, T>(t, &flow_key::<F>(here, &ip, &segment)) {
        if ip.hop_limit <= 1 {
            return Ok(F::TELL);
        }
        let hop = found.way::<F>().hop;
        let is_from_another = from == From::Uplink && leads_to_slot(t, hop) && !hop.is_from(frame.src);
        let is_settled = !segment.is_control() && !found.is_due(t.now()) && !is_from_another;
        return Ok(if is_settled { F::READY } else { F::MOVING });
    }
    match (segment.opens(), from) {
        (_, From::Uplink) if !is_to_vip::<F, T>(t, here, ip.dst) => Err(Err(Reason::Uninvited)),
        (true, From::Uplink) => Ok(F::OPENING),
        (true, From::Slot) => Ok(F::OUTBOUND),
        (false, From::Uplink) if !is_heard::<T, F>(t, here, &ip, &segment) => Err(Err(Reason::NoListener)),
        (false, _) => Err(answer::reset_if_allowed::<F, P, T>(p, t, here, &frame, &ip, &segment)),
    }
}

#[inline(always)]
fn is_to_vip<F: Network, T: Tables>(t: &T, here: &Interface, dst: F::Address) -> bool {
    t.owner(t.live(), &Vip { address: dst.mapped(), zone: here.zone }) == Owner::VIP
}

#[inline(always)]
fn is_heard<T: Tables, F: Network>(t: &T, here: &Interface, ip: &Ip<F::Address>, segment: &Segment) -> bool {
    let vip = Vip { address: ip.dst.mapped(), zone: here.zone };
    heard(t, t.live(), vip, segment.dport, ip.protocol).is_some()
}

/// A fragment that shows no ports.
#[inline(always)]
fn later<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    here: &Interface,
    ip: &Ip<F::Address>,
    from: From,
) -> Result<Sent, Reason> {
    if ip.protocol != protocol::UDP {
        return Err(Reason::Fragment);
    }
    if ip.hop_limit <= 1 {
        return Err(Reason::TtlExpired);
    }
    let [sport, dport] = as_ports(identification::<F, P>(p, ip)?);
    let key = F::Key::new(Ends { src: ip.src, dst: ip.dst, sport, dport }, ip.protocol, here.zone);
    let is_awaited = |noted: &F::Datagram| t.now().since(noted.seen()) <= datagram::REASSEMBLY.in_eighths();
    let noted = t.datagram(&key).filter(is_awaited);
    let way = match (noted, from) {
        (Some(noted), _) => {
            let way = Way { to: noted.to(), hop: noted.hop() };
            if exit::<F, T>(t, &way)?.zone != noted.zone() {
                return Err(Reason::NoInterface);
            }
            way
        }
        (None, From::Uplink) => {
            if !ip.src.may_be_source() || ip.src == ip.dst {
                return Err(Reason::BadSource);
            }
            ahead::<F, T>(t, here, &key)?
        }
        (None, From::Slot) => return Err(Reason::FragmentAhead),
    };
    let out = exit::<F, T>(t, &way)?;
    if ip.total_len() > out.mtu as usize {
        return Err(Reason::TooBig);
    }
    let leaving = departure_asking::<F, T>(t, &way, out, from, false)?;
    meter::let_in(p, t, out)?;
    retag(p, out.vlan)?;
    identify::<F, P>(p, ip, [sport, dport], [way.to.sport, way.to.dport])?;
    translate::apply_to_header::<F, P>(p, ip, &way.to, &leaving)?;
    Ok(Sent { why: from.known(out), to: leaving.to })
}

/// Where a fragment from the wire goes that comes before the first one of its datagram.
#[inline(always)]
fn ahead<F: Network, T: Tables + Flows<F>>(
    t: &T,
    here: &Interface,
    key: &F::Key,
) -> Result<Way<F::Address>, Reason> {
    let half = t.live();
    let ends = key.ends();
    let vip = Vip { address: ends.dst.mapped(), zone: here.zone };
    let listener = Listener { vip, port: Listener::ANY_PORT, protocol: Listener::FRAGMENTS, zero: 0 };
    let Some(forward) = t.listener(half, &listener) else { return Err(Reason::FragmentAhead) };
    let part = if forward.is_sticky != 0 { Part::Source } else { Part::Addresses };
    let hash = key.hash(part, t.hash_key(half));
    let Some(group) = forward.choose((hash >> 32) as u32) else { return Err(Reason::NoTarget) };
    let Some(target) = choose(t, half, group, hash as u32) else { return Err(Reason::NoTarget) };
    if target.is_address() {
        return Err(Reason::FragmentAhead);
    }
    let Some(slot) = t.interface(target.slot).filter(|slot| slot.is_in_use()) else {
        return Err(Reason::NoTarget);
    };
    // Rules ask for ports, and it shows none.
    if !rules_in(t, half, slot).are_open() {
        return Err(Reason::FragmentAhead);
    }
    let to = Ends { dst: F::address(slot), ..ends };
    // Nobody is answered by way of this.
    Ok(Way { to, hop: Hop::new(slot.egress.id, slot.peer_mac) })
}

/// Notes where the other fragments of a datagram go whose first one is on its way. To the wire they get a new
/// identification: many sandboxes send from one address, each counting for itself, and a receiver must not put
/// together what two of them sent (RFC 6864 section 5.3).
#[inline(always)]
pub(crate) fn note<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    here: &Interface,
    ip: &Ip<F::Address>,
    (way, out): (&Way<F::Address>, &Interface),
    from: From,
) -> Result<(), Reason> {
    let was = as_ports(identification::<F, P>(p, ip)?);
    let is = match from {
        From::Uplink => was,
        From::Slot => fresh::<F, T>(t, ip, &way.to),
    };
    let [sport, dport] = was;
    let key = F::Key::new(Ends { src: ip.src, dst: ip.dst, sport, dport }, ip.protocol, here.zone);
    let [sport, dport] = is;
    t.note_datagram(&key, &F::Datagram::new(Ends { sport, dport, ..way.to }, way.hop, out.zone, t.now()));
    identify::<F, P>(p, ip, was, is)
}

/// An identification that none of the last 65,536 (IPv4) or 2^32 datagrams between these two addresses had: the count
/// of all datagrams, times an odd number, and moved; both are a keyed hash's of the addresses. A receiver of many can
/// reckon how many there were in between, and nothing of the key or of what others receive (RFC 7739 section 5.3).
#[inline(always)]
fn fresh<F: Network, T: Tables + Flows<F>>(t: &T, ip: &Ip<F::Address>, to: &Ends<F::Address>) -> [L4Port; 2] {
    let between = F::Key::new(*to, ip.protocol, Zone::default());
    let hash = between.hash(Part::Addresses, t.hash_key(t.live()));
    let number = t.next_number().wrapping_mul(hash as u32 | 1).wrapping_add((hash >> 32) as u32);
    let (_, len) = F::identification(ip);
    let [a, b, c, d] = number.to_le_bytes();
    // A number's lower half depends on lower halves alone, so it walks over all 65,536.
    as_ports(if len == 2 { [a, b, 0, 0] } else { [a, b, c, d] })
}

/// A fragment's identification; IPv4's has two bytes, and two are zero.
#[inline(always)]
fn identification<F: Network, P: Packet>(p: &P, ip: &Ip<F::Address>) -> Result<[u8; 4], Reason> {
    let (at, len) = F::identification(ip);
    if len == 2 {
        let Some([a, b]) = p.read(at) else { return Err(Reason::BadHeader) };
        return Ok([a, b, 0, 0]);
    }
    p.read(at).ok_or(Reason::BadHeader)
}

/// Writes a fragment's identification.
#[inline(always)]
fn identify<F: Steps, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    was: [L4Port; 2],
    is: [L4Port; 2],
) -> Result<(), Reason> {
    if was == is {
        return Ok(());
    }
    let (at, _) = F::identification(ip);
    F::identify(p, at, was, is).map_err(|_| Reason::Unchangeable)
}
