//! bpf-linker, built once against LLVM 22 and kept with cargo's other programs.

use super::{Found, Scope};
use crate::error::Error;
use crate::shell;
use crate::workspace::Workspace;
use std::process::Command;

pub(super) const WHAT: &str = "bpf-linker 0.13.0";
const VERSION: &str = "0.13.0";

/// Where Debian's and LLVM's own packages put the library; the linker's build script does not look there.
const LLVM: &str = "-L /usr/lib/llvm-22/lib";

pub(super) fn is_installed(_: &Workspace, _: Scope) -> Found {
    match shell::stdout_of(Command::new("bpf-linker").arg("--version")) {
        Some(text) if text.trim() == WHAT => Found::Yes,
        Some(text) => Found::Instead(format!("in PATH is {}", text.trim())),
        None => Found::Instead("not in PATH, or it does not start".into()),
    }
}

/// Takes a minute or three, once.
pub(super) fn install(workspace: &Workspace, _: Scope) -> Result<(), Error> {
    shell::run(command().current_dir(workspace.root()))
}

pub(super) fn command() -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .env("RUSTFLAGS", LLVM)
        // A target directory that was set for the workspace is not the linker's.
        .env_remove("CARGO_TARGET_DIR")
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", "llvm-22"]);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_a_user_is_given_is_the_one_that_is_run() {
        assert!(WHAT.ends_with(VERSION));
        assert_eq!(
            shell::text(&command()),
            "RUSTFLAGS='-L /usr/lib/llvm-22/lib' cargo install bpf-linker --version 0.13.0 --locked --force \
             --no-default-features --features llvm-22"
        );
    }
}
