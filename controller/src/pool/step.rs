//! From one state to the next.

use super::{EniState, Entry, Note, Pool, Seen};
use crate::config::Config;

/// The next state, and what is worth saying about it.
#[must_use]
pub fn step(pool: &Pool, config: &Config, seen: Seen<'_>) -> (Pool, Vec<Note>) {
    let _ = (config, seen);
    (pool.clone(), Vec::new())
}

impl Entry {
    pub(super) fn in_force(&mut self) {
        for eni in &mut self.enis {
            if eni.state == EniState::Pending {
                eni.state = EniState::Available;
            }
        }
    }
}
