//! The `weir` command, run by tests: to its end, or in the background until it says something.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command};

/// What a command said, and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn by(mut command: Command) -> Self {
        let done = command.output().unwrap();
        Self {
            code: done.status.code().unwrap(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }
}

/// A command that runs on.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: BufReader<ChildStderr>,
    /// What it said so far.
    pub(crate) said: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines, said: String::new() }
    }

    /// Reads what it says until it says this.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            self.said += &line;
            if line.contains(words) {
                return;
            }
            line.clear();
        }
        let _ = self.child.wait();
        assert!(self.said.contains(words), "{words:?} was not said:\n{}", self.said);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Stops it, which is no failure.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}{rest}", self.said);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is none that could be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
