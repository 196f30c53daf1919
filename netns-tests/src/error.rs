//! What can go wrong while a topology is built, used and taken down.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step that failed: what, with which value, and what to do now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the machine must have.
    #[error("{what} is missing. Run `cargo xtask setup` as root: it gets it (by hand: `{by_hand}`)")]
    Missing {
        /// What is missing.
        what: String,
        /// The command that gets just this.
        by_hand: String,
    },
    /// A namespace of this name is there.
    #[error(
        "the namespace {name} exists: another run is under way, or one was killed before it could clean up. If so: \
         for n in $(ls {dir} | grep ^{prefix}); do ip netns pids $n | xargs -r kill -9; ip netns del $n; done; \
         rm -rf {pins}*"
    )]
    Exists {
        /// The namespace.
        name: String,
        /// Where namespaces are.
        dir: &'static str,
        /// What all names of that run begin with.
        prefix: String,
        /// What all pin folders of that run begin with.
        pins: String,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed with {status}: {said}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// A program said what nobody understands.
    #[error("`{command}` printed what cannot be read ({why}): {output}. Was its format changed?")]
    Output {
        /// The command line.
        command: String,
        /// What is wrong with the output.
        why: String,
        /// The output.
        output: String,
    },
    /// An event that was waited for did not come.
    #[error("{what} did not happen within {}\n{evidence}", Seconds(*.waited))]
    TooLate {
        /// The event.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// What was seen instead.
        evidence: String,
    },
    /// A program ended that should run.
    #[error("{what} ended by itself ({status}). It said:\n{said}")]
    Ended {
        /// The program.
        what: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        said: String,
    },
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// A file of the run could not be handled.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// Something outlived its run.
    #[error("left behind, and must not be: {}", .0.join(", "))]
    LeftBehind(Vec<String>),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; everything made so far is taken down")]
    Interrupted,
}

impl Error {
    /// For `map_err` on what the operating system refuses.
    pub fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source: source.into() }
    }

    /// For `map_err` on what a file refuses.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f32())
    }
}

/// An error as a test shows it: `cargo test` prints the `Debug` form, and a sentence reads better there.
pub struct Failure(String);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a test returns.
pub type Tested = Result<(), Failure>;
