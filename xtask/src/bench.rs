//! `cargo xtask bench`: figures, from optimised builds.

use crate::error::Error;
use crate::setup::{self, Scope};
use crate::shell;
use crate::workspace::Workspace;

/// Runs one of the benchmarks; what it prints is a result.
pub(crate) fn run(workspace: &Workspace, which: &str, flags: &[&str]) -> Result<(), Error> {
    let (scope, command): (_, &[&str]) = match which {
        "path" => (Scope::Build, &["bench", "--package=weir-benches", "--bench=path", "--"]),
        "program" => (Scope::Everything, &runs("--bin=program")),
        "flows" => (Scope::Everything, &runs("--bin=flows")),
        "ports" => (Scope::Everything, &runs("--bin=ports")),
        "wire" => (Scope::Everything, &runs("--bin=wire")),
        other => return Err(Error::Usage { given: format!("bench {other}"), usage: crate::USAGE }),
    };
    setup::make_ready(workspace, scope, &format!("bench {which}"))?;
    if which == "wire" {
        // What users run is what is measured; it is looked for beside the benchmark.
        shell::run(&mut workspace.cargo(&["build", "--release", "--package=weir-controller", "--bins"]))?;
    }
    shell::run_with_stdout(workspace.cargo(command).args(flags))
}

const fn runs(binary: &str) -> [&str; 5] {
    ["run", "--release", "--package=weir-benches", binary, "--"]
}
