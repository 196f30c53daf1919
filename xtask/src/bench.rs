//! `cargo xtask bench`: figures, from optimised builds.

use crate::error::Error;
use crate::setup::{self, Scope};
use crate::shell;
use crate::workspace::Workspace;

/// Runs one of the benchmarks; what it prints is a result.
pub(crate) fn run(workspace: &Workspace, which: &str, flags: &[&str]) -> Result<(), Error> {
    let (scope, command): (_, &[&str]) = match which {
        "path" => (Scope::Build, &["bench", "--package=weir-benches", "--bench=path", "--"]),
        "program" => {
            (Scope::Everything, &["run", "--release", "--package=weir-benches", "--bin=program", "--"])
        }
        "flows" => (Scope::Everything, &["run", "--release", "--package=weir-benches", "--bin=flows", "--"]),
        other => return Err(Error::Usage { given: format!("bench {other}"), usage: crate::USAGE }),
    };
    setup::make_ready(workspace, scope, &format!("bench {which}"))?;
    shell::run_with_stdout(workspace.cargo(command).args(flags))
}
