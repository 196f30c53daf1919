//! The pin folder: where it is, whether what lies there can be adopted, and how to clear it away.

use crate::error::Error;
use crate::object::{self, Declared, Sizes};
use crate::others::ProgramId;
use crate::sys;
use aya::maps::{MapData, MapError};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use weir_path::addr::IfIndex;
use weir_path::layout::SCHEMA;

/// What a dataplane is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder on a bpffs. It is made if it isn't there.
    pub pin_dir: PathBuf,
    /// How large the flow tables are. Pinned ones keep the size they were made with.
    pub sizes: Sizes,
}

/// What [`release`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Programs detached from devices.
    pub links: usize,
    /// Tables given back.
    pub maps: usize,
}

/// Detaches every program and unpins every table under `pin_dir`, of any schema. Fine where there is nothing.
///
/// # Errors
/// [`Error::Busy`] where a process runs on it, [`Error::Pin`] with the file that could not be removed.
pub fn release(pin_dir: &Path) -> Result<Released, Error> {
    let mut released = Released::default();
    if !pin_dir.exists() {
        return Ok(released);
    }
    let _held = hold(pin_dir)?;
    for schema in entries(pin_dir)? {
        for link in entries(&schema.join("links"))? {
            detach_link(&link)?;
            released.links += 1;
        }
        for map in entries(&schema.join("maps"))? {
            gone(&map, "unpinning", fs::remove_file(&map))?;
            released.maps += 1;
        }
        for folder in [schema.join("links"), schema.join("maps"), schema] {
            gone(&folder, "removing", fs::remove_dir(&folder))?;
        }
    }
    gone(pin_dir, "removing", fs::remove_dir(pin_dir))?;
    Ok(released)
}

fn hold(pin_dir: &Path) -> Result<Flock<File>, Error> {
    let folder = File::open(pin_dir).map_err(|source| pin_error("opening", pin_dir, source))?;
    Flock::lock(folder, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::Busy { pin_dir: pin_dir.to_owned() })
}

/// The folders of this build's schema.
pub(crate) struct Pins {
    pub(crate) pin_dir: PathBuf,
    pub(crate) maps: PathBuf,
    pub(crate) links: PathBuf,
}

impl Pins {
    pub(crate) fn new(pin_dir: &Path) -> Self {
        let schema = pin_dir.join(schema_name());
        Self { pin_dir: pin_dir.to_owned(), maps: schema.join("maps"), links: schema.join("links") }
    }

    /// Makes the folders, on a bpffs and beside no other schema's.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let existing = self.pin_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let filesystem = statfs(existing)
            .map_err(|source| pin_error("looking at", existing, source.into()))?
            .filesystem_type();
        if filesystem != BPF_FS_MAGIC {
            return Err(Error::NotBpffs { pin_dir: self.pin_dir.clone() });
        }
        // kernel/bpf/inode.c, `bpf_lookup`: dots are kept for the kernel's own files.
        if self.pin_dir.file_name().is_some_and(|name| name.as_bytes().contains(&b'.')) {
            return Err(Error::Dotted { pin_dir: self.pin_dir.clone() });
        }
        for folder in entries(&self.pin_dir)? {
            let found = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if found != schema_name() {
                let pin_dir = self.pin_dir.clone();
                return Err(Error::OtherSchema { pin_dir, found, expected: schema_name() });
            }
        }
        for folder in [&self.maps, &self.links] {
            fs::create_dir_all(folder).map_err(|source| pin_error("making", folder, source))?;
        }
        Ok(())
    }

    /// Takes the folder for this process alone; the kernel gives it back when the process ends.
    pub(crate) fn hold(&self) -> Result<Flock<File>, Error> {
        hold(&self.pin_dir)
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps.join(name)
    }

    /// Opens a pinned table; `None` if it isn't there.
    pub(crate) fn open_map(&self, name: &str) -> Result<Option<MapData>, Error> {
        let path = self.map(name);
        if !path.try_exists().map_err(|source| pin_error("looking at", &path, source))? {
            return Ok(None);
        }
        MapData::from_pin(&path).map(Some).map_err(|error| map_error(&path, error))
    }

    /// Compares every pinned table with what the object declares. Returns whether there are any.
    ///
    /// aya re-uses a pinned map without looking, so this must come before loading.
    pub(crate) fn check_adoptable(&self, sizes: &Sizes) -> Result<bool, Error> {
        let mut any = false;
        for declared in object::declared(sizes)? {
            if let Some(map) = self.open_map(&declared.name)? {
                check(&declared, &map)?;
                any = true;
            }
        }
        Ok(any)
    }
}

fn check(declared: &Declared, map: &MapData) -> Result<(), Error> {
    const OTHER_BUILD: &str = "it was made by another build: run `weir stop --release` with that one first";
    const OTHER_SIZE: &str = "pinned flow tables keep their size: set max_flows, max_flows_v6 and max_half_open back, or run `weir stop --release` (their flows end)";
    let info = map.info().map_err(Error::load)?;
    let map_type = info.map_type().map_err(Error::load)? as u32;
    let is_sized = object::SIZED.contains(&declared.name.as_str());
    let size_remedy = if is_sized { OTHER_SIZE } else { OTHER_BUILD };
    for (property, found, expected, remedy) in [
        ("type", map_type, declared.map_type, OTHER_BUILD),
        ("a key size of", info.key_size(), declared.key_size, OTHER_BUILD),
        ("a value size of", info.value_size(), declared.value_size, OTHER_BUILD),
        ("a size of", info.max_entries(), declared.max_entries, size_remedy),
        ("flags", info.map_flags(), declared.flags, OTHER_BUILD),
    ] {
        if found != expected {
            return Err(Error::Layout { table: declared.name.clone(), property, found, expected, remedy });
        }
    }
    Ok(())
}

fn schema_name() -> String {
    format!("v{SCHEMA}")
}

/// The entries of a folder, in order; none where there is no folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(pin_error("reading", folder, source)),
    };
    let mut paths = read
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| pin_error("reading", folder, source))?;
    paths.sort();
    Ok(paths)
}

/// The device that a pinned link still holds; `None` where the device is gone, or the pin is.
pub(crate) fn linked_device(pin: &Path) -> Result<Option<IfIndex>, Error> {
    let Some(link) = open(pin)? else { return Ok(None) };
    let (_, ifindex) = sys::link_info(link.as_fd()).map_err(|source| pin_error("reading", pin, source))?;
    Ok((ifindex != 0).then_some(IfIndex(ifindex)))
}

/// The program of a pinned link; `None` where there is no link.
pub(crate) fn linked_program(pin: &Path) -> Result<Option<ProgramId>, Error> {
    let Some(link) = open(pin)? else { return Ok(None) };
    let (program, _) = sys::link_info(link.as_fd()).map_err(|source| pin_error("reading", pin, source))?;
    Ok(Some(program))
}

/// Detaches a pinned link and removes its pin; it may be gone already. No packet meets the program afterwards.
pub(crate) fn detach_link(pin: &Path) -> Result<(), Error> {
    let Some(link) = open(pin)? else { return Ok(()) };
    sys::detach_link(link.as_fd()).map_err(|source| pin_error("detaching", pin, source))?;
    gone(pin, "unpinning", fs::remove_file(pin))
}

fn open(pin: &Path) -> Result<Option<OwnedFd>, Error> {
    let path =
        CString::new(pin.as_os_str().as_bytes()).map_err(|error| pin_error("opening", pin, error.into()))?;
    match sys::open_pin(&path) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(pin_error("opening", pin, source)),
    }
}

/// The result of removing something that may have been gone already.
pub(crate) fn gone(path: &Path, operation: &'static str, removed: io::Result<()>) -> Result<(), Error> {
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(pin_error(operation, path, source)),
        _ => Ok(()),
    }
}

pub(crate) fn pin_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Pin { operation, path: path.to_owned(), source }
}

fn map_error(path: &Path, error: MapError) -> Error {
    pin_error("opening", path, io::Error::other(error))
}
