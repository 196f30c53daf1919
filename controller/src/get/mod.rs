//! What is there now: read from the pinned tables, and named by the configuration that was last in force.
//!
//! No daemon is asked, so a dead one changes nothing about the answers.

mod capacity;
mod flows;
mod interfaces;
mod names;
mod table;
mod views;

pub use capacity::{CapacityView, FamilyView, PhaseView};
pub(crate) use capacity::{Room, mebibytes, rooms};
pub(crate) use flows::seconds;
#[cfg(test)]
pub(crate) use flows::tests as flow_tests;
pub use flows::{Carried, FlowEnds, FlowView};
pub use interfaces::{GatewayView, InterfaceView, ProgramView};
pub(crate) use names::Names;
pub use views::{CounterView, EndView, HookView, ListenerView, ReasonView, SentView, ShareView, TargetView};

use crate::config::{Config, DataplaneSection, Document, Invalid};
use crate::host::HostError;
use crate::store::{SlotRecord, Store, StoreError};
use std::path::{Path, PathBuf};
use weir_dataplane::Tables;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Noun {
    /// Where connections are accepted.
    Listeners,
    /// Where they go, and how many are there now.
    Targets,
    /// Uplinks and slots, as they are in force on their devices.
    Interfaces,
    /// Every flow.
    Flows,
    /// Packets by hook and reason, and flows that ended.
    Counters,
    /// How many flows fit, how many are there, and what they cost.
    Capacity,
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
        Ok(Self { pin_dir: section.pin_dir, tables, config, slots: store.slots()? })
    }

    /// What targets are called.
    pub(crate) fn names(&self) -> Result<Names, GetError> {
        Ok(Names::new(&self.config, &self.slots, &self.tables.interfaces()?))
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
                    views::targets(&self.config, &self.slots, &interfaces, &flows).as_slice(),
                    output,
                    table::targets,
                )
            }
            Noun::Interfaces => {
                let views = interfaces::look(&self.tables, &self.pin_dir, &self.config, &self.slots)?;
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
                show(&views::counters(&counters, &interfaces, &self.slots), output, table::counters)
            }
            Noun::Capacity => {
                let view = capacity::capacity(&rooms(&self.tables), &self.tables.flows());
                show(&view, output, capacity::as_table)
            }
        }
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
