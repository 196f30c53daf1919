//! Where things are.

use crate::error::Error;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout that this tool works on.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// The workspace whose cargo started this tool.
    pub(crate) fn find() -> Result<Self, Error> {
        let given = |variable| env::var_os(variable).ok_or(Error::NotFromCargo { variable });
        let package = PathBuf::from(given("CARGO_MANIFEST_DIR")?);
        let this = env::current_exe().map_err(|source| Error::File { path: "xtask".into(), source })?;
        Ok(Self {
            root: package.parent().unwrap_or(&package).to_path_buf(),
            // <target>/<profile>/xtask: true wherever the target directory was put.
            target: this.ancestors().nth(2).unwrap_or(&package).to_path_buf(),
            cargo: given("CARGO")?,
        })
    }

    /// The top of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A program that the dev profile built.
    pub(crate) fn built(&self, program: &str) -> PathBuf {
        self.target.join("debug").join(program)
    }

    /// Where `ebpf/` is linted: its flags are not those of the build, and neither should throw the other's work away.
    pub(crate) fn ebpf_lint_dir(&self) -> PathBuf {
        self.target.join("ebpf-lint")
    }

    /// Where a compiler is put if rustup has no sources to give; `dataplane/build.rs` looks there.
    pub(crate) fn toolchain(&self) -> PathBuf {
        self.target.join("weir-toolchain")
    }

    /// The cargo that started this tool, at the top of the checkout.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.args(arguments).current_dir(&self.root);
        // Set by the cargo that runs this tool, for this package alone.
        for (name, _) in env::vars_os().filter(|(name, _)| is_of_this_package(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        cargo
    }
}

fn is_of_this_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
impl Workspace {
    /// This checkout, without a cargo that runs this tool.
    pub(crate) fn here() -> Self {
        Self::at(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".."))
    }

    /// A checkout at `root`, for what only reads and writes files.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { target: root.join("target"), cargo: "cargo".into(), root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_describes_this_package_is_kept_from_other_cargos() {
        assert!(is_of_this_package("CARGO_PKG_NAME"));
        assert!(is_of_this_package("CARGO_MANIFEST_DIR"));
        assert!(!is_of_this_package("CARGO_HOME"));
        assert!(!is_of_this_package("CARGO_TARGET_DIR"));
    }
}
