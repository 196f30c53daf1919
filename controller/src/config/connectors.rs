//! `[[connector]]`: read, and which subnets, ENIs and security groups each has.

use super::check::{all, unique, unknown};
use super::draft::Draft;
use super::model::{
    Addresses, At, Connector, ConnectorKey, ConnectorSettings, EniKind, EniMac, Family, OnIdle, Subnet,
    UdpMapping,
};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::security::{self, Groups};
use super::services::{self, ServiceDraft};
use super::{tenants, timeouts, values};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
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
    pub(super) tenant: Option<At<String>>,
    subnets: Option<At<Vec<At<String>>>>,
    addresses: Option<At<Addresses>>,
    enis: EniKind,
    mac: EniMac,
    udp_mapping: UdpMapping,
    /// `None` where one of them is wrong.
    security_groups: Option<Vec<At<String>>>,
    pub(super) services: Vec<ServiceDraft>,
    settings: ConnectorSettings,
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
    let security_groups = security::read_names(&mut section, problems);
    let settings = read_settings(&mut section, problems);
    let services = section.sections(problems, "service", "[[connector.service]]");
    section.finish(problems);
    ConnectorDraft {
        name,
        tenant,
        subnets,
        addresses,
        enis,
        mac: mac.map(|it| it.value).unwrap_or_default(),
        udp_mapping: mapping.map(|it| it.value).unwrap_or_default(),
        security_groups,
        services: services.into_iter().map(|it| services::read(it, problems)).collect(),
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
    let (addresses_per_eni, min_enis, max_enis) = read_counts(section, problems);
    let tcp_idle = section.optional(problems, "tcp_idle", timeouts::idle);
    let udp_idle = section.optional(problems, "udp_idle", timeouts::idle);
    let rest = section.optional(problems, "rest", timeouts::rest);
    let idle_reclaim = section.optional(problems, "idle_reclaim", |it| {
        values::number_of(it, "seconds", LEAST_IDLE_RECLAIM, MOST_IDLE_RECLAIM)
    });
    let on_idle = section.optional(problems, "on_idle", timeouts::on_idle);
    let rejudge = section.optional(problems, "rejudge", values::truth);
    ConnectorSettings {
        addresses_per_eni,
        min_enis,
        max_enis,
        tcp_idle: tcp_idle.map_or(IDLE, |it| it.value),
        udp_idle: udp_idle.map_or(IDLE, |it| it.value),
        rest: rest.map_or(REST, |it| it.value),
        idle_reclaim: Duration::from_secs(idle_reclaim.map_or(IDLE_RECLAIM, |it| it.value).into()),
        on_idle: on_idle.map_or(OnIdle::default(), |it| it.value),
        rejudge: rejudge.is_some_and(|it| it.value),
    }
}

/// How many addresses an ENI has, and the fewest and the most ENIs.
fn read_counts(section: &mut Section<'_>, problems: &mut Problems) -> (u32, u32, u32) {
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
    (addresses_per_eni, min_enis, max_enis)
}

// ---- together ----

/// The connectors, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    subnets: &[Option<Subnet>],
    groups: &Groups<'_>,
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
    let checked = draft.connectors.iter().map(|it| check_connector(it, &named, groups, draft, problems));
    let mut connectors: Vec<_> = checked.collect();
    services::check(draft, &mut connectors, problems);
    let mut first: BTreeMap<&ConnectorKey, &Connector> = BTreeMap::new();
    for checked in connectors.iter().flatten() {
        match first.entry(&checked.key) {
            Entry::Vacant(free) => drop(free.insert(checked)),
            Entry::Occupied(other) => problems.extend(unlike(checked, other.get())),
        }
    }
    connectors
}

fn check_connector(
    connector: &ConnectorDraft,
    named: &BTreeMap<&str, Option<&Subnet>>,
    groups: &Groups<'_>,
    draft: &Draft,
    problems: &mut Problems,
) -> Option<Connector> {
    if let Some(tenant) = &connector.tenant {
        tenants::check_known(tenant, draft, problems);
    }
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
    problems.extend(owned(connector, &first.vpc, draft));
    let names_of_groups = connector.security_groups.as_ref()?;
    let found = names_of_groups.iter().map(|name| groups.find(name, &first.vpc, problems));
    // All of them are looked at, so that every mistake is found.
    let mut security_groups: Vec<usize> = all(found.collect())?;
    security_groups.sort_unstable();
    Some(Connector {
        name: connector.name.clone()?,
        key: ConnectorKey {
            tenant: connector.tenant.as_ref()?.value.clone(),
            vpc: first.vpc.clone(),
            subnets: in_order(names),
            addresses,
            enis: connector.enis,
            mac: connector.mac,
            udp_mapping: connector.udp_mapping,
            security_groups: in_order(names_of_groups),
        },
        zone: first.zone,
        security_groups,
        services: Vec::new(),
        settings: connector.settings,
    })
}

/// Names in order, each once.
fn in_order(names: &[At<String>]) -> Vec<String> {
    let names: BTreeSet<_> = names.iter().map(|name| name.value.clone()).collect();
    names.into_iter().collect()
}

/// The complaint about a connector into the VPC of another tenant.
fn owned(connector: &ConnectorDraft, vpc: &str, draft: &Draft) -> Option<Problem> {
    let asks = connector.tenant.as_ref()?;
    let vpc = draft.vpcs.iter().find(|it| it.name.as_ref().is_some_and(|name| name.value == vpc))?;
    let (name, owner) = (vpc.name.as_ref()?, vpc.tenant.as_ref()?);
    if owner.value == asks.value {
        return None;
    }
    let message = format!("VPC \"{}\" is tenant \"{}\"'s, not \"{}\"'s", name.value, owner.value, asks.value);
    let help =
        "name subnets of a VPC of this tenant, or remove `tenant` from the [[vpc]], which lets everybody in";
    Some(Problem::new(asks.at, message, "another tenant", help).and_at(owner.at, "whose it is"))
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
fn unlike(second: &Connector, first: &Connector) -> Option<Problem> {
    let is_like = second.services.len() == first.services.len()
        && second.services.iter().zip(&first.services).all(|(it, other)| it.is_like(other));
    if second.settings == first.settings && is_like {
        return None;
    }
    let (first, second) = (&first.name, &second.name);
    let message = format!(
        "connectors \"{}\" and \"{}\" share their ENIs, but want different ones",
        first.value, second.value
    );
    let help = "write the same numbers of ENIs and addresses, the same times, `on_idle`, `rejudge` and services in both; or \
                another `tenant`, other `subnets`, `addresses` or `security_groups`: these make ENIs its own";
    Some(Problem::new(second.at, message, "the second one", help).and_at(first.at, "the first one"))
}
