//! A plan carried out: its steps in order, undone in reverse where one fails before the configuration is live.

use super::RunError;
use super::judge::InForce;
use super::pool::{Enis, slot_devices};
use crate::compile::rulebook::{self, Rulebook};
use crate::compile::{self, Numbers};
use crate::config::{Config, SlotName};
use crate::host::{Resolved, SlotDevice, name_of};
use crate::plan::{self, Burst, Observed, Plan, Point, Step, Wanted};
use crate::store::SlotRecord;
use crate::tenants::Tenants;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tracing::{info, warn};
use weir_dataplane::flows::{FlowId, FlowState};
use weir_dataplane::image::Image;
use weir_dataplane::others::Ours;
use weir_dataplane::{AttachPoint, Attachment, Dataplane, Error, Once, Origin, Tables};
use weir_path::addr::{IfIndex, InterfaceId, Zone};
use weir_path::flow::end::End;
use weir_path::flow::{Stamp, V4, V6};
use weir_path::hash::HashKey;
use weir_path::layout::MAX_INTERFACES;
use weir_path::tables::Holder;
use weir_path::tables::Interface;

/// What is to be in force.
pub(super) struct Goal<'a> {
    config: &'a Config,
    hash_key: HashKey,
    resolved: &'a Resolved,
    enis: &'a Enis,
    tenants: &'a Tenants,
    /// The devices, and what the pool has for them.
    pub(super) wanted: Wanted,
}

impl<'a> Goal<'a> {
    pub(super) fn new(
        config: &'a Config,
        hash_key: HashKey,
        resolved: &'a Resolved,
        enis: &'a Enis,
        tenants: &'a Tenants,
    ) -> Self {
        let mut wanted = resolved.wanted.clone();
        plan::connect(&mut wanted, config, &enis.pool, &slot_devices(resolved));
        Self { config, hash_key, resolved, enis, tenants, wanted }
    }

    fn plan(&self, observed: &Observed) -> Result<Plan, RunError> {
        Ok(plan::plan(&self.wanted, &self.config.sandbox, self.config.answers, observed)?)
    }
}

/// What became of it.
pub(super) struct Applied {
    /// Whether something is left to do: a slot that drains, or a step that failed after the configuration went live.
    pub(super) unsettled: bool,
    /// The uplinks and ENIs in force.
    pub(super) links: Vec<Interface>,
    /// The rules in force.
    pub(super) judging: InForce,
}

/// Brings the dataplane to what is to be in force.
pub(super) fn apply(dataplane: &mut Dataplane, goal: &Goal<'_>) -> Result<Applied, RunError> {
    let Goal { config, hash_key, resolved, enis, tenants, .. } = *goal;
    let observed = observe(dataplane)?;
    let plan = goal.plan(&observed)?;
    let numbers = Numbers {
        slots: numbered(&resolved.slots, &plan.slots),
        uplinks: plan.uplinks.clone(),
        enis: plan.enis.clone(),
        tenants: tenants.iter().map(|(name, id)| (name.to_owned(), id)).collect(),
    };
    let image = compile::compile(config, hash_key, &enis.pool, &enis.facts, &numbers);
    let epoch = all_or_nothing(dataplane, &plan, &observed, resolved, &image)?;
    let (listeners, slots, with_enis) = (config.listeners.len(), numbers.slots.len(), numbers.enis.len());
    info!(epoch, listeners, slots, enis = with_enis, "configuration applied");
    if let Err(error) = report_others(&config.dataplane.pin_dir, &plan, &observed) {
        warn!("cannot tell who else is on the devices: {error}");
    }
    let unsettled = clear_away(dataplane, goal)?;
    let in_force: BTreeSet<_> = plan.uplinks.into_values().chain(plan.enis.into_values()).collect();
    let known = dataplane.tables().interfaces()?;
    let rules = Rulebook::of(config, &goal.enis.pool, &image, &known);
    let judging = InForce { rules, slots: rulebook::slots(&known) };
    let links = known.into_iter().filter(|it| in_force.contains(&it.egress.id)).collect();
    Ok(Applied { unsettled, links, judging })
}

/// The steps after the configuration went live. A failure is reported, and the next plan holds the step again. Says
/// whether something is left to do.
pub(super) fn clear_away(dataplane: &mut Dataplane, goal: &Goal<'_>) -> Result<bool, RunError> {
    // Looked at again: until just now, flows were still opened towards slots that are no longer wanted.
    let mut observed = observe(dataplane)?;
    let mut plan = goal.plan(&observed)?;
    if plan.after.iter().any(|step| matches!(step, Step::Forget(_))) {
        // Only now, because it takes a second where millions of flows are.
        each_exit(dataplane.tables(), |_, exit| {
            observed.exits.insert(exit);
        })?;
        plan = goal.plan(&observed)?;
    }
    let mut unsettled = plan.draining;
    for step in &plan.after {
        if let Err(error) = run(dataplane, step, goal.resolved) {
            warn!("could not {step}, trying again later: {error}");
            unsettled = true;
        }
    }
    Ok(unsettled)
}

fn observe(dataplane: &Dataplane) -> Result<Observed, RunError> {
    let tables = dataplane.tables();
    let attached: Vec<_> =
        dataplane.attachments()?.into_iter().map(|it| (it.ifindex, point_of(it.point))).collect();
    let flows = tables.flows();
    let zones = flows.iter().flat_map(|flow| flow.zones);
    let flow_bindings = bindings(zones);
    let opened = bindings(flows.iter().map(|flow| flow.zones[0]));
    let interfaces = tables.interfaces()?;
    // A slot's program goes with its device: without it, the index is another device's by now.
    let has_program = |it: &Interface| attached.iter().any(|(ifindex, _)| *ifindex == it.egress.ifindex);
    let present = interfaces
        .iter()
        .filter(|it| name_of(it.egress.ifindex).is_some() && (!it.zone.is_binding() || has_program(it)))
        .map(|it| it.egress.ifindex)
        .collect();
    let (mut in_force, mut rates) = (BTreeSet::new(), BTreeMap::new());
    for interface in &interfaces {
        let id = interface.egress.id;
        if interface.is_slot() {
            rates.insert(id, tables.rates(id)?);
        }
        if tables.is_in_force(interface)? {
            in_force.insert(id);
        }
    }
    let numbers = (0..MAX_INTERFACES).map(InterfaceId);
    let charged = numbers.filter(|id| !tables.account(Holder::Slot(*id)).is_empty()).collect();
    let exits = BTreeSet::new();
    Ok(Observed { interfaces, in_force, rates, attached, flow_bindings, opened, charged, present, exits })
}

fn bindings(zones: impl Iterator<Item = Zone>) -> BTreeSet<u32> {
    zones.filter(|zone| zone.is_binding()).map(Zone::number).collect()
}

/// Names the programs of others on devices that are Weir's since now: they meet the same packets.
fn report_others(pin_dir: &Path, plan: &Plan, observed: &Observed) -> Result<(), Error> {
    let fresh = plan.before.iter().filter_map(|step| match step {
        Step::Attach(ifindex, point) if !observed.attached.contains(&(*ifindex, *point)) => Some(*ifindex),
        _ => None,
    });
    let fresh: BTreeSet<_> = fresh.filter_map(name_of).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let ours = Ours::read(pin_dir)?;
    for device in fresh {
        for other in ours.others_on_tc(&device)? {
            info!(device, program = %other, "another program is on the device's TC ingress");
        }
    }
    Ok(())
}

/// The steps before the configuration goes live, and then that. Where anything fails, what was done is undone in
/// reverse, and the configuration in force stays in force.
fn all_or_nothing(
    dataplane: &mut Dataplane,
    plan: &Plan,
    observed: &Observed,
    resolved: &Resolved,
    image: &Image,
) -> Result<u64, RunError> {
    let mut done = 0;
    let result = plan
        .before
        .iter()
        .try_for_each(|step| {
            run(dataplane, step, resolved).inspect(|()| done += 1).inspect_err(|_| warn!("could not {step}"))
        })
        .and_then(|()| Ok(dataplane.tables().apply(image)?));
    if result.is_err() {
        for undo in plan.before.iter().take(done).rev().filter_map(|step| step.undo(observed)) {
            if let Err(error) = run(dataplane, &undo, resolved) {
                warn!("could not {undo} to undo what was done: {error}");
            }
        }
    }
    result
}

fn run(dataplane: &mut Dataplane, step: &Step, resolved: &Resolved) -> Result<(), RunError> {
    match step {
        Step::Record(interface) => dataplane.tables().set_interface(interface)?,
        Step::Withdraw(interface) => dataplane.tables().withdraw(interface)?,
        Step::Forget(interface) => dataplane.tables().clear_interface(interface)?,
        Step::SetRates(id, rates) => dataplane.tables().set_rates(*id, rates)?,
        Step::FillBuckets(id, Burst { bytes, packets }) => {
            dataplane.tables().fill_buckets(*id, &Once { bytes: *bytes, packets: *packets })?;
        }
        Step::EnableGro(ifindex) => enable_gro(*ifindex, resolved)?,
        Step::Attach(ifindex, point) => {
            let origin = dataplane.attach(attachment(*ifindex, *point))?;
            info!(%ifindex, ?point, ?origin, "attached");
            if *point == Point::Slot && origin == Origin::New {
                report_up_before(*ifindex, resolved);
            }
        }
        Step::Detach(ifindex, point) => {
            dataplane.detach(attachment(*ifindex, *point))?;
            info!(%ifindex, ?point, "detached");
        }
        Step::EndFlows(zone) => {
            let flows = dataplane.end_flows(End::Removed, |flow| flow.zones.contains(zone))?;
            info!(?zone, flows, "ended the flows of a slot that is gone");
        }
        Step::EndFlowsBy(id) => {
            let leaving = flows_by(dataplane.tables(), *id)?;
            let flows = dataplane.end_flows(End::Removed, |flow| leaving.contains(&flow.id))?;
            info!(%id, flows, "ended the flows that left by an uplink that is gone");
        }
    }
    Ok(())
}

/// The flows that leave by this interface, in either direction. Their zones don't tell: a VPC may have several
/// uplinks.
fn flows_by(tables: &Tables, id: InterfaceId) -> Result<BTreeSet<FlowId>, Error> {
    let mut flows = BTreeSet::new();
    each_exit(tables, |flow, exit| {
        if exit == id {
            flows.insert(flow);
        }
    })?;
    Ok(flows)
}

/// Shows each flow with each interface that it leaves by, or whose gateway it goes to.
fn each_exit(tables: &Tables, mut see: impl FnMut(FlowId, InterfaceId)) -> Result<(), Error> {
    exits_of(&tables.flow_states::<V4>()?, false, &mut see);
    exits_of(&tables.flow_states::<V6>()?, true, &mut see);
    Ok(())
}

fn exits_of<K>(flows: &[FlowState<K>], is_v6: bool, see: &mut impl FnMut(FlowId, InterfaceId)) {
    for flow in flows {
        let id = FlowId { is_v6, record: flow.record, incarnation: flow.life.incarnation() };
        // The hop of a direction that was not in the table when that was read means nothing.
        for side in flow.sides.iter().filter(|side| side.stamp != Stamp::WIPED) {
            see(id, side.hop.interface());
            // An ENI's flows may go to its uplink's gateway. An interface has two next hops, numbered after it.
            if let Some(next_hop) = side.hop.next_hop() {
                see(id, InterfaceId(next_hop.0 / 2));
            }
        }
    }
}

fn enable_gro(ifindex: IfIndex, resolved: &Resolved) -> Result<(), RunError> {
    let slot = resolved.slots.values().find(|slot| slot.device.ifindex == ifindex);
    let Some(sandbox) = slot.and_then(|slot| slot.sandbox.as_ref()) else { return Ok(()) };
    if sandbox.enable_gro()? {
        info!(device = sandbox.name, namespace = %sandbox.namespace, "turned GRO on at the sandbox's end");
    }
    Ok(())
}

/// What a sandbox sends before its program is there is led by the kernel's own tables.
fn report_up_before(ifindex: IfIndex, resolved: &Resolved) {
    let mut on_device = resolved.slots.iter().filter(|(_, slot)| slot.device.ifindex == ifindex);
    if let Some((name, _)) = on_device.find(|(_, slot)| slot.device.is_up) {
        info!(
            "slot {name} was up before Weir's program was on it: what it sent until now was the kernel's. Leave the device down; it is brought up"
        );
    }
}

fn numbered(
    slots: &BTreeMap<SlotName, SlotDevice>,
    numbers: &BTreeMap<IfIndex, InterfaceId>,
) -> BTreeMap<SlotName, InterfaceId> {
    slots
        .iter()
        .filter_map(|(name, slot)| Some((name.clone(), *numbers.get(&slot.device.ifindex)?)))
        .collect()
}

/// Which slot has which number, for whoever reads the tables without the daemon.
pub(super) fn slot_records(
    dataplane: &Dataplane,
    resolved: &BTreeMap<SlotName, SlotDevice>,
) -> Result<Vec<SlotRecord>, Error> {
    let interfaces = dataplane.tables().interfaces()?;
    let number = |slot: &SlotDevice| {
        interfaces
            .iter()
            .find(|interface| interface.egress.ifindex == slot.device.ifindex)
            .map(|it| it.egress.id)
    };
    Ok(resolved
        .iter()
        .filter_map(|(name, slot)| {
            let record = |id: InterfaceId| SlotRecord {
                slot: name.to_string(),
                interface: id.0,
                device: slot.device.name.clone(),
            };
            number(slot).map(record)
        })
        .collect())
}

const fn attachment(ifindex: IfIndex, point: Point) -> Attachment {
    let point = match point {
        Point::XdpNative => AttachPoint::UplinkXdpNative,
        Point::XdpGeneric => AttachPoint::UplinkXdpGeneric,
        Point::Tc => AttachPoint::UplinkTc,
        Point::Slot => AttachPoint::SlotTc,
    };
    Attachment { ifindex, point }
}

const fn point_of(point: AttachPoint) -> Point {
    match point {
        AttachPoint::UplinkXdpNative => Point::XdpNative,
        AttachPoint::UplinkXdpGeneric => Point::XdpGeneric,
        AttachPoint::UplinkTc => Point::Tc,
        AttachPoint::SlotTc => Point::Slot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_dataplane::flows::SideState;
    use weir_path::flow::{Hop, Life, Meta, RecordId, Side};
    use weir_path::tables::NextHopId;
    use weir_path::time::Now;

    #[test]
    fn a_flow_that_goes_to_an_uplinks_gateway_holds_that_uplink_besides_the_eni_that_it_leaves_by() {
        let (eni, uplink) = (InterfaceId(7), InterfaceId(3));
        for next_hop in [NextHopId::gateway(uplink), NextHopId::gateway6(uplink)] {
            let side = SideState {
                hop: Hop::to_next_hop(eni, next_hop),
                stamp: Stamp::new(RecordId(1), 1, Side::Original, Now(1)),
                ..SideState::default()
            };
            let flow = FlowState {
                record: RecordId(1),
                life: Life::default(),
                keys: [(); 2],
                meta: Meta::default(),
                sides: [side, SideState::default()],
            };
            let mut exits = BTreeSet::new();
            exits_of(&[flow], false, &mut |_, exit| {
                exits.insert(exit);
            });
            assert_eq!(exits, [uplink, eni].into());
        }
    }
}
