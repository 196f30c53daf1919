//! From what should be and what is there to the steps between them. Pure: no clock, no kernel, no surprises.
//!
//! The order is the promise. A record is there before the program that reads it; a slot's program is there
//! before packets can be sent to it; the configuration goes live in the middle; and only what nobody refers to
//! any more is taken away behind it.
//!
//! ```text
//!   before: rates ─► record ─► GRO ─► attach slots ─► attach uplinks   ┃ image ┃   after: detach ─► forget
//! ```

mod enis;
mod meters;
mod numbers;
mod steps;
mod unwanted;

pub use enis::{EniSide, WantedEni, connect};
pub use meters::{Burst, Meters};
pub use steps::Step;

use crate::config::{Answers, OwnAddress, Sandbox};
use crate::pool::EniId;
use enis::eni_record;
use numbers::Numbers;
use std::collections::{BTreeMap, BTreeSet};
use unwanted::Unwanted;
use weir_path::addr::{IfIndex, InterfaceId, Ip4, Ip6, Mac, Zone};
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Delivery, Egress, Interface, Rates};

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
    /// ENIs. Those whose uplink is not here are left out.
    pub enis: Vec<WantedEni>,
}

/// An uplink that should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedUplink {
    /// Its place in [`Config::uplinks`](crate::config::Config::uplinks).
    pub place: usize,
    /// The device.
    pub ifindex: IfIndex,
    /// Its MAC.
    pub mac: Mac,
    /// The VPC it leads to.
    pub zone: Zone,
    /// Where its program goes: the same for all uplinks of a device.
    pub point: Point,
    /// The tag of its frames.
    pub vlan: VlanTag,
    /// The longest IP packet that may leave.
    pub mtu: u32,
    /// Weir's own IPv4 address there.
    pub own: Option<OwnAddress<Ip4>>,
    /// Weir's own IPv6 address there.
    pub own6: Option<OwnAddress<Ip6>>,
    /// The IPv4 gateway of its first subnet that has one: what it goes by where Weir has no address of its own there.
    pub gateway: Option<Ip4>,
    /// The same for IPv6.
    pub gateway6: Option<Ip6>,
}

/// A slot that should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedSlot {
    /// The device.
    pub ifindex: IfIndex,
    /// How it is given packets.
    pub delivery: Delivery,
    /// The longest IP packet that it takes.
    pub mtu: u32,
    /// By what its sandbox opens connections.
    pub connector: ConnectorId,
    /// How fast its sandbox may send and receive.
    pub meters: Meters,
}

/// Which frames are an interface's: those of a device that have one tag.
type Frames = (IfIndex, VlanTag);

const fn frames(interface: &Interface) -> Frames {
    (interface.egress.ifindex, interface.vlan)
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The interfaces' records.
    pub interfaces: Vec<Interface>,
    /// Those of them that packets which come in are led to. The others are there for flows that leave by them.
    pub in_force: BTreeSet<InterfaceId>,
    /// How fast slots may be, as the tables say it; those that are not here have no limit.
    pub rates: BTreeMap<InterfaceId, Rates>,
    /// The programs on devices.
    pub attached: Vec<(IfIndex, Point)>,
    /// The numbers of bindings that flows hold.
    pub flow_bindings: BTreeSet<u32>,
    /// Those of them whose sandboxes have opened flows outwards.
    pub opened: BTreeSet<u32>,
    /// The interfaces that flows leave by, or whose gateways they go to. Asked for only before something is forgotten.
    pub exits: BTreeSet<InterfaceId>,
    /// Numbers of slots under which flows or ports are still held, whether there is a record or not.
    pub charged: BTreeSet<InterfaceId>,
    /// Recorded devices that exist.
    pub present: BTreeSet<IfIndex>,
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
    /// That of each uplink's, by its place in the configuration.
    pub uplinks: BTreeMap<usize, InterfaceId>,
    /// That of each ENI's.
    pub enis: BTreeMap<EniId, InterfaceId>,
    /// Whether what is no longer wanted still has flows: plan again later.
    pub draining: bool,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// Every interface number is taken.
    #[error(
        "{wanted} interfaces are wanted, but the dataplane holds {max}, those that still drain included; wait for them, or use fewer slots or ENIs"
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
pub fn plan(
    wanted: &Wanted,
    sandbox: &Sandbox,
    answers: Answers,
    observed: &Observed,
) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    let wanted_count = wanted.uplinks.len() + wanted.slots.len() + wanted.enis.len();
    let mut numbers = Numbers::new(observed, wanted_count);
    let mut records = Records::default();
    for uplink in &wanted.uplinks {
        let record = numbers.interface(uplink_record(uplink, answers), observed)?;
        plan.uplinks.insert(uplink.place, record.egress.id);
        records.devices.insert(frames(&record), record);
    }
    for slot in &wanted.slots {
        let zone = numbers.binding_of(slot, observed)?;
        let record = numbers.interface(slot_record(slot, sandbox, answers, zone), observed)?;
        plan.slots.insert(slot.ifindex, record.egress.id);
        // A rate is there before the record that says that it holds.
        plan.before.extend(slot.meters.steps(&record, observed));
        records.devices.insert(frames(&record), record);
    }
    for eni in &wanted.enis {
        let Some(uplink) = wanted.uplinks.iter().find(|uplink| uplink.place == eni.uplink) else { continue };
        let record = numbers.interface(eni_record(eni, uplink), observed)?;
        plan.enis.insert(eni.id, record.egress.id);
        records.enis.push(record);
    }
    let is_new = |record: &&Interface| !records.is_there(record, observed);
    plan.before.extend(records.all().filter(is_new).map(|record| Step::Record(*record)));
    let unwanted = Unwanted::of(&records, observed);
    plan.before.extend(unwanted.closed.iter().map(|record| Step::Record(*record)));
    attach(&mut plan, wanted, &unwanted, observed);
    take_away(&mut plan, wanted, &unwanted, observed);
    plan.draining = !unwanted.draining.is_empty() || !unwanted.held.is_empty();
    Ok(plan)
}

/// The records that should be.
#[derive(Default)]
struct Records {
    /// Those of uplinks and slots, which frames are led to.
    devices: BTreeMap<Frames, Interface>,
    /// Those of ENIs, which are ways out alone.
    enis: Vec<Interface>,
}

impl Records {
    fn all(&self) -> impl Iterator<Item = &Interface> {
        self.devices.values().chain(&self.enis)
    }

    /// Whether this one of them is as it should be.
    fn is_there(&self, record: &Interface, observed: &Observed) -> bool {
        let is_led_to = record.is_eni() || observed.in_force.contains(&record.egress.id);
        is_led_to && observed.interfaces.contains(record)
    }
}

fn uplink_record(uplink: &WantedUplink, answers: Answers) -> Interface {
    let WantedUplink { ifindex, own, own6, .. } = *uplink;
    Interface {
        egress: Egress { ifindex, delivery: Delivery::TRANSMIT, ..Egress::default() },
        mac: uplink.mac,
        zone: uplink.zone,
        mtu: uplink.mtu,
        vlan: uplink.vlan,
        answers: answers.per_second,
        local: own.map(|own| own.address).unwrap_or_default(),
        on_link: own.map(|own| own.prefix_len).unwrap_or_default(),
        gateway: own.map_or(uplink.gateway, |own| own.gateway).unwrap_or_default(),
        local6: own6.map(|own| own.address).unwrap_or_default(),
        on_link6: own6.map(|own| own.prefix_len).unwrap_or_default(),
        gateway6: own6.map_or(uplink.gateway6, |own| own.gateway).unwrap_or_default(),
        ..Interface::default()
    }
}

fn slot_record(slot: &WantedSlot, sandbox: &Sandbox, answers: Answers, zone: Zone) -> Interface {
    Interface {
        egress: Egress { ifindex: slot.ifindex, delivery: slot.delivery, ..Egress::default() },
        mac: sandbox.gateway_mac,
        peer_mac: sandbox.mac,
        zone,
        mtu: slot.mtu,
        answers: answers.per_second,
        connector: slot.connector,
        metered: slot.meters.metered(),
        address: sandbox.address,
        local: sandbox.gateway,
        address6: sandbox.v6.map(|v6| v6.address).unwrap_or_default(),
        local6: sandbox.v6.map(|v6| v6.gateway).unwrap_or_default(),
        ..Interface::default()
    }
}

/// The devices that uplinks are on, and where on each its program goes.
fn uplink_points(wanted: &Wanted) -> BTreeMap<IfIndex, Point> {
    wanted.uplinks.iter().map(|uplink| (uplink.ifindex, uplink.point)).collect()
}

/// Slots come before uplinks, so that nothing is sent where no program would meet the answer.
fn attach(plan: &mut Plan, wanted: &Wanted, unwanted: &Unwanted, observed: &Observed) {
    // A TAP has no other end.
    let veths = wanted.slots.iter().filter(|slot| slot.delivery == Delivery::VETH_PEER);
    plan.before.extend(veths.map(|slot| Step::EnableGro(slot.ifindex)));
    // What drains is served by this process's program as well.
    let slots = wanted.slots.iter().map(|slot| slot.ifindex).chain(unwanted.draining_devices());
    plan.before.extend(slots.map(|ifindex| Step::Attach(ifindex, Point::Slot)));
    for (ifindex, point) in uplink_points(wanted) {
        let other = other_xdp(ifindex, point, observed);
        plan.before.extend(other.map(|(ifindex, point)| Step::Detach(ifindex, point)));
        plan.before.push(Step::Attach(ifindex, point));
    }
}

/// A device has room for one mode of XDP: the other one has to go before this one comes.
fn other_xdp(ifindex: IfIndex, point: Point, observed: &Observed) -> Option<(IfIndex, Point)> {
    let other = match point {
        Point::XdpNative => Point::XdpGeneric,
        Point::XdpGeneric => Point::XdpNative,
        Point::Tc | Point::Slot => return None,
    };
    Some((ifindex, other)).filter(|place| observed.attached.contains(place))
}

/// Uplinks go first: nothing new comes in there.
fn take_away(plan: &mut Plan, wanted: &Wanted, unwanted: &Unwanted, observed: &Observed) {
    let slots = wanted.slots.iter().map(|slot| slot.ifindex).chain(unwanted.draining_devices());
    let mut kept: BTreeSet<_> = slots.map(|ifindex| (ifindex, Point::Slot)).collect();
    for (ifindex, point) in uplink_points(wanted) {
        kept.insert((ifindex, point));
        kept.extend(other_xdp(ifindex, point, observed));
    }
    let mut detached: Vec<_> = observed.attached.iter().filter(|place| !kept.contains(place)).collect();
    detached.sort_by_key(|(ifindex, point)| (*point == Point::Slot, *ifindex));
    plan.after.extend(detached.into_iter().map(|(ifindex, point)| Step::Detach(*ifindex, *point)));
    plan.after.extend(unwanted.withdrawn.iter().map(|record| Step::Withdraw(*record)));
    // The record goes last: where ending the flows fails, it is what tells the next plan of them.
    for gone in &unwanted.gone {
        plan.after.extend([Step::EndFlows(gone.zone), Step::Forget(*gone)]);
    }
    for lost in &unwanted.lost {
        plan.after.extend([Step::EndFlowsBy(lost.egress.id), Step::Forget(*lost)]);
    }
    plan.after.extend(unwanted.orphans.iter().map(|zone| Step::EndFlows(*zone)));
    plan.after.extend(unwanted.done.iter().map(|record| Step::Forget(*record)));
}

#[cfg(test)]
mod tests;
