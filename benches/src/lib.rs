//! Benchmarks: the path on a slice, the programs in the kernel.
