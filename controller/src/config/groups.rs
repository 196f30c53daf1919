//! `[[target_group]]` and its targets: read, and no place in a group twice.

use super::check::{all, unique, unknown};
use super::draft::Draft;
use super::model::{At, Connector, Family, Listener, Place, SlotName, Stickiness, Target, TargetGroup};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::{sandbox, services, values};
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use weir_path::addr::{Ip6, L4Port};

pub(crate) struct GroupDraft {
    pub(crate) name: Option<At<String>>,
    port: Option<At<L4Port>>,
    stickiness: Stickiness,
    connector: Option<At<String>>,
    /// Whether a connector is named, right or wrong.
    has_connector: bool,
    pub(crate) targets: Vec<TargetDraft>,
}

pub(crate) struct TargetDraft {
    pub(crate) at: SourceSpan,
    name: Option<At<String>>,
    pub(crate) netns: Option<At<PathBuf>>,
    pub(crate) interface: Option<At<String>>,
    address: Option<At<Ip6>>,
    /// Whether there is an address, right or wrong.
    has_address: bool,
    port: Option<At<L4Port>>,
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> GroupDraft {
    let name = section.required(problems, "name", "\"web\"", values::name);
    let port = section.optional(problems, "port", values::port);
    let stickiness = section.optional(problems, "stickiness", values::stickiness);
    let connector = section.optional(problems, "connector", values::name);
    let has_connector = section.has("connector");
    let targets = section.sections(problems, "target", "[[target_group.target]]");
    section.finish(problems);
    let targets = targets.into_iter().map(|it| read_target(it, problems)).collect();
    let stickiness = stickiness.map(|it| it.value).unwrap_or_default();
    GroupDraft { name, port, stickiness, connector, has_connector, targets }
}

fn read_target(mut section: Section<'_>, problems: &mut Problems) -> TargetDraft {
    let at = section.at();
    let name = section.required(problems, "name", "\"sandbox-1\"", values::name);
    let address = section.optional(problems, "address", values::vip);
    let has_address = section.has("address");
    if has_address {
        for key in ["netns", "interface"] {
            let help = "remove this line, or `address`: a target is in a slot, or at an address";
            section.refuse(problems, key, "it has `address`", help);
        }
    }
    let netns = section.optional(problems, "netns", values::netns).filter(|_| !has_address);
    let interface = match has_address {
        true => None,
        false => section.required(problems, "interface", "\"eth0\"", values::interface),
    };
    let port = section.optional(problems, "port", values::port);
    section.finish(problems);
    TargetDraft { at, name, netns, interface, address, has_address, port }
}

impl GroupDraft {
    /// Whether its targets are addresses.
    pub(super) fn has_addresses(&self) -> bool {
        !self.targets.is_empty() && self.targets.iter().all(|it| it.has_address)
    }
}

/// The groups, as far as each is right by itself.
pub(super) fn check(draft: &Draft, problems: &mut Problems) -> Vec<Option<TargetGroup>> {
    unique(problems, "target group", draft.groups.iter().filter_map(|group| group.name.as_ref()));
    let connectors = draft.connector_places();
    draft.groups.iter().map(|it| check_group(it, &connectors, problems)).collect()
}

fn check_group(
    draft: &GroupDraft,
    connectors: &BTreeMap<&str, usize>,
    problems: &mut Problems,
) -> Option<TargetGroup> {
    unique(problems, "target", draft.targets.iter().filter_map(|target| target.name.as_ref()));
    let targets: Vec<_> = draft.targets.iter().map(|it| check_target(it, draft)).collect();
    let mut places: BTreeMap<(String, Option<L4Port>), SourceSpan> = BTreeMap::new();
    for target in targets.iter().flatten() {
        match places.entry((target.place.to_string(), target.port)) {
            Entry::Vacant(free) => drop(free.insert(target.place.at())),
            Entry::Occupied(first) => problems.add(same_place(target, *first.get())),
        }
    }
    problems.extend(mixed(&targets).or_else(|| connector(draft, &targets)));
    let place = draft.connector.as_ref().map(|name| {
        let place = connectors.get(name.value.as_str()).copied();
        if place.is_none() {
            problems.add(unknown(name, "connector", "[[connector]]", &connectors.keys().copied().collect()));
        }
        place
    });
    Some(TargetGroup {
        name: draft.name.clone()?,
        stickiness: draft.stickiness,
        connector: place.unwrap_or_default(),
        targets: all(targets)?,
    })
}

/// The complaint about one place that two targets of a group name.
fn same_place(second: &Target, first: SourceSpan) -> Problem {
    let port = second.port.map_or_else(|| "all ports".to_owned(), |port| format!("port {port}"));
    let message = match &second.place {
        Place::Slot(slot) => format!("two targets of one group are {port} of the same slot, {}", slot.value),
        Place::Address(it) => {
            format!("two targets of one group are {port} of the same address, {}", it.value)
        }
    };
    let help = "remove one of the two: it would get a double share of the connections";
    Problem::new(second.place.at(), message, "the second one", help).and_at(first, "the first one")
}

/// The complaint about a target that is of another kind than those before it.
fn mixed(targets: &[Option<Target>]) -> Option<Problem> {
    let kind = |place: &Place| match place {
        Place::Slot(_) => "a slot",
        Place::Address(at) if Family::of(at.value) == Family::V4 => "an IPv4 address",
        Place::Address(_) => "an IPv6 address",
    };
    let mut places = targets.iter().flatten().map(|target| &target.place);
    let first = places.next()?;
    let other = places.find(|place| kind(place) != kind(first))?;
    let message = format!(
        "the targets of a group are of two kinds: {first} is {}, and {other} is {}",
        kind(first),
        kind(other)
    );
    let help = "put them into two groups; a listener of their family can spread over both by `target_groups`";
    Some(
        Problem::new(other.at(), message, "of another kind", help).and_at(first.at(), "the first one's kind"),
    )
}

/// The complaint about addresses that nobody leads to, or a connector that leads to no address.
fn connector(draft: &GroupDraft, targets: &[Option<Target>]) -> Option<Problem> {
    let first = &targets.iter().flatten().next()?.place;
    match (first, &draft.connector) {
        (Place::Address(at), None) if !draft.has_connector => Some(Problem::new(
            at.at,
            format!("target {} is an address, but its group has no `connector`", at.value),
            "by whose ENIs is it reached?",
            "add a line like `connector = \"web-fn\"` to the [[target_group]]",
        )),
        (Place::Slot(slot), Some(name)) => Some(
            Problem::new(
                name.at,
                "a target group of slots can't have `connector`",
                "leads nowhere",
                "remove the line: a slot is reached by itself; addresses are what a connector leads to",
            )
            .and_at(slot.at, "a slot"),
        ),
        _ => None,
    }
}

fn check_target(draft: &TargetDraft, group: &GroupDraft) -> Option<Target> {
    let place = if draft.has_address {
        Place::Address(draft.address?)
    } else {
        let netns = draft.netns.as_ref().map(|netns| netns.value.clone());
        Place::Slot(draft.interface.clone()?.map(|interface| SlotName { netns, interface }))
    };
    let port = draft.port.or(group.port).map(|port| port.value);
    Some(Target { name: draft.name.clone()?, place, port })
}

// ---- together ----

/// Whether targets that are addresses can be reached: from the ENIs of their group's connector, by its listeners' family.
pub(super) fn check_reachable(
    groups: &[Option<TargetGroup>],
    listeners: &[Option<Listener>],
    connectors: &[Option<Connector>],
    draft: &Draft,
    problems: &mut Problems,
) {
    for (place, group) in groups.iter().enumerate() {
        let Some(group) = group else { continue };
        let addresses = group.targets.iter().filter_map(|target| match target.place {
            Place::Address(at) => Some(at),
            Place::Slot(_) => None,
        });
        let leads = group.connector.and_then(|place| connectors.get(place)?.as_ref());
        for at in addresses.clone() {
            problems.extend(nobodys(at, leads, draft));
        }
        let Some(first) = addresses.clone().next() else { continue };
        let name = draft.groups.get(place).and_then(|it| it.connector.as_ref());
        if let Some((leads, name)) = leads.zip(name).filter(|(it, _)| !it.leads_to(first.value)) {
            problems.add(services::unreached(name, leads, first));
        }
        let uses = listeners.iter().flatten().filter(|it| it.shares.iter().any(|share| share.group == place));
        let family = Family::of(first.value);
        problems.extend(
            uses.filter(|it| Family::of(it.address.value) != family).map(|it| other_family(it, first)),
        );
    }
}

/// The complaint about a target that is no machine's in the VPC.
fn nobodys(at: At<Ip6>, leads: Option<&Connector>, draft: &Draft) -> Option<Problem> {
    let is_vip = |it: &&super::listeners::ListenerDraft| {
        let vpc = it.vpc.as_ref().map(|vpc| &vpc.value);
        it.address.is_some_and(|it| it.value == at.value) && vpc == leads.map(|it| &it.key.vpc)
    };
    let of_sandboxes = sandbox::owner(&draft.sandbox.values, at.value);
    let whose = of_sandboxes.or(draft.listeners.iter().any(|it| is_vip(&it)).then_some("a listener's"))?;
    Some(Problem::new(
        at.at,
        format!("a target can't be at {}: it is {whose}", at.value),
        whose,
        "write the address of a machine in the VPC; a target in a sandbox has `interface` instead",
    ))
}

fn other_family(listener: &Listener, target: At<Ip6>) -> Problem {
    let (from, to) = (Family::of(listener.address.value).name(), Family::of(target.value).name());
    Problem::new(
        listener.address.at,
        format!(
            "listener \"{}\" is at an {from} address, but a target of its is at {}",
            listener.name.value, target.value
        ),
        format!("an {from} address"),
        "use a target group of the listener's family: packets of one are not made into those of the other",
    )
    .and_at(target.at, format!("an {to} address"))
}
