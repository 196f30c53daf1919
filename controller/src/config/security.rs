//! `[[security_group]]` and `[[prefix_list]]`: read, and how their names fit together.

use super::check::{all, known_vpc, repeated, unique, unknown};
use super::draft::Draft;
use super::model::{At, Far, Prefix, SecurityGroup, SgRule};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::rules::{self, FarDraft, RuleDraft};
use super::values;
use crate::compile::rules::lines;
use std::collections::BTreeMap;
use weir_dataplane::image::MAX_RULES_IN_GROUP;
use weir_path::addr::Zone;
use weir_path::tables::MAX_SECURITY_GROUPS;

const OUTBOUND: &str = "[[security_group.outbound]]";
const INBOUND: &str = "[[security_group.inbound]]";

pub(crate) struct PrefixListDraft {
    name: Option<At<String>>,
    /// `None` where one of them is wrong.
    prefixes: Option<Vec<Prefix>>,
}

pub(crate) struct SecurityGroupDraft {
    name: Option<At<String>>,
    vpc: Option<At<String>>,
    /// Outbound ones, and inbound ones; `None` for one that could not be read.
    rules: [Vec<Option<RuleDraft>>; 2],
}

// ---- each by itself ----

pub(super) fn read_list(mut section: Section<'_>, problems: &mut Problems) -> PrefixListDraft {
    let name = section.required(problems, "name", "\"offices\"", values::name);
    let before = problems.len();
    let wanted = "a list of prefixes, like `[\"10.0.0.0/8\", \"2001:db8::/32\"]`";
    let prefixes = match section.has("prefixes") {
        true => section.list(problems, "prefixes", wanted, values::cidr),
        false => {
            section.required(problems, "prefixes", "[\"10.0.0.0/8\"]", values::cidr);
            None
        }
    };
    let is_right = problems.len() == before;
    if let Some(prefixes) = prefixes.as_ref().filter(|it| is_right && it.value.is_empty()) {
        let help =
            "write a prefix, or remove the list and the rules that name it: a rule needs someone to allow";
        problems.add(Problem::new(prefixes.at, "a prefix list is empty", "nobody", help));
    }
    section.finish(problems);
    let prefixes = prefixes.filter(|_| is_right);
    PrefixListDraft { name, prefixes: prefixes.map(|it| it.value.into_iter().map(|it| it.value).collect()) }
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> SecurityGroupDraft {
    let name = section.required(problems, "name", "\"web\"", values::name);
    let vpc = section.required(problems, "vpc", "\"prod\"", values::name);
    let outbound = section.sections(problems, "outbound", OUTBOUND);
    let inbound = section.sections(problems, "inbound", INBOUND);
    section.finish(problems);
    let rules =
        [outbound, inbound].map(|rules| rules.into_iter().map(|it| rules::read(it, problems)).collect());
    SecurityGroupDraft { name, vpc, rules }
}

/// The security groups that a connector names, in the order that it names them.
pub(super) fn read_names(section: &mut Section<'_>, problems: &mut Problems) -> Option<Vec<At<String>>> {
    const KEY: &str = "security_groups";
    if !section.has(KEY) {
        return Some(Vec::new());
    }
    let before = problems.len();
    let names = section.list(problems, KEY, "a list of security groups, like `[\"web\"]`", values::name)?;
    let count = names.value.len();
    if let Some(sixth) = names.value.get(MAX_SECURITY_GROUPS) {
        problems.add(Problem::new(
            sixth.at,
            format!("a connector has {count} security groups, but {MAX_SECURITY_GROUPS} are the most"),
            "one too many, from here on",
            "put the rules of some of them into one group",
        ));
    }
    for (name, first) in repeated(names.value.iter()) {
        let message = format!("a connector names security group \"{}\" twice", name.value);
        problems.add(
            Problem::new(name.at, message, "the second one", "remove one of the two")
                .and_at(first, "the first one"),
        );
    }
    Some(names.value).filter(|_| problems.len() == before)
}

// ---- together ----

/// Where each security group is in the file, and its VPC where that is known.
pub(super) struct Groups<'d> {
    known: BTreeMap<&'d str, (usize, Option<&'d str>)>,
}

impl<'d> Groups<'d> {
    /// The groups of the file; what is wrong with them is not said here.
    pub(super) fn new(draft: &'d Draft, zones: &BTreeMap<&str, Zone>) -> Self {
        let is_known = |vpc: &&str| zones.contains_key(vpc);
        let named = draft.security_groups.iter().enumerate().filter_map(|(place, group)| {
            let vpc = group.vpc.as_ref().map(|vpc| vpc.value.as_str()).filter(is_known);
            Some((group.name.as_ref()?.value.as_str(), (place, vpc)))
        });
        Self { known: named.collect() }
    }

    /// The place of a group that has to be of this VPC.
    pub(super) fn find(&self, name: &At<String>, vpc: &str, problems: &mut Problems) -> Option<usize> {
        let Some((place, of)) = self.known.get(name.value.as_str()).copied() else {
            let known = self.known.keys().copied().collect();
            problems.add(unknown(name, "security group", "[[security_group]]", &known));
            return None;
        };
        // A VPC that isn't known was complained of at the group.
        let other = of?;
        if other == vpc {
            return Some(place);
        }
        problems.add(Problem::new(
            name.at,
            format!("security group \"{}\" is of VPC \"{other}\", not of \"{vpc}\"", name.value),
            "of another VPC",
            format!("name a group of VPC \"{vpc}\": an address means nothing without its VPC"),
        ));
        None
    }
}

/// The security groups, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    zones: &BTreeMap<&str, Zone>,
    problems: &mut Problems,
) -> Vec<Option<SecurityGroup>> {
    unique(problems, "prefix list", draft.prefix_lists.iter().filter_map(|it| it.name.as_ref()));
    unique(problems, "security group", draft.security_groups.iter().filter_map(|it| it.name.as_ref()));
    let lists: BTreeMap<&str, Option<&Vec<Prefix>>> = draft
        .prefix_lists
        .iter()
        .filter_map(|it| Some((it.name.as_ref()?.value.as_str(), it.prefixes.as_ref())))
        .collect();
    let groups = Groups::new(draft, zones);
    let checked = draft.security_groups.iter().map(|group| {
        let zone = group.vpc.as_ref().and_then(|vpc| known_vpc(vpc, zones, problems));
        let vpc = group.vpc.as_ref().map_or("", |vpc| &vpc.value);
        let mut rules = group.rules.iter().map(|rules| {
            let found = rules.iter().map(|rule| {
                let rule = rule.as_ref()?;
                Some((rule, check_rule(rule, vpc, &lists, &groups, problems)?))
            });
            // All of them are looked at, so that every mistake is found.
            let found = all(found.collect())?;
            check_count(&found, problems);
            Some(found.into_iter().map(|(_, rule)| rule).collect())
        });
        let (outbound, inbound) = (rules.next()?, rules.next()?);
        Some(SecurityGroup {
            name: group.name.clone()?,
            vpc: vpc.to_owned(),
            zone: zone?,
            outbound: outbound?,
            inbound: inbound?,
        })
    });
    checked.collect()
}

fn check_rule(
    rule: &RuleDraft,
    vpc: &str,
    lists: &BTreeMap<&str, Option<&Vec<Prefix>>>,
    groups: &Groups<'_>,
    problems: &mut Problems,
) -> Option<SgRule> {
    let far = match &rule.far {
        FarDraft::Prefix(prefix) => Far::Prefixes(vec![*prefix]),
        FarDraft::List(name) => match lists.get(name.value.as_str()) {
            Some(prefixes) => Far::Prefixes((*prefixes)?.clone()),
            None => {
                let known = lists.keys().copied().collect();
                problems.add(unknown(name, "prefix list", "[[prefix_list]]", &known));
                return None;
            }
        },
        FarDraft::Group(name) => Far::Group(groups.find(name, vpc, problems)?),
    };
    Some(SgRule { protocol: rule.protocol, first: rule.first, last: rule.last, far })
}

/// A prefix list counts as many as it has prefixes.
fn check_count(rules: &[(&RuleDraft, SgRule)], problems: &mut Problems) {
    let count: usize = rules.iter().map(|(_, rule)| lines(rule).count()).sum();
    let mut room = MAX_RULES_IN_GROUP as usize;
    for (draft, rule) in rules {
        let Some(left) = room.checked_sub(lines(rule).count()) else {
            problems.add(Problem::new(
                draft.at,
                format!("a security group has {count} rules one way, but {MAX_RULES_IN_GROUP} are the most"),
                "one too many, from here on",
                "use wider prefixes, or spread them over several groups: a prefix list counts as many as it has \
                 prefixes, and ::/0 as four",
            ));
            return;
        };
        room = left;
    }
}
