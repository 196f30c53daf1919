//! Network namespaces: entered by a thread that is thrown away, so that the daemon's own threads never move.

use super::error::HostError;
use super::link::{self, Device, Kind, NamespaceId};
use super::{SandboxEnd, sys};
use crate::config::NETNS_DIR;
use nix::sched::{CloneFlags, setns};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
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

    /// Every device inside, and which of them lead to the caller's namespace.
    ///
    /// # Errors
    /// [`HostError::Namespace`], [`HostError::Netlink`], [`HostError::Request`].
    pub(super) fn look(&self) -> Result<Inside, HostError> {
        let own = own().map_err(|source| HostError::Namespace { namespace: self.clone(), source })?;
        self.enter(|| {
            let netlink = |source| HostError::Netlink { doing: "connecting inside a namespace", source };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(netlink)?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().map_err(netlink)?;
                tokio::spawn(connection);
                // In this order: listing a device gives the namespace of its other end a number.
                let devices = link::devices(&handle).await?;
                let outside = link::namespace_id(&handle, own.as_fd()).await?;
                Ok(Inside { devices, outside })
            })
        })?
    }

    /// Whether this is the calling thread's own namespace.
    pub(super) fn is_own(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let of_own = own().and_then(|file| file.metadata()).map(identity).ok();
        of_own.is_some() && of_own == fs::metadata(&self.0).map(identity).ok()
    }
}

/// A namespace, seen from inside.
pub(super) struct Inside {
    pub(super) devices: BTreeMap<IfIndex, Device>,
    /// The number that it has for the caller's namespace.
    outside: Option<NamespaceId>,
}

impl Inside {
    /// The index, in the caller's namespace, of the other end of this veth; none if it isn't there.
    ///
    /// Indices alone would not do: the same two numbers may be a pair in other namespaces as well.
    pub(super) fn other_end_outside(&self, device: &Device) -> Option<IfIndex> {
        match device.kind {
            Kind::Veth { peer, peer_namespace: Some(namespace) } if Some(namespace) == self.outside => {
                Some(peer)
            }
            _ => None,
        }
    }
}

/// The sandboxes' ends of all veth pairs whose other end is in the caller's namespace, by that end's index.
///
/// Namespaces that can't be entered are passed over: whoever misses an end of theirs says so.
pub(super) fn veth_ends() -> BTreeMap<IfIndex, SandboxEnd> {
    let mut ends = BTreeMap::new();
    let own = own().and_then(|file| file.metadata()).map(|it| it.ino());
    let mut seen: BTreeSet<u64> = own.into_iter().collect();
    for path in candidates() {
        // Processes come and go while we look.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if !seen.insert(metadata.ino()) {
            continue;
        }
        let namespace = Namespace::new(path);
        let Ok(inside) = namespace.look() else { continue };
        for device in inside.devices.values() {
            if let Some(outer) = inside.other_end_outside(device) {
                ends.insert(outer, SandboxEnd { namespace: namespace.clone(), name: device.name.clone() });
            }
        }
    }
    ends
}

fn own() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
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
