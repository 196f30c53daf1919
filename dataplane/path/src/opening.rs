//! A flow's first packet from the wire: which listener, which target, and what the two directions will look like.

use crate::addr::{Address, Mac};
use crate::asked::{Asked, Defect, Refusal, Then};
use crate::flow::store::Flows;
use crate::flow::{Account, Hop, Key, PortUse};
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::rules::NO_GROUPS;
use crate::serving::{by_address, by_slot, connector_of, heard, let_in, target_of};
use crate::steps::{Next, Steps};
use crate::tables::{Half, Interface, Tables, TenantId, Vip};
use crate::time::Seconds;
use crate::walk::{flow_key, leave};
use crate::wire::{Ethernet, Network, Segment};

/// The step of a packet from the wire that opens a flow.
///
/// # Errors
/// The step to go on with: the flow is to be entered; or the sender is to be told why not.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    let half = t.live();
    let mut walked: Result<(), Reason> = Err(Reason::NotReady);
    t.ask(|asked| {
        asked.half = half.index();
        walked = match read::<F, P, T>(p, t, asked) {
            Ok(()) => aim::<F, T>(t, half, asked),
            Err(why) => Err(why),
        };
    });
    match walked {
        Ok(()) => Err(F::ENTER),
        Err(why) => refuse::<F, P, T>(p, t, why),
    }
}

/// Tells the sender, where there is something to tell.
#[inline(always)]
fn refuse<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &P, t: &T, why: Reason) -> Result<Verdict, Next> {
    let refusal = if why == Reason::NoTarget { Refusal::NO_TARGET } else { Refusal::NONE };
    t.ask(|asked| {
        asked.attempt = 0;
        asked.refusal = refusal;
    });
    match why {
        Reason::TtlExpired | Reason::NoTarget => Err(F::TELL),
        why => Ok(leave(p, t, p.segments(), Err(why))),
    }
}

/// Reads a first packet. A function of its own: what it has on the stack is gone when the flow is made.
#[inline(never)]
fn read<F: Steps, P: Packet, T: Tables>(
    p: &P,
    t: &T,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::UnknownInterface) };
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::OtherProtocol) };
    let ip = F::read(p)?;
    let segment = Segment::read(p, &ip)?;
    let expected =
        segment.tcp.and_then(|_| segment.sequence(p)).map_or(0, |sequence| sequence.wrapping_add(1));
    asked.key = flow_key::<F>(here, &ip, &segment);
    asked.there = Hop::new(here.egress.id, frame.src);
    asked.back = back::<F, T>(t, here, ip.src, frame.src);
    asked.is_from_wire = 1;
    asked.then = Then::READY;
    asked.is_fragment = ip.is_fragment.into();
    asked.terms.expected = expected;
    asked.terms.shift = segment.window_shift(p);
    // Replies go to the sender's MAC, so it must be one station's.
    let is_source = ip.src.may_be_source() && ip.src != ip.dst && frame.src.is_unicast();
    asked.defect = match (ip.hop_limit, is_source) {
        (0 | 1, _) => Defect::EXPIRED,
        (_, false) => Defect::BAD_SOURCE,
        (_, true) => Defect::NONE,
    };
    Ok(())
}

/// Where replies go: to whoever sent the first packet, or to the uplink's gateway if the client is not on the link.
/// A gateway that isn't known yet is not waited for: the sender can take the reply as well.
#[inline(always)]
fn back<F: Network, T: Tables>(t: &T, here: &Interface, client: F::Address, station: Mac) -> Hop {
    match F::gateway(here) {
        Some((gateway, _)) if !F::is_on_link(here, client) && t.next_hop(gateway).is_resolved() => {
            Hop::to_next_hop(here.egress.id, gateway)
        }
        _ => Hop::new(here.egress.id, station),
    }
}

/// Decides who serves. Asked anew for each target that is tried.
///
/// # Errors
/// [`Reason::NoListener`], [`Reason::TtlExpired`], [`Reason::BadSource`], [`Reason::NoTarget`], [`Reason::BlockedIn`].
#[inline(never)]
fn aim<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let vip = Vip { address: asked.key.ends().dst.mapped(), zone: asked.key.zone() };
    let forward = heard(t, half, vip, asked.key.ends().dport, asked.key.protocol());
    let Some(forward) = forward else { return Err(Reason::NoListener) };
    match asked.defect {
        Defect::EXPIRED => return Err(Reason::TtlExpired),
        Defect::BAD_SOURCE => return Err(Reason::BadSource),
        _ => {}
    }
    asked.terms.idle = forward.idle;
    asked.terms.tells_idle = forward.tells_idle;
    let Some(target) = target_of::<F, T, _>(t, half, forward, asked) else { return Err(Reason::NoTarget) };
    if target.is_address() {
        by_address::<F, T>(t, half, target, asked)?;
        asked.seek::<F, T>(t, half);
        return Ok(());
    }
    // An array has a record for every number: one without a device is nobody's.
    let Some(slot) = t.interface(target.slot).filter(|slot| slot.is_in_use()) else {
        return Err(Reason::NoTarget);
    };
    by_slot::<F>(target, slot, asked);
    // Who comes by the wire is no ENI of this host, whatever address it says: they call from within.
    let_in::<F, T>(t, half, slot, asked, (asked.key.ends().src, &NO_GROUPS))?;
    let tenant = connector_of(t, half, slot).map_or(TenantId::NONE, |connector| connector.tenant);
    asked.terms.account = Account::of_sandbox(slot.egress.id, tenant);
    // Its port is the client's: there is nothing to rest.
    asked.terms.port = PortUse::NONE;
    asked.terms.rest = Seconds(0);
    asked.there = asked.there.by(slot.egress.id);
    Ok(())
}
