//! What fits the dataplane's tables, with the place of the first that doesn't.

use super::draft::Draft;
use super::listeners::ListenerDraft;
use super::model::Transport;
use super::problem::Problem;
use super::reader::Problems;
use crate::compile::maglev;
use miette::SourceSpan;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{
    MAX_CELLS, MAX_GROUPS, MAX_INTERFACES, MAX_LISTENERS, MAX_TARGETS, MAX_TARGETS_IN_GROUP, MAX_VIPS,
};
use weir_path::layout::MAX_TAGGED;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    check_addresses(draft, problems);
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
    check_interfaces(draft, problems);
}

/// One address takes one place, one more for fragments if it hears UDP, and each listener one or two.
fn check_addresses(draft: &Draft, problems: &mut Problems) {
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
    too_many(problems, "addresses", &vips.into_values().collect::<Vec<_>>(), MAX_VIPS);
}

fn check_interfaces(draft: &Draft, problems: &mut Problems) {
    let tagged: Vec<_> = draft.uplinks.iter().filter_map(|uplink| uplink.vlan).map(|vlan| vlan.at).collect();
    too_many(problems, "uplinks with a VLAN", &tagged, MAX_TAGGED);
    let uplinks = draft.uplinks.iter().filter_map(|uplink| uplink.interface.as_ref()).map(|it| it.at);
    let mut slots = BTreeMap::new();
    for target in draft.groups.iter().flat_map(|group| &group.targets) {
        let Some(interface) = &target.interface else { continue };
        let netns = target.netns.as_ref().map(|netns| &netns.value);
        slots.entry((netns, &interface.value)).or_insert(interface.at);
    }
    let interfaces: Vec<_> = uplinks.chain(slots.into_values()).collect();
    too_many(problems, "interfaces (uplinks and slots)", &interfaces, MAX_INTERFACES);
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
