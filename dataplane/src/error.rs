//! What can go wrong, with the value, and what to do about it.

use crate::image::ImageError;
use std::io;
use std::path::PathBuf;
use weir_path::addr::{IfIndex, InterfaceId};

/// Why the dataplane could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pin folder is not on a BPF filesystem.
    #[error("{} is not on a BPF filesystem, so nothing can be pinned there; run `mount -t bpf bpf /sys/fs/bpf`, or set pin_dir to a folder on one", pin_dir.display())]
    NotBpffs {
        /// The folder.
        pin_dir: PathBuf,
    },
    /// The pin folder has a name that a BPF filesystem does not take.
    #[error("{} has a dot in its name, which a BPF filesystem does not take; name pin_dir without one", pin_dir.display())]
    Dotted {
        /// The folder.
        pin_dir: PathBuf,
    },
    /// Another process runs on the pin folder.
    #[error("another process runs the dataplane under {}; stop it with `weir stop`, or use another pin_dir", pin_dir.display())]
    Busy {
        /// The folder.
        pin_dir: PathBuf,
    },
    /// No dataplane is pinned there.
    #[error("no dataplane is pinned under {}; start one with `weir run`, or set pin_dir to where it is", pin_dir.display())]
    NotRunning {
        /// The folder.
        pin_dir: PathBuf,
    },
    /// Another version's tables are pinned there.
    #[error("{} holds tables of schema {found}, but this version has schema {expected}; run `weir stop --release` with the version that made them (their flows end), or use another pin_dir", pin_dir.display())]
    OtherSchema {
        /// The folder.
        pin_dir: PathBuf,
        /// The schema found, as its folder is named.
        found: String,
        /// The schema of this build.
        expected: String,
    },
    /// A pinned table is not laid out as this build needs it.
    #[error("the pinned table {table} has {property} {found}, but {expected} is wanted; {remedy}")]
    Layout {
        /// The table.
        table: String,
        /// What differs.
        property: &'static str,
        /// What is pinned.
        found: u32,
        /// What this build, or the configuration, says.
        expected: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// The compiled programs can't be read.
    #[error("the compiled programs cannot be read ({0}); rebuild")]
    Object(String),
    /// The kernel refused a program or a map.
    #[error(
        "the kernel refused to load the dataplane: {source}; it takes Linux 6.6 or newer and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Load {
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel refused a program.
    #[error(
        "the kernel refused the program {program}: {source}; it takes Linux 6.6 or newer and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Program {
        /// The program.
        program: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program could not be attached.
    #[error("cannot attach {program} to device {ifindex}: {source}{hint}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The device.
        ifindex: IfIndex,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do about it, where that is known.
        hint: &'static str,
    },
    /// A frame could not be sent.
    #[error("cannot send a frame out of device {ifindex}: {source}; is it up?")]
    Transmit {
        /// The device.
        ifindex: IfIndex,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no such device.
    #[error("device {ifindex} does not exist in this network namespace")]
    NoDevice {
        /// The device.
        ifindex: IfIndex,
    },
    /// The configuration does not fit.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An interface's number or index is too large for the tables.
    #[error(
        "interface {id} on device {ifindex} does not fit the tables: numbers lie below {max_id}, device indices below {max_ifindex}; remove unused slots, or recreate the device to get a low index"
    )]
    InterfaceRange {
        /// Weir's number.
        id: InterfaceId,
        /// The kernel's index.
        ifindex: IfIndex,
        /// The limit of the first.
        max_id: u32,
        /// The limit of the second.
        max_ifindex: u32,
    },
    /// A map operation failed.
    #[error("{operation} of table {table} failed: {source}")]
    Table {
        /// What was tried.
        operation: &'static str,
        /// The table.
        table: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A hash table has no room for another entry.
    #[error("table {table} is full; release what is not needed")]
    TableFull {
        /// The table.
        table: String,
    },
    /// A file of the pin folder could not be worked on.
    #[error("{operation} {} failed: {source}", path.display())]
    Pin {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn load(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Load { source: Box::new(source) }
    }
}
