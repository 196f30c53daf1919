//! Who serves a new flow: a listener's groups, a group's targets, and what that means for the flow.

use crate::addr::{Address, L4Port};
use crate::asked::Asked;
use crate::flow::store::Flows;
use crate::flow::{Account, Key, Part, PortUse};
use crate::hash::scale;
use crate::reason::Reason;
use crate::rules::{self, Question};
use crate::steps::Steps;
use crate::tables::{
    Connector, ConnectorId, Direction, Forward, GroupId, Half, Interface, Listener, Rules, SecurityGroups,
    Tables, Target, Vip,
};
use crate::verifier::rolled;
use crate::wire::Network;

/// What the listener of this port does, or the one of all ports.
#[inline(always)]
pub(crate) fn heard<T: Tables>(t: &T, half: Half, vip: Vip, port: L4Port, protocol: u8) -> Option<&Forward> {
    let mut listener = Listener { vip, port, protocol, zero: 0 };
    // One place for both keys: there is little room on the stack.
    for _ in rolled(2) {
        let forward = t.listener(half, &listener);
        if forward.is_some() {
            return forward;
        }
        listener.port = Listener::ANY_PORT;
    }
    None
}

/// The target that these 32 bits of hash choose (Maglev: Eisenbud et al., NSDI 2016, section 3.4).
#[inline(always)]
pub(crate) fn choose<T: Tables>(t: &T, half: Half, group: GroupId, hash: u32) -> Option<&Target> {
    let group = t.group(half, group).filter(|group| group.cells != 0)?;
    let nth = t.cell(half, group.first_cell.wrapping_add(scale(hash, group.cells)))?;
    t.target(half, group.first_target.wrapping_add(u32::from(nth)))
}

/// The target of a new flow to this listener; another one with each attempt.
#[inline(always)]
pub(crate) fn target_of<'t, F: Network, T: Tables, A>(
    t: &'t T,
    half: Half,
    forward: &Forward,
    asked: &Asked<F::Key, A>,
) -> Option<&'t Target> {
    let part = match forward.is_sticky {
        0 if asked.is_fragment != 0 => Part::Addresses,
        0 => Part::Flow,
        _ => Part::Source,
    };
    // The upper half chooses the group, the lower one the target, so that the two are independent.
    let hash = asked.key.hash(part, t.hash_key(half));
    let group = forward.choose((hash >> 32) as u32)?;
    choose(t, half, group, (hash as u32).rotate_left((asked.attempt & 3) * 11))
}

/// Notes that an address serves: the flow leaves from one of the connector's that leads there.
///
/// # Errors
/// [`Reason::NoTarget`]: that connector has no address of this family.
#[inline(always)]
pub(crate) fn by_address<F: Steps, T: Tables>(
    t: &T,
    half: Half,
    target: &Target,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let by = t.connector(half, target.connector).filter(|by| F::sources(by).count != 0);
    let Some(by) = by else { return Err(Reason::NoTarget) };
    asked.remote = F::Address::of_mapped(target.address);
    asked.remote_port = port_of::<F, F::Address>(target, asked);
    asked.zone = by.zone;
    asked.sources = F::sources(by);
    asked.is_to_slot = 0;
    asked.terms.port = PortUse::OWN;
    asked.terms.rest = by.rest;
    if asked.is_from_wire != 0 {
        asked.terms.account = Account::of_tenant(by.tenant);
    }
    Ok(())
}

/// Notes that the sandbox in a slot serves.
#[inline(always)]
pub(crate) fn by_slot<F: Steps>(target: &Target, slot: &Interface, asked: &mut Asked<F::Key, F::Address>) {
    asked.remote = F::address(slot);
    asked.remote_port = port_of::<F, F::Address>(target, asked);
    asked.zone = slot.zone;
    asked.is_to_slot = 1;
}

#[inline(always)]
fn port_of<F: Network, A>(target: &Target, asked: &Asked<F::Key, A>) -> L4Port {
    if target.port == Listener::ANY_PORT { asked.key.ends().dport } else { target.port }
}

/// Whether the security groups of a slot's connector let a flow in that comes from an address, which is in these groups.
///
/// # Errors
/// [`Reason::BlockedIn`].
#[inline(always)]
pub(crate) fn let_in<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    slot: &Interface,
    asked: &Asked<F::Key, F::Address>,
    (from, groups): (F::Address, &SecurityGroups),
) -> Result<(), Reason> {
    let rules = rules_in(t, half, slot);
    if rules.are_open() {
        return Ok(());
    }
    let question = Question {
        remote: from.mapped(),
        groups: *groups,
        what: asked.remote_port.number(),
        protocol: asked.key.protocol().into(),
    };
    if rules::allow::<F, T>(t, half, &rules, &question) {
        return Ok(());
    }
    t.blocked(slot.connector, Direction::In);
    Err(Reason::BlockedIn)
}

/// What the security groups of a slot's connector say of those who come.
#[inline(always)]
pub(crate) fn rules_in<T: Tables>(t: &T, half: Half, slot: &Interface) -> Rules {
    connector_of(t, half, slot).map_or(Rules::OPEN, |connector| connector.rules_in)
}

/// By what a slot's sandbox opens connections.
#[inline(always)]
pub(crate) fn connector_of<'t, T: Tables>(t: &'t T, half: Half, slot: &Interface) -> Option<&'t Connector> {
    if slot.connector == ConnectorId::NONE { None } else { t.connector(half, slot.connector) }
}
