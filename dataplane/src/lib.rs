//! The running dataplane as a library: load, attach, pin, adopt, write and read tables, test-run.
//!
//! The packet path itself is `weir-path`; `ebpf/` compiles it into the programs that this crate loads.
//!
//! Everything lives in the kernel, pinned under one folder on a bpffs, so that it outlives the process:
//!
//! ```text
//! <pin_dir>/v3/maps/FLOWS_V4 …       the tables           [`Tables`]
//! <pin_dir>/v3/links/xdp-4 …        program on device    [`Dataplane`]
//! ```
//!
//! A new process adopts what it finds after checking it, and swaps programs by updating the links in place:
//! no packet passes by without a program. Dropping a [`Dataplane`] detaches nothing; [`release`] does.

pub mod counters;
pub mod events;
pub mod flows;
pub mod image;
pub mod others;
pub mod test_run;

mod attach;
mod error;
mod object;
mod pins;
mod programs;
mod sys;
mod tables;
mod typed_map;

pub use attach::{AttachPoint, Attachment, Dataplane, Origin, attachments};
pub use error::Error;
pub use object::{FamilySizes, Sizes};
pub use pins::{Options, Released, release};
pub use programs::ProgramSize;
pub use tables::{AccountState, Held, Once, Tables};
