//! Answers as data. Their field names are what programs rely on.

use crate::config::{Config, SlotName};
use crate::store::SlotRecord;
use serde::Serialize;
use std::collections::BTreeMap;
use weir_dataplane::counters::Counters;
use weir_path::Reason;
use weir_path::addr::{InterfaceId, L4Port};
use weir_path::flow::{Flow, FlowKey};
use weir_path::reason::Class;
use weir_path::tables::Interface;
use weir_path::wire::protocol;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// The VPC of its address.
    pub vpc: String,
    /// The VIP.
    pub address: String,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The group it forwards to.
    pub target_group: String,
    /// How many targets the group has.
    pub targets: usize,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetView {
    /// Its group.
    pub target_group: String,
    /// Its name.
    pub name: String,
    /// Its slot, as the configuration names it.
    pub slot: String,
    /// The port it serves on.
    pub port: u16,
    /// The number of its slot's binding; none while its device is missing.
    pub binding: Option<u32>,
    /// `active`, `missing` (its device is not there), or `draining` (no longer configured, but with flows).
    pub state: &'static str,
    /// Flows there now.
    pub flows: usize,
}

/// One flow, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowView {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The client's address.
    pub client: String,
    /// The client's port.
    pub client_port: u16,
    /// The VIP.
    pub vip: String,
    /// The port at the VIP.
    pub vip_port: u16,
    /// Who serves it; none where the configuration no longer names it.
    pub target: Option<String>,
    /// The port at the sandbox.
    pub target_port: u16,
    /// The number of the slot's binding.
    pub binding: u32,
}

/// Every counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterView {
    /// By hook.
    pub hooks: Vec<HookView>,
    /// Packets sent out, by interface.
    pub sent: Vec<SentView>,
}

/// One hook's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookView {
    /// The hook.
    pub hook: &'static str,
    /// Packets that came in.
    pub entered: u64,
    /// Came in minus left: 0 at rest.
    pub conservation: i64,
    /// Why packets left, where any did.
    pub reasons: Vec<ReasonView>,
}

/// One reason's counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonView {
    /// The reason.
    pub reason: &'static str,
    /// `forwarded`, `answered`, `passed` or `dropped`.
    pub class: &'static str,
    /// Packets.
    pub packets: u64,
    /// What it means.
    pub meaning: String,
}

/// What was sent out of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SentView {
    /// Weir's number of it.
    pub interface: u32,
    /// The kernel's number of its device.
    pub ifindex: u32,
    /// `uplink`, or the slot as the configuration names it.
    pub name: String,
    /// Packets.
    pub packets: u64,
}

pub(super) fn listeners(config: &Config) -> Vec<ListenerView> {
    config
        .listeners
        .iter()
        .filter_map(|listener| {
            let group = config.groups.get(listener.group)?;
            Some(ListenerView {
                name: listener.name.value.clone(),
                vpc: listener.vpc.clone(),
                address: listener.address.value.to_string(),
                port: listener.port.number(),
                protocol: listener.protocol.name(),
                target_group: group.name.value.clone(),
                targets: group.targets.len(),
            })
        })
        .collect()
}

pub(super) fn targets(
    config: &Config,
    slots: &[SlotRecord],
    interfaces: &[Interface],
    flows: &[(FlowKey, Flow)],
) -> Vec<TargetView> {
    let live = flows_by_place(flows);
    let mut views = Vec::new();
    let mut named = Vec::new();
    for group in &config.groups {
        for target in &group.targets {
            let binding = binding(&target.slot.value, slots, interfaces);
            named.extend(binding);
            views.push(TargetView {
                target_group: group.name.value.clone(),
                name: target.name.value.clone(),
                slot: target.slot.value.to_string(),
                port: target.port.number(),
                binding,
                state: if binding.is_some() { "active" } else { "missing" },
                flows: binding.and_then(|it| live.get(&(it, target.port)).copied()).unwrap_or(0),
            });
        }
    }
    for ((binding, port), flows) in live.into_iter().filter(|((binding, _), _)| !named.contains(binding)) {
        views.push(TargetView {
            target_group: String::new(),
            name: String::new(),
            slot: format!("binding {binding}"),
            port: port.number(),
            binding: Some(binding),
            state: "draining",
            flows,
        });
    }
    views
}

/// Flows by the binding and the port that serve them: each is counted at its reply's key.
fn flows_by_place(flows: &[(FlowKey, Flow)]) -> BTreeMap<(u32, L4Port), usize> {
    let mut live = BTreeMap::new();
    for (key, _) in flows.iter().filter(|(key, _)| key.zone.is_binding()) {
        *live.entry((key.zone.number(), key.sport)).or_insert(0) += 1;
    }
    live
}

fn binding(slot: &SlotName, slots: &[SlotRecord], interfaces: &[Interface]) -> Option<u32> {
    let name = slot.to_string();
    let record = slots.iter().find(|record| record.slot == name)?;
    let interface = interfaces.iter().find(|it| it.egress.id == InterfaceId(record.interface))?;
    interface.zone.is_binding().then(|| interface.zone.number())
}

pub(super) fn flows(config: &Config, slots: &[SlotRecord], flows: &[(FlowKey, Flow)]) -> Vec<FlowView> {
    let mut views: Vec<_> = flows
        .iter()
        .filter(|(key, flow)| !key.zone.is_binding() && flow.other.zone.is_binding())
        .map(|(key, flow)| FlowView {
            protocol: if key.protocol == protocol::TCP { "tcp" } else { "udp" },
            client: key.src.to_string(),
            client_port: key.sport.number(),
            vip: key.dst.to_string(),
            vip_port: key.dport.number(),
            target: target_name(config, slots, flow),
            target_port: flow.dport.number(),
            binding: flow.other.zone.number(),
        })
        .collect();
    views.sort_by(|a, b| (&a.client, a.client_port).cmp(&(&b.client, b.client_port)));
    views
}

fn target_name(config: &Config, slots: &[SlotRecord], flow: &Flow) -> Option<String> {
    let slot = &slots.iter().find(|record| record.interface == flow.egress.id.0)?.slot;
    let mut targets = config.groups.iter().flat_map(|group| &group.targets);
    targets
        .find(|target| target.port == flow.dport && target.slot.value.to_string() == *slot)
        .map(|target| target.name.value.clone())
}

pub(super) fn counters(counters: &Counters, interfaces: &[Interface], slots: &[SlotRecord]) -> CounterView {
    let hooks = counters
        .hooks
        .iter()
        .map(|(hook, counted)| HookView {
            hook: hook.name(),
            entered: counted.entered,
            conservation: counted.entered.cast_signed().wrapping_sub(counted.left().cast_signed()),
            reasons: Reason::ALL
                .iter()
                .filter(|why| counted.of(**why) > 0)
                .map(|why| ReasonView {
                    reason: why.name(),
                    class: class_name(why.class()),
                    packets: counted.of(*why),
                    meaning: why.meaning().trim().to_owned(),
                })
                .collect(),
        })
        .collect();
    let sent = counters
        .sent
        .iter()
        .map(|(id, packets)| {
            let interface = interfaces.iter().find(|it| it.egress.id == *id);
            let slot = slots.iter().find(|record| record.interface == id.0);
            let is_uplink = interface.is_some_and(|it| !it.zone.is_binding());
            SentView {
                interface: id.0,
                ifindex: interface.map_or(0, |it| it.egress.ifindex.0),
                name: match slot {
                    _ if is_uplink => "uplink".into(),
                    Some(record) => record.slot.clone(),
                    None => "slot".into(),
                },
                packets: *packets,
            }
        })
        .collect();
    CounterView { hooks, sent }
}

const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Forwarded => "forwarded",
        Class::Answered => "answered",
        Class::Passed => "passed",
        Class::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests;
