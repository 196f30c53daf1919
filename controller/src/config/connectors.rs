//! `[[connector]]` and `[[slot]]`: read, which subnets and which ENIs each has, and which slots have it.

use super::check::{unique, unknown};
use super::draft::Draft;
use super::model::{
    Addresses, At, Connector, ConnectorKey, ConnectorSettings, EniKind, EniMac, Family, SlotBinding,
    SlotName, Subnet, UdpMapping,
};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::{timeouts, values};
use miette::SourceSpan;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use weir_dataplane::image::MAX_SOURCES_IN_CONNECTOR;
use weir_path::packet::VlanTag;
use weir_path::time::Seconds;

/// As many as a function in a VPC may have.
const MOST_SUBNETS: usize = 16;
const MOST_ADDRESSES_OF_AN_ENI: u32 = 8;
const MAX_ENIS: u32 = 8;
const IDLE: Seconds = Seconds(350);
const REST: Seconds = Seconds(60);
/// Two weeks.
const IDLE_RECLAIM: u32 = 14 * 24 * 60 * 60;
const LEAST_IDLE_RECLAIM: u32 = 60;
/// A year.
const MOST_IDLE_RECLAIM: u32 = 365 * 24 * 60 * 60;

pub(crate) struct ConnectorDraft {
    pub(crate) name: Option<At<String>>,
    tenant: Option<At<String>>,
    subnets: Option<At<Vec<At<String>>>>,
    addresses: Option<At<Addresses>>,
    enis: EniKind,
    mac: EniMac,
    udp_mapping: UdpMapping,
    settings: ConnectorSettings,
}

pub(crate) struct SlotDraft {
    pub(crate) netns: Option<At<PathBuf>>,
    pub(crate) interface: Option<At<String>>,
    connector: Option<At<String>>,
}

// ---- each by itself ----

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> ConnectorDraft {
    let name = section.required(problems, "name", "\"web-fn\"", values::name);
    let tenant = section.required(problems, "tenant", "\"acme\"", values::name);
    let subnets = read_subnets(&mut section, problems);
    let addresses = section
        .optional(problems, "addresses", |it| values::choice(it, "choice of addresses", &Addresses::NAMES));
    let enis = section.optional(problems, "enis", |it| values::choice(it, "kind of ENI", &EniKind::NAMES));
    let enis = enis.map(|it| it.value).unwrap_or_default();
    let mapping = section
        .optional(problems, "udp_mapping", |it| values::choice(it, "mapping of UDP", &UdpMapping::NAMES));
    if enis == EniKind::Host {
        refuse_for_host(&mut section, problems);
    }
    let mac = section.optional(problems, "mac", |it| values::choice(it, "choice of MAC", &EniMac::NAMES));
    let settings = read_settings(&mut section, problems);
    section.refuse(
        problems,
        "security_groups",
        "security groups come with a later release, and a connector without them is not filtered",
        "remove the line, and filter in the VPC or in the sandbox meanwhile",
    );
    section.finish(problems);
    ConnectorDraft {
        name,
        tenant,
        subnets,
        addresses,
        enis,
        mac: mac.map(|it| it.value).unwrap_or_default(),
        udp_mapping: mapping.map(|it| it.value).unwrap_or_default(),
        settings,
    }
}

fn refuse_for_host(section: &mut Section<'_>, problems: &mut Problems) {
    for key in ["mac", "addresses_per_eni", "min_enis", "max_enis"] {
        let why =
            "with `enis = \"host\"` there is one ENI an uplink, with the address and the MAC of its device";
        section.refuse(problems, key, why, "remove the line, or write `enis = \"own\"`");
    }
}

fn read_subnets(section: &mut Section<'_>, problems: &mut Problems) -> Option<At<Vec<At<String>>>> {
    let wanted = "a list of subnets, like `[\"prod-a\", \"prod-b\"]`";
    if !section.has("subnets") {
        section.required(problems, "subnets", "[\"prod-a\"]", values::name);
        return None;
    }
    let before = problems.len();
    let subnets = section.list(problems, "subnets", wanted, values::name)?;
    if problems.len() > before {
        return None;
    }
    let count = subnets.value.len();
    if count == 0 || count > MOST_SUBNETS {
        problems.add(Problem::new(
            subnets.at,
            format!("a connector has {count} subnets"),
            "too few, or too many",
            format!("name 1 to {MOST_SUBNETS} subnets of one VPC"),
        ));
        return None;
    }
    Some(subnets)
}

fn read_settings(section: &mut Section<'_>, problems: &mut Problems) -> ConnectorSettings {
    const MOST: u32 = MAX_SOURCES_IN_CONNECTOR;
    let per_eni = section.optional(problems, "addresses_per_eni", |it| {
        values::number_of(it, "addresses", 1, MOST_ADDRESSES_OF_AN_ENI)
    });
    let min = section.optional(problems, "min_enis", |it| values::number_of(it, "ENIs", 1, MOST));
    let max = section.optional(problems, "max_enis", |it| values::number_of(it, "ENIs", 1, MOST));
    let addresses_per_eni = per_eni.map_or(1, |it| it.value);
    let min_enis = min.map_or(1, |it| it.value);
    let max_enis = max.map_or(MAX_ENIS.min(MOST / addresses_per_eni).max(min_enis), |it| it.value);
    if let Some(min) = min.filter(|_| min_enis > max_enis) {
        problems.add(Problem::new(
            min.at,
            format!("min_enis is {min_enis}, but max_enis is {max_enis}"),
            "more than the most",
            format!("write a number from 1 to {max_enis}, or a larger max_enis"),
        ));
    }
    let at = max.map(|it| it.at).or(min.map(|it| it.at)).or(per_eni.map(|it| it.at));
    let addresses = max_enis * addresses_per_eni;
    if let Some(at) = at.filter(|_| addresses > MOST) {
        let message = format!(
            "{max_enis} ENIs with {addresses_per_eni} addresses of a family each are {addresses} addresses, but {MOST} are \
             the most"
        );
        let help = format!(
            "write at most {} ENIs, or fewer addresses_per_eni: a further address of an ENI is worth as much as a \
             further ENI",
            MOST / addresses_per_eni
        );
        problems.add(Problem::new(at, message, "too many", help));
    }
    let tcp_idle = section.optional(problems, "tcp_idle", timeouts::idle);
    let udp_idle = section.optional(problems, "udp_idle", timeouts::idle);
    let rest = section.optional(problems, "rest", timeouts::rest);
    let idle_reclaim = section.optional(problems, "idle_reclaim", |it| {
        values::number_of(it, "seconds", LEAST_IDLE_RECLAIM, MOST_IDLE_RECLAIM)
    });
    ConnectorSettings {
        addresses_per_eni,
        min_enis,
        max_enis,
        tcp_idle: tcp_idle.map_or(IDLE, |it| it.value),
        udp_idle: udp_idle.map_or(IDLE, |it| it.value),
        rest: rest.map_or(REST, |it| it.value),
        idle_reclaim: Duration::from_secs(idle_reclaim.map_or(IDLE_RECLAIM, |it| it.value).into()),
    }
}

pub(super) fn read_slot(mut section: Section<'_>, problems: &mut Problems) -> SlotDraft {
    let netns = section.optional(problems, "netns", values::netns);
    let interface = section.required(problems, "interface", "\"eth0\"", values::interface);
    let connector = section.required(problems, "connector", "\"web-fn\"", values::name);
    section.finish(problems);
    SlotDraft { netns, interface, connector }
}

// ---- together ----

/// The connectors, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    subnets: &[Option<Subnet>],
    problems: &mut Problems,
) -> Vec<Option<Connector>> {
    unique(problems, "connector", draft.connectors.iter().filter_map(|it| it.name.as_ref()));
    // One that is wrong is not missing.
    let named: BTreeMap<&str, Option<&Subnet>> = draft
        .subnets
        .iter()
        .zip(subnets)
        .filter_map(|(draft, subnet)| Some((draft.name.as_ref()?.value.as_str(), subnet.as_ref())))
        .collect();
    let mut first: BTreeMap<ConnectorKey, (ConnectorSettings, At<String>)> = BTreeMap::new();
    let mut connectors = Vec::new();
    for connector in &draft.connectors {
        let checked = check_connector(connector, &named, draft, problems);
        if let Some(checked) = &checked {
            match first.entry(checked.key.clone()) {
                Entry::Vacant(free) => drop(free.insert((checked.settings, checked.name.clone()))),
                Entry::Occupied(other) => problems.extend(unlike(checked, other.get())),
            }
        }
        connectors.push(checked);
    }
    connectors
}

fn check_connector(
    connector: &ConnectorDraft,
    named: &BTreeMap<&str, Option<&Subnet>>,
    draft: &Draft,
    problems: &mut Problems,
) -> Option<Connector> {
    let names = &connector.subnets.as_ref()?.value;
    let known: BTreeSet<&str> = named.keys().copied().collect();
    for name in names.iter().filter(|name| !known.contains(name.value.as_str())) {
        problems.add(unknown(name, "subnet", "[[subnet]]", &known));
    }
    let found = names.iter().map(|name| Some((name, (*named.get(name.value.as_str())?)?)));
    let found: Vec<(&At<String>, &Subnet)> = found.collect::<Option<_>>()?;
    let (first_name, first) = *found.first()?;
    if let Some((name, other)) = found.iter().find(|(_, subnet)| subnet.zone != first.zone) {
        let message = format!(
            "the subnets of a connector are of two VPCs: \"{}\" of \"{}\", and \"{}\" of \"{}\"",
            first_name.value, first.vpc, name.value, other.vpc
        );
        let help = "name subnets of one VPC; a slot that needs two VPCs needs two slots";
        problems.add(
            Problem::new(name.at, message, "another VPC", help).and_at(first_name.at, "the first one's VPC"),
        );
        return None;
    }
    let addresses = problems.keep(addresses(connector, &found))?;
    if connector.enis == EniKind::Host {
        problems.extend(tagged(&found, draft));
    }
    let subnets: BTreeSet<_> = names.iter().map(|name| name.value.clone()).collect();
    Some(Connector {
        name: connector.name.clone()?,
        key: ConnectorKey {
            tenant: connector.tenant.as_ref()?.value.clone(),
            vpc: first.vpc.clone(),
            subnets: subnets.into_iter().collect(),
            addresses,
            enis: connector.enis,
            mac: connector.mac,
            udp_mapping: connector.udp_mapping,
        },
        zone: first.zone,
        settings: connector.settings,
    })
}

/// What is asked for, which all subnets must have; where nothing is, what they all have.
fn addresses(connector: &ConnectorDraft, subnets: &[(&At<String>, &Subnet)]) -> Result<Addresses, Problem> {
    let without =
        |family| subnets.iter().find(|(_, subnet)| subnet.prefix(family).is_none()).map(|(name, _)| *name);
    let Some(asked) = connector.addresses else {
        return match (without(Family::V4), without(Family::V6)) {
            (None, None) => Ok(Addresses::Dualstack),
            (None, Some(_)) => Ok(Addresses::Ipv4),
            (Some(_), None) => Ok(Addresses::Ipv6),
            (Some(v6_only), Some(v4_only)) => Err(Problem::new(
                v6_only.at,
                format!(
                    "subnet \"{}\" has no IPv4 prefix, and \"{}\" no IPv6 prefix",
                    v6_only.value, v4_only.value
                ),
                "nothing in common",
                "name subnets that have a family in common",
            )
            .and_at(v4_only.at, "the other one")),
        };
    };
    let lacks = asked.value.families().iter().find_map(|family| Some((*family, without(*family)?)));
    let Some((family, subnet)) = lacks else { return Ok(asked.value) };
    let key = if family == Family::V4 { "prefix" } else { "prefix6" };
    Err(Problem::new(
        asked.at,
        format!("subnet \"{}\" has no {} addresses", subnet.value, family.name()),
        format!("{} is asked for", family.name()),
        format!("add `{key}` to [[subnet]] \"{}\", or ask for the other family alone", subnet.value),
    )
    .and_at(subnet.at, "this subnet"))
}

/// The host speaks the untagged frames of a device.
fn tagged(subnets: &[(&At<String>, &Subnet)], draft: &Draft) -> Option<Problem> {
    let uplink = |subnet: &Subnet| draft.uplinks.get(subnet.uplink);
    let is_tagged = |subnet: &Subnet| {
        uplink(subnet).is_some_and(|it| it.vlan.is_some_and(|it| it.value != VlanTag::NONE))
    };
    let (name, _) = subnets.iter().find(|(_, subnet)| is_tagged(subnet))?;
    Some(Problem::new(
        name.at,
        format!("subnet \"{}\" is on a VLAN, where the host has no address that Weir could use", name.value),
        "a tagged uplink",
        "write `enis = \"own\"`, or name subnets of untagged uplinks",
    ))
}

/// The complaint about two connectors that share their ENIs, and want different things of them.
fn unlike(second: &Connector, (settings, first): &(ConnectorSettings, At<String>)) -> Option<Problem> {
    if second.settings == *settings {
        return None;
    }
    Some(
        Problem::new(
            second.name.at,
            format!(
                "connectors \"{}\" and \"{}\" share their ENIs, but want different ones",
                first.value, second.name.value
            ),
            "the second one",
            "write the same numbers of ENIs and addresses, and the same times, in both; or another `tenant`, other \
             `subnets` or `addresses`: these make ENIs its own",
        )
        .and_at(first.at, "the first one"),
    )
}

/// The slots' bindings, as far as each is right by itself.
pub(super) fn check_slots(
    draft: &Draft,
    connectors: &[Option<Connector>],
    problems: &mut Problems,
) -> Vec<Option<SlotBinding>> {
    let names = draft.connectors.iter().enumerate();
    let places: BTreeMap<&str, usize> =
        names.filter_map(|(place, it)| Some((it.name.as_ref()?.value.as_str(), place))).collect();
    let mut seen: BTreeMap<SlotName, SourceSpan> = BTreeMap::new();
    let mut bindings = Vec::new();
    for slot in &draft.slots {
        let (Some(interface), Some(name)) = (&slot.interface, &slot.connector) else {
            bindings.push(None);
            continue;
        };
        let netns = slot.netns.as_ref().map(|netns| netns.value.clone());
        let slot = interface.clone().map(|interface| SlotName { netns, interface });
        match seen.entry(slot.value.clone()) {
            Entry::Vacant(free) => drop(free.insert(slot.at)),
            Entry::Occupied(first) => problems.add(
                Problem::new(
                    slot.at,
                    format!("slot {} has two connectors", slot.value),
                    "the second [[slot]]",
                    "remove one of the two: a slot has one connector",
                )
                .and_at(*first.get(), "the first [[slot]]"),
            ),
        }
        let Some(place) = places.get(name.value.as_str()).copied() else {
            problems.add(unknown(name, "connector", "[[connector]]", &places.keys().copied().collect()));
            bindings.push(None);
            continue;
        };
        let connector = connectors.get(place).and_then(Option::as_ref);
        problems.extend(connector.and_then(|it| without_v6(name, it, draft)));
        bindings.push(Some(SlotBinding { slot, connector: place }));
    }
    bindings
}

/// The complaint about a connector by IPv6 for sandboxes that have none.
fn without_v6(name: &At<String>, connector: &Connector, draft: &Draft) -> Option<Problem> {
    let wants_v6 = connector.key.addresses.families().contains(&Family::V6);
    if !wants_v6 || draft.sandbox.address6.is_some() || draft.sandbox.has_bad_v6 {
        return None;
    }
    Some(Problem::new(
        name.at,
        format!("connector \"{}\" has IPv6 addresses, but sandboxes have none", name.value),
        "nobody could use them",
        "add `address6` and `gateway6` to [sandbox], or write `addresses = \"ipv4\"` in the connector",
    ))
}
