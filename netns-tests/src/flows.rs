//! Flows as `weir get flows` lists them, and their ends as `weir events` tells them.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::Error;
use crate::process::Process;
use crate::waiting::{PATIENCE, until};

/// A flow, as its client sees it, and what it carried.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Flow {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The client's address.
    pub client: String,
    /// The client's port.
    pub client_port: u16,
    /// The VIP.
    pub vip: String,
    /// The port at the VIP.
    pub vip_port: u16,
    /// Who serves it.
    pub target: Option<String>,
    /// How far it has come.
    pub phase: String,
    /// Packets from the client.
    pub to_target_packets: u64,
    /// Bytes from the client, IP headers included.
    pub to_target_bytes: u64,
    /// Packets from the target.
    pub to_client_packets: u64,
    /// Bytes from the target, IP headers included.
    pub to_client_bytes: u64,
}

impl Flow {
    /// Whether it is on the budget of half-open flows.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        matches!(self.phase.as_str(), "new" | "answered")
    }
}

/// A flow that ended.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Ended {
    /// Which flow.
    #[serde(flatten)]
    pub flow: Flow,
    /// Why it ended.
    pub reason: String,
    /// How long it lived.
    pub duration_seconds: f64,
    /// For how long nothing was heard of it when it ended.
    pub idle_seconds: f64,
}

/// `weir events`, listening.
#[derive(Debug)]
pub struct Events {
    process: Process,
    log: PathBuf,
}

/// What `weir events` says once it misses nothing any more.
const LISTENING: &str = "following flows that end";

impl Events {
    /// Returns once every end from now on is told.
    pub(crate) fn begin(mut process: Process, log: PathBuf) -> Result<Self, Error> {
        until("`weir events` listening", PATIENCE, String::new, || {
            process.must_run()?;
            let said = fs::read_to_string(&log).map_err(Error::file("read", &log))?;
            Ok(said.contains(LISTENING).then_some(()))
        })?;
        Ok(Self { process, log })
    }

    /// Every end that was told so far.
    pub fn told(&mut self) -> Result<Vec<Ended>, Error> {
        self.process.must_run()?;
        let text = fs::read_to_string(&self.log).map_err(Error::file("read", &self.log))?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter(|line| line.starts_with('{')).map(read).collect()
    }

    /// Waits for the end of a flow of this client's port.
    pub fn wait_for(&mut self, client_port: u16) -> Result<Ended, Error> {
        let log = self.log.clone();
        let evidence = || fs::read_to_string(log).unwrap_or_default();
        until(&format!("an event of client port {client_port}"), PATIENCE, evidence, || {
            Ok(self.told()?.into_iter().find(|ended| ended.flow.client_port == client_port))
        })
    }
}

fn read(line: &str) -> Result<Ended, Error> {
    serde_json::from_str(line).map_err(|error| Error::Output {
        command: "weir events".into(),
        why: error.to_string(),
        output: line.into(),
    })
}
