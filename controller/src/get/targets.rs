//! `weir get targets`: who serves, in slots and at addresses.

use super::names::{binding, zone_of};
use super::table::table;
use crate::config::{ANY, Config, Place, Stickiness, Target, TargetGroup};
use crate::store::SlotRecord;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::flows::Flow;
use weir_path::addr::L4Port;
use weir_path::tables::{Interface, Vip};

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetView {
    /// Its group.
    pub target_group: String,
    /// Its name.
    pub name: String,
    /// Its slot, as the configuration names it; empty where it is an address.
    pub slot: String,
    /// The port it serves on; none for the one that the client asked for.
    pub port: Option<u16>,
    /// The number of its slot's binding; none while its device is missing, and of an address.
    pub binding: Option<u32>,
    /// `active`, `missing` (its device is not there), or `draining` (no longer configured, but with flows).
    pub state: &'static str,
    /// Flows there now.
    pub flows: usize,
    /// Whether its group keeps a client with its target: `source_ip` or `none`.
    pub stickiness: &'static str,
    /// Its address, where it is not a slot's.
    pub address: Option<String>,
}

/// Who serves: the slot of a binding, or an address in a VPC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Server {
    Slot(u32),
    Address(Vip),
}

/// Flows by the place and the port that serve them.
type Live = BTreeMap<(Server, L4Port), usize>;

pub(super) fn targets(
    config: &Config,
    slots: &[SlotRecord],
    interfaces: &[Interface],
    flows: &[Flow],
) -> Vec<TargetView> {
    let live = flows_by_place(flows);
    let targets = || config.groups.iter().flat_map(|group| group.targets.iter().map(move |it| (group, it)));
    let server = |group: &TargetGroup, target: &Target| match &target.place {
        Place::Slot(slot) => binding(&slot.value, slots, interfaces).map(Server::Slot),
        Place::Address(address) => {
            let zone = zone_of(config, group.connector)?;
            Some(Server::Address(Vip { address: address.value, zone }))
        }
    };
    let named: BTreeSet<_> =
        targets().filter_map(|(group, it)| Some((server(group, it)?, it.port))).collect();
    let mut views = Vec::new();
    for (group, target) in targets() {
        let server = server(group, target);
        views.push(TargetView {
            target_group: group.name.value.clone(),
            name: target.name.value.clone(),
            slot: target.place.slot().map(|slot| slot.value.to_string()).unwrap_or_default(),
            port: target.port.map(L4Port::number),
            binding: server.and_then(Server::binding),
            state: if server.is_some() { "active" } else { "missing" },
            flows: server.map_or(0, |server| flows_at(server, target.port, &live, &named)),
            stickiness: group.stickiness.name(),
            address: server.and_then(Server::address),
        });
    }
    let is_named = |server| named.range((server, None)..).next().is_some_and(|(first, _)| *first == server);
    let unnamed =
        live.into_iter().filter(|((server, _), _)| !is_named(*server) && !is_service(config, *server));
    views.extend(unnamed.map(|((server, port), flows)| draining(server, port, flows)));
    views
}

fn draining(server: Server, port: L4Port, flows: usize) -> TargetView {
    let binding = server.binding();
    TargetView {
        target_group: String::new(),
        name: String::new(),
        slot: binding.map(|binding| format!("binding {binding}")).unwrap_or_default(),
        port: Some(port.number()),
        binding,
        state: "draining",
        flows,
        stickiness: Stickiness::None.name(),
        address: server.address(),
    }
}

impl Server {
    const fn binding(self) -> Option<u32> {
        match self {
            Self::Slot(binding) => Some(binding),
            Self::Address(_) => None,
        }
    }

    fn address(self) -> Option<String> {
        match self {
            Self::Slot(_) => None,
            Self::Address(place) => Some(place.address.to_string()),
        }
    }
}

/// What serves sandboxes alone is a service of the host's, and no target of a group.
fn is_service(config: &Config, server: Server) -> bool {
    let Server::Address(place) = server else { return false };
    let mut services = config.connectors.iter().flat_map(|connector| &connector.services);
    services.any(|it| it.to == place.address && zone_of(config, Some(it.via)) == Some(place.zone))
}

/// The flows of a target. One that serves on all ports has those at ports that no other target of its place names.
fn flows_at(
    server: Server,
    port: Option<L4Port>,
    live: &Live,
    named: &BTreeSet<(Server, Option<L4Port>)>,
) -> usize {
    let Some(port) = port else {
        let there = live.range((server, L4Port([0; 2]))..=(server, L4Port([0xff; 2])));
        let is_left = |port: L4Port| !named.contains(&(server, Some(port)));
        return there.filter(|((_, port), _)| is_left(*port)).map(|(_, flows)| flows).sum();
    };
    live.get(&(server, port)).copied().unwrap_or(0)
}

/// Flows that sandboxes opened themselves into their VPC are nobody's: who answers is whom they asked for.
fn flows_by_place(flows: &[Flow]) -> Live {
    let mut live = BTreeMap::new();
    for flow in flows {
        let [opening, serving] = flow.zones;
        let is_own = opening.is_binding()
            && (flow.reply.src, flow.reply.sport) == (flow.original.dst, flow.original.dport);
        let server = if serving.is_binding() {
            Server::Slot(serving.number())
        } else if is_own {
            continue;
        } else {
            Server::Address(Vip { address: flow.reply.src, zone: serving })
        };
        *live.entry((server, flow.reply.sport)).or_insert(0) += 1;
    }
    live
}

pub(super) fn as_table(views: &[TargetView]) -> String {
    table(
        &["TARGET GROUP", "NAME", "SLOT OR ADDRESS", "PORT", "STICKINESS", "BINDING", "STATE", "FLOWS"],
        views.iter().map(|it| {
            let binding = it.binding.map_or_else(|| "-".into(), |binding| binding.to_string());
            vec![
                it.target_group.clone(),
                it.name.clone(),
                it.address.clone().unwrap_or_else(|| it.slot.clone()),
                it.port.map_or_else(|| ANY.into(), |port| port.to_string()),
                it.stickiness.into(),
                binding,
                it.state.into(),
                it.flows.to_string(),
            ]
        }),
    )
}
