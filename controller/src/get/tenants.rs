//! `weir get tenants`: who there is, and how much of what they may have they hold.

use super::held::HeldView;
use super::names::TenantNames;
use super::table::{joined, table};
use crate::config::Config;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::AccountState;
use weir_path::tables::{Holder, Quota, TenantId};

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// Its number, which its flows are counted under; none where the daemon has not come to it yet.
    pub number: Option<u32>,
    /// Its connectors.
    pub connectors: Vec<String>,
    /// How many slots are bound to them.
    pub sandboxes: usize,
    /// What all its sandboxes hold together.
    #[serde(flatten)]
    pub held: HeldView,
}

/// Those that the configuration names, and those that still have a number.
pub(super) fn tenants(
    config: &Config,
    numbers: &TenantNames,
    account: impl Fn(Holder) -> AccountState,
) -> Vec<TenantView> {
    let known: BTreeMap<&str, TenantId> = numbers.iter().map(|(id, name)| (name.as_str(), *id)).collect();
    let configured = config.tenants.iter().map(|it| it.name.value.as_str());
    let named = config.connectors.iter().map(|it| it.key.tenant.as_str());
    let names: BTreeSet<&str> = configured.chain(named).chain(known.keys().copied()).collect();
    let view = |name: &str| {
        let number = known.get(name).copied();
        let held = number.map(|id| account(Holder::Tenant(id))).unwrap_or_default();
        let own = config.connectors.iter().filter(|it| it.key.tenant == name);
        TenantView {
            name: name.to_owned(),
            number: number.map(|id| id.0),
            connectors: own.map(|it| it.name.value.clone()).collect(),
            sandboxes: config.slots.iter().filter(|it| tenant_of(config, it.connector) == Some(name)).count(),
            held: HeldView::new(&held, &quotas(config, name).all),
        }
    };
    names.into_iter().map(view).collect()
}

/// Whose a connector is, by its place in the configuration.
pub(super) fn tenant_of(config: &Config, connector: Option<usize>) -> Option<&str> {
    config.connectors.get(connector?).map(|it| it.key.tenant.as_str())
}

/// What a tenant may have; who is only named has no limit.
pub(super) fn quotas(config: &Config, name: &str) -> Quotas {
    let tenant = config.tenants.iter().find(|it| it.name.value == name);
    tenant.map_or_else(Quotas::default, |it| Quotas { all: it.all, each: it.each })
}

/// What all sandboxes of a tenant may have, and each of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Quotas {
    pub(super) all: Quota,
    pub(super) each: Quota,
}

pub(super) fn as_table(views: &[TenantView]) -> String {
    let header = ["NAME", "NUMBER", "CONNECTORS", "SANDBOXES"].into_iter().chain(HeldView::HEADER);
    table(
        &header.collect::<Vec<_>>(),
        views.iter().map(|it| {
            let number = it.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let head = [it.name.clone(), number, joined(&it.connectors), it.sandboxes.to_string()];
            head.into_iter().chain(it.held.cells()).collect()
        }),
    )
}

#[cfg(test)]
mod tests;
