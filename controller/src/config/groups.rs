//! `[[target_group]]` and its targets: read, and no place in a group twice.

use super::check::{all, unique};
use super::draft::Draft;
use super::model::{At, SlotName, Stickiness, Target, TargetGroup};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::values;
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use weir_path::addr::L4Port;

pub(crate) struct GroupDraft {
    pub(crate) name: Option<At<String>>,
    port: Option<At<L4Port>>,
    stickiness: Stickiness,
    pub(crate) targets: Vec<TargetDraft>,
}

pub(crate) struct TargetDraft {
    pub(crate) at: SourceSpan,
    name: Option<At<String>>,
    pub(crate) netns: Option<At<PathBuf>>,
    pub(crate) interface: Option<At<String>>,
    port: Option<At<L4Port>>,
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> GroupDraft {
    let name = section.required(problems, "name", "\"web\"", values::name);
    let port = section.optional(problems, "port", values::port);
    let stickiness = section.optional(problems, "stickiness", values::stickiness);
    let targets = section.sections(problems, "target", "[[target_group.target]]");
    section.finish(problems);
    let targets = targets.into_iter().map(|it| read_target(it, problems)).collect();
    GroupDraft { name, port, stickiness: stickiness.map(|it| it.value).unwrap_or_default(), targets }
}

fn read_target(mut section: Section<'_>, problems: &mut Problems) -> TargetDraft {
    let at = section.at();
    let name = section.required(problems, "name", "\"sandbox-1\"", values::name);
    let netns = section.optional(problems, "netns", values::netns);
    let interface = section.required(problems, "interface", "\"eth0\"", values::interface);
    let port = section.optional(problems, "port", values::port);
    section.finish(problems);
    TargetDraft { at, name, netns, interface, port }
}

/// The groups, as far as each is right by itself.
pub(super) fn check(draft: &Draft, problems: &mut Problems) -> Vec<Option<TargetGroup>> {
    unique(problems, "target group", draft.groups.iter().filter_map(|group| group.name.as_ref()));
    draft.groups.iter().map(|it| check_group(it, problems)).collect()
}

fn check_group(draft: &GroupDraft, problems: &mut Problems) -> Option<TargetGroup> {
    unique(problems, "target", draft.targets.iter().filter_map(|target| target.name.as_ref()));
    let targets: Vec<_> = draft.targets.iter().map(|it| check_target(it, draft)).collect();
    let mut places: BTreeMap<(&SlotName, Option<L4Port>), SourceSpan> = BTreeMap::new();
    for target in targets.iter().flatten() {
        match places.entry((&target.slot.value, target.port)) {
            Entry::Vacant(free) => {
                free.insert(target.slot.at);
            }
            Entry::Occupied(first) => problems.add(same_place(target, *first.get())),
        }
    }
    Some(TargetGroup { name: draft.name.clone()?, stickiness: draft.stickiness, targets: all(targets)? })
}

/// The complaint about one place that two targets of a group name.
fn same_place(second: &Target, first: SourceSpan) -> Problem {
    let slot = &second.slot.value;
    let place = second.port.map_or_else(|| "all ports".to_owned(), |port| format!("port {port}"));
    Problem::new(
        second.slot.at,
        format!("two targets of one group are {place} of the same slot, {slot}"),
        "the second one",
        "remove one of the two: a slot would get a double share of the connections",
    )
    .and_at(first, "the first one")
}

fn check_target(draft: &TargetDraft, group: &GroupDraft) -> Option<Target> {
    let interface = draft.interface.clone()?;
    let slot = interface.map(|interface| SlotName {
        netns: draft.netns.as_ref().map(|netns| netns.value.clone()),
        interface,
    });
    let port = draft.port.or(group.port).map(|port| port.value);
    Some(Target { name: draft.name.clone()?, slot, port })
}
