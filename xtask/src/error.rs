//! What can go wrong, and what to do about it.

use crate::setup::Missing;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a command of this tool did not succeed.
#[derive(Debug)]
pub(crate) enum Error {
    /// No such command or flag.
    Usage { given: String, usage: &'static str },
    /// Started by something else than cargo.
    NotFromCargo { variable: &'static str },
    /// Namespaces, BPF programs and packages need root.
    NotRoot { command: String },
    /// The machine lacks something, and it could not be had.
    Missing { missing: Vec<Missing>, again: String },
    /// A program ended badly.
    Failed { command: String, status: ExitStatus },
    /// A program could not be started.
    CannotStart { command: String, source: std::io::Error },
    /// A file could not be read or written.
    File { path: PathBuf, source: std::io::Error },
    /// A stage of the tests did not pass.
    Stage { stage: &'static str },
    /// Every test was filtered out or none was built: that proves nothing.
    NoTests,
    /// A generated page is not what the source says.
    Stale { path: PathBuf },
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { given, usage } => write!(f, "there is no `cargo xtask {given}`\n\n{usage}"),
            Self::NotFromCargo { variable } => {
                write!(f, "{variable} is not set; start this with `cargo xtask`, not by its path")
            }
            Self::NotRoot { command } => write!(
                f,
                "this needs root, because it makes network namespaces and loads BPF programs; nothing was \
                 built.\nRun it as root:\n\n    sudo env \"PATH=$PATH\" cargo xtask {command}\n"
            ),
            Self::Missing { missing, again } => write_missing(f, missing, again),
            Self::Failed { command, status } => write!(f, "`{command}` failed: {status}; see above"),
            Self::CannotStart { command, source } => {
                write!(f, "`{command}` could not be started: {source}; is it installed and in PATH?")
            }
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Stage { stage } => {
                write!(f, "stage `{stage}` did not pass; its output is above")
            }
            Self::NoTests => {
                write!(f, "no test ran, which proves nothing; see what cargo said above about building them")
            }
            Self::Stale { path } => {
                write!(f, "{} is not what the source says; run `cargo xtask docs`", path.display())
            }
        }
    }
}

fn write_missing(f: &mut Formatter<'_>, missing: &[Missing], again: &str) -> fmt::Result {
    write!(f, "this machine lacks something; nothing was built.\n\n")?;
    for lack in missing {
        writeln!(f, "  {}: {}", lack.what, lack.found)?;
        writeln!(f, "    needed because {}", lack.why)?;
        writeln!(f, "    get it:  {}\n", lack.how)?;
    }
    write!(f, "Then run `cargo xtask {again}` again.")
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::CannotStart { source, .. } | Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
