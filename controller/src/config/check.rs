//! How the parts of a file fit together: names that must exist, things that must not be twice, maxima.

use super::draft::{Draft, GroupDraft, ListenerDraft, TargetDraft, UplinkDraft};
use super::model::{At, Config, Listener, SlotName, Target, TargetGroup, Timeouts, Uplink, Vpc};
use super::problem::Problem;
use super::reader::{Problems, nearest, one_of};
use super::sandbox;
use crate::compile::maglev;
use miette::SourceSpan;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use weir_dataplane::image::{
    MAX_CELLS, MAX_GROUPS, MAX_INTERFACES, MAX_LISTENERS, MAX_TARGETS, MAX_TARGETS_IN_GROUP, MAX_VIPS,
};
use weir_path::addr::{Ip6, L4Port, Zone};

/// The configuration, where nothing is wrong with it; what is wrong is added to `problems`.
pub(crate) fn check(draft: &Draft, problems: &mut Problems) -> Option<Config> {
    sandbox::check(&draft.sandbox, problems);
    let vpcs = check_vpcs(draft, problems);
    unique(problems, "target group", draft.groups.iter().filter_map(|group| group.name.as_ref()));
    unique(problems, "listener", draft.listeners.iter().filter_map(|listener| listener.name.as_ref()));
    let zones: BTreeMap<&str, Zone> = vpcs.iter().map(|vpc| (vpc.name.value.as_str(), vpc.zone)).collect();
    let uplinks = draft.uplinks.iter().map(|it| check_uplink(it, &zones, problems)).collect();
    check_devices(draft, problems);
    let groups = draft.groups.iter().map(|it| check_group(it, problems)).collect();
    let listeners = check_listeners(draft, &zones, problems);
    check_maxima(draft, problems);
    Some(Config {
        dataplane: draft.dataplane.clone(),
        timeouts: draft.timeouts,
        sandbox: draft.sandbox.values,
        vpcs,
        uplinks: all(uplinks)?,
        groups: all(groups)?,
        listeners: all(listeners)?,
    })
}

fn all<T>(parts: Vec<Option<T>>) -> Option<Vec<T>> {
    parts.into_iter().collect()
}

/// Reports every name that was used before. A name stands for one thing of its kind.
fn unique<'n>(problems: &mut Problems, what: &str, names: impl Iterator<Item = &'n At<String>>) {
    let mut seen: BTreeMap<&str, SourceSpan> = BTreeMap::new();
    for name in names {
        match seen.entry(&name.value) {
            Entry::Vacant(free) => {
                free.insert(name.at);
            }
            Entry::Occupied(first) => problems.add(
                Problem::new(
                    name.at,
                    format!("two {what}s are called \"{}\"", name.value),
                    "the second one",
                    format!("give this {what} another name"),
                )
                .and_at(*first.get(), "the first one"),
            ),
        }
    }
}

/// The complaint about a name that stands for nothing.
fn unknown(name: &At<String>, what: &str, section: &str, known: &BTreeSet<&str>) -> Problem {
    let label = match nearest(&name.value, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there is no such {what}"),
    };
    let help = if known.is_empty() {
        format!("add a {section} section with `name = \"{}\"`", name.value)
    } else {
        format!("write {}, or add a {section} section for it", one_of(known))
    };
    Problem::new(name.at, format!("{what} \"{}\" is not defined", name.value), label, help)
}

fn check_vpcs(draft: &Draft, problems: &mut Problems) -> Vec<Vpc> {
    let names = || draft.vpcs.iter().filter_map(|vpc| vpc.name.as_ref());
    unique(problems, "VPC", names());
    let mut vpcs: Vec<Vpc> = Vec::new();
    for name in names() {
        let Some(zone) = vpc_zone(&name.value) else { continue };
        let other = vpcs.iter().find(|other| other.zone == zone && other.name.value != name.value);
        if let Some(other) = other {
            let both = format!("\"{}\" and \"{}\"", other.name.value, name.value);
            problems.add(
                Problem::new(
                    name.at,
                    format!("the VPC names {both} make the same number, {}", zone.number()),
                    "this one",
                    "rename one of the two: a VPC's number is made from its name, so that a fleet agrees on it",
                )
                .and_at(other.name.at, "and this one"),
            );
        }
        vpcs.push(Vpc { name: name.clone(), zone });
    }
    vpcs
}

/// A VPC's number, from its name alone, so that every node agrees without being told: FNV-1a (Fowler, Noll,
/// Vo; draft-eastlake-fnv), folded to the 23 bits of a zone.
pub(crate) fn vpc_zone(name: &str) -> Option<Zone> {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let hash = name.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    Zone::of_vpc((hash >> 23) ^ (hash & Zone::MAX_NUMBER))
}

fn check_uplink(
    draft: &UplinkDraft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Option<Uplink> {
    Some(Uplink {
        zone: known_vpc(draft.vpc.as_ref()?, zones, problems)?,
        interface: draft.interface.clone()?,
        hook: draft.hook,
        senders_complete_checksums: draft.senders_complete_checksums,
    })
}

fn known_vpc(name: &At<String>, zones: &BTreeMap<&str, Zone>, problems: &mut Problems) -> Option<Zone> {
    let zone = zones.get(name.value.as_str()).copied();
    if zone.is_none() {
        problems.add(unknown(name, "VPC", "[[vpc]]", &zones.keys().copied().collect()));
    }
    zone
}

/// A device of the daemon's namespace is one uplink, or a slot, and not both.
fn check_devices(draft: &Draft, problems: &mut Problems) {
    unique(problems, "uplink", draft.uplinks.iter().filter_map(|uplink| uplink.interface.as_ref()));
    let uplinks: BTreeMap<&str, SourceSpan> = draft
        .uplinks
        .iter()
        .filter_map(|uplink| uplink.interface.as_ref())
        .map(|interface| (interface.value.as_str(), interface.at))
        .collect();
    let targets = draft.groups.iter().flat_map(|group| &group.targets);
    for interface in targets.filter(|it| it.netns.is_none()).filter_map(|it| it.interface.as_ref()) {
        if let Some(uplink) = uplinks.get(interface.value.as_str()) {
            problems.add(also_uplink(interface.at, &interface.value, *uplink));
        }
    }
}

/// The complaint about a device that is an uplink and a slot.
pub(crate) fn also_uplink(at: SourceSpan, device: &str, uplink: SourceSpan) -> Problem {
    Problem::new(
        at,
        format!("device \"{device}\" is an uplink and a target"),
        "a target here",
        "write the device of a sandbox; traffic of an uplink and of a sandbox must not mix",
    )
    .and_at(uplink, "an uplink here")
}

fn check_group(draft: &GroupDraft, problems: &mut Problems) -> Option<TargetGroup> {
    unique(problems, "target", draft.targets.iter().filter_map(|target| target.name.as_ref()));
    let targets: Vec<_> = draft.targets.iter().map(|it| check_target(it, draft, problems)).collect();
    let mut places: BTreeMap<(&SlotName, L4Port), SourceSpan> = BTreeMap::new();
    for target in targets.iter().flatten() {
        let (slot, port) = (&target.slot.value, target.port);
        match places.entry((slot, port)) {
            Entry::Vacant(free) => {
                free.insert(target.slot.at);
            }
            Entry::Occupied(first) => problems.add(same_place(target, *first.get())),
        }
    }
    Some(TargetGroup { name: draft.name.clone()?, targets: all(targets)? })
}

/// The complaint about one place that two targets of a group name.
pub(crate) fn same_place(second: &Target, first: SourceSpan) -> Problem {
    let (slot, port) = (&second.slot.value, second.port);
    Problem::new(
        second.slot.at,
        format!("two targets of one group are port {port} of the same slot, {slot}"),
        "the second one",
        "remove one of the two: a slot would get a double share of the connections",
    )
    .and_at(first, "the first one")
}

fn check_target(draft: &TargetDraft, group: &GroupDraft, problems: &mut Problems) -> Option<Target> {
    let port = draft.port.or(group.port);
    if port.is_none() {
        problems.add(Problem::new(
            draft.at,
            "a target has no port",
            "neither the target nor its group says a port",
            "add `port = 8080` to this target, or to its [[target_group]] for all of them",
        ));
    }
    let interface = draft.interface.clone()?;
    let slot = interface.map(|interface| SlotName {
        netns: draft.netns.as_ref().map(|netns| netns.value.clone()),
        interface,
    });
    Some(Target { name: draft.name.clone()?, slot, port: port?.value })
}

fn check_listeners(
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Vec<Option<Listener>> {
    let groups: BTreeMap<&str, usize> = draft
        .groups
        .iter()
        .enumerate()
        .filter_map(|(place, group)| Some((group.name.as_ref()?.value.as_str(), place)))
        .collect();
    let mut seen = BTreeMap::new();
    let mut listeners = Vec::new();
    for listener in &draft.listeners {
        sandbox::check_vip(listener, &draft.sandbox, problems);
        let zone = listener.vpc.as_ref().and_then(|vpc| known_vpc(vpc, zones, problems));
        check_reachable(listener, draft, zone, problems);
        let group = listener.group.as_ref().and_then(|name| {
            let place = groups.get(name.value.as_str()).copied();
            if place.is_none() {
                let known = groups.keys().copied().collect();
                problems.add(unknown(name, "target group", "[[target_group]]", &known));
            }
            place
        });
        let checked = check_listener(listener, zone, group, &draft.timeouts);
        if let Some(listener) = &checked {
            check_overlap(listener, &mut seen, problems);
        }
        listeners.push(checked);
    }
    listeners
}

/// A VPC without an uplink is an island: nobody could call the listener.
fn check_reachable(listener: &ListenerDraft, draft: &Draft, zone: Option<Zone>, problems: &mut Problems) {
    let (Some(vpc), Some(_)) = (&listener.vpc, zone) else { return };
    // An uplink whose VPC could not be read may be the one.
    let leads_there = |uplink: &UplinkDraft| uplink.vpc.as_ref().is_none_or(|name| name.value == vpc.value);
    if !draft.uplinks.iter().any(leads_there) {
        problems.add(Problem::new(
            vpc.at,
            format!("VPC \"{}\" has no uplink, so nobody can reach this listener", vpc.value),
            "no [[uplink]] leads here",
            format!(
                "add an [[uplink]] with `vpc = \"{}\"`, or write the VPC of one that is there",
                vpc.value
            ),
        ));
    }
}

fn check_listener(
    draft: &ListenerDraft,
    zone: Option<Zone>,
    group: Option<usize>,
    timeouts: &Timeouts,
) -> Option<Listener> {
    let protocol = draft.protocol?.value;
    Some(Listener {
        name: draft.name.clone()?,
        vpc: draft.vpc.as_ref()?.value.clone(),
        zone: zone?,
        address: draft.address?,
        port: draft.port?.value,
        protocol,
        group: group?,
        idle: draft.idle.map_or_else(|| timeouts.idle(protocol), |it| it.value),
    })
}

type Heard = (Zone, Ip6, L4Port, super::model::Protocol);

fn check_overlap(
    listener: &Listener,
    seen: &mut BTreeMap<Heard, (String, SourceSpan)>,
    problems: &mut Problems,
) {
    let Listener { zone, address: At { value: address, at }, port, protocol, .. } = *listener;
    let shown = socket(address, port);
    let name = &listener.name.value;
    match seen.entry((zone, address, port, protocol)) {
        Entry::Vacant(free) => {
            free.insert((name.clone(), at));
        }
        Entry::Occupied(entry) => {
            let (first, first_at) = entry.get();
            let (protocol, vpc) = (protocol.name(), &listener.vpc);
            problems.add(
                Problem::new(
                    at,
                    format!(
                        "listeners \"{first}\" and \"{name}\" overlap: both are {shown}/{protocol} in VPC \"{vpc}\""
                    ),
                    format!("\"{name}\" wants it as well"),
                    "give one of the two another address, port or protocol, or remove it",
                )
                .and_at(*first_at, format!("\"{first}\" has it")),
            );
        }
    }
}

/// An address and a port as people write them.
fn socket(address: Ip6, port: L4Port) -> SocketAddr {
    SocketAddr::new(address.into(), port.number())
}

/// What fits the dataplane's tables, with the place of the first that doesn't.
fn check_maxima(draft: &Draft, problems: &mut Problems) {
    let listeners: Vec<_> = draft.listeners.iter().map(|listener| listener.at).collect();
    too_many(problems, "listeners", &listeners, MAX_LISTENERS);
    let mut vips = BTreeMap::new();
    for (vpc, address) in draft.listeners.iter().filter_map(|it| Some((it.vpc.as_ref()?, it.address?))) {
        vips.entry((&vpc.value, address.value)).or_insert(address.at);
    }
    too_many(problems, "VIPs", &vips.into_values().collect::<Vec<_>>(), MAX_VIPS);
    let groups: Vec<_> = draft.groups.iter().filter_map(|group| Some(group.name.as_ref()?.at)).collect();
    too_many(problems, "target groups", &groups, MAX_GROUPS);
    let targets: Vec<_> = draft.groups.iter().flat_map(|it| &it.targets).map(|it| it.at).collect();
    too_many(problems, "targets", &targets, MAX_TARGETS);
    let mut cells = 0;
    for group in &draft.groups {
        let targets: Vec<_> = group.targets.iter().map(|target| target.at).collect();
        too_many(problems, "targets in one group", &targets, MAX_TARGETS_IN_GROUP);
        let before = cells;
        cells += maglev::size_for(targets.len());
        if let Some(name) = group.name.as_ref().filter(|_| before <= MAX_CELLS && cells > MAX_CELLS) {
            let message =
                format!("the target groups need more than the {MAX_CELLS} Maglev cells that there are");
            problems.add(Problem::new(
                name.at,
                message,
                "no room from this group on",
                "use fewer or smaller target groups: a group takes 100 to 200 cells for each target",
            ));
        }
    }
    let mut devices = BTreeMap::new();
    for interface in draft.uplinks.iter().filter_map(|uplink| uplink.interface.as_ref()) {
        devices.entry((None, &interface.value)).or_insert(interface.at);
    }
    for target in draft.groups.iter().flat_map(|group| &group.targets) {
        let Some(interface) = &target.interface else { continue };
        let netns = target.netns.as_ref().map(|netns| &netns.value);
        devices.entry((netns, &interface.value)).or_insert(interface.at);
    }
    too_many(problems, "devices", &devices.into_values().collect::<Vec<_>>(), MAX_INTERFACES);
}

fn too_many(problems: &mut Problems, what: &str, places: &[SourceSpan], max: u32) {
    if let Some(at) = places.get(max as usize) {
        let count = places.len();
        problems.add(Problem::new(
            *at,
            format!("{count} {what} are more than the {max} that fit"),
            "one too many, from here on",
            format!("use at most {max} {what} on one machine"),
        ));
    }
}
