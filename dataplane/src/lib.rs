//! The running dataplane as a library: load, attach, pin, adopt, write and read tables, test-run.
//!
//! The packet path itself is `weir-path`; `ebpf/` compiles it into the programs that this crate loads.

pub mod image;
