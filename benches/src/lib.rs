//! Benchmarks: the path on a slice, the programs in the kernel.
//!
//! What the benchmarks of programs have in common: the [`harness`] that packets are measured in, the [`town`]
//! that they live in, the [`pool`] that its sandbox opens flows from, the [`frames`] themselves, and how [`figures`]
//! are put together.

pub mod figures;
pub mod frames;
pub mod harness;
pub mod machine;
pub mod pool;
pub mod rounds;
pub mod town;

/// What a benchmark can end with.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
