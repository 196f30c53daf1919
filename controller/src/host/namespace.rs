//! Network namespaces: entered by a thread that is thrown away, so that the daemon's own threads never move.

use super::error::HostError;
use super::link::{self, Device, Kind};
use super::{SandboxEnd, sys};
use crate::config::NETNS_DIR;
use nix::sched::{CloneFlags, setns};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use weir_path::addr::IfIndex;

/// A network namespace, by the file that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(PathBuf);

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strip_prefix(NETNS_DIR).unwrap_or(&self.0).display().fmt(f)
    }
}

impl Namespace {
    /// The namespace behind this file.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Runs `work` inside.
    ///
    /// # Errors
    /// [`HostError::Namespace`].
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, HostError> {
        let error = |source| HostError::Namespace { namespace: self.clone(), source };
        let file = File::open(&self.0).map_err(error)?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            match inside.join() {
                Ok(result) => result,
                Err(_) => Err(io::Error::other("the thread that entered it stopped")),
            }
        })
        .map_err(error)
    }

    /// Every device inside.
    ///
    /// # Errors
    /// [`HostError::Namespace`], [`HostError::Netlink`], [`HostError::Request`].
    pub fn devices(&self) -> Result<BTreeMap<IfIndex, Device>, HostError> {
        self.enter(|| {
            let netlink = |source| HostError::Netlink { doing: "connecting inside a namespace", source };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(netlink)?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().map_err(netlink)?;
                tokio::spawn(connection);
                link::devices(&handle).await
            })
        })?
    }
}

/// The end of a veth pair that has index `inner` in its namespace and `outer` as its peer, wherever it is.
pub(super) fn find_veth_end(inner: IfIndex, outer: IfIndex) -> Result<Option<SandboxEnd>, HostError> {
    let own = File::open("/proc/thread-self/ns/net").and_then(|file| file.metadata()).map(|it| it.ino());
    let mut seen: BTreeSet<u64> = own.into_iter().collect();
    for path in candidates() {
        // Processes come and go while we look.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if !seen.insert(metadata.ino()) {
            continue;
        }
        let namespace = Namespace::new(path);
        let Ok(devices) = namespace.devices() else { continue };
        let end = devices.get(&inner);
        if let Some(end) = end.filter(|end| end.kind == Kind::Veth { peer: outer, peer_is_here: false }) {
            return Ok(Some(SandboxEnd { namespace, name: end.name.clone() }));
        }
    }
    Ok(None)
}

/// Files that stand for namespaces: the named ones, then those that processes are in.
fn candidates() -> Vec<PathBuf> {
    let list = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = list(NETNS_DIR);
    let of_processes = list("/proc")
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        })
        .map(|path| path.join("ns/net"));
    named.chain(of_processes).collect()
}

/// Whether GRO is on at a device of the calling thread's namespace: for tests of what the daemon did.
///
/// # Errors
/// What the kernel said.
pub fn gro_is_on(name: &str) -> io::Result<bool> {
    sys::gro(name)
}
