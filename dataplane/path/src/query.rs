//! ICMP queries that a sandbox sends, and their answers (RFC 5508 section 3). Of queries there is echo alone.
//!
//! The identifier stands for a port: of the sender in a query, of the receiver in an answer; there is no other one.

use crate::addr::L4Port;
use crate::flow::Hop;
use crate::flow::follow::{Moved, answer_to, find, move_on};
use crate::flow::store::Flows;
use crate::meter;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::steps::{Next, Steps};
use crate::tables::Tables;
use crate::translate;
use crate::unknown::spare_the_host;
use crate::walk::{From, Sent, exit, fits, flow_key, leave, retag};
use crate::way::departure_asking;
use crate::wire::{Ethernet, Icmp, Ip, Segment, icmp};

/// The step of a query, or of the answer to one.
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
    let walked = match query::<F, P, T>(p, t, from) {
        Ok(next) => return Err(next),
        Err(walked) => walked.map_err(|why| spare_the_host::<F, P, T>(p, t, from, why)),
    };
    Ok(leave(p, t, packets, walked))
}

/// Where a packet's way ends here, that is the error.
#[inline(always)]
fn query<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &mut P,
    t: &T,
    from: From,
) -> Result<Next, Result<Sent, Reason>> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Err(Reason::RaceLost)) };
    let Some(frame) = Ethernet::read(p) else { return Err(Err(Reason::BadHeader)) };
    let ip = F::read(p).map_err(Err)?;
    let segment = read::<F, P>(p, &ip).map_err(Err)?;
    let unknown = match from {
        From::Slot => Ok(F::OUTBOUND),
        From::Uplink => Err(Err(Reason::Uninvited)),
    };
    let Some(found) = find::<F, T>(t, &flow_key::<F>(here, &ip, &segment)) else { return unknown };
    if ip.hop_limit <= 1 {
        return Ok(F::TELL);
    }
    if move_on::<F, P, T>(p, t, &found, &segment) == Moved::IsOver {
        return unknown;
    }
    if from == From::Uplink {
        answer_to::<F, T>(t, &found, Hop::new(here.egress.id, frame.src));
    }
    let way = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Err(Reason::RaceLost));
    }
    let out = exit::<F, T>(t, &way).map_err(Err)?;
    if !fits(p, &ip, &segment, out) {
        return Ok(F::TELL);
    }
    let leaving = departure_asking::<F, T>(t, &way, out, from, found.is_unused::<F>()).map_err(Err)?;
    meter::let_in(p, t, out).map_err(Err)?;
    retag(p, out.vlan).map_err(Err)?;
    translate::apply_to_query::<F, P>(p, &ip, &segment, &way.to, &leaving).map_err(Err)?;
    let is_first = found.count::<F>(p.segments(), ip.total_len(), &segment) && found.is_original();
    let why = if is_first { Reason::Opened } else { from.known(out) };
    Err(Ok(Sent { why, to: leaving.to }))
}

/// What stands for ports in the ICMP message of `ip`.
///
/// # Errors
/// [`Reason::Fragment`], [`Reason::BadHeader`]; [`Reason::IcmpIgnored`] where it is neither a query nor an answer.
#[inline(always)]
pub(crate) fn read<F: Icmp, P: Packet>(p: &P, ip: &Ip<F::Address>) -> Result<Segment, Reason> {
    let at = ip.payload_at;
    if ip.is_fragment {
        return Err(Reason::Fragment);
    }
    if ip.payload_len < icmp::LEN {
        return Err(Reason::BadHeader);
    }
    let Some(identifier) = p.read(at + icmp::IDENTIFIER).map(L4Port) else { return Err(Reason::BadHeader) };
    let Some(kind) = p.read(at) else { return Err(Reason::BadHeader) };
    let nothing = L4Port([0; 2]);
    let (sport, dport) = if kind == F::ECHO_REQUEST {
        (identifier, nothing)
    } else if kind == F::ECHO_REPLY {
        (nothing, identifier)
    } else {
        return Err(Reason::IcmpIgnored);
    };
    Ok(Segment { at, sport, dport, checksum_at: at + icmp::CHECKSUM, tcp: None })
}
