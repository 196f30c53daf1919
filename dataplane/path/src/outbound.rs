//! A flow that a sandbox opens: may it, and who is at the other end.

use crate::addr::{Address, Mac};
use crate::asked::{Asked, Defect, Refusal, Then};
use crate::entering::mapping;
use crate::flow::store::Flows;
use crate::flow::{Account, Hop, Key, Part, PortUse};
use crate::hash::scale;
use crate::packet::Packet;
use crate::query;
use crate::reason::{Reason, Verdict};
use crate::rules::{self, Question};
use crate::serving::{by_address, by_slot, heard, let_in, rules_in, target_of};
use crate::steps::{Next, Steps};
use crate::tables::{
    Connector, ConnectorId, Direction, Forward, Half, Interface, Owner, Sources, Tables, Vip,
};
use crate::walk::{flow_key, leave};
use crate::wire::{Segment, protocol};

/// The step of a packet from a sandbox that opens a flow: what it asks for.
///
/// # Errors
/// The step to go on with: a port is to be found; or the sandbox is to be told why not.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    let half = t.live();
    let mut walked = Err(Reason::NotReady);
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

/// Tells the sandbox, where there is something to tell.
#[inline(always)]
pub(crate) fn refuse<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    why: Reason,
) -> Result<Verdict, Next> {
    let refusal = match why {
        Reason::TtlExpired => Refusal::NONE,
        Reason::NotAllowedOut => Refusal::NOT_ALLOWED,
        Reason::BlockedOut => Refusal::BLOCKED,
        Reason::NoRoute => Refusal::NO_ROUTE,
        Reason::NoTarget => Refusal::NO_TARGET,
        Reason::PortsExhausted => Refusal::PORTS_EXHAUSTED,
        Reason::QuotaReached => Refusal::OVER_QUOTA,
        Reason::FlowTableFull => Refusal::TABLE_FULL,
        Reason::HalfOpenFull => Refusal::HALF_OPEN_FULL,
        why => return Ok(leave(p, t, p.segments(), Err(why))),
    };
    t.ask(|asked| asked.refusal = refusal);
    Err(F::TELL)
}

/// Reads a first packet. A function of its own: what it has on the stack is gone when the flow is made.
#[inline(never)]
fn read<F: Steps, P: Packet, T: Tables>(
    p: &P,
    t: &T,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::UnboundSlot) };
    let ip = F::read(p)?;
    let is_query = ip.protocol == F::PROTOCOL;
    let segment = if is_query { query::read::<F, P>(p, &ip)? } else { Segment::read(p, &ip)? };
    let expected =
        segment.tcp.and_then(|_| segment.sequence(p)).map_or(0, |sequence| sequence.wrapping_add(1));
    asked.key = flow_key::<F>(here, &ip, &segment);
    asked.back = Hop::new(here.egress.id, Mac::default());
    asked.is_from_wire = 0;
    asked.attempt = 0;
    asked.is_fragment = ip.is_fragment.into();
    asked.defect = if ip.hop_limit <= 1 { Defect::EXPIRED } else { Defect::NONE };
    asked.then = if is_query { Then::QUERY } else { Then::READY };
    asked.terms.expected = expected;
    asked.terms.shift = segment.window_shift(p);
    asked.terms.port = PortUse::OWN;
    Ok(())
}

/// Decides where the flow goes: to a service of the host's, to a target of a VIP's, or into the VPC.
///
/// # Errors
/// [`Reason::NotAllowedOut`]: the slot has no connector, or none for the family; or nobody may be reached at the
/// destination: it is nobody's that is beyond the link, a sandbox's, or one of Weir's own. [`Reason::BlockedOut`],
/// [`Reason::BlockedIn`], [`Reason::NoTarget`], [`Reason::TtlExpired`].
#[inline(never)]
fn aim<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let Some(here) = t.interface(asked.back.interface()) else { return Err(Reason::UnboundSlot) };
    let connector = match here.connector {
        ConnectorId::NONE => None,
        id => t.connector(half, id),
    };
    let Some(connector) = connector else { return Err(Reason::NotAllowedOut) };
    asked.terms.account = Account::of_sandbox(here.egress.id, connector.tenant);
    asked.terms.rest = connector.rest;
    asked.zone = connector.zone;
    asked.sources = F::sources(connector);
    asked.is_to_slot = 0;
    if let Some(service) = service::<F, T>(t, half, here, connector, asked) {
        call::<F, T>(t, half, connector, service, asked)?;
    } else {
        let owner = allowed::<F, T>(t, half, connector, asked)?;
        match owner {
            Owner::NONE => direct::<F, T>(t, half, connector, asked),
            _ => call_vip::<F, T>(t, half, connector, asked)?,
        }
        let is_own = asked.sources == F::sources(connector);
        if is_own && asked.key.protocol() == protocol::UDP && connector.maps_udp != 0 {
            mapping::map::<F, T>(t, half, connector, asked);
        }
    }
    if asked.defect != Defect::NONE {
        return Err(Reason::TtlExpired);
    }
    asked.seek::<F, T>(t, half);
    Ok(())
}

/// The service of the host's that is called, if the connector's sandboxes may call it.
#[inline(always)]
fn service<'t, F: Steps, T: Tables>(
    t: &'t T,
    half: Half,
    here: &Interface,
    connector: &Connector,
    asked: &Asked<F::Key, F::Address>,
) -> Option<&'t Forward> {
    if connector.has_services == 0 {
        return None;
    }
    let ends = asked.key.ends();
    let at = Vip { address: ends.dst.mapped(), zone: Connector::services(here.connector) };
    heard(t, half, at, ends.dport, asked.key.protocol())
}

/// Whether a packet from a slot may open a flow; and whose the address is that it is for.
#[inline(never)]
fn allowed<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    connector: &Connector,
    asked: &Asked<F::Key, F::Address>,
) -> Result<Owner, Reason> {
    let Some(here) = t.interface(asked.back.interface()) else { return Err(Reason::UnboundSlot) };
    let dst = asked.key.ends().dst;
    let owner = t.owner(half, &Vip { address: dst.mapped(), zone: connector.zone });
    let is_beyond = dst.may_be_source() && !dst.is_links_own() && dst != asked.key.ends().src;
    let is_theirs = owner == Owner::NONE || owner == Owner::VIP;
    if asked.sources.count == 0 || !is_beyond || !is_theirs || F::is_local(here, dst) {
        return Err(Reason::NotAllowedOut);
    }
    if !connector.rules_out.are_open() {
        let question = Question {
            remote: dst.mapped(),
            groups: rules::groups_of(t, half, owner),
            what: rules::what::<F>(&asked.key),
            protocol: asked.key.protocol().into(),
        };
        if !rules::allow::<F, T>(t, half, &connector.rules_out, &question) {
            t.blocked(here.connector, Direction::Out);
            return Err(Reason::BlockedOut);
        }
    }
    Ok(owner)
}

/// Into the VPC.
#[inline(always)]
fn direct<F: Steps, T: Tables>(
    t: &T,
    half: Half,
    connector: &Connector,
    asked: &mut Asked<F::Key, F::Address>,
) {
    let ends = asked.key.ends();
    (asked.remote, asked.remote_port) = (ends.dst, ends.dport);
    asked.terms.tells_idle = connector.tells_idle;
    asked.terms.idle = match asked.key.protocol() {
        protocol::TCP => connector.tcp_idle,
        protocol::UDP => connector.udp_idle,
        _ => t.times(half).icmp_query,
    };
}

/// To whoever serves a VIP of the connector's VPC.
#[inline(always)]
fn call_vip<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    connector: &Connector,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let ends = asked.key.ends();
    let vip = Vip { address: ends.dst.mapped(), zone: connector.zone };
    let Some(forward) = heard(t, half, vip, ends.dport, asked.key.protocol()) else {
        return Err(Reason::NotAllowedOut);
    };
    call::<F, T>(t, half, connector, forward, asked)
}

/// To one of a listener's targets. All slots have one address, and the target may be the caller itself: so what calls a
/// slot is seen from the caller's ENI, as what calls an address is.
#[inline(never)]
fn call<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    connector: &Connector,
    forward: &Forward,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    asked.terms.idle = forward.idle;
    asked.terms.tells_idle = forward.tells_idle;
    let Some(target) = target_of::<F, T, _>(t, half, forward, asked) else { return Err(Reason::NoTarget) };
    if target.is_address() {
        return by_address::<F, T>(t, half, target, asked);
    }
    let Some(slot) = t.interface(target.slot).filter(|slot| slot.is_in_use()) else {
        return Err(Reason::NoTarget);
    };
    by_slot::<F>(target, slot, asked);
    asked.there = Hop::new(slot.egress.id, Mac::default());
    if rules_in(t, half, slot).are_open() {
        return Ok(());
    }
    // Whoever judges who comes has to know from where: one address, which the caller's key chooses.
    let nth = scale(asked.key.hash(Part::Flow, t.hash_key(half)) as u32, asked.sources.count);
    asked.sources = Sources { first: asked.sources.first + nth, count: 1 };
    let Some(source) = t.source(half, asked.sources.first) else { return Err(Reason::NoTarget) };
    let_in::<F, T>(t, half, slot, asked, (F::Address::of_mapped(source.address), &connector.groups))
}
