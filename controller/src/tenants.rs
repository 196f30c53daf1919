//! The numbers of tenants. Accounts are kept under them, and flows charged to them: so a tenant keeps its number over
//! reloads and restarts, and nobody is given a number that something is still held under. Pure.

use crate::config::Config;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use weir_path::layout::MAX_TENANTS;
use weir_path::tables::TenantId;

/// Which tenant has which number: `tenants.json`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenants(BTreeMap<String, u32>);

/// Every number is taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "tenant \"{name}\" can't have a number: all {max} are taken, by tenants or by flows of those who are gone; use \
     fewer tenants, or wait until those flows have ended, and reload"
)]
pub struct NoTenantNumber {
    /// Who has none.
    pub name: String,
    /// How many there are.
    pub max: u32,
}

impl Tenants {
    /// The numbers for a configuration. Who has one keeps it. One whose tenant is gone stays its for as long as
    /// something `is_held` under it, and once after that: what is in force still charges it until the next
    /// configuration is.
    ///
    /// # Errors
    /// [`NoTenantNumber`].
    pub fn numbered(
        &self,
        config: &Config,
        is_held: impl Fn(TenantId) -> bool,
    ) -> Result<Self, NoTenantNumber> {
        let names = names(config);
        let stays = |(name, id): &(&String, &u32)| names.contains(name.as_str()) || is_held(TenantId(**id));
        let mut next: BTreeMap<String, u32> =
            self.0.iter().filter(stays).map(|(name, id)| (name.clone(), *id)).collect();
        let taken: BTreeSet<u32> = self.0.values().copied().collect();
        // Held by nobody's name: what a folder that was lost leaves.
        let mut free = (1..=MAX_TENANTS).filter(|id| !taken.contains(id) && !is_held(TenantId(*id)));
        for name in names.into_iter().filter(|name| !self.0.contains_key(*name)) {
            let none = || NoTenantNumber { name: name.to_owned(), max: MAX_TENANTS };
            next.insert(name.to_owned(), free.next().ok_or_else(none)?);
        }
        Ok(Self(next))
    }

    /// The number of a tenant.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<TenantId> {
        self.0.get(name).copied().map(TenantId)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TenantId)> {
        self.0.iter().map(|(name, id)| (name.as_str(), TenantId(*id)))
    }
}

/// Everybody who is a tenant: those that are written down, and those of connectors.
fn names(config: &Config) -> BTreeSet<&str> {
    let written = config.tenants.iter().map(|tenant| tenant.name.value.as_str());
    written.chain(config.connectors.iter().map(|connector| connector.key.tenant.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    const NOTHING: fn(TenantId) -> bool = |_| false;

    fn of(names: &[&str]) -> Config {
        let tenants: String = names.iter().map(|name| format!("[[tenant]]\nname = \"{name}\"\n")).collect();
        config(&format!("version = 1\n{tenants}"))
    }

    fn numbers(tenants: &Tenants) -> Vec<(&str, u32)> {
        tenants.iter().map(|(name, id)| (name, id.0)).collect()
    }

    #[test]
    fn who_has_a_number_keeps_it_and_who_comes_gets_the_lowest_free_one() {
        let first = Tenants::default().numbered(&of(&["b", "d"]), NOTHING).unwrap();
        assert_eq!(numbers(&first), [("b", 1), ("d", 2)]);
        let second = first.numbered(&of(&["a", "b", "c", "d"]), NOTHING).unwrap();
        assert_eq!(numbers(&second), [("a", 3), ("b", 1), ("c", 4), ("d", 2)]);
    }

    #[test]
    fn a_number_is_given_again_only_when_nothing_is_held_under_it_any_more() {
        let first = Tenants::default().numbered(&of(&["old"]), NOTHING).unwrap();
        let held = |id: TenantId| id.0 == 1;
        let drains = first.numbered(&of(&["new"]), held).unwrap();
        assert_eq!(numbers(&drains), [("new", 2), ("old", 1)]);
        let back = drains.numbered(&of(&["new", "old"]), held).unwrap();
        assert_eq!(back.id("old"), Some(TenantId(1)), "it is still its own");
        let done = drains.numbered(&of(&["new"]), NOTHING).unwrap();
        assert_eq!(numbers(&done), [("new", 2)]);
        assert_eq!(done.numbered(&of(&["new", "x"]), NOTHING).unwrap().id("x"), Some(TenantId(1)));
    }

    #[test]
    fn a_number_is_not_given_on_in_the_step_that_takes_it_away() {
        let first = Tenants::default().numbered(&of(&["old"]), NOTHING).unwrap();
        assert_eq!(numbers(&first.numbered(&of(&["new"]), NOTHING).unwrap()), [("new", 2)]);
    }

    #[test]
    fn what_flows_hold_under_a_forgotten_number_is_left_to_them() {
        let held = |id: TenantId| id.0 <= 2;
        let numbered = Tenants::default().numbered(&of(&["a"]), held).unwrap();
        assert_eq!(numbered.id("a"), Some(TenantId(3)));
    }

    #[test]
    fn a_tenant_too_many_is_told_apart_from_one_that_has_to_wait() {
        let error = Tenants::default().numbered(&of(&["a"]), |_| true).unwrap_err();
        assert_eq!(error, NoTenantNumber { name: "a".into(), max: 4_095 });
    }

    #[test]
    fn who_is_only_named_by_a_connector_is_a_tenant_too() {
        let text = crate::config::tests::CONNECTED;
        let numbered = Tenants::default().numbered(&config(text), NOTHING).unwrap();
        assert_eq!(numbers(&numbered), [("acme", 1)]);
    }

    #[test]
    fn a_file_of_numbers_is_names_and_numbers() {
        let tenants = Tenants::default().numbered(&of(&["a", "b"]), NOTHING).unwrap();
        let text = serde_json::to_string(&tenants).unwrap();
        assert_eq!(text, r#"{"a":1,"b":2}"#);
        assert_eq!(serde_json::from_str::<Tenants>(&text).unwrap(), tenants);
    }
}
