//! From one state to the next.

mod enis;

use super::addresses::Addresses;
use super::sizing::{FULL_PERCENT, RELIEVED_PERCENT, Sizing};
use super::{ConnectorState, Eni, EniState, Entry, Note, Pool, Ports, Reason, ReasonCode, Seen};
use crate::config::{Config, Connector, ConnectorKey, EniKind, Subnet};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{MAX_CONNECTORS, MAX_INTERFACES, MAX_SOURCES, MAX_VIPS};
use weir_path::addr::{Ip6, Zone};
use weir_path::tables::{ConnectorId, Vip};

/// Everything must fit into one ENI less for so long before one goes, in seconds.
const ROOMY_FOR: u64 = 5 * 60;
/// Flows of a connector that nobody refers to are given so long to end, in seconds; then they are ended.
const DELETING_FOR: u64 = 5;
/// Numbers of interfaces that are left for records which changed, while flows leave by the old ones.
const SPARE_INTERFACES: u32 = 512;

/// The next state, and what is worth saying about it.
#[must_use]
pub fn step(pool: &Pool, config: &Config, seen: Seen<'_>) -> (Pool, Vec<Note>) {
    let mut wanted: BTreeMap<&ConnectorKey, (&Connector, u32)> = BTreeMap::new();
    for connector in config.uses().filter_map(|place| config.connectors.get(place)) {
        wanted.entry(&connector.key).or_insert((connector, 0)).1 += 1;
    }
    let mut stepping = Stepping::new(pool, config, seen);
    let mut entries = Vec::new();
    // What is given back can be given to others at once.
    for entry in &pool.entries {
        let mut entry = entry.clone();
        if wanted.contains_key(&entry.key) || stepping.delete(&mut entry) {
            entries.push(entry);
        }
    }
    let is_new = |key: &&&ConnectorKey| pool.entry(key).is_none();
    for key in wanted.keys().filter(is_new) {
        entries.extend(stepping.begin(key));
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    for entry in &mut entries {
        if let Some((connector, references)) = wanted.get(&entry.key) {
            entry.references = *references;
            stepping.tend(entry, connector);
        }
    }
    let next = Pool { seed: pool.seed, made: stepping.made, entries };
    let mut notes = stepping.notes;
    notes.extend(changes(pool, &next));
    (next, notes)
}

/// Connectors that are in another state, or there for another reason.
fn changes<'p>(before: &'p Pool, after: &'p Pool) -> impl Iterator<Item = Note> + use<'p> {
    let now = |entry: &Entry| (Some(entry.state), entry.reason.clone());
    let news =
        after.entries.iter().filter(move |entry| before.entry(&entry.key).map(now) != Some(now(entry)));
    let news = news.map(|entry| Note::Now {
        key: entry.key.clone(),
        state: Some(entry.state),
        reason: entry.reason.clone(),
    });
    let gone = before.entries.iter().filter(|entry| after.entry(&entry.key).is_none());
    news.chain(gone.map(|entry| Note::Now { key: entry.key.clone(), state: None, reason: None }))
}

/// A step on its way.
struct Stepping<'a> {
    seen: Seen<'a>,
    subnets: BTreeMap<&'a str, &'a Subnet>,
    zones: BTreeMap<&'a str, Zone>,
    /// How many ports of each address are in use, all remotes together; nothing where they were not counted just now.
    totals: BTreeMap<Vip, Ports>,
    addresses: Addresses<'a>,
    seed: u64,
    made: u64,
    /// Numbers of connectors that are not free, and below which none is.
    taken: BTreeSet<ConnectorId>,
    lowest_id: u32,
    /// What target groups and services are reached by. It is never idle: who would call is not heard.
    leading: BTreeSet<&'a ConnectorKey>,
    /// Numbers that ENIs' MACs are made of.
    numbers: BTreeSet<u32>,
    /// How many ENIs, and how many addresses of theirs, this machine has room for.
    enis_left: usize,
    addresses_left: usize,
    notes: Vec<Note>,
}

impl<'a> Stepping<'a> {
    fn new(pool: &Pool, config: &'a Config, seen: Seen<'a>) -> Self {
        let targets =
            config.groups.iter().flat_map(|group| &group.targets).filter_map(|target| target.place.slot());
        let slots = targets.chain(config.slots.iter().map(|slot| &slot.slot)).map(|slot| &slot.value);
        let slots: BTreeSet<_> = slots.collect();
        let enis = pool.enis().count();
        let held: usize = pool.enis().map(|(_, eni)| eni.addresses.len()).sum();
        let interfaces = (MAX_INTERFACES - SPARE_INTERFACES) as usize;
        let vips = config.listeners.len() + 2 * config.uplinks.len();
        let most_addresses = (MAX_VIPS as usize).saturating_sub(vips).min(MAX_SOURCES as usize);
        let counted = seen.usage.towards.keys().filter(|_| seen.is_counted);
        Self {
            seen,
            subnets: config.subnets.iter().map(|it| (it.name.value.as_str(), it)).collect(),
            zones: config.vpcs.iter().map(|it| (it.name.value.as_str(), it.zone)).collect(),
            totals: counted.map(|vip| (*vip, seen.usage.of(*vip))).collect(),
            addresses: Addresses::new(pool, config, seen.facts, seen.usage),
            seed: pool.seed,
            made: pool.made,
            taken: seen.facts.connectors.iter().copied().chain(pool.entries.iter().map(|it| it.id)).collect(),
            lowest_id: 1,
            leading: config.leading().filter_map(|place| Some(&config.connectors.get(place)?.key)).collect(),
            numbers: pool.enis().map(|(_, eni)| eni.id.number()).collect(),
            enis_left: interfaces.saturating_sub(config.uplinks.len() + slots.len() + enis),
            addresses_left: most_addresses.saturating_sub(held),
            notes: Vec::new(),
        }
    }

    /// An entry for a key that is new, under a number that nothing names.
    fn begin(&mut self, key: &ConnectorKey) -> Option<Entry> {
        let is_free = |id: &ConnectorId| !self.taken.contains(id);
        let id = (self.lowest_id..=MAX_CONNECTORS).map(ConnectorId).find(is_free)?;
        self.lowest_id = id.0 + 1;
        let now = self.seen.now;
        Some(Entry {
            key: key.clone(),
            id,
            state: ConnectorState::Pending,
            reason: None,
            since: now,
            references: 0,
            used: now,
            roomy: None,
            enis: Vec::new(),
        })
    }

    /// Takes leave of an entry that nobody refers to; `false` where nothing is left of it.
    fn delete(&mut self, entry: &mut Entry) -> bool {
        let is_new = entry.state != ConnectorState::Deleting;
        let is_over = self.seen.now.since(entry.since) >= DELETING_FOR && !entry.is_orphaned();
        let is_done = || is_over || self.seen.is_counted && !self.has_flows(entry);
        if entry.enis.is_empty() || !is_new && is_done() {
            self.release_all(entry);
            return false;
        }
        if !is_new {
            return true;
        }
        entry.references = 0;
        entry.reason = None;
        entry.enter(ConnectorState::Deleting, self.seen);
        for eni in &mut entry.enis {
            self.drain(eni, "nothing uses its connector");
        }
        true
    }

    /// Looks after an entry that something uses.
    fn tend(&mut self, entry: &mut Entry, connector: &Connector) {
        let subnets = self.subnets(&entry.key);
        let is_back = entry.state == ConnectorState::Deleting;
        if is_back {
            self.revive_all(entry);
        }
        let is_leading = self.leading.contains(&entry.key);
        if is_back || is_leading || self.has_flows(entry) || self.seen.facts.wanted.contains(&entry.id) {
            entry.used = self.seen.now;
        } else if self.seen.is_counted
            && self.seen.now.since(entry.used) >= connector.settings.idle_reclaim.as_secs()
        {
            self.release_all(entry);
            entry.reason = Some(idle(connector));
            return entry.enter(ConnectorState::Inactive, self.seen);
        } else if entry.state == ConnectorState::Inactive {
            return;
        }
        let was_idle = entry.reason.as_ref().is_some_and(|it| is_idle(it.code));
        self.refresh(entry, &subnets);
        let mut trouble = self.keep_bounds(entry, connector, &subnets).err();
        trouble = trouble.or(self.readdress(entry, connector, &subnets).err());
        trouble = trouble.or(self.adapt(entry, connector, &subnets).err());
        let serves = |eni: &&Eni| self.serves(eni, &entry.key, &subnets);
        let (made, in_force): (Vec<_>, Vec<_>) =
            entry.enis.iter().filter(serves).partition(|eni| eni.state == EniState::Pending);
        let state = match (in_force.is_empty(), made.is_empty()) {
            (false, _) => ConnectorState::Active,
            (true, false) => ConnectorState::Pending,
            (true, true) => ConnectorState::Failed,
        };
        let is_restoring = state == ConnectorState::Pending && was_idle;
        let is_nowhere = state == ConnectorState::Failed && trouble.is_none();
        trouble = trouble.or_else(|| is_nowhere.then(|| enis::nowhere(&entry.key)));
        entry.reason = trouble.or_else(|| is_restoring.then(restoring));
        entry.enter(state, self.seen);
    }

    /// Whether new flows can leave from an ENI, once it is in force.
    fn serves(&self, eni: &Eni, key: &ConnectorKey, subnets: &[&Subnet]) -> bool {
        let subnet = subnets.iter().find(|subnet| subnet.name.value == eni.subnet);
        let mut families = key.addresses.families().iter();
        subnet.is_some_and(|it| self.is_there(it)) && families.any(|it| eni.sources(*it).next().is_some())
    }

    /// As few ENIs as there must be, and as many as there may be.
    fn keep_bounds(
        &mut self,
        entry: &mut Entry,
        connector: &Connector,
        subnets: &[&'a Subnet],
    ) -> Result<(), Reason> {
        let (min, max) = bounds(connector, subnets);
        while entry.active() < min {
            self.grow(entry, connector, subnets, "as many as there are to be")?;
        }
        while entry.active() > max {
            self.drain_youngest(entry, "more than there may be");
        }
        Ok(())
    }

    /// One ENI more before the others are full, one less where they have room for everything.
    fn adapt(
        &mut self,
        entry: &mut Entry,
        connector: &Connector,
        subnets: &[&'a Subnet],
    ) -> Result<(), Reason> {
        let (min, max) = bounds(connector, subnets);
        let sizing = Sizing { entry, zone: connector.zone, subnets, seen: self.seen };
        let limited = entry.reason.clone().filter(|it| it.code == ReasonCode::EniLimitExceeded);
        if sizing.is_pressed(if limited.is_some() { RELIEVED_PERCENT } else { FULL_PERCENT }) {
            entry.roomy = None;
            if entry.active() >= max {
                return Err(as_many_as_may_be(connector.key.enis, max));
            }
            return self.grow(entry, connector, subnets, "the others are nearly full");
        }
        if !self.seen.is_counted {
            return limited.map_or(Ok(()), Err);
        }
        if entry.active() <= min || !sizing.is_roomy() {
            entry.roomy = None;
            return Ok(());
        }
        let since = *entry.roomy.get_or_insert(self.seen.now);
        if self.seen.now.since(since) >= ROOMY_FOR {
            entry.roomy = None;
            self.drain_youngest(entry, "the others have room for everything");
        }
        Ok(())
    }

    /// The subnets of a key.
    fn subnets(&self, key: &ConnectorKey) -> Vec<&'a Subnet> {
        key.subnets.iter().filter_map(|name| self.subnets.get(name.as_str()).copied()).collect()
    }

    fn zone(&self, key: &ConnectorKey) -> Option<Zone> {
        self.zones.get(key.vpc.as_str()).copied()
    }

    fn has_flows(&self, entry: &Entry) -> bool {
        entry.enis.iter().any(|eni| self.is_in_use(eni, &entry.key))
    }

    fn is_in_use(&self, eni: &Eni, key: &ConnectorKey) -> bool {
        eni.addresses.iter().any(|it| self.ports(key, it.address).live > 0)
    }

    fn ports(&self, key: &ConnectorKey, address: Ip6) -> Ports {
        let total = self.zone(key).and_then(|zone| self.totals.get(&Vip { address, zone }));
        total.copied().unwrap_or_default()
    }
}

impl Entry {
    fn enter(&mut self, state: ConnectorState, seen: Seen<'_>) {
        if self.state != state {
            (self.state, self.since) = (state, seen.now);
        }
    }

    fn is_orphaned(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::Orphaned)
    }

    /// How many ENIs are to take new flows.
    fn active(&self) -> u32 {
        self.enis.iter().filter(|eni| eni.state != EniState::Detaching).count() as u32
    }

    /// All that was made is in force.
    pub(super) fn in_force(&mut self) {
        let pending = self.enis.iter_mut().filter(|eni| eni.state == EniState::Pending);
        pending.for_each(|eni| eni.state = EniState::Available);
    }
}

/// The fewest and the most ENIs. The host has one on each uplink.
fn bounds(connector: &Connector, subnets: &[&Subnet]) -> (u32, u32) {
    match connector.key.enis {
        EniKind::Own => (connector.settings.min_enis, connector.settings.max_enis),
        EniKind::Host => {
            let uplinks: BTreeSet<_> = subnets.iter().map(|subnet| subnet.uplink).collect();
            (uplinks.len() as u32, uplinks.len() as u32)
        }
    }
}

const fn is_idle(code: ReasonCode) -> bool {
    matches!(code, ReasonCode::Idle | ReasonCode::Restoring)
}

fn idle(connector: &Connector) -> Reason {
    let seconds = connector.settings.idle_reclaim.as_secs();
    let text = format!("no flow for {seconds} s (idle_reclaim); the next attempt makes its ENIs again");
    Reason { code: ReasonCode::Idle, text }
}

fn restoring() -> Reason {
    Reason {
        code: ReasonCode::Restoring,
        text: "it was idle and is wanted again; its ENIs are made".to_owned(),
    }
}

fn as_many_as_may_be(kind: EniKind, max: u32) -> Reason {
    let text = match kind {
        EniKind::Own => format!(
            "it is nearly full with {max} ENIs, which are the most; raise max_enis or addresses_per_eni, or spread over \
             more remotes"
        ),
        EniKind::Host => "the ports that the host leaves alone are nearly all in use; narrow \
                          net.ipv4.ip_local_port_range, write enis = \"own\", or spread over more remotes"
            .to_owned(),
    };
    Reason { code: ReasonCode::EniLimitExceeded, text }
}
