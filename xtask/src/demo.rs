//! `cargo xtask demo`: the main job on real traffic, from a clean checkout.

use crate::error::Error;
use crate::setup::{self, Scope};
use crate::shell;
use crate::workspace::Workspace;
use std::process::Command;

/// Sets up, builds in the dev profile and runs the demo; its stdout is this tool's.
pub(crate) fn run(workspace: &Workspace, flags: &[&str]) -> Result<(), Error> {
    let command = ["demo"].iter().chain(flags).copied().collect::<Vec<_>>().join(" ");
    setup::make_ready(workspace, Scope::Everything, &command)?;
    shell::run(&mut workspace.cargo(&[
        "build",
        "--package=weir-controller",
        "--package=weir-netns-tests",
        "--bins",
    ]))?;
    shell::run_with_stdout(
        Command::new(workspace.built("weir-demo")).args(flags).current_dir(workspace.root()),
    )
}
