//! The weir daemon and command line, as a library.
//!
//! ```text
//! weir.toml ─► config (every mistake, with its line) ─► plan: desired + observed -> steps ─► daemon applies them
//!                                      └─► compile: desired -> the tables' image ─┘
//! ```
//!
//! [`plan`], [`compile`], [`pool`] and [`tenants`] are pure. [`host`] speaks netlink and enters namespaces; [`store`] keeps
//! what must survive the process; `neighbours` and `resets` say what programs can't; [`daemon`] is the loop; [`get`] reads
//! the pinned tables and [`events`] follows the flows that end, beside a dead daemon too.

pub mod cli;
pub mod compile;
pub mod config;
pub mod daemon;
pub mod events;
pub mod get;
pub mod host;
mod neighbours;
pub mod plan;
pub mod pool;
mod ports;
mod resets;
pub mod store;
pub mod tenants;
