//! `weir get connectors`: how sandboxes open connections, and whether they can.

use super::pool::{Pooled, names};
use super::table::{joined, table};
use crate::config::{Config, ConnectorKey};
use crate::pool::Entry;
use serde::Serialize;

/// One connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectorView {
    /// Its name; none where it is no longer configured.
    pub name: Option<String>,
    /// Who it is for.
    pub tenant: String,
    /// The VPC.
    pub vpc: String,
    /// The subnets.
    pub subnets: Vec<String>,
    /// `Pending`, `Active`, `Inactive`, `Failed` or `Deleting`.
    pub state: &'static str,
    /// Why, in a word; none where all is well.
    pub reason_code: Option<&'static str>,
    /// Why, with names and counts.
    pub reason: Option<String>,
    /// How many slots are bound to it, or to another connector that has the same ENIs.
    pub references: u32,
    /// Its ENIs.
    pub enis: Vec<String>,
    /// Flows that have a port of one of them.
    pub live: u32,
    /// How often a flow was refused because no port was left.
    pub refused: u64,
    /// The security groups that its ENIs are in; where there is none, nothing is filtered.
    pub security_groups: Vec<String>,
}

/// Every connector that is configured, then those that are on their way out.
pub(super) fn connectors(config: &Config, pooled: &Pooled) -> Vec<ConnectorView> {
    let configured = config.connectors.iter().map(|it| {
        let name = Some(it.name.value.clone());
        view(name, &it.key, pooled.pool.entry(&it.key), config, pooled)
    });
    let leaving = pooled.pool.entries.iter().filter(|entry| names(config, &entry.key).is_empty());
    configured.chain(leaving.map(|entry| view(None, &entry.key, Some(entry), config, pooled))).collect()
}

fn view(
    name: Option<String>,
    key: &ConnectorKey,
    entry: Option<&Entry>,
    config: &Config,
    pooled: &Pooled,
) -> ConnectorView {
    let own = || pooled.enis(config).filter(|it| it.entry.key == *key);
    let reason = entry.and_then(|entry| entry.reason.as_ref());
    ConnectorView {
        name,
        tenant: key.tenant.clone(),
        vpc: key.vpc.clone(),
        subnets: key.subnets.clone(),
        // The daemon has not come to it yet.
        state: entry.map_or("Pending", |entry| entry.state.name()),
        reason_code: reason.map(|reason| reason.code.name()),
        reason: reason.map(|reason| reason.text.clone()),
        references: entry.map_or(0, |entry| entry.references),
        enis: own().map(|it| it.eni.id.to_string()).collect(),
        live: own().map(|it| pooled.used(it.addresses()).live).sum(),
        refused: own().flat_map(|it| it.addresses().map(|vip| pooled.refused(vip)).collect::<Vec<_>>()).sum(),
        security_groups: key.security_groups.clone(),
    }
}

pub(super) fn as_table(views: &[ConnectorView]) -> String {
    let header = [
        "NAME",
        "TENANT",
        "VPC",
        "SUBNETS",
        "SECURITY GROUPS",
        "STATE",
        "REFERENCES",
        "ENIS",
        "LIVE",
        "REFUSED",
        "REASON",
    ];
    let none = || "-".to_owned();
    table(
        &header,
        views.iter().map(|it| {
            let reason = it.reason_code.zip(it.reason.as_ref());
            vec![
                it.name.clone().unwrap_or_else(none),
                it.tenant.clone(),
                it.vpc.clone(),
                joined(&it.subnets),
                joined(&it.security_groups),
                it.state.into(),
                it.references.to_string(),
                it.enis.len().to_string(),
                it.live.to_string(),
                it.refused.to_string(),
                reason.map_or_else(none, |(code, text)| format!("{code}: {text}")),
            ]
        }),
    )
}
