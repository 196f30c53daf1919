//! What fits the dataplane's tables, with the place of the first that doesn't.

use super::draft::Draft;
use super::listeners::ListenerDraft;
use super::model::{Connector, SlotBinding, Transport};
use super::problem::Problem;
use super::reader::Problems;
use super::routes::RouteDraft;
use crate::compile::maglev;
use miette::SourceSpan;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{
    MAX_CELLS, MAX_CONNECTORS, MAX_GROUPS, MAX_INTERFACES, MAX_LISTENERS, MAX_ROUTES, MAX_SOURCES,
    MAX_TARGETS, MAX_TARGETS_IN_GROUP, MAX_VIPS,
};
use weir_path::layout::MAX_TAGGED;

pub(super) fn check(
    draft: &Draft,
    connectors: &[Option<Connector>],
    slots: &[Option<SlotBinding>],
    problems: &mut Problems,
) {
    let enis = least_enis(connectors, slots);
    check_addresses(draft, &enis, problems);
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
    check_interfaces(draft, &enis, problems);
    check_connectors(draft, connectors, problems);
}

/// The fewest ENIs of each key that some slot is bound to, with the addresses that each has.
fn least_enis(connectors: &[Option<Connector>], slots: &[Option<SlotBinding>]) -> Vec<(SourceSpan, u32)> {
    let bound = slots.iter().flatten().filter_map(|slot| connectors.get(slot.connector)?.as_ref());
    let by_key: BTreeMap<_, _> = bound.map(|connector| (&connector.key, connector)).collect();
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
    let hears = |it: &ListenerDraft, transport| {
        it.protocol.is_some_and(|protocol| protocol.value.transports().contains(&transport))
    };
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
    too_many(problems, "listeners (TCP, UDP, and an address's fragments)", &heard, MAX_LISTENERS);
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
