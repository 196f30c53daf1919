//! How the parts of a file fit together: names that must exist, things that must not be twice.

use super::draft::Draft;
use super::model::{At, Config, Vpc};
use super::problem::Problem;
use super::reader::{Problems, nearest, one_of};
use super::{
    connectors, groups, listeners, maxima, routes, sandbox, security, slots, subnets, tenants, uplinks,
};
use miette::SourceSpan;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::Zone;

/// The configuration, where nothing is wrong with it; what is wrong is added to `problems`.
pub(crate) fn check(draft: &Draft, problems: &mut Problems) -> Option<Config> {
    sandbox::check(&draft.sandbox, problems);
    let tenants = tenants::check(draft, problems);
    let vpcs = check_vpcs(draft, problems);
    let zones: BTreeMap<&str, Zone> = vpcs.iter().map(|vpc| (vpc.name.value.as_str(), vpc.zone)).collect();
    let uplinks = uplinks::check(draft, &zones, problems);
    check_devices(draft, problems);
    let groups = groups::check(draft, problems);
    let listeners = listeners::check(draft, &zones, problems);
    let subnets = subnets::check(draft, &zones, problems);
    let security_groups = security::check(draft, &zones, problems);
    let known = security::Groups::new(draft, &zones);
    let connectors = connectors::check(draft, &subnets, &known, problems);
    groups::check_reachable(&groups, &listeners, &connectors, draft, problems);
    let slots = slots::check(draft, &connectors, problems);
    let parts = maxima::Parts {
        groups: &groups,
        security_groups: &security_groups,
        connectors: &connectors,
        slots: &slots,
    };
    maxima::check(draft, &parts, problems);
    Some(Config {
        dataplane: draft.dataplane.clone(),
        timeouts: draft.timeouts,
        answers: draft.answers,
        sandbox: draft.sandbox.values,
        tenants: all(tenants)?,
        vpcs,
        uplinks: all(uplinks)?,
        groups: all(groups)?,
        listeners: all(listeners)?,
        subnets: all(subnets)?,
        security_groups: all(security_groups)?,
        connectors: all(connectors)?,
        slots: all(slots)?,
    })
}

pub(super) fn all<T>(parts: Vec<Option<T>>) -> Option<Vec<T>> {
    parts.into_iter().collect()
}

/// Reports every name that was used before. A name stands for one thing of its kind.
pub(super) fn unique<'n>(problems: &mut Problems, what: &str, names: impl Iterator<Item = &'n At<String>>) {
    for (name, first) in repeated(names) {
        problems.add(
            Problem::new(
                name.at,
                format!("two {what}s are called \"{}\"", name.value),
                "the second one",
                format!("give this {what} another name"),
            )
            .and_at(first, "the first one"),
        );
    }
}

/// The names that were there before, each with the place of the first one.
pub(super) fn repeated<'n>(
    names: impl Iterator<Item = &'n At<String>>,
) -> impl Iterator<Item = (&'n At<String>, SourceSpan)> {
    let mut seen: BTreeMap<&str, SourceSpan> = BTreeMap::new();
    names.filter_map(move |name| match seen.entry(&name.value) {
        Entry::Vacant(free) => {
            free.insert(name.at);
            None
        }
        Entry::Occupied(first) => Some((name, *first.get())),
    })
}

/// The complaint about a name that stands for nothing.
pub(super) fn unknown(name: &At<String>, what: &str, section: &str, known: &BTreeSet<&str>) -> Problem {
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
    let named = || draft.vpcs.iter().filter_map(|vpc| Some((vpc, vpc.name.as_ref()?)));
    unique(problems, "VPC", named().map(|(_, name)| name));
    let mut vpcs: Vec<Vpc> = Vec::new();
    for (vpc, name) in named() {
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
        let routes = routes::check(vpc, draft, problems);
        if let Some(tenant) = &vpc.tenant {
            tenants::check_known(tenant, draft, problems);
        }
        vpcs.push(Vpc { name: name.clone(), zone, tenant: vpc.tenant.clone(), routes });
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

pub(super) fn known_vpc(
    name: &At<String>,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Option<Zone> {
    let zone = zones.get(name.value.as_str()).copied();
    if zone.is_none() {
        problems.add(unknown(name, "VPC", "[[vpc]]", &zones.keys().copied().collect()));
    }
    zone
}

/// A device of the daemon's namespace carries uplinks, or is a slot, and not both.
fn check_devices(draft: &Draft, problems: &mut Problems) {
    let uplinks: BTreeMap<&str, SourceSpan> = draft
        .uplinks
        .iter()
        .filter_map(|uplink| uplink.interface.as_ref())
        .map(|interface| (interface.value.as_str(), interface.at))
        .collect();
    let targets = draft.groups.iter().flat_map(|group| &group.targets);
    let targets = targets.map(|it| (&it.netns, &it.interface, "target"));
    let slots = draft.slots.iter().map(|it| (&it.netns, &it.interface, "slot"));
    for (netns, interface, what) in targets.chain(slots) {
        let Some(interface) = interface.as_ref().filter(|_| netns.is_none()) else { continue };
        if let Some(uplink) = uplinks.get(interface.value.as_str()) {
            problems.add(also_uplink(interface.at, &interface.value, what, *uplink));
        }
    }
}

/// The complaint about a device that is an uplink and a slot.
fn also_uplink(at: SourceSpan, device: &str, what: &str, uplink: SourceSpan) -> Problem {
    Problem::new(
        at,
        format!("device \"{device}\" is an uplink and a {what}"),
        format!("a {what} here"),
        "write the device of a sandbox; traffic of an uplink and of a sandbox must not mix",
    )
    .and_at(uplink, "an uplink here")
}
