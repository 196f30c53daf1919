//! Why the daemon could not start, or go on.

use super::CapabilityError;
use crate::config::Invalid;
use crate::host::HostError;
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// Why the daemon could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file can't be read.
    #[error("cannot read {}: {source}; name a configuration that is there and may be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file says something that can't be.
    #[error("{}", .0.rendered())]
    Invalid(Invalid),
    /// The file asks for what takes a restart.
    #[error(
        "[dataplane] changed, which takes a restart: `weir stop`, then `weir run`; the configuration in force stays"
    )]
    NeedsRestart,
    /// The state folder can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host can't be asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The dataplane refused.
    #[error(transparent)]
    Dataplane(#[from] weir_dataplane::Error),
    /// There is no way to get there.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// There are too many tenants.
    #[error(transparent)]
    Tenants(#[from] crate::tenants::NoTenantNumber),
    /// A right is missing.
    #[error(transparent)]
    Capabilities(#[from] CapabilityError),
    /// A signal handler can't be set up.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}
