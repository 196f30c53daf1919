//! The weir daemon and command line.
//!
//! ```text
//!              ┌───────── pure ─────────┐
//!   file ──► config ──► plan ──► compile ──► dataplane (tables, programs)
//!   host ───────────────┘                        │
//!     ▲                 daemon: observe, plan, apply, again
//!     └─ netlink, namespaces ◄───────────────────┘
//! ```
//!
//! `config` says what should be, [`host`] what is there, `plan` what to do about it, step by step, and
//! `compile` makes the tables. Only [`daemon`] acts.

pub mod compile;
pub mod config;
