//! `[[vpc.route]]`: who takes what is for addresses elsewhere.

use super::draft::{Draft, VpcDraft};
use super::model::{At, Family, Prefix, VpcRoute};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::subnets::{self, SubnetDraft};
use super::values;
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use weir_path::addr::Ip6;

pub(crate) struct RouteDraft {
    destination: Option<At<Prefix>>,
    pub(crate) via: Option<At<Ip6>>,
}

impl RouteDraft {
    pub(crate) fn at(&self) -> Option<SourceSpan> {
        self.destination.map(|it| it.at)
    }
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> RouteDraft {
    let destination = section.required(problems, "destination", "\"10.9.0.0/16\"", values::prefix);
    let via = section.required(problems, "via", "\"10.0.1.254\"", values::vip);
    section.finish(problems);
    RouteDraft { destination, via }
}

/// A VPC's routes, as far as each could be read.
pub(super) fn check(vpc: &VpcDraft, draft: &Draft, problems: &mut Problems) -> Vec<VpcRoute> {
    let Some(name) = &vpc.name else { return Vec::new() };
    let mut seen: BTreeMap<Prefix, SourceSpan> = BTreeMap::new();
    let mut routes = Vec::new();
    for route in &vpc.routes {
        let Some((destination, via)) = route.destination.zip(route.via) else { continue };
        let route = VpcRoute { destination, via };
        problems.extend(problems_of(&route, name, draft));
        match seen.entry(destination.value) {
            Entry::Vacant(free) => drop(free.insert(destination.at)),
            Entry::Occupied(first) => problems.add(
                Problem::new(
                    destination.at,
                    format!("two routes of VPC \"{}\" lead to {}", name.value, destination.value),
                    "the second one",
                    "remove one of the two: a destination has one `via`",
                )
                .and_at(*first.get(), "the first one"),
            ),
        }
        routes.push(route);
    }
    routes
}

fn problems_of(route: &VpcRoute, vpc: &At<String>, draft: &Draft) -> Vec<Problem> {
    let VpcRoute { destination, via } = *route;
    let mut found = Vec::new();
    let (to, by) = (Family::of(destination.value.address), Family::of(via.value));
    if to != by {
        let message = format!("a route to {} can't lead by {}", destination.value, via.value);
        let help = format!("write the {} address of a neighbour", to.name());
        let problem = Problem::new(via.at, message, format!("an {} address", by.name()), help);
        found.push(problem.and_at(destination.at, format!("an {} prefix", to.name())));
        return found;
    }
    let here = || draft.subnets.iter().filter(|it| it.is_of(&vpc.value));
    let prefixes = || here().flat_map(SubnetDraft::prefixes);
    if let Some(subnet) = prefixes().find(|it| it.value.overlaps(&destination.value)) {
        let message = format!("the route to {} overlaps the subnet {}", destination.value, subnet.value);
        let help = "write a prefix outside of all subnets: what is in one is on its link, and what is in none goes by \
                    its `gateway`";
        let problem = Problem::new(destination.at, message, "on the link already", help);
        found.push(problem.and_at(subnet.at, "this subnet"));
    }
    if !prefixes().any(|it| it.value.contains(via.value)) && !here().any(SubnetDraft::is_broken) {
        let known: Vec<_> = prefixes().map(|it| it.value.to_string()).collect();
        let help = match known.as_slice() {
            [] => format!("add a [[subnet]] of VPC \"{}\" that the neighbour is in", vpc.value),
            known => format!("write the address of a neighbour in {}", known.join(" or ")),
        };
        let message = format!("{} is in no subnet of VPC \"{}\"", via.value, vpc.value);
        found.push(Problem::new(via.at, message, "who would ask for its MAC?", help));
    }
    found.extend(subnets::taken_by_weir(via, &vpc.value, draft));
    found
}
