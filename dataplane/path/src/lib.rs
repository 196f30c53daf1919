//! The packet path: everything that happens to a packet, written once.
//!
//! The same source is compiled three times: into the XDP program on an uplink, into the TC programs on
//! slots and uplinks, and into user space for tests, fuzzing and benchmarks. It is pure: no I/O, no
//! `unsafe`, no allocation, and every loop has a constant bound, because the kernel's verifier will ask.
//!
//! Read it in this order:
//!
//! 1. [`walk`]: the two walks of a packet, top to bottom. An established packet costs a parse, one flow
//!    look-up, a rewrite and a redirect; everything else happens on a flow's first packet.
//! 2. [`reason`]: every way out of a walk, by name.
//! 3. [`flow`]: the flow core, on which everything stands.
//! 4. [`packet`] and [`tables`]: what the path needs from the world, as traits.
//! 5. [`wire`], [`checksum`], [`hash`]: headers, sums and the keyed hash.
//!
//! ```text
//!   client ──► uplink ─► flow known? ──yes──► rewrite ──────────────────────────────► slot ─► sandbox
//!                             └─no─► VIP? ─► listener ─► target (Maglev) ─► let in? ─► enter ─┘
//!                                     ├─no─► an ICMP error about a flow: rewritten, and on to its slot
//!                                     └─no─► the host's own: passed, untouched
//!
//!   sandbox ─► slot ─► its own address? ─► flow known? ──yes──► rewrite ────────────► uplink ─► client, or VPC
//!                                              ├─no─► a service? a VIP? allowed? ─► enter, at a port of an ENI ─┘
//!                                              └─else─► told: a RST, an ICMP error; or dropped by name
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod addr;
pub mod answer;
pub mod asked;
pub mod chatter;
pub mod checksum;
pub mod entering;
pub mod flow;
pub mod frame;
pub mod hash;
pub mod layout;
pub mod meter;
pub mod odd;
pub mod opening;
pub mod outbound;
pub mod packet;
pub mod query;
pub mod quota;
pub mod rate;
pub mod reason;
pub mod relay;
pub mod rules;
pub mod serving;
pub mod steps;
pub mod tables;
pub mod tell;
pub mod time;
pub mod translate;
pub mod unknown;
pub mod walk;
pub mod way;
pub mod wire;

mod verifier;

pub use reason::{Reason, Verdict};
pub use walk::{from_slot, from_uplink};
