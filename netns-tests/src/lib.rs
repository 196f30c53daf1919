//! Topologies of network namespaces, with real programs and real traffic.
//!
//! A [`topology::Topology`] is a value; building it gives a [`topology::Testbed`] of namespaces, in which
//! servers are started ([`servers`]), a daemon is driven from outside ([`weir`]), requests are made ([`load`])
//! and frames are caught on the wire ([`capture`]). Finishing it asserts that nothing is left behind.
//!
//! [`nat`] puts the same packets to Weir and to the kernel's own NAT, and [`rfcs`] is what RFCs ask of both.
//!
//! Each test in `tests/` is one promise. `weir-demo` is the whole story at once.
#![forbid(unsafe_code)]

pub mod busy;
pub mod cable;
pub mod capture;
pub mod config;
pub mod connectors;
pub mod counters;
pub mod error;
pub mod flood;
pub mod flows;
pub mod forge;
pub mod frames;
pub mod guest;
pub mod hosted;
pub mod ipv6;
pub mod leftovers;
pub mod load;
pub mod nat;
pub mod netns;
mod notify;
pub mod pace;
pub mod plain;
pub mod probes;
pub mod process;
pub mod programs;
pub mod quotas;
pub mod raw;
pub mod requirements;
pub mod rfcs;
pub mod security;
pub mod servers;
pub mod talk;
pub mod tap;
pub mod tools;
pub mod topology;
pub mod trap;
pub mod waiting;
pub mod weir;
