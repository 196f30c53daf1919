//! A compiler that has the source of `core` beside it: rustup's, else Debian's in a folder of its own.

use super::{Found, Scope};
use crate::error::Error;
use crate::shell;
use crate::workspace::Workspace;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Debian's newer Rust, packaged for Firefox. Pinned to the one whose LLVM is bpf-linker's (22), because the
/// same names also carry an older one; Debian's revisions of it are welcome.
const PACKAGES: [&str; 5] = [
    "rustc-web=1.96.*",
    "rust-web-src=1.96.*",
    "libstd-rust-web-1.96",
    "libstd-rust-web-dev=1.96.*",
    "libllvm22",
];

/// The folder that holds Debian's libraries, as `dataplane/build.rs` expects it.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

pub(super) fn has_core_source(workspace: &Workspace, _: Scope) -> Found {
    let prefix = workspace.toolchain();
    let mut second = Command::new(prefix.join("usr/bin/rustc"));
    second.env("LD_LIBRARY_PATH", prefix.join(LIBRARIES));
    if rustup_has_core_source() || has_core(&mut second) {
        Found::Yes
    } else {
        Found::Instead("no compiler here has it".into())
    }
}

/// Whether the compiler of the workspace itself has it: build and lints alike can use that one.
pub(crate) fn rustup_has_core_source() -> bool {
    has_core(&mut Command::new("rustc"))
}

/// Asks rustup, and where it has no sources to give, takes Debian's compiler: unpacked, not installed.
pub(super) fn get_core_source(workspace: &Workspace, _: Scope) -> Result<(), Error> {
    let rustup = shell::run(Command::new("rustup").args(["component", "add", "rust-src"]));
    let Err(refused) = rustup else { return Ok(()) };
    eprintln!("set-up: {refused}; taking Debian's compiler instead");
    unpack_debians(&workspace.toolchain())
}

fn unpack_debians(prefix: &Path) -> Result<(), Error> {
    let downloads = prefix.join("downloads");
    let file = |source| Error::File { path: downloads.clone(), source };
    // Whatever an interrupted run left would be mixed with this.
    if prefix.exists() {
        fs::remove_dir_all(prefix).map_err(file)?;
    }
    fs::create_dir_all(&downloads).map_err(file)?;
    shell::run(Command::new("apt-get").arg("update"))?;
    shell::run(
        // apt downloads as a user of its own where it can; this folder may be out of that user's reach.
        Command::new("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(PACKAGES)
            .current_dir(&downloads),
    )?;
    for entry in fs::read_dir(&downloads).map_err(file)? {
        let package = entry.map_err(file)?.path();
        shell::run(Command::new("dpkg").arg("-x").arg(package).arg(prefix))?;
    }
    fs::remove_dir_all(&downloads).map_err(file)
}

fn has_core(rustc: &mut Command) -> bool {
    shell::stdout_of(rustc.args(["--print", "sysroot"]))
        .is_some_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}
