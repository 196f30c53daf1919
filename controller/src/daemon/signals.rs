//! Signals as events.

use nix::sys::signal::{SigSet, Signal as Kind};
use std::io;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// What the daemon is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

pub(super) struct Signals {
    hangup: Listener,
    terminate: Listener,
    interrupt: Listener,
}

impl Signals {
    /// Listens for them, also where whoever started the daemon had them blocked: a mask is inherited.
    pub(super) fn new() -> io::Result<Self> {
        let heard: SigSet = [Kind::SIGHUP, Kind::SIGTERM, Kind::SIGINT].into_iter().collect();
        heard.thread_unblock()?;
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
        }
    }
}
