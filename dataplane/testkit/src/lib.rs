//! What tests of the dataplane share: packets, tables without a kernel, an independent checksum judge, one
//! table of fixtures, random packets, and the laws that must hold whatever the packet.
//!
//! A packet is run by an [`Executor`]: the path over plain maps ([`Slice`]), or the real programs by kernel
//! test run (in `weir-dataplane`'s tests). All of them start from the same [`World`] and are compared.
#![expect(clippy::expect_used, reason = "test code: it says what is wrong by stopping")]

pub mod anatomy;
pub mod executor;
pub mod faults;
pub mod fixtures;
pub mod fuzz;
pub mod grammar;
pub mod history;
pub mod interleave;
pub mod laws;
pub mod model;
pub mod oracle;
pub mod packets;
pub mod pool;
pub mod random;
pub mod town;
pub mod world;

pub use executor::{End, Executor, Outcome, Ran, Slice, Walk};
pub use model::Model;
pub use weir_dataplane::image;
pub use world::{FlowImage, State, World};
