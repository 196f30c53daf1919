//! Waiting with a deadline, and Ctrl-C.
//!
//! What has an event (a datagram, a child's end, a batch of requests) is waited for by that event. What has
//! none, like another program's listening socket, is asked for again and again until a deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// How often something without an event is asked for.
const TICK: Duration = Duration::from_millis(5);

/// Longer than anything here takes on a busy machine with two cores, short enough for a test to fail by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns Ctrl-C, SIGTERM and SIGHUP into [`Error::Interrupted`] at the next wait, so that guards are dropped on
/// the way out.
///
/// By handlers, which a started program does not inherit. A blocked signal it would: the daemon would be deaf.
pub fn catch_interrupts() -> Result<(), Error> {
    let cannot = || Error::io("listen for Ctrl-C");
    let runtime = Builder::new_current_thread().enable_io().build().map_err(cannot())?;
    let context = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot())?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(cannot())?;
    drop(context);
    let wait = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        // A second Ctrl-C changes nothing: the guards are at work already.
        INTERRUPTED.store(true, Ordering::Relaxed);
    };
    thread::spawn(move || runtime.block_on(wait));
    Ok(())
}

/// An error if somebody pressed Ctrl-C.
pub fn go_on() -> Result<(), Error> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Asks until the answer is there. `evidence` is what an operator would want to see if it never comes.
pub fn until<T>(
    what: &str,
    patience: Duration,
    evidence: impl FnOnce() -> String,
    mut ask: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        go_on()?;
        if begun.elapsed() > patience {
            return Err(Error::TooLate { what: what.into(), waited: patience, evidence: evidence() });
        }
        thread::sleep(TICK);
    }
}
