//! The daemon's side of `sd_notify`, heard: "ready" and "reloading" are events, so nobody guesses by sleeping.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::process::Process;
use crate::waiting::go_on;

/// How often a wait looks whether the daemon still lives.
const LOOK: Duration = Duration::from_millis(100);

/// The longest notification that is read.
const LONGEST: usize = 4096;

/// The socket a service manager would listen on.
#[derive(Debug)]
pub(crate) struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    pub(crate) fn listen(path: PathBuf) -> Result<Self, Error> {
        let socket = UnixDatagram::bind(&path).map_err(Error::file("listen on", &path))?;
        socket.set_read_timeout(Some(LOOK)).map_err(Error::file("set a time limit on", &path))?;
        Ok(Self { socket, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a line, and returns the last `STATUS=` that came before or with it.
    pub(crate) fn wait(&self, line: &str, daemon: &mut Process, patience: Duration) -> Result<String, Error> {
        let begun = Instant::now();
        let mut status = String::new();
        while begun.elapsed() < patience {
            let heard = self.hear()?;
            for said in heard.lines() {
                if let Some(now) = said.strip_prefix("STATUS=") {
                    status = now.to_owned();
                }
            }
            if heard.lines().any(|said| said == line) {
                return Ok(status);
            }
            daemon.must_run()?;
            go_on()?;
        }
        let what = format!("`{line}` from the daemon");
        Err(Error::TooLate { what, waited: patience, evidence: daemon.log_tail() })
    }

    /// One datagram, or nothing.
    fn hear(&self) -> Result<String, Error> {
        use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let mut buffer = [0; LONGEST];
        match self.socket.recv(&mut buffer) {
            Ok(len) => Ok(String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned()),
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => Ok(String::new()),
            Err(error) => Err(Error::file("read from", &self.path)(error)),
        }
    }
}
