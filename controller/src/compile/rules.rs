//! Security groups as the tables have them: the rules of all groups of a connector, each way, in one flat list.
//!
//! A rule allows, and what none allows is blocked: so it makes no difference in which order they lie, and each is there
//! once, in an order of its own, so that connectors which allow the same have the same list.

use crate::config::{Connector, Far, Prefix, SecurityGroup, SgRule};
use std::collections::BTreeSet;
use weir_path::addr::Ip6;
use weir_path::tables::{MAX_SECURITY_GROUPS, Rule, SecurityGroupId, SecurityGroups};

/// What all of IPv6 is in the tables. Their addresses hold those of IPv4, mapped, in `::ffff:0:0/96`, which a rule for IPv6
/// must not mean: so it is all that can be a machine's beside them, `2000::` and above and what translators have
/// (RFC 6052, RFC 8215).
const ALL_V6: [(u128, u8); 4] = [(0x8 << 124, 1), (0x4 << 124, 2), (0x2 << 124, 3), (0x0064_ff9b << 96, 32)];

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
    let by_prefix = prefixes.iter().flat_map(|prefix| masks(*prefix));
    group.into_iter().chain(by_prefix.map(move |(network, mask)| Rule { network, mask, ..asked }))
}

/// The addresses of a prefix, as networks and masks.
fn masks(prefix: Prefix) -> Vec<(Ip6, Ip6)> {
    let mask = |bits: u8| !u128::MAX.checked_shr(bits.into()).unwrap_or(0);
    let pair = |network: u128, bits| (Ip6(network.to_be_bytes()), Ip6(mask(bits).to_be_bytes()));
    if prefix == Prefix::ALL_V6 {
        return ALL_V6.map(|(network, bits)| pair(network, bits)).to_vec();
    }
    vec![pair(u128::from_be_bytes(prefix.address.0), prefix.bits)]
}

#[cfg(test)]
pub(super) mod tests;
