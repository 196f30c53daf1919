//! What sandboxes and tenants hold, and what was kept from them.

use super::{FlowImage, Flows, Keyed};
use std::collections::BTreeMap;
use weir_path::flow::PortUse;
use weir_path::tables::{AccountWord, ConnectorId, Direction, Holder};

/// Flows that security groups blocked.
pub type Blocked = BTreeMap<(ConnectorId, Direction), u64>;

/// What sandboxes and tenants hold, and were refused. Only what is not zero is listed, so that equality is exact.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Books(BTreeMap<(Holder, AccountWord), u64>);

impl Books {
    /// Notes a word of an account. How fast flows were opened lately is left out.
    pub fn note(&mut self, holder: Holder, which: AccountWord, number: u64) {
        if number != 0 && which != AccountWord::Opened {
            self.0.insert((holder, which), number);
        }
    }

    /// What the holders of these flows hold.
    #[must_use]
    pub fn of(flows: &Flows) -> Self {
        let mut books = Self::default();
        flows.v4.values().for_each(|flow| books.hold(flow));
        flows.v6.values().for_each(|flow| books.hold(flow));
        books
    }

    /// All of it.
    pub fn words(&self) -> impl Iterator<Item = (Holder, AccountWord, u64)> {
        self.0.iter().map(|((holder, which), number)| (*holder, *which, *number))
    }

    /// Who holds something.
    pub fn holders(&self) -> impl Iterator<Item = Holder> {
        self.0.keys().map(|(holder, _)| *holder)
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        for (word, number) in &others.0 {
            *self.0.entry(*word).or_default() += number;
        }
        self
    }

    /// The same, with one more time that a holder asked for too much.
    #[must_use]
    pub fn refusing(mut self, holder: Holder, which: AccountWord) -> Self {
        *self.0.entry((holder, which)).or_default() += 1;
        self
    }

    fn hold<K: Keyed>(&mut self, flow: &FlowImage<K>) {
        let mut add = |holder, which| *self.0.entry((holder, which)).or_default() += 1;
        for holder in flow.account.holders().into_iter().flatten() {
            add(holder, AccountWord::Flows);
            if flow.phase.is_half_open() {
                add(holder, AccountWord::HalfOpen);
            }
            if flow.port == PortUse::OWN {
                add(holder, AccountWord::Ports);
            }
        }
    }

    /// A word of an account.
    #[must_use]
    pub fn word(&self, holder: Holder, which: AccountWord) -> u64 {
        self.0.get(&(holder, which)).copied().unwrap_or_default()
    }
}
