//! The daemon and the command line, as a test or the demo drives them: by its files, signals and output alone.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::config::Config;
use crate::counters::Counters;
use crate::error::Error;
use crate::flows::{Events, Flow};
use crate::notify::Notifications;
use crate::process::{self, Process};
use crate::requirements::weir_binary;
use crate::topology::Testbed;
use crate::waiting::PATIENCE;

/// The kernel takes some seconds of a CPU to look through the programs, and several daemons may start at once.
const SLOW_START: Duration = Duration::from_secs(60);

/// A daemon of a testbed: running, dead, or between two lives.
#[derive(Debug)]
pub struct Weir {
    binary: PathBuf,
    netns: PathBuf,
    config: PathBuf,
    log: PathBuf,
    notifications: Notifications,
    daemon: Option<Process>,
    pin_dir: PathBuf,
    is_released: bool,
}

impl Weir {
    /// Writes the configuration; starts nothing.
    pub fn new(bed: &Testbed, config: &Config) -> Result<Self, Error> {
        let weir = Self::named(bed, "weir", bed.pin_dir.clone())?;
        weir.write(&config.toml(bed))?;
        Ok(weir)
    }

    /// A second daemon on the same host, started and ready, with pins and files of its own, which begin with `name`.
    pub fn beside(bed: &Testbed, name: &str, config: &Config) -> Result<Self, Error> {
        let pins = bed.pin_dir.display().to_string();
        let mut weir = Self::named(bed, name, PathBuf::from(format!("{pins}-{name}")))?;
        let of_its_own =
            [(pins, weir.pin_dir.display().to_string()), ("/state\"".into(), format!("/{name}\""))];
        weir.write(&of_its_own.iter().fold(config.toml(bed), |text, (from, to)| text.replacen(from, to, 1)))?;
        weir.start()?;
        Ok(weir)
    }

    fn named(bed: &Testbed, name: &str, pin_dir: PathBuf) -> Result<Self, Error> {
        let file = |kind: &str| bed.dir().join(format!("{name}.{kind}"));
        Ok(Self {
            binary: weir_binary()?,
            netns: bed.host.path(),
            config: file("toml"),
            log: file("log"),
            notifications: Notifications::listen(file("notify"))?,
            daemon: None,
            pin_dir,
            is_released: false,
        })
    }

    /// Replaces the configuration file. The daemon learns of it by [`Weir::reload`].
    pub fn write(&self, text: &str) -> Result<(), Error> {
        fs::write(&self.config, text).map_err(Error::file("write", &self.config))
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(&mut self) -> Result<(), Error> {
        let mut command = self.command(&["run"]);
        command.env("NOTIFY_SOCKET", self.notifications.path()).env("NO_COLOR", "1");
        let mut daemon = Process::start("the daemon", &mut command, &self.log)?;
        self.notifications.wait("READY=1", &mut daemon, SLOW_START)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// SIGHUP, and the wait for the end of the reload. Returns the status the daemon reports then.
    pub fn reload(&mut self) -> Result<String, Error> {
        let Some(daemon) = &mut self.daemon else {
            return Err(Error::Missing { what: "a running daemon".into(), by_hand: "Weir::start".into() });
        };
        daemon.signal(Signal::SIGHUP)?;
        self.notifications.wait("RELOADING=1", daemon, PATIENCE)?;
        self.notifications.wait("READY=1", daemon, PATIENCE)
    }

    /// A new configuration for the running daemon, in force when this returns.
    pub fn reconfigure(&mut self, bed: &Testbed, config: &Config) -> Result<(), Error> {
        self.write(&config.toml(bed))?;
        self.reload().map(drop)
    }

    /// SIGKILL, and the wait for its end: the daemon has no time to say or to save anything.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.kill())
    }

    /// `weir stop`: the daemon ends in its own time, the dataplane goes on.
    pub fn stop(&mut self) -> Result<(), Error> {
        process::output(&mut self.command(&["stop"]))?;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// `weir stop --release`: ends the daemon if it runs, detaches and unpins everything.
    pub fn release(mut self) -> Result<(), Error> {
        process::output(&mut self.command(&["stop", "--release"]))?;
        self.is_released = true;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// What a command that shows something prints as JSON, which works beside a dead daemon as well.
    pub fn shown(&self, words: &[&str]) -> Result<serde_json::Value, Error> {
        process::json(self.command(words).args(["-o", "json"]))
    }

    /// `weir get counters`, which works beside a dead daemon as well.
    pub fn counters(&self) -> Result<Counters, Error> {
        let printed = self.shown(&["get", "counters"])?;
        Counters::read(&printed).ok_or_else(|| Error::Output {
            command: "weir get counters -o json".into(),
            why: "not the fields that counters have".into(),
            output: printed.to_string(),
        })
    }

    /// `weir get flows`, which works beside a dead daemon as well.
    pub fn flows(&self) -> Result<Vec<Flow>, Error> {
        let printed = self.shown(&["get", "flows"])?;
        serde_json::from_value(printed.clone()).map_err(|error| Error::Output {
            command: "weir get flows -o json".into(),
            why: error.to_string(),
            output: printed.to_string(),
        })
    }

    /// Starts `weir events`, and waits until it listens.
    pub fn events(&self) -> Result<Events, Error> {
        let log = self.log.with_file_name("events.log");
        let mut command = self.command(&["events", "--json"]);
        Events::begin(Process::start("weir events", &mut command, &log)?, log)
    }

    /// Everything the daemon wrote to its log, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Any `weir` command with this testbed's configuration, run to its end whatever that is.
    pub fn try_command(&self, words: &[&str]) -> Result<Output, Error> {
        let mut command = self.command(words);
        let line = process::shown(&command);
        command.stdin(Stdio::null()).output().map_err(Error::io(format!("run `{line}`")))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.display())).arg("--").arg(&self.binary);
        command.args(words).arg("--config").arg(&self.config);
        command
    }
}

impl Drop for Weir {
    /// On the way out of a failed test: pins outlive every process, so the next run would meet them.
    fn drop(&mut self) {
        drop(self.daemon.take());
        if !self.is_released {
            let _: io::Result<()> = fs::remove_dir_all(&self.pin_dir);
        }
    }
}
