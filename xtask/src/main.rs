//! What the README's two commands call: set-up, demo, tests, benchmarks.
//!
//! Everything here is a list that can be read: [`setup`] lists what a machine must have and how to get it,
//! [`mod@test`] lists the stages. Narration goes to stderr; stdout carries results alone, so that
//! `cargo xtask demo --json` prints one object and nothing else.

mod bench;
mod demo;
mod error;
mod reasons;
mod rfcs;
mod setup;
mod shell;
mod tally;
mod test;
mod workspace;

use error::Error;
use setup::Scope;
use std::process::ExitCode;
use workspace::Workspace;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  setup            install what is missing; does nothing where nothing is missing (root)
  demo [--json]    set-up, build, then real connections through a VIP into sandboxes (root)
  test [--long]    set-up, then everything: format, lints, docs, every test; --long adds the slow ones (root)
  check            format, lints, and the tests that need neither root nor a kernel
  bench path       the packet path on a slice, in user space
  bench program    the programs in the kernel: nanoseconds a packet, an open, an end (root)
  bench flows      many flows: opened and ended on two CPUs, aged, listed (root)
  bench ports [--json] [--quick] [section ...]
                   how flows find the ports of an ENI's address, from the first to the last one (root)
  bench wire [--json] [--quick]
                   the whole way over veths: Weir beside forwarding, nftables and bare programs, five minutes (root)
  docs [--check]   write docs/reasons.md and docs/rfcs.md from the source; with --check only compare the first
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&arguments).unwrap_or_else(|error| {
        eprintln!("\nxtask: {error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &[&str]) -> Result<ExitCode, Error> {
    let workspace = Workspace::find()?;
    match arguments {
        ["setup"] => setup::make_ready(&workspace, Scope::Everything, "setup")?,
        ["demo", flags @ ..] => demo::run(&workspace, flags)?,
        ["test"] => return test::everything(&workspace, false),
        ["test", "--long"] => return test::everything(&workspace, true),
        ["check"] => return test::without_root(&workspace),
        ["bench", which, flags @ ..] => bench::run(&workspace, which, flags)?,
        ["docs"] => {
            reasons::write(&workspace)?;
            rfcs::write(&workspace)?;
        }
        ["docs", "--check"] => reasons::compare(&workspace)?,
        [] | ["help" | "-h" | "--help"] => eprint!("{USAGE}"),
        other => return Err(Error::Usage { given: other.join(" "), usage: USAGE }),
    }
    Ok(ExitCode::SUCCESS)
}
