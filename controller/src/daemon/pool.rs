//! The pool of ENIs in the loop: what the host and the tables say goes into a step; the state that comes out is written
//! down, and only then is anything made of it.
//!
//! ```text
//!   host, tables ──► facts, usage ──► step ──► enis.json ──► plan, image
//!                    every beat                where it changed
//! ```

use super::RunError;
use crate::config::{Config, EniKind};
use crate::host::{Host, Resolved, free_ports};
use crate::pool::{
    ConnectorState, Eni, EniState, Facts, FreePorts, Moment, Note, Pool, Reason, Seen, UplinkFacts, Usage,
    adopt, step,
};
use crate::ports::{self, Refusals};
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{info, warn};
use weir_dataplane::{Error, Tables};
use weir_path::addr::IfIndex;
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Interface};

/// How often ports in use are counted.
pub(super) const BEAT: Duration = Duration::from_millis(250);
/// One part in so many of the time may go into counting: large tables are counted less often.
const SHARE: u32 = 20;
/// When a connector was last used is written down with this precision, in seconds: not for every packet.
const USED_PRECISION: u64 = 60;
/// Between two counts that say how fast ports are used up.
const SLOPE: Duration = Duration::from_secs(1);

/// The pool, and what its steps are made of.
pub(super) struct Enis {
    /// As it is now.
    pub(super) pool: Pool,
    /// What was last known of the host.
    pub(super) facts: Facts,
    /// As it was last written down, but for what does not matter.
    written: Option<Pool>,
    counted: Counted,
    /// How many packets the slots have sent whose ENIs were given back.
    sent: BTreeMap<IfIndex, u64>,
    /// What is to be said once it is written down.
    notes: Vec<Note>,
}

/// The ports in use, now and a while ago.
struct Counted {
    now: Usage,
    /// One or two [`SLOPE`]s ago.
    before: Option<Usage>,
    /// What is `before` next, and since when.
    next: Option<(Instant, Usage)>,
    refusals: Option<Refusals>,
    /// Not again before then.
    due: Instant,
}

/// What a step has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// Nothing that matters.
    None,
    /// What is to be written down, but not the tables.
    Written,
    /// The tables too.
    Tables,
}

impl Enis {
    /// The pool as a daemon left it.
    pub(super) fn kept(store: &Store) -> Result<Self, StoreError> {
        let mut pool = store.pool()?;
        // Nobody has looked meanwhile whether there was room all the time.
        pool.entries.iter_mut().for_each(|entry| entry.roomy = None);
        Ok(Self {
            pool,
            facts: Facts::default(),
            written: None,
            counted: Counted {
                now: Usage::new(ports::now()),
                before: None,
                next: None,
                refusals: None,
                due: Instant::now(),
            },
            sent: BTreeMap::new(),
            notes: Vec::new(),
        })
    }

    /// Whether there is anything to look after.
    pub(super) fn are_wanted(&self, config: &Config) -> bool {
        !config.connectors.is_empty() || !self.pool.entries.is_empty()
    }

    /// Takes up what the tables hold and the state has lost. Once, before the first step.
    pub(super) fn adopt(&mut self, config: &Config, tables: &Tables) -> Result<(), Error> {
        let records = tables.interfaces()?;
        if records.iter().any(Interface::is_eni) {
            self.counted.again(tables)?;
            self.notes.extend(adopt(&mut self.pool, config, &records, &self.counted.now));
        }
        Ok(())
    }

    /// Looks at the host: uplinks, their devices' own addresses, and the ports that it leaves free. Says whether any of
    /// that is new.
    pub(super) async fn look(
        &mut self,
        config: &Config,
        resolved: &Resolved,
        host: &Host,
        tables: &Tables,
    ) -> Result<bool, RunError> {
        if !self.are_wanted(config) {
            return Ok(false);
        }
        let addresses = host.addresses().await?;
        let mut keys =
            config.connectors.iter().map(|it| &it.key).chain(self.pool.entries.iter().map(|it| &it.key));
        let shares_addresses = keys.any(|key| key.enis == EniKind::Host);
        let ports = if shares_addresses { free_ports()? } else { FreePorts::default() };
        let facts = |place| {
            let Some(uplink) = resolved.wanted.uplinks.iter().find(|it| it.place == place) else {
                return UplinkFacts::default();
            };
            let on_device = addresses.iter().filter(|(_, on)| *on == uplink.ifindex);
            // The host has them on the device itself, so on its untagged frames.
            let own = on_device.filter(|_| uplink.vlan == VlanTag::NONE).map(|(address, _)| *address);
            UplinkFacts { is_there: true, addresses: own.collect(), ports }
        };
        let uplinks = (0..config.uplinks.len()).map(facts).collect();
        let before = std::mem::replace(&mut self.facts.uplinks, uplinks);
        let recorded = tables.interfaces()?.into_iter().map(|it| it.connector);
        self.facts.connectors = recorded.filter(|id| *id != ConnectorId::NONE).collect();
        Ok(before != self.facts.uplinks)
    }

    /// Counts the ports in use; `false` where that is not due.
    pub(super) fn count(&mut self, tables: &Tables) -> Result<bool, Error> {
        self.counted.again(tables)
    }

    /// Hears whose slots have sent something since their ENIs were given back.
    pub(super) async fn hear(&mut self, config: &Config, resolved: &Resolved, host: &Host) {
        self.facts.wanted.clear();
        let inactive = self.pool.entries.iter().filter(|entry| entry.state == ConnectorState::Inactive);
        let inactive: BTreeMap<_, _> = inactive.map(|entry| (&entry.key, entry.id)).collect();
        if inactive.is_empty() {
            return self.sent.clear();
        }
        let received = match host.received().await {
            Ok(received) => received,
            Err(error) => return warn!("cannot tell whether idle connectors are wanted: {error}"),
        };
        for binding in &config.slots {
            let connector = config.connectors.get(binding.connector);
            let id = connector.and_then(|connector| inactive.get(&connector.key));
            let slot = resolved.slots.get(&binding.slot.value);
            let Some((id, slot)) = id.zip(slot) else { continue };
            let ifindex = slot.device.ifindex;
            let sent = received.get(&ifindex).copied().unwrap_or_default();
            if self.sent.insert(ifindex, sent).is_some_and(|before| before != sent) {
                self.facts.wanted.insert(*id);
            }
        }
    }

    /// Goes one step.
    pub(super) fn step(&mut self, config: &Config) -> Change {
        let Counted { now: usage, before, .. } = &self.counted;
        let seen = Seen { now: ports::now(), facts: &self.facts, usage, before: before.as_ref() };
        let (next, notes) = step(&self.pool, config, seen);
        self.notes.extend(notes);
        let change = if in_tables(&next) != in_tables(&self.pool) {
            Change::Tables
        } else if self.written != Some(that_matters(&next)) {
            Change::Written
        } else {
            Change::None
        };
        self.pool = next;
        change
    }

    /// Writes the pool down, where anything in it is new, and says what is.
    pub(super) fn keep(&mut self, store: &Store) -> Result<(), StoreError> {
        let matters = that_matters(&self.pool);
        if self.written.as_ref() != Some(&matters) {
            store.save_pool(&self.pool)?;
            self.written = Some(matters);
        }
        self.notes.drain(..).for_each(|note| say(&note));
        Ok(())
    }
}

impl Counted {
    fn again(&mut self, tables: &Tables) -> Result<bool, Error> {
        let begun = Instant::now();
        if begun < self.due {
            return Ok(false);
        }
        let mut usage = ports::usage(tables);
        let refusals = ports::refusals(tables)?;
        if let Some(before) = &self.refusals {
            let more = refusals.iter().filter(|(place, count)| before.get(place) != Some(count));
            usage.refused = more.map(|((address, _), _)| *address).collect();
        }
        self.refusals = Some(refusals);
        if self.next.as_ref().is_none_or(|(since, _)| begun - *since >= SLOPE) {
            let last = self.next.replace((begun, usage.clone()));
            self.before = last.map(|(_, usage)| usage);
        }
        self.now = usage;
        self.due = begun + SHARE * begun.elapsed();
        Ok(true)
    }
}

/// The part that the tables are made of.
fn in_tables(pool: &Pool) -> Vec<(ConnectorId, Vec<Eni>)> {
    let eni = |eni: &Eni| {
        let state = if eni.state == EniState::Detaching { eni.state } else { EniState::Available };
        Eni { state, ..eni.clone() }
    };
    pool.entries.iter().map(|entry| (entry.id, entry.enis.iter().map(eni).collect())).collect()
}

/// The part that is worth writing down: not which ENIs have flows at the moment, which flows tell, and not every second
/// that a connector is used in.
fn that_matters(pool: &Pool) -> Pool {
    let mut pool = pool.clone();
    for entry in &mut pool.entries {
        entry.used = Moment(entry.used.0 / USED_PRECISION);
        entry.roomy = None;
        for eni in entry.enis.iter_mut().filter(|eni| eni.state == EniState::InUse) {
            eni.state = EniState::Available;
        }
    }
    pool
}

fn say(note: &Note) {
    match note {
        Note::Made { eni, subnet, addresses, why } => info!(%eni, subnet, ?addresses, "ENI made: {why}"),
        Note::Draining { eni, why } => info!(%eni, "ENI takes no new flows: {why}"),
        Note::Revived { eni } => info!(%eni, "ENI takes new flows again"),
        Note::Released { eni } => info!(%eni, "ENI released"),
        Note::Now { key, state, reason } => {
            let (tenant, subnets) = (&key.tenant, key.subnets.join(", "));
            let name = state.map_or("gone", ConnectorState::name);
            match (state, reason) {
                (_, None) => info!(tenant, subnets, "connector is {name}"),
                // Nothing is wrong with one that nobody used.
                (Some(ConnectorState::Inactive | ConnectorState::Pending), Some(Reason { code, text })) => {
                    info!(tenant, subnets, "connector is {name} ({}): {text}", code.name())
                }
                (_, Some(Reason { code, text })) => {
                    warn!(tenant, subnets, "connector is {name} ({}): {text}", code.name())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Addresses, ConnectorKey, EniMac, UdpMapping};
    use crate::pool::{EniAddress, EniId, Entry};
    use weir_path::addr::Ip6;

    fn pool(state: EniState, used: u64) -> Pool {
        let key = ConnectorKey {
            tenant: "acme".into(),
            vpc: "prod".into(),
            subnets: vec!["prod-a".into()],
            addresses: Addresses::Ipv4,
            enis: EniKind::Own,
            mac: EniMac::Uplink,
            udp_mapping: UdpMapping::PerRemote,
        };
        let addresses = vec![EniAddress { address: Ip6::default(), draining: false }];
        let eni = Eni { id: EniId(1), subnet: "prod-a".into(), state, made: Moment(0), addresses };
        let entry = Entry {
            key,
            id: ConnectorId(1),
            state: ConnectorState::Active,
            reason: None,
            since: Moment(0),
            references: 1,
            used: Moment(used),
            roomy: None,
            enis: vec![eni],
        };
        Pool { entries: vec![entry], ..Pool::default() }
    }

    #[test]
    fn flows_that_come_and_go_are_not_written_down_and_change_no_table() {
        let (before, after) = (pool(EniState::Available, 60), pool(EniState::InUse, 119));
        assert_eq!(that_matters(&before), that_matters(&after));
        assert_eq!(in_tables(&before), in_tables(&after));
        assert_ne!(that_matters(&before), that_matters(&pool(EniState::InUse, 120)));
    }

    #[test]
    fn an_eni_or_an_address_that_begins_to_drain_changes_the_tables() {
        let before = pool(EniState::InUse, 60);
        assert_ne!(in_tables(&before), in_tables(&pool(EniState::Detaching, 60)));
        let mut drains = before.clone();
        drains.entries[0].enis[0].addresses[0].draining = true;
        assert_ne!(in_tables(&before), in_tables(&drains));
    }
}
