//! Security groups as the tables have them: the rules of all groups of a connector, each way, in one flat list.
//!
//! A rule allows, and what none allows is blocked: so it makes no difference in which order they lie, and each is there
//! once, in an order of its own, so that connectors which allow the same have the same list.

use crate::config::{Connector, Far, Prefix, SecurityGroup, SgRule};
use std::collections::BTreeSet;
use weir_path::addr::Ip6;
use weir_path::tables::{MAX_SECURITY_GROUPS, Rule, SecurityGroupId, SecurityGroups};

/// What the sandboxes of a connector may reach, and who may reach them; `None` where it has no security group.
pub(crate) fn of_connector(connector: &Connector, groups: &[SecurityGroup]) -> Option<[Vec<Rule>; 2]> {
    if connector.security_groups.is_empty() {
        return None;
    }
    let its = || connector.security_groups.iter().filter_map(|place| groups.get(*place));
    let flat = |rules: BTreeSet<Rule>| rules.into_iter().collect();
    Some([
        flat(its().flat_map(|group| &group.outbound).flat_map(lines).collect()),
        flat(its().flat_map(|group| &group.inbound).flat_map(lines).collect()),
    ])
}

/// The groups that a connector's ENIs are in.
pub(super) fn groups(connector: &Connector) -> SecurityGroups {
    let mut groups = [SecurityGroupId::NONE; MAX_SECURITY_GROUPS];
    for (id, place) in groups.iter_mut().zip(&connector.security_groups) {
        *id = number(*place);
    }
    groups
}

/// Groups are numbered in the order of the file.
fn number(place: usize) -> SecurityGroupId {
    // As many as that are refused when the file is checked.
    SecurityGroupId(u16::try_from(place + 1).unwrap_or(u16::MAX))
}

/// What one rule is in the tables.
pub(crate) fn lines(rule: &SgRule) -> impl Iterator<Item = Rule> {
    let asked =
        Rule { first: rule.first, last: rule.last, protocol: rule.protocol.number(), ..Rule::default() };
    let (prefixes, group) = match &rule.far {
        Far::Prefixes(prefixes) => (prefixes.as_slice(), None),
        Far::Group(place) => (&[][..], Some(Rule { group: number(*place), ..asked })),
    };
    let by_prefix = prefixes.iter().map(|prefix| mask(*prefix));
    group.into_iter().chain(by_prefix.map(move |(network, mask)| Rule { network, mask, ..asked }))
}

/// The addresses of a prefix, as a network and a mask.
fn mask(prefix: Prefix) -> (Ip6, Ip6) {
    let mask = !u128::MAX.checked_shr(prefix.bits.into()).unwrap_or(0);
    (prefix.address, Ip6(mask.to_be_bytes()))
}

#[cfg(test)]
pub(super) mod tests;
