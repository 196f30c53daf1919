//! What RFC 4787, 5382, 5508, 7857 and 6056 ask of a NAT, one test each by number, on Weir and on the kernel's own NAT.
//!
//! The topology is drawn in `weir_netns_tests::nat`. Both NATs get the same packets. What is seen of each must be just what the table in
//! `weir_netns_tests::rfcs` claims, from which `docs/rfcs.md` is written: a test fails where a NAT does worse, and
//! where it does better too.

mod mapping;
mod measured;
mod rfc4787;
mod rfc4787_packets;
mod rfc5382;
mod rfc5508;
mod rfc5508_errors;
mod rfc6056;
mod rfc7857;
mod runner;
mod vector;

use std::process::ExitCode;

use crate::vector::Vector;

/// The tests, by file: those of one file run one after the other.
const FILES: [&[Vector]; 7] = [
    rfc4787::VECTORS,
    rfc4787_packets::VECTORS,
    rfc5382::VECTORS,
    rfc5508::VECTORS,
    rfc5508_errors::VECTORS,
    rfc7857::VECTORS,
    rfc6056::VECTORS,
];

fn main() -> ExitCode {
    runner::run(&FILES)
}
