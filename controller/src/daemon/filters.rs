//! The MACs that uplinks' devices are told to let in, from the first packet on, and for as long as they are wanted.
//!
//! What is told is written down first. What was there without being told is left alone.

use crate::host::{Filter, Host, HostError};
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use tracing::{info, warn};

/// The filters that are the daemon's.
#[derive(Debug)]
pub(super) struct Filters {
    /// Written down. Some may be gone, with their devices.
    ours: BTreeSet<Filter>,
    wanted: BTreeSet<Filter>,
}

impl Filters {
    /// Those that a daemon left behind, perhaps.
    pub(super) fn kept(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { ours: store.filters()?, wanted: BTreeSet::new() })
    }

    /// Adds what is wanted and isn't there. A device without filters lets in everything, or nothing more: neither is a
    /// reason to stop.
    pub(super) async fn open(&mut self, wanted: BTreeSet<Filter>, host: &Host, store: &Store) {
        self.wanted = wanted;
        if let Err(error) = self.add(host, store).await {
            warn!("devices may not let in what is for Weir: {error}");
        }
    }

    async fn add(&mut self, host: &Host, store: &Store) -> Result<(), FilterError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let there = host.filters().await?;
        let missing: Vec<_> = self.wanted.difference(&there).copied().collect();
        let known = self.ours.len();
        self.ours.extend(&missing);
        if self.ours.len() != known {
            store.save_filters(&self.ours)?;
        }
        for filter in missing {
            match host.add_filter(filter).await {
                Ok(()) => info!(device = %filter.device, mac = %filter.mac, "the device lets this MAC in"),
                Err(error) => warn!(device = %filter.device, mac = %filter.mac, "not let in: {error}"),
            }
        }
        Ok(())
    }

    /// Removes what is no longer wanted.
    pub(super) async fn close(&mut self, host: &Host, store: &Store) {
        if let Err(error) = self.remove(host, store).await {
            warn!("devices still let in what is no longer for Weir: {error}");
        }
    }

    async fn remove(&mut self, host: &Host, store: &Store) -> Result<(), FilterError> {
        let stale: Vec<_> = self.ours.difference(&self.wanted).copied().collect();
        if stale.is_empty() {
            return Ok(());
        }
        for filter in stale {
            host.remove_filter(filter).await?;
            self.ours.remove(&filter);
        }
        Ok(store.save_filters(&self.ours)?)
    }
}

/// Why a filter could not be kept or removed.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The host refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It can't be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Removes all that a daemon told devices to let in.
///
/// # Errors
/// [`FilterError`].
pub async fn remove_filters(store: &Store) -> Result<(), FilterError> {
    let mut filters = Filters::kept(store)?;
    if filters.ours.is_empty() {
        return Ok(());
    }
    filters.remove(&Host::connect()?, store).await
}
