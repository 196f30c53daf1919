//! The pinned tables: the configuration written, flows and counters read.

mod configuration;
mod guards;
mod interfaces;

use crate::counters::{self, Counters};
use crate::error::Error;
use crate::flows::{Around, Crowded, Flow, FlowId, FlowState, FlowTable, Refused, Resting, Stored};
use crate::image::Image;
use crate::pins::Pins;
use crate::sys::{self, Mapping};
use crate::typed_map::TypedMap;
use aya::maps::MapData;
use configuration::RouteKey;
pub use guards::{AccountState, Once};
use std::collections::BTreeMap;
use std::path::Path;
use weir_path::addr::{InterfaceId, Ip6};
use weir_path::flow::end::End;
use weir_path::flow::{Counts, V4, V6};
use weir_path::hash::HashKey;
use weir_path::layout::{
    self, CLOCK, COUNTERS, CellLine, ENDED, EVENTS_WANTED, ListenerKey, TaggedKey, VipKey,
};
use weir_path::layout::{AccountWords, MeterWords};
use weir_path::tables::{
    Connector, Forward, Group, Interface, NextHop, Owner, Rates, Rule, Source, Target, Tenant, Vip,
};
use weir_path::time::{Now, Times};

/// The dataplane's tables. They need no program and no daemon: whoever may open the pins can read them.
pub struct Tables {
    words: Mapping<u64>,
    times: TypedMap<u32, Times>,
    hash_keys: TypedMap<u32, HashKey>,
    vips: TypedMap<VipKey, Owner>,
    listeners: TypedMap<ListenerKey, Forward>,
    connectors: TypedMap<u32, Connector>,
    sources: TypedMap<u32, Source>,
    routes: TypedMap<RouteKey, Ip6>,
    tenants: TypedMap<u32, Tenant>,
    rules: TypedMap<u32, Rule>,
    accounts: Mapping<AccountWords>,
    blocked: TypedMap<u32, u64>,
    rates: TypedMap<u32, Rates>,
    meters: TypedMap<u32, MeterWords>,
    groups: TypedMap<u32, Group>,
    targets: TypedMap<u32, Target>,
    cells: TypedMap<u32, CellLine>,
    ifindexes: TypedMap<u32, u32>,
    interfaces: TypedMap<u32, Interface>,
    tagged: TypedMap<TaggedKey, u32>,
    next_hops: TypedMap<u32, NextHop>,
    buckets: TypedMap<u32, u64>,
    looked_for: TypedMap<Vip, Now>,
    v4: FlowTable<V4>,
    v6: FlowTable<V6>,
    ended: TypedMap<u32, u64>,
    orders: TypedMap<u32, u64>,
    counters: TypedMap<u32, u64>,
    sent: TypedMap<u32, u64>,
}

impl Tables {
    /// Opens the tables pinned under `pin_dir`.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where there are none; [`Error::Layout`] where they are another build's.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let pins = Pins::new(pin_dir);
        Self::from_maps(|name| {
            pins.open_map(name)?.ok_or_else(|| Error::NotRunning { pin_dir: pin_dir.to_owned() })
        })
    }

    pub(crate) fn from_maps(open: impl Fn(&str) -> Result<MapData, Error>) -> Result<Self, Error> {
        let words: TypedMap<u32, u64> = TypedMap::new("WORDS", &open("WORDS")?)?;
        let words = Mapping::new(words.fd(), layout::WORDS).map_err(|source| Error::Table {
            operation: "mapping",
            table: "WORDS".into(),
            source,
        })?;
        Ok(Self {
            words,
            times: TypedMap::new("TIMES", &open("TIMES")?)?,
            hash_keys: TypedMap::new("HASH_KEYS", &open("HASH_KEYS")?)?,
            vips: TypedMap::new("VIPS", &open("VIPS")?)?,
            listeners: TypedMap::new("LISTENERS", &open("LISTENERS")?)?,
            connectors: TypedMap::new("CONNECTORS", &open("CONNECTORS")?)?,
            sources: TypedMap::new("SOURCES", &open("SOURCES")?)?,
            routes: TypedMap::new("ROUTES", &open("ROUTES")?)?,
            tenants: TypedMap::new("TENANTS", &open("TENANTS")?)?,
            rules: TypedMap::new("RULES", &open("RULES")?)?,
            accounts: guards::accounts(&open("ACCOUNTS")?)?,
            blocked: TypedMap::new("BLOCKED", &open("BLOCKED")?)?,
            rates: TypedMap::new("RATES", &open("RATES")?)?,
            meters: TypedMap::new("METERS", &open("METERS")?)?,
            groups: TypedMap::new("GROUPS", &open("GROUPS")?)?,
            targets: TypedMap::new("TARGETS", &open("TARGETS")?)?,
            cells: TypedMap::new("CELLS", &open("CELLS")?)?,
            ifindexes: TypedMap::new("IFINDEXES", &open("IFINDEXES")?)?,
            interfaces: TypedMap::new("INTERFACES", &open("INTERFACES")?)?,
            tagged: TypedMap::new("TAGGED", &open("TAGGED")?)?,
            next_hops: TypedMap::new("NEXT_HOPS", &open("NEXT_HOPS")?)?,
            buckets: TypedMap::new("BUCKETS", &open("BUCKETS")?)?,
            looked_for: TypedMap::new("LOOKED_FOR", &open("LOOKED_FOR")?)?,
            v4: FlowTable::open(&open)?,
            v6: FlowTable::open(&open)?,
            ended: TypedMap::new("ENDED", &open("ENDED")?)?,
            orders: TypedMap::new("ORDERS", &open("ORDERS")?)?,
            counters: TypedMap::new("COUNTERS", &open("COUNTERS")?)?,
            sent: TypedMap::new("SENT", &open("SENT")?)?,
        })
    }

    /// Every flow. Programs are not disturbed, and nothing is asked of the kernel.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        let v4 = self.v4.list().into_iter().map(|flow| flow.to_flow(false));
        let v6 = self.v6.list().into_iter().map(|flow| flow.to_flow(true));
        v4.chain(v6).collect()
    }

    /// Every port of an ENI that rests. Programs are not disturbed, and nothing is asked of the kernel.
    #[must_use]
    pub fn resting(&self) -> Vec<Resting> {
        let (mut resting, v6) = (self.v4.resting(), self.v6.resting());
        resting.extend(v6);
        resting
    }

    /// Every remote that many ports of one address are in use towards: cheap, however many flows there are.
    #[must_use]
    pub fn crowded(&self) -> Vec<Crowded> {
        let (mut crowded, v6) = (self.v4.crowded(), self.v6.crowded());
        crowded.extend(v6);
        crowded
    }

    /// How often new flows were refused, by remote; those that were refused longest ago may be missing.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn refused(&self) -> Result<Vec<Refused>, Error> {
        let mut refused = self.v4.refused()?;
        refused.extend(self.v6.refused()?);
        Ok(refused)
    }

    /// Takes what is known of crowded remotes away, as if it had never been: for tests and benchmarks. Only where no
    /// program runs.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn forget_ports<F: Held>(&self) -> Result<(), Error> {
        F::table(self).forget_ports()
    }

    /// Every flow, with what both directions carried. Programs are not disturbed.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn counted_flows(&self) -> Result<Vec<(Flow, [Counts; 2])>, Error> {
        let mut flows = self.v4.counted()?;
        flows.extend(self.v6.counted()?);
        Ok(flows)
    }

    /// Every flow of one family, whole.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn flow_states<F: Held>(&self) -> Result<Vec<FlowState<F::Key>>, Error> {
        F::table(self).list_in_full()
    }

    /// Every key of one family that is in the table, whether it is a flow's or not.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn flow_keys<F: Held>(&self) -> Result<Vec<F::Key>, Error> {
        F::table(self).keys()
    }

    /// What lies around the flows of one family, whole. Only where no program runs.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn around_flows<F: Held>(&self) -> Result<Around, Error> {
        F::table(self).around()
    }

    /// Enters flows, each with the record that it names: for tests and benchmarks, which want tables in a given
    /// state. Only where no program runs.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::Table`].
    pub fn insert_flows<F: Held>(&self, flows: &[FlowState<F::Key>]) -> Result<(), Error> {
        flows.iter().for_each(|flow| self.charge(flow.meta, flow.life.phase()));
        F::table(self).insert(flows)
    }

    /// Bytes that the kernel holds for each flow that fits, all tables together.
    #[must_use]
    pub fn bytes_a_flow<F: Held>(&self) -> u64 {
        F::table(self).bytes_a_flow()
    }

    /// How many flows fit, and how many may be half-open.
    #[must_use]
    pub fn max_flows<F: Held>(&self) -> (u32, u32) {
        (F::table(self).max_flows(), F::table(self).max_half_open())
    }

    /// Writes down which flows are to be ended, and why.
    pub(crate) fn order(&self, flows: &[FlowId], why: End) -> Result<(), Error> {
        let mut orders = vec![flows.len() as u64];
        orders.extend(flows.iter().map(|flow| flow.order(why)));
        self.orders.set_all(&indices(orders.len(), |i| i), &orders)
    }

    /// Whether programs are to tell of flows that end.
    pub(crate) fn want_events(&self, wanted: bool) {
        self.words.store(EVENTS_WANTED, u64::from(wanted));
    }

    /// Flows that ended without being told, because nobody read fast enough.
    pub(crate) fn events_lost(&self) -> Result<u64, Error> {
        self.ended.sum(layout::EVENTS_LOST)
    }

    /// The time, as the programs see it.
    #[must_use]
    pub fn now(&self) -> Now {
        Now(self.words.load(CLOCK) as u32)
    }

    /// Sets the time: for tests. The ageing timer sets it again where it runs.
    pub fn set_now(&self, now: Now) {
        self.words.store(CLOCK, u64::from(now.0));
    }

    /// Everything counted since the tables were made.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn counters(&self) -> Result<Counters, Error> {
        let hooks = counters::read_hooks(&self.counters)?;
        let mut sent = BTreeMap::new();
        for interface in self.interfaces()? {
            let id = interface.egress.id;
            let packets = self.sent.sum(id.0)?;
            if packets > 0 {
                sent.insert(id, packets);
            }
        }
        let ended = counters::read_ends(&self.ended)?;
        let events_lost = self.events_lost()?;
        let opened = self.ended.sum(layout::FLOWS_OPENED)?;
        let signals_lost = self.ended.sum(layout::SIGNALS_LOST)?;
        Ok(Counters { hooks, sent, opened, ended, events_lost, signals_lost })
    }

    /// Empties everything: interfaces, what they may answer, flows, datagrams, counters, and both halves of the
    /// configuration. Only where no program runs.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn clear(&self) -> Result<(), Error> {
        for interface in self.interfaces()? {
            let id = interface.egress.id.0;
            self.withdraw(&interface)?;
            self.interfaces.set(&id, &Interface::default())?;
            self.sent.zero(id)?;
            self.buckets.set(&id, &0)?;
            self.clear_guards(&interface)?;
        }
        self.clear_accounts();
        let looked_for: Vec<_> = self.looked_for.read_all()?.into_iter().map(|(key, _)| key).collect();
        self.looked_for.remove_all(&looked_for)?;
        self.v4.clear()?;
        self.v6.clear()?;
        self.words.store(layout::NUMBERS, 0);
        for counter in 0..COUNTERS {
            self.counters.zero(counter)?;
        }
        for counter in 0..ENDED {
            self.ended.zero(counter)?;
        }
        self.apply(&Image::default())?;
        self.apply(&Image::default()).map(drop)
    }

    /// The packets sent out of one interface.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn sent(&self, id: InterfaceId) -> Result<u64, Error> {
        self.sent.sum(id.0)
    }
}

/// A family whose flow tables are here.
pub trait Held: Stored {
    #[doc(hidden)]
    fn table(tables: &Tables) -> &FlowTable<Self>
    where
        Self: Sized;
}

impl Held for V4 {
    fn table(tables: &Tables) -> &FlowTable<Self> {
        &tables.v4
    }
}

impl Held for V6 {
    fn table(tables: &Tables) -> &FlowTable<Self> {
        &tables.v6
    }
}

fn grace_period() -> Result<(), Error> {
    sys::grace_period().map_err(|source| Error::Table {
        operation: "waiting for the readers (membarrier)",
        table: "WORDS".into(),
        source,
    })
}

fn indices(count: usize, index: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..count as u32).map(index).collect()
}
