//! `[[listener]]`: read, which groups it forwards to, and whether two of them hear the same packets.

use super::check::{known_vpc, repeated, unique, unknown};
use super::draft::Draft;
use super::model::{At, Listener, OnIdle, Protocol, Share, Transport};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::uplinks::UplinkDraft;
use super::{sandbox, timeouts, values};
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use weir_path::addr::{Ip6, L4Port, Zone};
use weir_path::tables::MAX_SHARES;
use weir_path::time::Seconds;

/// As network load balancers take them.
const MOST_WEIGHT: u32 = 999;
const WEIGHT: u32 = 1;
const GROUPS: &str = "target_groups";

pub(crate) struct ListenerDraft {
    pub(crate) at: SourceSpan,
    name: Option<At<String>>,
    pub(crate) vpc: Option<At<String>>,
    pub(crate) address: Option<At<Ip6>>,
    port: Option<At<Option<L4Port>>>,
    pub(crate) protocol: Option<At<Protocol>>,
    /// `None` where one of them is wrong, or there is none.
    shares: Option<Vec<ShareDraft>>,
    idle: Option<At<Seconds>>,
    on_idle: OnIdle,
}

struct ShareDraft {
    name: At<String>,
    weight: u32,
}

// ---- each by itself ----

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> ListenerDraft {
    let at = section.at();
    let name = section.required(problems, "name", "\"web\"", values::name);
    let vpc = section.required(problems, "vpc", "\"prod\"", values::name);
    let address = section.required(problems, "address", "\"198.51.100.10\"", values::vip);
    let port = section.required(problems, "port", "80", values::port_or_any);
    let protocol = section.required(problems, "protocol", "\"tcp\"", values::protocol);
    let shares = read_shares(&mut section, problems);
    let idle = section.optional(problems, "idle_timeout", timeouts::idle);
    let on_idle = section.optional(problems, "on_idle", timeouts::on_idle);
    section.finish(problems);
    let on_idle = on_idle.map_or(OnIdle::default(), |it| it.value);
    ListenerDraft { at, name, vpc, address, port, protocol, shares, idle, on_idle }
}

/// One group, or a list of some with weights.
fn read_shares(section: &mut Section<'_>, problems: &mut Problems) -> Option<Vec<ShareDraft>> {
    if !section.has(GROUPS) {
        let group = section.required(problems, "target_group", "\"web\"", values::name);
        return Some(vec![ShareDraft { name: group?, weight: WEIGHT }]);
    }
    let group = section.optional(problems, "target_group", values::name);
    let before = problems.len();
    let wanted =
        "a list of groups, like `[{ name = \"blue\", weight = 90 }, { name = \"green\", weight = 10 }]`";
    let list = section.tables(problems, GROUPS, GROUPS, wanted)?;
    if problems.len() > before {
        return None;
    }
    if let Some(group) = group {
        problems.add(Problem::new(
            group.at,
            format!("a listener has `target_group` and `{GROUPS}`"),
            "one of the two",
            format!("put \"{}\" into `{GROUPS}`, or remove that list", group.value),
        ));
    }
    check_count(list.at, &list.value.iter().map(Section::at).collect::<Vec<_>>(), problems);
    let shares: Vec<_> = list.value.into_iter().map(|it| read_share(it, problems)).collect();
    check_once(shares.iter().flatten(), problems);
    let shares: Option<Vec<_>> = shares.into_iter().collect();
    shares.filter(|_| problems.len() == before)
}

fn read_share(mut section: Section<'_>, problems: &mut Problems) -> Option<ShareDraft> {
    let name = section.required(problems, "name", "\"web\"", values::name);
    let weight = section.optional(problems, "weight", |it| values::number(it, 0, MOST_WEIGHT));
    section.finish(problems);
    Some(ShareDraft { name: name?, weight: weight.map_or(WEIGHT, |it| it.value) })
}

fn check_count(at: SourceSpan, groups: &[SourceSpan], problems: &mut Problems) {
    if groups.is_empty() {
        problems.add(Problem::new(
            at,
            format!("`{GROUPS}` is empty, so nobody would serve"),
            "no group",
            format!("name one to {MAX_SHARES} target groups"),
        ));
    }
    if let Some(sixth) = groups.get(MAX_SHARES) {
        let count = groups.len();
        problems.add(Problem::new(
            *sixth,
            format!("a listener forwards to {count} target groups, but {MAX_SHARES} are the most"),
            "one too many, from here on",
            "put the targets of some of them into one group",
        ));
    }
}

fn check_once<'s>(shares: impl Iterator<Item = &'s ShareDraft>, problems: &mut Problems) {
    for (name, first) in repeated(shares.map(|share| &share.name)) {
        problems.add(
            Problem::new(
                name.at,
                format!("a listener names target group \"{}\" twice", name.value),
                "the second one",
                "name it once, with the sum of the two weights",
            )
            .and_at(first, "the first one"),
        );
    }
}

// ---- together ----

/// The listeners, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Vec<Option<Listener>> {
    unique(problems, "listener", draft.listeners.iter().filter_map(|listener| listener.name.as_ref()));
    let groups: BTreeMap<&str, usize> = draft
        .groups
        .iter()
        .enumerate()
        .filter_map(|(place, group)| Some((group.name.as_ref()?.value.as_str(), place)))
        .collect();
    let mut seen = BTreeMap::new();
    let mut listeners = Vec::new();
    for listener in &draft.listeners {
        sandbox::check_vip(listener, is_served_by_sandboxes(listener, draft), &draft.sandbox, problems);
        let zone = listener.vpc.as_ref().and_then(|vpc| known_vpc(vpc, zones, problems));
        check_reachable(listener, draft, zone, problems);
        let shares = check_shares(listener, &groups, problems);
        let checked = check_listener(listener, zone, shares);
        if let Some(listener) = &checked {
            check_overlap(listener, &mut seen, problems);
        }
        listeners.push(checked);
    }
    listeners
}

/// Whether some of its groups has targets in slots, or may have.
fn is_served_by_sandboxes(listener: &ListenerDraft, draft: &Draft) -> bool {
    let group = |name: &At<String>| {
        draft.groups.iter().find(|group| group.name.as_ref().is_some_and(|it| it.value == name.value))
    };
    let mut shares = listener.shares.iter().flatten();
    listener.shares.is_none() || shares.any(|share| group(&share.name).is_none_or(|it| !it.has_addresses()))
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

fn check_shares(
    listener: &ListenerDraft,
    groups: &BTreeMap<&str, usize>,
    problems: &mut Problems,
) -> Option<Vec<Share>> {
    let shares = listener.shares.as_ref()?.iter().map(|ShareDraft { name, weight }| {
        let group = groups.get(name.value.as_str()).copied();
        if group.is_none() {
            let known = groups.keys().copied().collect();
            problems.add(unknown(name, "target group", "[[target_group]]", &known));
        }
        Some(Share { group: group?, weight: *weight })
    });
    // All of them are looked at, so that every mistake is found.
    shares.collect::<Vec<_>>().into_iter().collect()
}

fn check_listener(draft: &ListenerDraft, zone: Option<Zone>, shares: Option<Vec<Share>>) -> Option<Listener> {
    Some(Listener {
        name: draft.name.clone()?,
        vpc: draft.vpc.as_ref()?.value.clone(),
        zone: zone?,
        address: draft.address?,
        port: draft.port?.value,
        protocol: draft.protocol?.value,
        shares: shares?,
        idle: draft.idle.map(|it| it.value),
        on_idle: draft.on_idle,
    })
}

type Heard = (Zone, Ip6, Option<L4Port>, Transport);

fn check_overlap(
    listener: &Listener,
    seen: &mut BTreeMap<Heard, (String, SourceSpan)>,
    problems: &mut Problems,
) {
    let Listener { name, zone, address: At { value: address, at }, port, .. } = listener;
    let mut is_reported = false;
    for transport in listener.protocol.transports() {
        match seen.entry((*zone, *address, *port, *transport)) {
            Entry::Vacant(free) => {
                free.insert((name.value.clone(), *at));
            }
            // Two that hear both TCP and UDP are one mistake.
            Entry::Occupied(first) if !is_reported => {
                problems.add(overlap(listener, *transport, first.get()));
                is_reported = true;
            }
            Entry::Occupied(_) => {}
        }
    }
}

fn overlap(listener: &Listener, transport: Transport, (first, first_at): &(String, SourceSpan)) -> Problem {
    let (name, address) = (&listener.name.value, listener.address);
    let shown = endpoint(address.value, listener.port);
    Problem::new(
        address.at,
        format!(
            "listeners \"{first}\" and \"{name}\" overlap: both are {shown}/{} in VPC \"{}\"",
            transport.name(),
            listener.vpc
        ),
        format!("\"{name}\" wants it as well"),
        "give one of the two another address, port or protocol, or remove it",
    )
    .and_at(*first_at, format!("\"{first}\" has it"))
}

/// An address and a port as people write them.
fn endpoint(address: Ip6, port: Option<L4Port>) -> String {
    match (port, IpAddr::from(address)) {
        (Some(port), address) => SocketAddr::new(address, port.number()).to_string(),
        (None, IpAddr::V4(address)) => format!("{address}:{}", values::ANY),
        (None, IpAddr::V6(address)) => format!("[{address}]:{}", values::ANY),
    }
}
