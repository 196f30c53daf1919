//! The way out to the wire: which neighbour a packet is handed to.

use crate::addr::{Address, InterfaceId, Mac};
use crate::flow::Hop;
use crate::flow::follow::Way;
use crate::packet::VlanTag;
use crate::reason::Reason;
use crate::tables::{Delivery, Egress, Half, Interface, Tables, Vip};
use crate::walk::From;
use crate::wire::Network;

/// Where a new flow's packets go that leave by an ENI: to the gateway, or to a neighbour whose station is not known yet.
/// `None` where there is no route. The kernel can't be asked for neighbours by XDP: what comes from the wire
/// goes by the gateway alone.
#[inline(always)]
pub(crate) fn hop<F: Network, T: Tables>(
    t: &T,
    half: Half,
    [eni, uplink]: [&Interface; 2],
    dst: F::Address,
    is_from_wire: bool,
) -> Option<Hop> {
    if !is_from_wire && neighbour::<F, T>(t, half, eni, dst).is_some() {
        return Some(Hop::new(eni.egress.id, Mac::default()));
    }
    let (own, gateway) = F::gateway(eni)?;
    // What the uplink has learnt of the gateway holds for all its ENIs.
    let shared = F::gateway(uplink).filter(|(_, address)| *address == gateway).map(|(id, _)| id);
    Some(Hop::to_next_hop(eni.egress.id, shared.unwrap_or(own)))
}

/// The neighbour that `dst` is reached by, past the gateway: itself, or the one that a route of the VPC names.
#[inline(always)]
pub(crate) fn neighbour<F: Network, T: Tables>(
    t: &T,
    half: Half,
    out: &Interface,
    dst: F::Address,
) -> Option<F::Address> {
    if F::is_on_link(out, dst) {
        return Some(dst);
    }
    let via = F::Address::of_mapped(t.route(half, out.zone, dst.mapped())?);
    F::is_on_link(out, via).then_some(via)
}

/// How a packet leaves. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Departure {
    pub(crate) dst: Mac,
    zero: u16,
    pub(crate) src: Mac,
    zero_too: u16,
    pub(crate) to: Egress,
}

/// How a packet of a flow leaves by `out`.
///
/// # Errors
/// [`Reason::NextHopUnresolved`].
#[inline(always)]
pub(crate) fn departure<A, T: Tables>(t: &T, way: &Way<A>, out: &Interface) -> Result<Departure, Reason> {
    let leaving = |dst| Departure { dst, zero: 0, src: out.mac, zero_too: 0, to: out.egress };
    if out.is_slot() {
        return Ok(leaving(out.peer_mac));
    }
    let station = match way.hop.next_hop() {
        Some(id) => t.next_hop(id).station(),
        None => way.hop.station(),
    };
    if station == Mac::default() {
        return Err(Reason::NextHopUnresolved);
    }
    Ok(leaving(station))
}

/// The same for a packet that the kernel may help with, where the station is not known: it asks the link, and keeps the
/// packet meanwhile, as it does for any machine's. It knows nothing of Weir's VLANs.
///
/// A flow's first packet may make the kernel remember a neighbour, of which it has room for few on all the machine: so
/// new ones are limited in number, by ENI.
#[inline(always)]
pub(crate) fn departure_asking<F: Network, T: Tables>(
    t: &T,
    way: &Way<F::Address>,
    out: &Interface,
    from: From,
    is_first: bool,
) -> Result<Departure, Reason> {
    let known = departure(t, way, out);
    if from == From::Uplink || known.is_ok() {
        return known;
    }
    if out.vlan != VlanTag::NONE {
        return Err(Reason::NextHopUnresolved);
    }
    let dst = way.to.dst;
    let by = match neighbour::<F, T>(t, t.live(), out, dst) {
        Some(neighbour) => neighbour,
        None => F::gateway(out).ok_or(Reason::NextHopUnresolved)?.1,
    };
    let by = Vip { address: by.mapped(), zone: out.zone };
    if is_first && !t.may_look_for(out, &by) {
        return Err(Reason::NextHopUnresolved);
    }
    t.send_by(by.address);
    let to = Egress { delivery: Delivery::NEIGHBOUR, ..out.egress };
    Ok(Departure { dst: Mac::default(), zero: 0, src: out.mac, zero_too: 0, to })
}

/// The same interface, or [`Reason::NoInterface`].
#[inline(always)]
pub(crate) fn in_use<T: Tables>(t: &T, id: InterfaceId) -> Result<&Interface, Reason> {
    t.interface(id).filter(|out| out.is_in_use()).ok_or(Reason::NoInterface)
}
