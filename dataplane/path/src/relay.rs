//! An ICMP error about a packet of a flow: it goes where the flow's packets go, and says what that end can understand
//! (RFC 5508 section 4, RFC 7915 section 4.2 for which types there are).
//!
//! It is found by what it quotes, moves nothing in its flow and does not keep it alive. There is never an error about an
//! error: neither is one made, nor does one that quotes anything but TCP, UDP or an ICMP query find a flow.

use crate::flow::follow::find;
use crate::flow::store::Flows;
use crate::flow::{Ends, Key};
use crate::meter;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::steps::Steps;
use crate::tables::Tables;
use crate::translate;
use crate::unknown::spare_the_host;
use crate::walk::{From, Sent, exit, leave, retag};
use crate::way::departure_asking;

/// The step of an ICMP error.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Verdict {
    let packets = p.segments();
    let walked = relay::<F, P, T>(p, t, from).map_err(|why| spare_the_host::<F, P, T>(p, t, from, why));
    leave(p, t, packets, walked)
}

#[inline(always)]
fn relay<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Result<Sent, Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::RaceLost) };
    let ip = F::read(p)?;
    let quoted = F::quoted(p, &ip)?;
    // Only who sent the packet is to hear of it.
    if quoted.src != ip.dst {
        return Err(Reason::IcmpIgnored);
    }
    if ip.hop_limit <= 1 {
        return Err(Reason::TtlExpired);
    }
    // The error goes the way of the packets that answer the quoted one.
    let ends = Ends { src: quoted.dst, dst: quoted.src, sport: quoted.dport, dport: quoted.sport };
    let key = F::Key::new(ends, quoted.protocol, here.zone);
    let Some(found) = find::<F, T>(t, &key) else { return Err(Reason::ErrorWithoutFlow) };
    let way = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Reason::ErrorWithoutFlow);
    }
    let out = exit::<F, T>(t, &way)?;
    if ip.total_len() > out.mtu as usize {
        return Err(Reason::TooBig);
    }
    // The other end reports for itself, or a router on the way does. Where both ends are on the wire, that router is often
    // the next hop as well, and no router takes a packet that claims to come from itself.
    let is_between_others = from == From::Uplink && !out.is_slot();
    let src = if ip.src == quoted.dst || is_between_others { way.to.src } else { ip.src };
    let outer = Ends { src, ..way.to };
    let leaving = departure_asking::<F, T>(t, &way, out, from, false)?;
    meter::let_in(p, t, out)?;
    retag(p, out.vlan)?;
    translate::apply_to_error::<F, P>(p, &ip, &quoted, [&way.to, &outer], &leaving)?;
    let why = if out.is_slot() { Reason::ErrorToSlot } else { Reason::ErrorToWire };
    Ok(Sent { why, to: leaving.to })
}
