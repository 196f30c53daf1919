//! What fits the dataplane's tables, with the place of the first that doesn't.

use super::draft::Draft;
use super::listeners::ListenerDraft;
use super::model::{At, Connector, Protocol, SecurityGroup, SlotBinding, TargetGroup, Transport};
use super::problem::Problem;
use super::reader::Problems;
use super::routes::RouteDraft;
use super::services::ServiceDraft;
use crate::compile::{maglev, rules};
use miette::SourceSpan;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{
    MAX_CELLS, MAX_CONNECTORS, MAX_GROUPS, MAX_INTERFACES, MAX_LISTENERS, MAX_ROUTES, MAX_RULES, MAX_SOURCES,
    MAX_TARGETS, MAX_TARGETS_IN_GROUP, MAX_TENANTS, MAX_VIPS,
};
use weir_path::layout::MAX_TAGGED;

/// More are no number of sixteen bits.
const MAX_SECURITY_GROUPS: u32 = u16::MAX as u32;

/// What was checked by itself.
pub(super) struct Parts<'a> {
    pub(super) groups: &'a [Option<TargetGroup>],
    pub(super) security_groups: &'a [Option<SecurityGroup>],
    pub(super) connectors: &'a [Option<Connector>],
    pub(super) slots: &'a [Option<SlotBinding>],
}

pub(super) fn check(draft: &Draft, parts: &Parts<'_>, problems: &mut Problems) {
    let enis = least_enis(parts);
    check_addresses(draft, &enis, problems);
    let groups = draft.groups.iter().filter_map(|group| Some(group.name.as_ref()?.at));
    let groups: Vec<_> = groups.chain(services(draft).map(|it| it.at)).collect();
    too_many(problems, "target groups (one for each service too)", &groups, MAX_GROUPS);
    let targets = draft.groups.iter().flat_map(|it| &it.targets).map(|it| it.at);
    let targets: Vec<_> = targets.chain(services(draft).map(|it| it.at)).collect();
    too_many(problems, "targets (one for each service too)", &targets, MAX_TARGETS);
    check_cells(draft, problems);
    check_interfaces(draft, &enis, problems);
    check_connectors(draft, parts.connectors, problems);
    check_guards(draft, parts, problems);
}

fn services(draft: &Draft) -> impl Iterator<Item = &ServiceDraft> {
    draft.connectors.iter().flat_map(|connector| &connector.services)
}

fn check_cells(draft: &Draft, problems: &mut Problems) {
    // The group of a service has one.
    let mut cells = services(draft).count() as u32;
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
}

/// Tenants, security groups, and their rules: connectors that allow the same share a list.
fn check_guards(draft: &Draft, parts: &Parts<'_>, problems: &mut Problems) {
    let named = draft.tenants.iter().filter_map(|it| it.name.as_ref());
    let mut tenants: BTreeMap<&str, SourceSpan> = BTreeMap::new();
    for name in named.chain(draft.connectors.iter().filter_map(|it| it.tenant.as_ref())) {
        tenants.entry(&name.value).or_insert(name.at);
    }
    let mut places: Vec<_> = tenants.into_values().collect();
    places.sort_unstable_by_key(SourceSpan::offset);
    too_many(problems, "tenants", &places, MAX_TENANTS);
    let groups: Option<Vec<_>> = parts.security_groups.iter().cloned().collect();
    let Some(groups) = groups else { return };
    let names: Vec<_> = groups.iter().map(|group| group.name.at).collect();
    too_many(problems, "security groups", &names, MAX_SECURITY_GROUPS);
    let mut lists = BTreeSet::new();
    for connector in parts.connectors.iter().flatten() {
        lists.extend(rules::of_connector(connector, &groups).into_iter().flatten());
        let count: usize = lists.iter().map(Vec::len).sum();
        if count > MAX_RULES as usize {
            let message = format!(
                "{count} rules of security groups, connector by connector, are more than the {MAX_RULES} that fit"
            );
            let help = "use fewer or wider rules, or the same groups for more connectors: those that allow the same share \
                        their rules";
            return problems.add(Problem::new(
                connector.name.at,
                message,
                "no room from this connector on",
                help,
            ));
        }
    }
}

/// The fewest ENIs of each key that something uses, with the addresses that each has.
fn least_enis(parts: &Parts<'_>) -> Vec<(SourceSpan, u32)> {
    let bound = parts.slots.iter().flatten().filter_map(|slot| slot.connector);
    let serving = parts.groups.iter().flatten().filter_map(|group| group.connector);
    let leading = parts.connectors.iter().flatten().flat_map(|it| &it.services).map(|service| service.via);
    let used = bound.chain(serving).chain(leading).filter_map(|place| parts.connectors.get(place)?.as_ref());
    let by_key: BTreeMap<_, _> = used.map(|connector| (&connector.key, connector)).collect();
    let enis = by_key.into_values().flat_map(|connector| {
        let families = connector.key.addresses.families().len() as u32;
        let eni = (connector.name.at, families * connector.settings.addresses_per_eni);
        std::iter::repeat_n(eni, connector.settings.min_enis as usize)
    });
    enis.collect()
}

fn check_connectors(draft: &Draft, connectors: &[Option<Connector>], problems: &mut Problems) {
    let keys: BTreeMap<_, _> = connectors.iter().flatten().map(|it| (&it.key, it.name.at)).collect();
    let mut places: Vec<_> = keys.into_values().collect();
    places.sort_unstable_by_key(SourceSpan::offset);
    too_many(problems, "connectors that differ", &places, MAX_CONNECTORS);
    let routes = draft.vpcs.iter().flat_map(|vpc| &vpc.routes).filter_map(RouteDraft::at);
    too_many(problems, "routes", &routes.collect::<Vec<_>>(), MAX_ROUTES);
}

/// One address takes one place, one more for fragments if it hears UDP, and each listener one or two.
fn check_addresses(draft: &Draft, enis: &[(SourceSpan, u32)], problems: &mut Problems) {
    let speaks = |protocol: Option<At<Protocol>>, transport| {
        protocol.is_some_and(|protocol| protocol.value.transports().contains(&transport))
    };
    let hears = |it: &ListenerDraft, transport| speaks(it.protocol, transport);
    let mut heard: Vec<SourceSpan> = Vec::new();
    let (mut vips, mut with_udp) = (BTreeMap::new(), BTreeSet::new());
    for listener in &draft.listeners {
        let Some((vpc, address)) = listener.vpc.as_ref().zip(listener.address) else { continue };
        let vip = (&vpc.value, address.value);
        vips.entry(vip).or_insert(address.at);
        heard.push(listener.at);
        // A second protocol, and the fragments of an address.
        heard.extend(
            (hears(listener, Transport::Tcp) && hears(listener, Transport::Udp)).then_some(listener.at),
        );
        heard.extend((hears(listener, Transport::Udp) && with_udp.insert(vip)).then_some(listener.at));
    }
    for service in services(draft) {
        let both = speaks(service.protocol, Transport::Tcp) && speaks(service.protocol, Transport::Udp);
        heard.extend(std::iter::repeat_n(service.at, 1 + usize::from(both)));
    }
    let what = "listeners (TCP, UDP, an address's fragments, and services)";
    too_many(problems, what, &heard, MAX_LISTENERS);
    for uplink in &draft.uplinks {
        let Some(vpc) = &uplink.vpc else { continue };
        for own in uplink.own_addresses() {
            vips.entry((&vpc.value, own.value.address)).or_insert(own.at);
        }
    }
    let of_enis: Vec<_> =
        enis.iter().flat_map(|(at, addresses)| std::iter::repeat_n(*at, *addresses as usize)).collect();
    too_many(problems, "addresses of ENIs", &of_enis, MAX_SOURCES);
    let all: Vec<_> = vips.into_values().chain(of_enis).collect();
    too_many(problems, "addresses", &all, MAX_VIPS);
}

fn check_interfaces(draft: &Draft, enis: &[(SourceSpan, u32)], problems: &mut Problems) {
    let tagged: Vec<_> = draft.uplinks.iter().filter_map(|uplink| uplink.vlan).map(|vlan| vlan.at).collect();
    too_many(problems, "uplinks with a VLAN", &tagged, MAX_TAGGED);
    let uplinks = draft.uplinks.iter().filter_map(|uplink| uplink.interface.as_ref()).map(|it| it.at);
    let mut slots = BTreeMap::new();
    let targets = draft.groups.iter().flat_map(|group| &group.targets).map(|it| (&it.netns, &it.interface));
    for (netns, interface) in targets.chain(draft.slots.iter().map(|it| (&it.netns, &it.interface))) {
        let Some(interface) = interface else { continue };
        slots.entry((netns.as_ref().map(|netns| &netns.value), &interface.value)).or_insert(interface.at);
    }
    let interfaces: Vec<_> = uplinks.chain(slots.into_values()).chain(enis.iter().map(|it| it.0)).collect();
    too_many(problems, "interfaces (uplinks, slots and ENIs)", &interfaces, MAX_INTERFACES);
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
