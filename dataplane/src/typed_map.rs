//! A kernel map with the types of its keys and values, read and written in batches.

use crate::error::Error;
use crate::sys;
use aya::maps::{MapData, MapInfo};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Elements moved in one system call: large enough that the call is cheap, small enough for any stack.
const BATCH: usize = 4096;

/// A map whose key and value sizes were compared with the types' when it was opened.
pub(crate) struct TypedMap<K, V> {
    name: String,
    fd: OwnedFd,
    max_entries: u32,
    values_a_key: usize,
    types: PhantomData<(K, V)>,
}

impl<K, V> TypedMap<K, V>
where
    K: IntoBytes + FromBytes + Immutable + Copy,
    V: IntoBytes + FromBytes + Immutable + Copy,
{
    /// Checks the sizes and keeps a handle of its own.
    ///
    /// # Errors
    /// [`Error::Layout`] where a size differs.
    pub(crate) fn new(name: &str, map: &MapData) -> Result<Self, Error> {
        let info = map.info().map_err(Error::load)?;
        check_size(name, "a key size of", info.key_size(), size_of::<K>())?;
        check_size(name, "a value size of", info.value_size(), size_of::<V>())?;
        let fd =
            map.fd().as_fd().try_clone_to_owned().map_err(|source| table_error("opening", name, source))?;
        let values_a_key = if is_per_cpu(&info)? { possible_cpus()? } else { 1 };
        Ok(Self {
            name: name.to_owned(),
            fd,
            max_entries: info.max_entries(),
            values_a_key,
            types: PhantomData,
        })
    }

    pub(crate) fn max_entries(&self) -> u32 {
        self.max_entries
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::new_zeroed();
        match sys::lookup(self.fd(), key.as_bytes(), value.as_mut_bytes()) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error("reading", source)),
        }
    }

    pub(crate) fn set(&self, key: &K, value: &V) -> Result<(), Error> {
        sys::update(self.fd(), key.as_bytes(), value.as_bytes())
            .map_err(|source| self.error("writing", source))
    }

    /// Writes all pairs.
    pub(crate) fn set_all(&self, keys: &[K], values: &[V]) -> Result<(), Error> {
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
            sys::update_batch(self.fd(), keys.as_bytes(), values.as_bytes(), keys.len() as u32)
                .map_err(|source| self.error("writing", source))?;
        }
        Ok(())
    }

    /// Removes all of these keys; some may be gone already. Returns how many were there.
    pub(crate) fn remove_all(&self, keys: &[K]) -> Result<u64, Error> {
        let mut removed = 0;
        for chunk in keys.chunks(BATCH) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let (done, result) = sys::delete_batch(self.fd(), rest.as_bytes(), rest.len() as u32);
                removed += u64::from(done);
                let skip = match result {
                    Ok(()) => rest.len(),
                    Err(source) if source.kind() == io::ErrorKind::NotFound => done as usize + 1,
                    Err(source) => return Err(self.error("deleting", source)),
                };
                rest = rest.get(skip..).unwrap_or_default();
            }
        }
        Ok(removed)
    }

    /// Everything in the map. What changes meanwhile may or may not be seen; programs are not disturbed.
    pub(crate) fn read_all(&self) -> Result<Vec<(K, V)>, Error> {
        let mut all = Vec::new();
        self.for_each(|key, value| all.push((*key, *value)))?;
        Ok(all)
    }

    /// Shows everything in the map, batch by batch. What changes meanwhile may or may not be seen.
    pub(crate) fn for_each(&self, mut see: impl FnMut(&K, &V)) -> Result<(), Error> {
        let mut room = BATCH.min(self.max_entries as usize).max(1);
        let mut cursor = None;
        let mut keys = vec![K::new_zeroed(); room];
        let mut values = vec![V::new_zeroed(); room];
        loop {
            let previous = cursor;
            let read = sys::lookup_batch(
                self.fd(),
                &mut cursor,
                keys.as_mut_bytes(),
                values.as_mut_bytes(),
                room as u32,
            );
            match read {
                Ok(read) => {
                    keys.iter()
                        .zip(&values)
                        .take(read.count as usize)
                        .for_each(|(key, value)| see(key, value));
                    if !read.more {
                        return Ok(());
                    }
                }
                // One hash bucket holds more than there was room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    cursor = previous;
                    room *= 2;
                    keys.resize(room, K::new_zeroed());
                    values.resize(room, V::new_zeroed());
                }
                Err(source) => return Err(self.error("reading", source)),
            }
        }
    }

    /// Error text with this table's name; a full hash table has an error of its own.
    fn error(&self, operation: &'static str, source: io::Error) -> Error {
        table_error(operation, &self.name, source)
    }
}

impl TypedMap<u32, u64> {
    /// One value a CPU, summed up.
    pub(crate) fn sum(&self, index: u32) -> Result<u64, Error> {
        // The kernel lays out one eight-byte value for each possible CPU.
        let mut values = vec![0u64; self.values_a_key];
        sys::lookup(self.fd(), index.as_bytes(), values.as_mut_bytes())
            .map_err(|source| self.error("reading", source))?;
        Ok(values.iter().fold(0, |sum, value| sum.wrapping_add(*value)))
    }

    /// Sets the value of every CPU to zero.
    pub(crate) fn zero(&self, index: u32) -> Result<(), Error> {
        let zeros = vec![0u64; self.values_a_key];
        sys::update(self.fd(), index.as_bytes(), zeros.as_bytes())
            .map_err(|source| self.error("writing", source))
    }
}

fn table_error(operation: &'static str, table: &str, source: io::Error) -> Error {
    let table = table.to_owned();
    if source.raw_os_error() == Some(libc::E2BIG) {
        return Error::TableFull { table };
    }
    Error::Table { operation, table, source }
}

fn check_size(name: &str, property: &'static str, found: u32, expected: usize) -> Result<(), Error> {
    if found as usize == expected {
        return Ok(());
    }
    Err(Error::Layout {
        table: name.to_owned(),
        property,
        found,
        expected: expected as u32,
        remedy: "it was made by another build: run `weir stop --release` with that one first",
    })
}

fn is_per_cpu(info: &MapInfo) -> Result<bool, Error> {
    Ok(matches!(info.map_type().map_err(Error::load)?, aya::maps::MapType::PerCpuArray))
}

/// How many CPUs this machine may ever have.
pub(crate) fn possible_cpus() -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(path, source)| Error::Pin {
        operation: "reading",
        path: path.into(),
        source,
    })
}
