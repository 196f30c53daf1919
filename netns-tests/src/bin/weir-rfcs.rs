//! Prints `docs/rfcs.md` as the table in `weir_netns_tests::rfcs` says it must be; `cargo xtask docs` writes it down.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the page is the result")]

fn main() {
    print!("{}", weir_netns_tests::rfcs::page());
}
