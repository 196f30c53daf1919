//! Answers as data. Their field names are what programs rely on.

use super::names::binding;
use crate::config::Config;
use crate::store::SlotRecord;
use serde::Serialize;
use std::collections::BTreeMap;
use weir_dataplane::counters::Counters;
use weir_dataplane::flows::Flow;
use weir_path::Reason;
use weir_path::addr::{InterfaceId, L4Port};
use weir_path::reason::Class;
use weir_path::tables::Interface;

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
    /// How long its established flows may be silent.
    pub idle_timeout_seconds: u16,
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

/// Every counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterView {
    /// By hook.
    pub hooks: Vec<HookView>,
    /// Packets sent out, by interface.
    pub sent: Vec<SentView>,
    /// Flows that were opened.
    pub flows_opened: u64,
    /// Flows that ended, by why, where any did.
    pub ended: Vec<EndView>,
    /// Flows that ended without `weir events` being told, because it did not read fast enough.
    pub events_lost: u64,
}

/// Flows that ended for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndView {
    /// Why.
    pub reason: &'static str,
    /// Flows.
    pub flows: u64,
    /// What it means.
    pub meaning: String,
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
                idle_timeout_seconds: listener.idle.0,
            })
        })
        .collect()
}

pub(super) fn targets(
    config: &Config,
    slots: &[SlotRecord],
    interfaces: &[Interface],
    flows: &[Flow],
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

/// Flows by the binding and the port that serve them.
fn flows_by_place(flows: &[Flow]) -> BTreeMap<(u32, L4Port), usize> {
    let mut live = BTreeMap::new();
    for flow in flows {
        let [_, serving] = flow.zones;
        *live.entry((serving.number(), flow.reply.sport)).or_insert(0) += 1;
    }
    live
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
    let sent = counters.sent.iter().map(|(id, packets)| {
        let interface = interfaces.iter().find(|it| it.egress.id == *id);
        SentView {
            interface: id.0,
            ifindex: interface.map_or(0, |it| it.egress.ifindex.0),
            name: sender(*id, interface, interfaces, slots),
            packets: *packets,
        }
    });
    let sent = sent.collect();
    let ended = counters.ended.iter().map(|(why, flows)| EndView {
        reason: why.name(),
        flows: *flows,
        meaning: why.meaning().trim().to_owned(),
    });
    CounterView {
        hooks,
        sent,
        flows_opened: counters.opened,
        ended: ended.collect(),
        events_lost: counters.events_lost,
    }
}

/// What an interface is called. A slot whose record changed has two for a while, of one binding.
fn sender(
    id: InterfaceId,
    interface: Option<&Interface>,
    interfaces: &[Interface],
    slots: &[SlotRecord],
) -> String {
    if interface.is_some_and(|it| !it.zone.is_binding()) {
        return "uplink".into();
    }
    let is_of_slot = |record: &&SlotRecord| {
        let recorded = InterfaceId(record.interface);
        let current = interfaces.iter().find(|it| it.egress.id == recorded);
        recorded == id || interface.zip(current).is_some_and(|(it, current)| it.zone == current.zone)
    };
    slots.iter().find(is_of_slot).map_or_else(|| "slot".into(), |record| record.slot.clone())
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
pub(super) mod tests;
