//! The pool of ENIs in the loop: what the host and the tables say goes into a step; the state that comes out is written
//! down, and only then is anything made of it.
//!
//! ```text
//!   host, tables ──► facts, usage ──► step ──► enis.json ──► plan, image
//!                    every beat                where it changed
//! ```

use super::RunError;
use super::counted::Counted;
use crate::config::{Config, EniKind, Family, SlotName};
use crate::host::{Host, HostAddress, Resolved, free_ports};
use crate::plan::WantedUplink;
use crate::pool::{
    ConnectorState, Eni, EniState, Facts, Found, FreePorts, Moment, Note, Pool, Reason, UplinkFacts, adopt,
    bound, step,
};
use crate::ports;
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tracing::{info, warn};
use weir_dataplane::{Error, Tables};
use weir_path::addr::{IfIndex, Ip6};
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Interface};

/// How often ports in use are looked at.
pub(super) const BEAT: Duration = Duration::from_millis(250);
/// When a connector was last used is written down with this precision, in seconds: not for every packet.
const USED_PRECISION: u64 = 60;

/// The pool, and what its steps are made of.
pub(super) struct Enis {
    /// As it is now.
    pub(super) pool: Pool,
    /// What was last known of the host.
    pub(super) facts: Facts,
    /// As it was last written down, but for what does not matter.
    written: Option<Pool>,
    clock: Clock,
    counted: Counted,
    /// How many packets the slots have sent whose ENIs were given back.
    sent: BTreeMap<IfIndex, u64>,
    /// What is to be said once it is written down.
    notes: Vec<Note>,
}

/// Time as the pool counts it: the wall's at the start, and from there on as it passes. A clock that is set, by hours
/// perhaps, does not make connectors look idle.
pub(super) struct Clock {
    wall: Moment,
    begun: Instant,
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
        let clock = Clock::new();
        take_up(&mut pool, clock.now());
        Ok(Self {
            pool,
            facts: Facts::default(),
            written: None,
            counted: Counted::new(&clock),
            clock,
            sent: BTreeMap::new(),
            notes: Vec::new(),
        })
    }

    /// Whether there is anything to look after.
    pub(super) fn are_wanted(&self, config: &Config) -> bool {
        !config.connectors.is_empty() || !self.pool.entries.is_empty()
    }

    /// Takes up what the tables hold and the state has lost. Once, before the first step. `was_in_force` is whether the
    /// configuration is the one that the tables were made of.
    pub(super) async fn adopt(
        &mut self,
        config: &Config,
        was_in_force: bool,
        resolved: &Resolved,
        host: &Host,
        tables: &Tables,
    ) -> Result<(), RunError> {
        let records = tables.interfaces()?;
        if records.iter().any(Interface::is_eni) {
            self.counted.count(tables, &self.clock)?;
            let slots = if was_in_force { slot_devices(resolved) } else { BTreeMap::new() };
            let found = Found {
                bound: bound(config, &slots, &records),
                records: &records,
                owners: &tables.owners()?,
                hosts: host.addresses().await?.into_iter().map(|it| it.address).collect(),
            };
            self.notes.extend(adopt(&mut self.pool, config, &found, self.counted.usage()));
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
            // The host has them on the device itself, so on its untagged frames.
            let is_own = |it: &&HostAddress| it.device == uplink.ifindex && uplink.vlan == VlanTag::NONE;
            let own = addresses.iter().filter(is_own);
            let passing = own.clone().filter(|it| !it.is_lasting).map(|it| it.address).collect();
            UplinkFacts { is_there: true, addresses: own.map(|it| it.address).collect(), passing, ports }
        };
        let uplinks = (0..config.uplinks.len()).map(facts).collect();
        let before = std::mem::replace(&mut self.facts.uplinks, uplinks);
        let recorded = tables.interfaces()?.into_iter().map(|it| it.connector);
        self.facts.connectors = recorded.filter(|id| *id != ConnectorId::NONE).collect();
        Ok(before != self.facts.uplinks)
    }

    /// Looks at the ports in use: at crowded remotes, and at everything where that is due.
    pub(super) fn look_at_ports(&mut self, tables: &Tables) -> Result<(), Error> {
        self.counted.look(tables, &self.clock)
    }

    /// Counts all ports in use, so that the next step may release what has none.
    pub(super) fn count(&mut self, tables: &Tables) -> Result<(), Error> {
        self.counted.count(tables, &self.clock)
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
            let connector = binding.connector.and_then(|place| config.connectors.get(place));
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
        let seen = self.counted.seen(&self.facts, &self.clock);
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

impl Clock {
    fn new() -> Self {
        Self { wall: ports::now(), begun: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(self.wall.0 + self.begun.elapsed().as_secs())
    }
}

/// Nobody has looked meanwhile whether a connector was used, or had room all the time; and the clock may be another one
/// by now. So nothing has happened between the last look of the daemon before and now.
fn take_up(pool: &mut Pool, now: Moment) {
    for entry in &mut pool.entries {
        (entry.roomy, entry.used, entry.since) = (None, now, entry.since.min(now));
    }
}

/// Devices of ENIs with IPv6 on which the kernel can't ask for neighbours, because it has no link-local address there.
/// On a tagged uplink it need not.
pub(super) fn mute(
    config: &Config,
    pool: &Pool,
    uplinks: &[WantedUplink],
    addresses: &[HostAddress],
) -> BTreeSet<IfIndex> {
    let has_v6 = |eni: &Eni| eni.addresses.iter().any(|it| Family::of(it.address) == Family::V6);
    let names: BTreeSet<&str> =
        pool.enis().filter(|(_, eni)| has_v6(eni)).map(|(_, eni)| eni.subnet.as_str()).collect();
    let subnets = config.subnets.iter().filter(|subnet| names.contains(subnet.name.value.as_str()));
    let places: BTreeSet<usize> = subnets.map(|subnet| subnet.uplink).collect();
    let asked_on = uplinks.iter().filter(|it| places.contains(&it.place) && it.vlan == VlanTag::NONE);
    let is_link_local = |Ip6([a, b, ..]): Ip6| a == 0xfe && b & 0xc0 == 0x80;
    let can_ask = |device| addresses.iter().any(|it| it.device == device && is_link_local(it.address));
    asked_on.map(|it| it.ifindex).filter(|device| !can_ask(*device)).collect()
}

/// Which device each slot is.
pub(super) fn slot_devices(resolved: &Resolved) -> BTreeMap<SlotName, IfIndex> {
    resolved.slots.iter().map(|(name, slot)| (name.clone(), slot.device.ifindex)).collect()
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
    use crate::config::tests::config;
    use crate::config::{Addresses, ConnectorKey, EniMac, UdpMapping};
    use crate::plan::Point;
    use crate::pool::{EniAddress, EniId, Entry};
    use weir_path::addr::{Address, Ip4, Mac, Zone};

    fn pool(state: EniState, used: u64) -> Pool {
        let key = ConnectorKey {
            tenant: "acme".into(),
            vpc: "prod".into(),
            subnets: vec!["prod-a".into()],
            addresses: Addresses::Ipv4,
            enis: EniKind::Own,
            mac: EniMac::Uplink,
            udp_mapping: UdpMapping::PerRemote,
            security_groups: vec![],
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
    fn a_device_without_a_link_local_address_is_named_where_an_eni_has_ipv6() {
        let text = "version = 1\n[[vpc]]\nname = \"prod\"\n[[uplink]]\ninterface = \"eth0\"\nvpc = \"prod\"\n\
                    [[subnet]]\nname = \"prod-a\"\nvpc = \"prod\"\nprefix6 = \"fd00:1::/64\"\n";
        let config = config(text);
        let uplink = WantedUplink {
            place: 0,
            ifindex: IfIndex(2),
            mac: Mac::default(),
            zone: Zone::default(),
            point: Point::Tc,
            vlan: VlanTag::NONE,
            mtu: 1_500,
            own: None,
            own6: None,
            gateway: None,
            gateway6: None,
        };
        let on = |device, address: &str| {
            let address: std::net::IpAddr = address.parse().unwrap();
            HostAddress { address: address.into(), device: IfIndex(device), is_lasting: true }
        };
        let mut pool = pool(EniState::InUse, 0);
        let addresses = [on(2, "fd00:1::2"), on(3, "fe80::3")];
        assert_eq!(mute(&config, &pool, &[uplink], &addresses), [IfIndex(2)].into());
        assert_eq!(mute(&config, &pool, &[uplink], &[on(2, "fe80::2")]), BTreeSet::new());
        let tagged = WantedUplink { vlan: VlanTag(7), ..uplink };
        assert_eq!(mute(&config, &pool, &[tagged], &addresses), BTreeSet::new());
        pool.entries[0].enis[0].addresses[0].address = Ip4([10, 0, 0, 7]).mapped();
        assert_eq!(mute(&config, &pool, &[uplink], &addresses), BTreeSet::new());
    }

    #[test]
    fn a_clock_that_was_set_while_no_daemon_ran_makes_nothing_look_idle_or_young_for_ever() {
        for set_to in [Moment(10), Moment(2_000_000_000)] {
            let mut pool = pool(EniState::InUse, 1_000_000);
            pool.entries[0].since = Moment(1_000_000);
            take_up(&mut pool, set_to);
            assert_eq!(pool.entries[0].used, set_to);
            assert!(pool.entries[0].since <= set_to);
        }
    }

    #[test]
    fn time_passes_as_the_machine_counts_it_from_the_walls_on() {
        let clock = Clock { wall: Moment(7), begun: Instant::now() - Duration::from_secs(5) };
        assert_eq!(clock.now(), Moment(12));
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
