//! `weir events`: flows that end, one line each, as they end.
//!
//! ```text
//!   program ends a flow ─► ring ─► readable ─► lines on stdout, until SIGINT or SIGTERM
//! ```
//!
//! Programs tell only while somebody reads, and each event is read once: so there is one reader at a time, who
//! holds a lock for as long as it reads.

mod view;

pub use view::EventView;

use crate::get::{GetError, Names, Source};
use crate::store::{Store, StoreError};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use weir_dataplane::Tables;
use weir_dataplane::events::Events;
use weir_path::flow::event::Event;

/// Targets may be renamed as often as the configuration is reloaded; more often than this nobody looks.
const NAMES_LAST: Duration = Duration::from_secs(1);
/// Lines between two looks at the signals: a flood of flows must not keep the command from stopping.
const LINES_IN_A_ROW: usize = 4_096;

/// Why flows that end could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// There is no dataplane, or it can't be read.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The lock can't be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ring can't be opened.
    #[error(transparent)]
    Dataplane(#[from] weir_dataplane::Error),
    /// The events can't be waited for, or written.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a line for each flow that ends, until it is told to stop. What got lost is said on stderr.
///
/// # Errors
/// [`EventsError`]; [`StoreError::Followed`] where another one follows already.
pub async fn follow(config: &Path, json: bool) -> Result<(), EventsError> {
    let section = crate::get::dataplane_section(config)?;
    let mut known = Known::new(config)?;
    // Before the ring is opened: whoever closes it tells the programs to stop telling.
    let _held = Store::new(&section.state_dir).hold_events()?;
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    let mut ring = Events::open(&section.pin_dir)?;
    let fd = watched(&ring).map_err(failed("wait for events"))?;
    let mut lost = ring.lost()?;
    // Whoever waits for this line misses nothing that ends later.
    tell("following flows that end, until SIGINT or SIGTERM")?;
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            ready = fd.readable() => {
                let mut ready = ready.map_err(failed("wait for events"))?;
                // There may be more: then the ring stays readable, and the signals have their turn.
                if write_some(&mut ring, &mut known, json)? < LINES_IN_A_ROW {
                    ready.clear_ready();
                }
            }
        }
        lost = report_lost(lost, ring.lost()?)?;
    }
}

fn stop(kind: SignalKind) -> Result<tokio::signal::unix::Signal, EventsError> {
    signal(kind).map_err(failed("listen for signals"))
}

/// A handle of its own, so that a ring can be read while it is waited for.
#[expect(
    deprecated,
    reason = "it is sound here: an OwnedFd stays open while it is registered; what replaces it is unsafe"
)]
pub(crate) fn watched(ring: &impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(ring.as_fd().try_clone_to_owned()?, Interest::READABLE)
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> EventsError {
    move |source| EventsError::System { doing, source }
}

/// Writes what is in the ring, up to a limit, and returns how many lines that were.
fn write_some(ring: &mut Events, known: &mut Known<'_>, json: bool) -> Result<usize, EventsError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut lines = 0;
    while lines < LINES_IN_A_ROW
        && let Some(event) = ring.next_event()
    {
        lines += 1;
        let now = known.tables.now();
        let names = known.names(&event);
        let view = EventView::new(&event, names, now, SystemTime::now());
        let line = if json { serde_json::to_string(&view).map_err(GetError::Json)? } else { view.line() };
        writeln!(out, "{line}").map_err(failed("write an event"))?;
    }
    out.flush().map_err(failed("write an event"))?;
    Ok(lines)
}

/// Says how many events got lost since the last time, and returns how many there are by now.
fn report_lost(before: u64, now: u64) -> Result<u64, EventsError> {
    if now > before {
        tell(&format!("{} events were lost, because they were not read fast enough", now - before))?;
    }
    Ok(now)
}

fn tell(message: &str) -> Result<(), EventsError> {
    writeln!(io::stderr(), "weir: {message}").map_err(failed("write to stderr"))
}

/// The tables, and what their targets are called.
struct Known<'a> {
    config: &'a Path,
    tables: Tables,
    names: Names,
    epoch: u64,
    since: Instant,
}

impl<'a> Known<'a> {
    fn new(config: &'a Path) -> Result<Self, EventsError> {
        let source = Source::open(config)?;
        let names = source.names()?;
        let tables = source.into_tables();
        Ok(Self { config, epoch: tables.epoch()?, tables, names, since: Instant::now() })
    }

    /// The names, looked up again where they may have changed since.
    fn names(&mut self, event: &Event) -> &Names {
        let [_, serving] = event.zones;
        let is_old = self.since.elapsed() >= NAMES_LAST;
        let epoch = self.tables.epoch().unwrap_or(self.epoch);
        let has_name = self.names.target(serving, &event.reply).is_some() || !serving.is_binding();
        let is_known =
            has_name && (self.names.tenant(event.account).is_some() || event.account.tenant().is_none());
        if is_old && (epoch != self.epoch || !is_known) {
            // A flow without a name is still one that ended.
            if let Ok(newer) = Source::open(self.config).and_then(|source| source.names()) {
                self.names.renew(newer);
            }
            (self.epoch, self.since) = (epoch, Instant::now());
        }
        &self.names
    }
}
