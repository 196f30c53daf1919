//! From what should be and what is there to the steps between them. Pure: no clock, no kernel, no surprises.
//!
//! The order is the promise. A record is there before the program that reads it; a slot's program is there
//! before packets can be sent to it; the configuration goes live in the middle; and only what nobody refers to
//! any more is taken away behind it.
//!
//! ```text
//!   before: record ─► GRO ─► attach slots ─► attach uplinks   ┃ image ┃   after: detach ─► forget
//! ```

mod numbers;

use crate::config::Sandbox;
use numbers::Numbers;
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{IfIndex, InterfaceId, Mac, Zone};
use weir_path::tables::{Delivery, Egress, Interface};

/// Where on a device a program sits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Point {
    /// XDP in the driver of an uplink.
    XdpNative,
    /// XDP after the driver of an uplink.
    XdpGeneric,
    /// TC on an uplink.
    Tc,
    /// TC on a slot.
    Slot,
}

/// The devices that the configuration wants, found on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Uplinks.
    pub uplinks: Vec<WantedUplink>,
    /// Slots, each device once.
    pub slots: Vec<WantedSlot>,
}

/// An uplink that should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedUplink {
    /// The device.
    pub ifindex: IfIndex,
    /// Its MAC.
    pub mac: Mac,
    /// The VPC it leads to.
    pub zone: Zone,
    /// Where its program goes.
    pub point: Point,
}

/// A slot that should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedSlot {
    /// The device.
    pub ifindex: IfIndex,
    /// How it is given packets.
    pub delivery: Delivery,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The interfaces' records.
    pub interfaces: Vec<Interface>,
    /// The programs on devices.
    pub attached: Vec<(IfIndex, Point)>,
    /// The numbers of bindings that flows hold.
    pub flow_bindings: BTreeSet<u32>,
    /// Recorded devices that exist.
    pub present: BTreeSet<IfIndex>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write an interface's record.
    Record(Interface),
    /// Turn GRO on at the sandbox's end of a slot.
    EnableGro(IfIndex),
    /// Attach a program; one that is there already is given its new version in place.
    Attach(IfIndex, Point),
    /// Detach a program.
    Detach(IfIndex, Point),
    /// Take an interface's record away.
    Forget(Interface),
    /// End all flows of an address space.
    EndFlows(Zone),
}

impl Step {
    /// What takes this step back; nothing where it changed nothing that matters.
    #[must_use]
    pub fn undo(&self, observed: &Observed) -> Option<Self> {
        match *self {
            Self::Record(interface) => {
                let before = observed.interfaces.iter().find(|it| it.egress.id == interface.egress.id);
                Some(before.map_or(Self::Forget(interface), |before| Self::Record(*before)))
            }
            Self::Attach(ifindex, point) if !observed.attached.contains(&(ifindex, point)) => {
                Some(Self::Detach(ifindex, point))
            }
            // What is taken away is taken away last, when nothing can fail any more.
            _ => None,
        }
    }
}

/// The way from what is there to what should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps before the configuration goes live. Where one fails, those before it are undone in reverse.
    pub before: Vec<Step>,
    /// Steps after it. Where one fails, it is tried again later.
    pub after: Vec<Step>,
    /// The number of each slot's interface.
    pub slots: BTreeMap<IfIndex, InterfaceId>,
    /// Whether slots that are no longer wanted still have flows: plan again later.
    pub draining: bool,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// Every interface number is taken.
    #[error(
        "{wanted} interfaces are wanted, but the dataplane holds {max}, those that still drain included; wait for them, or use fewer slots"
    )]
    NoInterfaceNumber {
        /// How many are wanted.
        wanted: usize,
        /// How many there can be.
        max: u32,
    },
    /// Every binding number is taken.
    #[error(
        "every one of the {max} binding numbers is held by a flow; end some flows, or restart with an empty table"
    )]
    NoBindingNumber {
        /// How many there are.
        max: u32,
    },
}

/// The steps.
///
/// # Errors
/// [`PlanError`]: the numbers ran out.
pub fn plan(wanted: &Wanted, sandbox: &Sandbox, observed: &Observed) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    let gone: Vec<_> =
        observed.interfaces.iter().filter(|it| !observed.present.contains(&it.egress.ifindex)).collect();
    let known: BTreeMap<_, _> = observed
        .interfaces
        .iter()
        .filter(|it| observed.present.contains(&it.egress.ifindex))
        .map(|it| (it.egress.ifindex, *it))
        .collect();
    let count = wanted.uplinks.len() + wanted.slots.len();
    let mut numbers = Numbers::new(observed, count);

    for uplink in &wanted.uplinks {
        let id = numbers.interface(known.get(&uplink.ifindex).filter(|it| !it.zone.is_binding()))?;
        record(&mut plan, &known, uplink_record(uplink, id));
    }
    for slot in &wanted.slots {
        let before = known.get(&slot.ifindex).filter(|it| it.zone.is_binding());
        let id = numbers.interface(before)?;
        let zone = match before {
            Some(before) => before.zone,
            None => numbers.binding()?,
        };
        record(&mut plan, &known, slot_record(slot, sandbox, id, zone));
        plan.slots.insert(slot.ifindex, id);
    }
    // A TAP has no other end.
    let veths = wanted.slots.iter().filter(|slot| slot.delivery == Delivery::VETH_PEER);
    plan.before.extend(veths.map(|slot| Step::EnableGro(slot.ifindex)));
    plan.before.extend(wanted.slots.iter().map(|slot| Step::Attach(slot.ifindex, Point::Slot)));
    plan.before.extend(wanted.uplinks.iter().map(|uplink| Step::Attach(uplink.ifindex, uplink.point)));

    for interface in gone {
        plan.after.extend([Step::Forget(*interface), Step::EndFlows(interface.zone)]);
    }
    take_away_unwanted(&mut plan, wanted, &known, observed);
    Ok(plan)
}

/// Programs and records that nobody wants any more. A slot with flows drains first.
fn take_away_unwanted(
    plan: &mut Plan,
    wanted: &Wanted,
    known: &BTreeMap<IfIndex, Interface>,
    observed: &Observed,
) {
    let uplinks = wanted.uplinks.iter().map(|uplink| (uplink.ifindex, uplink.point));
    let slots = wanted.slots.iter().map(|slot| (slot.ifindex, Point::Slot));
    let points: BTreeSet<_> = uplinks.chain(slots).collect();
    let devices: BTreeSet<_> = points.iter().map(|(ifindex, _)| *ifindex).collect();
    let drains = |ifindex: &IfIndex| {
        let zone = known.get(ifindex).map(|interface| interface.zone);
        !devices.contains(ifindex)
            && zone.is_some_and(|zone| zone.is_binding() && observed.flow_bindings.contains(&zone.number()))
    };
    for (ifindex, point) in observed.attached.iter().filter(|attached| !points.contains(attached)) {
        if !drains(ifindex) {
            plan.after.push(Step::Detach(*ifindex, *point));
        }
    }
    for (ifindex, interface) in known.iter().filter(|(ifindex, _)| !devices.contains(ifindex)) {
        if drains(ifindex) {
            plan.draining = true;
        } else {
            plan.after.push(Step::Forget(*interface));
        }
    }
}

fn record(plan: &mut Plan, known: &BTreeMap<IfIndex, Interface>, interface: Interface) {
    if known.get(&interface.egress.ifindex) != Some(&interface) {
        plan.before.push(Step::Record(interface));
    }
}

fn uplink_record(uplink: &WantedUplink, id: InterfaceId) -> Interface {
    Interface {
        egress: Egress { ifindex: uplink.ifindex, id, delivery: Delivery::TRANSMIT },
        mac: uplink.mac,
        zone: uplink.zone,
        ..Interface::default()
    }
}

fn slot_record(slot: &WantedSlot, sandbox: &Sandbox, id: InterfaceId, zone: Zone) -> Interface {
    Interface {
        egress: Egress { ifindex: slot.ifindex, id, delivery: slot.delivery },
        mac: sandbox.gateway_mac,
        peer_mac: sandbox.mac,
        address: sandbox.address,
        gateway: sandbox.gateway,
        zone,
        zero: [0],
    }
}

#[cfg(test)]
mod tests;
