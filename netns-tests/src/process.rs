//! Programs: run to their end, or kept running behind a guard.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;
use crate::waiting::until;

/// How much of a log an error shows.
const LOG_TAIL_LINES: usize = 30;

/// Runs a program to its end and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> Result<String, Error> {
    output(Command::new(program).args(args))
}

/// Runs a command to its end and returns what it printed.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let line = shown(command);
    // A group of its own: Ctrl-C is for the program that cleans up, and it ends its children itself.
    let ended = command
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .map_err(Error::io(format!("start `{line}`")))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(Error::Failed { command: line, status: ended.status.to_string(), said });
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// Runs a command that prints JSON.
pub fn json(command: &mut Command) -> Result<serde_json::Value, Error> {
    let line = shown(command);
    let printed = output(command)?;
    serde_json::from_str(&printed).map_err(|error| Error::Output {
        command: line,
        why: error.to_string(),
        output: printed,
    })
}

/// A command as it would be typed.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A running program. Dropping it ends it, by its own pid.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output, both kinds, goes to the file `log`.
    pub fn start(what: impl Into<String>, command: &mut Command, log: &Path) -> Result<Self, Error> {
        let out = File::options().create(true).append(true).open(log).map_err(Error::file("open", log))?;
        let err = out.try_clone().map_err(Error::file("open", log))?;
        let line = shown(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("start `{line}`")))?;
        Ok(Self { what: what.into(), child, log: log.into() })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines the program wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(LOG_TAIL_LINES))
            .map(|line| format!("  | {line}\n"))
            .collect()
    }

    /// How the program ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::io(format!("ask for the end of {}", self.what)))
    }

    /// An error if the program has ended.
    pub fn must_run(&mut self) -> Result<(), Error> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                what: self.what.clone(),
                status: status.to_string(),
                said: self.log_tail(),
            }),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        kill(self.kernel_pid(), signal).map_err(Error::io(format!("send {signal} to {}", self.what)))
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus, Error> {
        let what = format!("the end of {}", self.what);
        let log = self.log.clone();
        until(&what, patience, || fs::read_to_string(log).unwrap_or_default(), || self.ended())
    }

    /// Ends the program the hard way and waits until it is gone.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().map_err(Error::io(format!("kill {}", self.what)))?;
        self.child.wait().map(drop).map_err(Error::io(format!("wait for {}", self.what)))
    }

    fn kernel_pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that is gone already is what is wanted; there is nobody to tell about anything else.
        let _: io::Result<()> = self.child.kill();
        let _: io::Result<ExitStatus> = self.child.wait();
    }
}
