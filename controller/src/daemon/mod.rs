//! The daemon: it writes tables and watches devices. Packets don't need it.
//!
//! ```text
//!   file ──► Config ──► host: devices found ──► pool: ENIs ──► plan ──► steps, the image in their middle ──► store
//!     ▲                       ▲                     ▲                        │ one fails: undo in reverse, report
//!   SIGHUP              link events, a slow tick    a beat, for ports in use │
//!                       while draining ◄────────────────────────────────────┘
//! ```

mod apply;
mod capabilities;
mod counted;
mod error;
mod filters;
mod follow;
mod judge;
mod pool;
mod signals;
mod silent;

pub use capabilities::CapabilityError;
pub use error::RunError;
pub use filters::{FilterError, remove_filters};

use crate::compile::rulebook::Rulebook;
use crate::config::{Config, Document};
use crate::get::{Room, mebibytes, rooms};
use crate::host::{Host, Resolved, name_of};
use crate::neighbours::{self, Neighbours};
use crate::store::{Held, Store, StoreError};
use crate::tenants::Tenants;
use filters::Filters;
use pool::Enis;
use sd_notify::NotifyState;
use signals::{Signal, Signals};
use silent::Silent;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};
use weir_dataplane::{Dataplane, Options, Origin};
use weir_path::hash::HashKey;

/// How often to look whether a slot that is no longer wanted has emptied, and to try again what failed.
const TICK: Duration = Duration::from_secs(10);

/// Reads and checks a configuration, with the host where that is asked for. Nothing is touched.
///
/// # Errors
/// [`RunError::Unreadable`], [`RunError::Invalid`], [`RunError::Host`].
pub async fn check(path: &Path, with_host: bool) -> Result<Config, RunError> {
    let document = read(path)?;
    let config = document.parse().map_err(RunError::Invalid)?;
    if with_host {
        resolve(&document, &config, &Host::connect()?).await?;
    }
    Ok(config)
}

/// Runs until it is told to stop. The dataplane goes on forwarding afterwards.
///
/// # Errors
/// [`RunError`]: what kept it from starting. Later mistakes are logged, and what is in force stays in force.
pub async fn run(path: &Path) -> Result<(), RunError> {
    // First, because an early SIGHUP or SIGTERM would otherwise end the process half-way.
    let signals = Signals::new().map_err(RunError::Signals)?;
    let document = read(path)?;
    let config = document.parse().map_err(RunError::Invalid)?;
    capabilities::check()?;
    let host = Host::connect()?;
    let store = Store::new(&config.dataplane.state_dir);
    let resolved = resolve_at_start(&document, &config, &host, &store).await?;
    let held = store.hold()?;
    let hash_key = hash_key(&config, &store)?;
    let (enis, filters, tenants) = (Enis::kept(&store)?, Filters::kept(&store)?, store.tenants()?);
    let options = Options { pin_dir: config.dataplane.pin_dir.clone(), sizes: config.dataplane.sizes };
    let dataplane = Dataplane::open(&options)?;
    match dataplane.origin() {
        Origin::New => info!(pin_dir = %options.pin_dir.display(), "made a new dataplane"),
        Origin::Adopted => info!(pin_dir = %options.pin_dir.display(), "adopted the running dataplane"),
    }
    for room in rooms(dataplane.tables()) {
        let Room { family, max_flows, max_half_open, bytes_per_flow } = room;
        info!(
            family,
            max_flows,
            max_half_open,
            bytes_per_flow,
            memory = mebibytes(room.bytes()),
            "flow table"
        );
    }
    let mut daemon = Daemon {
        path: path.to_owned(),
        document,
        config,
        hash_key,
        store,
        host,
        dataplane,
        unsettled: false,
        in_force: None,
        left_out: BTreeSet::new(),
        judged: None,
        enis,
        tenants,
        filters,
        neighbours: Neighbours::default(),
        silent: Silent::open(&options.pin_dir),
        _held: held,
    };
    daemon.report_left_out(&resolved);
    if let Err(why) = daemon.begin(resolved).await {
        return Err(daemon.give_up(why));
    }
    notify(&[NotifyState::Ready, NotifyState::Status(&daemon.status())]);
    daemon.serve(signals).await;
    notify(&[NotifyState::Stopping]);
    info!("stopped; the dataplane goes on forwarding (`weir stop --release` would end it)");
    Ok(())
}

struct Daemon {
    path: PathBuf,
    document: Document,
    config: Config,
    hash_key: HashKey,
    store: Store,
    host: Host,
    dataplane: Dataplane,
    /// Whether something is left to do: a slot that drains, a step that failed.
    unsettled: bool,
    /// The devices that the tables were last made for.
    in_force: Option<Resolved>,
    /// What is wrong with the host at present, and has been reported.
    left_out: BTreeSet<String>,
    /// The rules that all flows were judged by.
    judged: Option<Rulebook>,
    /// The pool of ENIs.
    enis: Enis,
    /// The numbers of tenants that are in force.
    tenants: Tenants,
    /// What uplinks' devices are told to let in.
    filters: Filters,
    /// What neighbours on the uplinks are told and asked.
    neighbours: Neighbours,
    /// Connections whose ends are to be told.
    silent: Silent,
    _held: Held,
}

impl Daemon {
    async fn begin(&mut self, resolved: Resolved) -> Result<(), RunError> {
        let was_in_force = self.store.last_good()?.is_some_and(|it| it.text == self.document.text);
        let (config, tables) = (&self.config, self.dataplane.tables());
        self.enis.adopt(config, was_in_force, &resolved, &self.host, tables).await?;
        self.put_in_force(resolved).await?;
        self.report_mute_devices().await;
        Ok(())
    }

    /// Names devices on which ENIs can't find neighbours by IPv6. Once: whoever wants it so has read it.
    async fn report_mute_devices(&self) {
        let (Some(in_force), Ok(addresses)) = (&self.in_force, self.host.addresses().await) else { return };
        for device in pool::mute(&self.config, &self.enis.pool, &in_force.wanted.uplinks, &addresses) {
            let device = name_of(device).unwrap_or_else(|| device.to_string());
            warn!(
                "device {device} has no link-local IPv6 address, with which the kernel asks for neighbours: connectors \
                 reach gateways by IPv6 there, and nobody else on the link; `ip link set dev {device} addrgenmode eui64` \
                 gives it one"
            );
        }
    }

    /// A dataplane that never worked is not left behind; one that was adopted stays what it is.
    fn give_up(self, why: RunError) -> RunError {
        let (origin, pin_dir) = (self.dataplane.origin(), self.config.dataplane.pin_dir.clone());
        // The folder is this process's until here.
        drop(self);
        if origin == Origin::New
            && let Err(error) = weir_dataplane::release(&pin_dir)
        {
            warn!("could not clear {} away: {error}", pin_dir.display());
        }
        why
    }

    async fn serve(&mut self, mut signals: Signals) {
        let mut tick = interval(TICK);
        let mut round = interval(neighbours::ROUND);
        let mut beat = interval(pool::BEAT);
        for interval in [&mut tick, &mut round, &mut beat] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        // What was put in force just now was said just now.
        round.reset();
        // Zero would mean "no watchdog", and an interval of nothing.
        let timeout = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero());
        let mut watchdog = timeout.map(|timeout| interval(timeout / 2));
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Reload => self.reload().await,
                    Signal::Stop => return,
                },
                () = self.host.changed() => self.settle("devices changed").await,
                _ = tick.tick(), if self.unsettled => self.settle("trying again").await,
                _ = beat.tick(), if self.enis.are_wanted(&self.config) => self.look_after_enis().await,
                _ = round.tick(), if self.neighbours.have_to_speak() => self.neighbours.next_round(&self.dataplane),
                events = self.silent.next() => silent::tell(&events, &self.dataplane),
                () = ping(&mut watchdog) => notify(&[NotifyState::Watchdog]),
            }
        }
    }

    /// A configuration that is in force but can't be kept is still in force.
    fn save(&self, resolved: &Resolved) {
        let saved = apply::slot_records(&self.dataplane, &resolved.slots)
            .map_err(|error| error.to_string())
            .and_then(|slots| self.store.save(&self.document, &slots).map_err(|error| error.to_string()));
        if let Err(error) = saved {
            warn!("the configuration is in force but could not be kept: {error}");
        }
    }

    fn status(&self) -> String {
        let targets: usize = self.config.groups.iter().map(|group| group.targets.len()).sum();
        let (listeners, connectors) = (self.config.listeners.len(), self.config.connectors.len());
        format!(
            "{listeners} listeners, {targets} targets, {connectors} connectors, {} ENIs",
            self.enis.pool.enis().count()
        )
    }
}

fn read(path: &Path) -> Result<Document, RunError> {
    let bytes =
        std::fs::read(path).map_err(|source| RunError::Unreadable { path: path.to_owned(), source })?;
    Document::from_bytes(&path.display().to_string(), bytes).map_err(RunError::Invalid)
}

async fn resolve(document: &Document, config: &Config, host: &Host) -> Result<Resolved, RunError> {
    let mut resolved = host.resolve(config).await?;
    if resolved.problems.is_empty() {
        return Ok(resolved);
    }
    Err(RunError::Invalid(document.invalid(std::mem::take(&mut resolved.problems))))
}

/// A configuration that was in force before is put in force again, with whatever is left of its devices: a
/// sandbox that died meanwhile must not keep the others waiting. A new one has to be right in everything.
async fn resolve_at_start(
    document: &Document,
    config: &Config,
    host: &Host,
    store: &Store,
) -> Result<Resolved, RunError> {
    if store.last_good()?.is_some_and(|last_good| last_good.text == document.text) {
        return Ok(host.resolve(config).await?);
    }
    resolve(document, config, host).await
}

fn hash_key(config: &Config, store: &Store) -> Result<HashKey, StoreError> {
    config.dataplane.hash_key.map_or_else(|| store.hash_key(), Ok)
}

async fn ping(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("the service manager could not be told: {error}");
    }
}
