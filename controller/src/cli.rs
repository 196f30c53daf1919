//! The command line.

use crate::daemon::{self, RunError};
use crate::events::{self, EventsError};
use crate::get::{GetError, Noun, Output, Source};
use crate::store::{Store, StoreError};
use clap::{Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use weir_dataplane::Error::NotRunning;

const DEFAULT_CONFIG: &str = "/etc/weir/weir.toml";

/// Shares a few elastic network interfaces among thousands of sandboxes, and spreads connections over them.
#[derive(Debug, Parser)]
#[command(version, name = "weir")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon. Packets don't need it: it may stop, crash and come back.
    Run {
        /// The configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration and say every mistake in it.
    Check {
        /// The configuration.
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
        /// Also look whether this host has the devices and namespaces.
        #[arg(long)]
        host: bool,
    },
    /// Show what is there now; works beside a dead daemon too.
    Get {
        /// What to show.
        noun: Noun,
        /// How.
        #[arg(short, long, default_value = "table")]
        output: Output,
        /// Again every second.
        #[arg(short, long)]
        watch: bool,
        /// The configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Show the remotes that most ports of an ENI's address are in use towards, the fullest first.
    Ports {
        /// How many.
        #[arg(long, default_value_t = 10)]
        top: usize,
        /// Seconds between the two looks that say how fast ports are used up.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
        interval: u64,
        /// How.
        #[arg(short, long, default_value = "table")]
        output: Output,
        /// The configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Follow flows that end, one line each; works beside a dead daemon too. One reader at a time.
    Events {
        /// For programs: one JSON object a line; field names don't change.
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Stop the daemon. The dataplane goes on forwarding, unless it is released.
    Stop {
        /// Also detach every program and give back every table: flows end.
        #[arg(long)]
        release: bool,
        /// The configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

/// What the command line is told by the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Generic = 1,
    Invalid = 4,
    NotRunning = 5,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Get(#[from] GetError),
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Filters(#[from] daemon::FilterError),
    #[error(transparent)]
    Dataplane(#[from] weir_dataplane::Error),
    #[error("cannot {doing}: {source}")]
    System { doing: &'static str, source: io::Error },
}

impl CliError {
    const fn failure(&self) -> Failure {
        match self {
            Self::Run(RunError::Invalid(_)) => Failure::Invalid,
            Self::Get(error) | Self::Events(EventsError::Get(error)) => of_get(error),
            Self::Events(EventsError::Dataplane(NotRunning { .. })) => Failure::NotRunning,
            _ => Failure::Generic,
        }
    }
}

const fn of_get(error: &GetError) -> Failure {
    match error {
        GetError::Invalid(_) => Failure::Invalid,
        GetError::Dataplane(NotRunning { .. }) => Failure::NotRunning,
        _ => Failure::Generic,
    }
}

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody can read it, the exit code still tells.
            let _ = match error.failure() {
                // A report with its own headings.
                Failure::Invalid => writeln!(io::stderr(), "{error}"),
                _ => writeln!(io::stderr(), "weir: {error}"),
            };
            ExitCode::from(error.failure() as u8)
        }
    }
}

impl Command {
    fn run(self) -> Result<(), CliError> {
        match self {
            Self::Run { config } => {
                log_to_stderr();
                Ok(runtime()?.block_on(daemon::run(&config))?)
            }
            Self::Check { file, host } => {
                let config = runtime()?.block_on(daemon::check(&file, host))?;
                let targets: usize = config.groups.iter().map(|group| group.targets.len()).sum();
                say(&format!(
                    "{}: good ({} uplinks, {} listeners, {targets} targets)",
                    file.display(),
                    config.uplinks.len(),
                    config.listeners.len()
                ))
            }
            Self::Get { noun, output, watch: false, config } => {
                say(&Source::open(&config)?.answer(noun, output)?)
            }
            Self::Get { noun, output, watch: true, config } => {
                runtime()?.block_on(watch(noun, output, &config))
            }
            Self::Ports { top, interval, output, config } => {
                let interval = Duration::from_secs(interval);
                say(&Source::open(&config)?.fullest_ports(top, interval, output)?)
            }
            Self::Events { json, config } => Ok(runtime()?.block_on(events::follow(&config, json))?),
            Self::Stop { release, config } => stop(&config, release),
        }
    }
}

async fn watch(noun: Noun, output: Output, config: &Path) -> Result<(), CliError> {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = second.tick() => say(&Source::open(config)?.answer(noun, output)?)?,
            interrupted = tokio::signal::ctrl_c() => {
                return interrupted.map_err(|source| CliError::System { doing: "wait for Ctrl-C", source });
            }
        }
    }
}

fn stop(config: &Path, release: bool) -> Result<(), CliError> {
    let section = crate::get::dataplane_section(config)?;
    let store = Store::new(&section.state_dir);
    match store.running()? {
        Some(running) => {
            let pid = running.pid;
            kill(Pid::from_raw(pid), Signal::SIGTERM)
                .map_err(|errno| CliError::System { doing: "stop the daemon", source: errno.into() })?;
            running.wait().map_err(|source| CliError::System { doing: "wait for the daemon", source })?;
            say(&format!("stopped the daemon (pid {pid})"))?;
        }
        None => say("no daemon runs")?,
    }
    if !release {
        return say("the dataplane goes on forwarding; `weir stop --release` would end it");
    }
    // Held, so that no daemon starts on what is being taken away.
    let _held = store.hold()?;
    let released = weir_dataplane::release(&section.pin_dir)?;
    runtime()?.block_on(daemon::remove_filters(&store))?;
    store.forget()?;
    say(&format!("released {} programs and {} tables", released.links, released.maps))
}

fn say(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "{text}").map_err(|source| CliError::System { doing: "write the answer", source })
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::System { doing: "start", source })
}

fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
