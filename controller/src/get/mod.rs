//! What is there now: read from the pinned tables, and named by the configuration that was last in force.
//!
//! No daemon is asked, so a dead one changes nothing about the answers.

mod capacity;
mod connectors;
mod enis;
mod flows;
mod held;
mod interfaces;
mod names;
mod pool;
mod ports;
mod sandboxes;
mod security_groups;
mod table;
mod targets;
mod tenants;
mod views;
mod vpcs;

pub use capacity::{CapacityView, FamilyView, PhaseView};
pub(crate) use capacity::{Room, mebibytes, rooms};
pub use connectors::ConnectorView;
pub use enis::EniView;
pub(crate) use flows::seconds;
#[cfg(test)]
pub(crate) use flows::tests as flow_tests;
pub use flows::{Carried, FlowEnds, FlowView};
pub use held::HeldView;
pub use interfaces::{GatewayView, InterfaceView, ProgramView};
pub(crate) use names::Names;
pub use ports::{PortView, RemoteView};
pub use sandboxes::{RateView, SandboxView};
pub use security_groups::{RuleView, SecurityGroupView};
pub use targets::TargetView;
pub use tenants::TenantView;
pub use views::{CounterView, EndView, HookView, ListenerView, ReasonView, SentView, ShareView};
pub use vpcs::{RouteView, SubnetView, VpcView};

use crate::config::{Config, DataplaneSection, Document, Invalid};
use crate::host::HostError;
use crate::pool::Pool;
use crate::store::{SlotRecord, Store, StoreError};
use names::TenantNames;
use pool::Pooled;
use security_groups::Blocked;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_dataplane::Tables;
use weir_path::tables::{Direction, Interface};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Noun {
    /// Where connections are accepted.
    Listeners,
    /// Where they go, and how many are there now.
    Targets,
    /// Uplinks, ENIs and slots, as they are in force on their devices.
    Interfaces,
    /// Every flow.
    Flows,
    /// Packets by hook and reason, and flows that ended.
    Counters,
    /// How many flows fit, how many are there, and what they cost.
    Capacity,
    /// Address spaces, with their uplinks, subnets and routes.
    Vpcs,
    /// How sandboxes open connections, and whether they can.
    Connectors,
    /// The interfaces that they share for it.
    Enis,
    /// How many ports of each ENI's address are in use.
    Ports,
    /// Whose sandboxes there are, and how much of what they may have they hold.
    Tenants,
    /// Each sandbox: whose it is, what it holds, and how fast it may be.
    Sandboxes,
    /// Whom sandboxes may reach, who may reach them, and how often something was blocked.
    SecurityGroups,
}

/// How the answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs; field names don't change.
    Json,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The configuration can't be read.
    #[error("cannot read {name}: {source}; name the configuration with --config")]
    Unreadable {
        /// The file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration's `[dataplane]` section, or the one last in force, can't be read.
    #[error("{}", .0.rendered())]
    Invalid(Invalid),
    /// There is no dataplane, or it can't be read.
    #[error(transparent)]
    Dataplane(#[from] weir_dataplane::Error),
    /// The state folder can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The devices can't be asked for.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A dataplane without the configuration that made it.
    #[error(
        "a dataplane is pinned under {pin_dir}, but {state_dir} holds no configuration that was in force; check that pin_dir and state_dir belong together"
    )]
    NoLastGood {
        /// Where the dataplane is.
        pin_dir: String,
        /// Where the configuration should be.
        state_dir: String,
    },
    /// The answer can't be written as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Everything an answer is made of.
pub struct Source {
    pin_dir: PathBuf,
    tables: Tables,
    config: Config,
    store: Store,
    slots: Vec<SlotRecord>,
}

impl Source {
    /// Opens the tables and the last good configuration of the dataplane that the file at `path` describes.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn open(path: &Path) -> Result<Self, GetError> {
        let section = dataplane_section(path)?;
        let tables = Tables::open(&section.pin_dir)?;
        let store = Store::new(&section.state_dir);
        let last_good = store.last_good()?.ok_or_else(|| GetError::NoLastGood {
            pin_dir: section.pin_dir.display().to_string(),
            state_dir: section.state_dir.display().to_string(),
        })?;
        let config = last_good.parse().map_err(GetError::Invalid)?;
        let slots = store.slots()?;
        Ok(Self { pin_dir: section.pin_dir, tables, config, store, slots })
    }

    /// What targets are called.
    pub(crate) fn names(&self) -> Result<Names, GetError> {
        Ok(Names::new(&self.config, &self.slots, &self.tables.interfaces()?, self.tenants()?))
    }

    /// What tenants are called.
    fn tenants(&self) -> Result<TenantNames, GetError> {
        Ok(self.store.tenants()?.iter().map(|(name, id)| (id, name.to_owned())).collect())
    }

    /// The tables alone.
    pub(crate) fn into_tables(self) -> Tables {
        self.tables
    }

    /// The answer, as text.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn answer(&self, noun: Noun, output: Output) -> Result<String, GetError> {
        match noun {
            Noun::Listeners => show(views::listeners(&self.config).as_slice(), output, table::listeners),
            Noun::Targets => {
                let (interfaces, flows) = (self.tables.interfaces()?, self.tables.flows());
                show(
                    targets::targets(&self.config, &self.slots, &interfaces, &flows).as_slice(),
                    output,
                    targets::as_table,
                )
            }
            Noun::Interfaces => {
                let pool = self.store.pool()?;
                let views = interfaces::look(&self.tables, &self.pin_dir, &self.config, &self.slots, &pool)?;
                show(views.as_slice(), output, interfaces::as_table)
            }
            Noun::Flows => {
                let names = self.names()?;
                // The time is asked for last: no flow was heard later.
                let (flows, now) = (self.tables.counted_flows()?, self.tables.now());
                show(flows::flows(&names, flows, now).as_slice(), output, flows::as_table)
            }
            Noun::Counters => {
                let (counters, interfaces) = (self.tables.counters()?, self.tables.interfaces()?);
                let enis = pool::eni_records(&self.config, &self.store.pool()?, &interfaces);
                show(&views::counters(&counters, &interfaces, &self.slots, &enis), output, table::counters)
            }
            Noun::Capacity => {
                let view = capacity::capacity(&rooms(&self.tables), &self.tables.flows());
                show(&view, output, capacity::as_table)
            }
            Noun::Vpcs => show(vpcs::vpcs(&self.config, &self.pooled()?).as_slice(), output, vpcs::as_table),
            Noun::Connectors => {
                let views = connectors::connectors(&self.config, &self.pooled()?);
                show(views.as_slice(), output, connectors::as_table)
            }
            Noun::Enis => show(enis::enis(&self.config, &self.pooled()?).as_slice(), output, enis::as_table),
            Noun::Ports => {
                show(ports::ports(&self.config, &self.pooled()?).as_slice(), output, ports::as_table)
            }
            Noun::Tenants => {
                let account = |holder| self.tables.account(holder);
                let views = tenants::tenants(&self.config, &self.tenants()?, account);
                show(views.as_slice(), output, tenants::as_table)
            }
            Noun::Sandboxes => show(self.sandboxes()?.as_slice(), output, sandboxes::as_table),
            Noun::SecurityGroups => {
                let pool = self.store.pool()?;
                let views = security_groups::security_groups(&self.config, &pool, &self.blocked(&pool)?);
                show(views.as_slice(), output, security_groups::as_table)
            }
        }
    }

    /// The fullest remotes, by two looks that are `interval` apart.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn fullest_ports(&self, most: usize, interval: Duration, output: Output) -> Result<String, GetError> {
        let before = self.pooled()?;
        std::thread::sleep(interval);
        let now = self.pooled()?;
        let views = ports::fullest(&self.config, &before, &now, interval.as_secs_f64(), most);
        show(views.as_slice(), output, ports::fullest_as_table)
    }

    fn sandboxes(&self) -> Result<Vec<SandboxView>, GetError> {
        let interfaces = self.tables.interfaces()?;
        let mut rates = BTreeMap::new();
        let metered = |it: &&Interface| Direction::ALL.iter().any(|way| it.is_metered(*way));
        for slot in interfaces.iter().filter(metered) {
            rates.insert(slot.egress.id, self.tables.rates(slot.egress.id)?);
        }
        let known = sandboxes::Known { slots: &self.slots, interfaces: &interfaces, rates: &rates };
        Ok(sandboxes::sandboxes(&self.config, &known, |holder| self.tables.account(holder)))
    }

    fn blocked(&self, pool: &Pool) -> Result<Blocked, GetError> {
        let of = |id| -> Result<_, GetError> {
            let [out, into] = Direction::ALL.map(|way| self.tables.blocked(id, way));
            Ok((id, [out?, into?]))
        };
        pool.entries.iter().map(|entry| of(entry.id)).collect()
    }

    fn pooled(&self) -> Result<Pooled, GetError> {
        Pooled::read(&self.store, &self.tables)
    }
}

/// The `[dataplane]` section of a file: where its dataplane is, whatever else the file says by now.
///
/// # Errors
/// [`GetError::Unreadable`], [`GetError::Invalid`].
pub fn dataplane_section(path: &Path) -> Result<DataplaneSection, GetError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| GetError::Unreadable { name: name.clone(), source })?;
    let document = Document::from_bytes(&name, bytes).map_err(GetError::Invalid)?;
    document.parse_dataplane().map_err(GetError::Invalid)
}

fn show<T: serde::Serialize + ?Sized>(
    view: &T,
    output: Output,
    table: impl FnOnce(&T) -> String,
) -> Result<String, GetError> {
    match output {
        Output::Table => Ok(table(view)),
        Output::Json => Ok(serde_json::to_string_pretty(view)?),
    }
}
