//! `weir get security-groups`: what each allows, who is in it, and how often something was blocked there.

use super::table::{joined, table};
use crate::config::{Config, Far, RuleProtocol, SecurityGroup, SgRule};
use crate::pool::Pool;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use weir_path::tables::ConnectorId;

/// One security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityGroupView {
    /// Its name.
    pub name: String,
    /// The VPC.
    pub vpc: String,
    /// The connectors that are in it.
    pub connectors: Vec<String>,
    /// Whom their sandboxes may call.
    pub rules_out: Vec<RuleView>,
    /// Who may call their sandboxes by a VIP.
    pub rules_in: Vec<RuleView>,
    /// How many flows outwards were blocked on these connectors: by all their groups, because what one of them allows is
    /// allowed.
    pub blocked_out: u64,
    /// The same inwards.
    pub blocked_in: u64,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// `tcp`, `udp`, `icmp`, `icmpv6` or `all`.
    pub protocol: &'static str,
    /// A port, the first and the last one, or of ICMP a type and a code; `all`.
    pub ports: String,
    /// The addresses at the other end.
    pub prefixes: Vec<String>,
    /// Or the security group that is there.
    pub security_group: Option<String>,
}

/// How many flows the groups of a connector blocked: outwards, and inwards.
pub(super) type Blocked = BTreeMap<ConnectorId, [u64; 2]>;

pub(super) fn security_groups(config: &Config, pool: &Pool, blocked: &Blocked) -> Vec<SecurityGroupView> {
    let places = config.security_groups.iter().enumerate();
    places.map(|(place, group)| view(place, group, config, pool, blocked)).collect()
}

fn view(
    place: usize,
    group: &SecurityGroup,
    config: &Config,
    pool: &Pool,
    blocked: &Blocked,
) -> SecurityGroupView {
    let own = || config.connectors.iter().filter(|it| it.security_groups.contains(&place));
    // Connectors of one key have one number, and count together.
    let ids: BTreeSet<_> = own().filter_map(|it| Some(pool.entry(&it.key)?.id)).collect();
    let counts = ids.iter().filter_map(|id| blocked.get(id));
    let [blocked_out, blocked_in] = counts.fold([0, 0], |[out, into], [o, i]| [out + o, into + i]);
    let rules = |rules: &[SgRule]| rules.iter().map(|rule| rule_view(rule, config)).collect();
    SecurityGroupView {
        name: group.name.value.clone(),
        vpc: group.vpc.clone(),
        connectors: own().map(|it| it.name.value.clone()).collect(),
        rules_out: rules(&group.outbound),
        rules_in: rules(&group.inbound),
        blocked_out,
        blocked_in,
    }
}

fn rule_view(rule: &SgRule, config: &Config) -> RuleView {
    let (prefixes, security_group) = match &rule.far {
        Far::Prefixes(prefixes) => (prefixes.iter().map(ToString::to_string).collect(), None),
        Far::Group(place) => (Vec::new(), config.security_groups.get(*place).map(|it| it.name.value.clone())),
    };
    RuleView { protocol: rule.protocol.name(), ports: ports(rule), prefixes, security_group }
}

/// What a rule says of ports, as people do.
fn ports(rule: &SgRule) -> String {
    let SgRule { protocol, first, last, .. } = *rule;
    if (first, last) == (0, u16::MAX) {
        return "all".to_owned();
    }
    match protocol {
        RuleProtocol::Icmp | RuleProtocol::Icmpv6 => {
            let ([kind, code], [last_kind, last_code]) = (first.to_be_bytes(), last.to_be_bytes());
            match (code, last_code) {
                (0, u8::MAX) if kind == last_kind => format!("type {kind}"),
                _ => format!("type {kind} code {code}"),
            }
        }
        _ if first == last => first.to_string(),
        _ => format!("{first}-{last}"),
    }
}

pub(super) fn as_table(views: &[SecurityGroupView]) -> String {
    let groups = table(
        &["NAME", "VPC", "CONNECTORS", "RULES OUT", "RULES IN", "BLOCKED OUT", "BLOCKED IN"],
        views.iter().map(|it| {
            vec![
                it.name.clone(),
                it.vpc.clone(),
                joined(&it.connectors),
                it.rules_out.len().to_string(),
                it.rules_in.len().to_string(),
                it.blocked_out.to_string(),
                it.blocked_in.to_string(),
            ]
        }),
    );
    let rules: Vec<_> = views.iter().flat_map(rows).collect();
    if rules.is_empty() {
        return groups;
    }
    format!("{groups}\n\n{}", table(&["GROUP", "WAY", "PROTOCOL", "PORTS", "OTHER END"], rules))
}

fn rows(view: &SecurityGroupView) -> Vec<Vec<String>> {
    let (out, into) =
        (view.rules_out.iter().map(|it| ("out", it)), view.rules_in.iter().map(|it| ("in", it)));
    let row = |(way, rule): (&str, &RuleView)| {
        let far = rule.security_group.clone().unwrap_or_else(|| joined(&rule.prefixes));
        vec![view.name.clone(), way.to_owned(), rule.protocol.to_owned(), rule.ports.clone(), far]
    };
    out.chain(into).map(row).collect()
}
