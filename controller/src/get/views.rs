//! Answers as data. Their field names are what programs rely on.

use super::pool::EniRecords;
use crate::config::{Config, Listener, Stickiness, Transport};
use crate::store::SlotRecord;
use serde::Serialize;
use weir_dataplane::counters::Counters;
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
    /// The port; none for all that no other listener of the address has.
    pub port: Option<u16>,
    /// `tcp`, `udp` or `tcp_udp`.
    pub protocol: &'static str,
    /// The group it forwards to, where it is one alone.
    pub target_group: Option<String>,
    /// How many targets its groups have.
    pub targets: usize,
    /// How long its established flows may be silent; of `tcp_udp`, those of TCP.
    pub idle_timeout_seconds: u16,
    /// Of `tcp_udp`, how long its answered flows of UDP may be silent.
    pub udp_idle_timeout_seconds: Option<u16>,
    /// `source_ip` or `none`.
    pub stickiness: &'static str,
    /// All groups it forwards to.
    pub target_groups: Vec<ShareView>,
}

/// A target group's share of a listener's new flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShareView {
    /// The group.
    pub name: String,
    /// Its share, beside those of the other groups.
    pub weight: u32,
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
    /// Flows that were silent for too long, whose ends were to be told at once and were not, because the daemon did not read
    /// fast enough: their next packets are answered.
    pub signals_lost: u64,
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
    /// `uplink`, the ENI, or the slot as the configuration names it.
    pub name: String,
    /// Packets.
    pub packets: u64,
}

pub(super) fn listeners(config: &Config) -> Vec<ListenerView> {
    config.listeners.iter().map(|listener| listener_view(listener, config)).collect()
}

fn listener_view(listener: &Listener, config: &Config) -> ListenerView {
    let shares: Vec<_> =
        listener.shares.iter().filter_map(|it| Some((config.groups.get(it.group)?, it.weight))).collect();
    let is_sticky = shares.iter().any(|(group, _)| group.stickiness == Stickiness::SourceIp);
    let stickiness = if is_sticky { Stickiness::SourceIp } else { Stickiness::None };
    let idle = |transport: &Transport| listener.idle(*transport, &config.timeouts).0;
    let mut idles = listener.protocol.transports().iter().map(idle);
    ListenerView {
        name: listener.name.value.clone(),
        vpc: listener.vpc.clone(),
        address: listener.address.value.to_string(),
        port: listener.port.map(L4Port::number),
        protocol: listener.protocol.name(),
        target_group: match shares.as_slice() {
            [(only, _)] => Some(only.name.value.clone()),
            _ => None,
        },
        targets: shares.iter().map(|(group, _)| group.targets.len()).sum(),
        idle_timeout_seconds: idles.next().unwrap_or_default(),
        udp_idle_timeout_seconds: idles.next(),
        stickiness: stickiness.name(),
        target_groups: shares
            .into_iter()
            .map(|(group, weight)| ShareView { name: group.name.value.clone(), weight })
            .collect(),
    }
}

pub(super) fn counters(
    counters: &Counters,
    interfaces: &[Interface],
    slots: &[SlotRecord],
    enis: &EniRecords,
) -> CounterView {
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
            name: sender(*id, interface, interfaces, slots, enis),
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
        signals_lost: counters.signals_lost,
    }
}

/// What an interface is called. A slot whose record changed has two for a while, of one binding.
pub(super) fn sender(
    id: InterfaceId,
    interface: Option<&Interface>,
    interfaces: &[Interface],
    slots: &[SlotRecord],
    enis: &EniRecords,
) -> String {
    if let Some(link) = interface.filter(|it| !it.is_slot()) {
        let kind = if link.is_eni() { "eni" } else { "uplink" };
        return enis.get(&id).map_or_else(|| kind.to_owned(), |(name, _)| name.clone());
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
