//! What must survive the process, in one folder: the locks, the last good configuration, the hash key, which slot has
//! which number, the pool of ENIs, the numbers of tenants, and which MACs devices were told to let in.
//!
//! Files are replaced whole: written beside, synced, renamed. A crash leaves the old one or the new one.

use crate::config::{Document, parse_hash_key};
use crate::host::Filter;
use crate::pool::Pool;
use crate::tenants::Tenants;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use weir_path::addr::{IfIndex, Mac};
use weir_path::hash::HashKey;

const LOCK: &str = "lock";
const EVENTS_LOCK: &str = "events-lock";
const LAST_GOOD: &str = "last-good.toml";
const HASH_KEY: &str = "hash-key";
const SLOTS: &str = "slots.json";
const ENIS: &str = "enis.json";
const TENANTS: &str = "tenants.json";
const FILTERS: &str = "filters.json";

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon holds the folder.
    #[error("another weir daemon (pid {pid}) runs with state_dir {}; stop it with `weir stop`, or give this one another state_dir and pin_dir", state_dir.display())]
    Busy {
        /// The other daemon.
        pid: String,
        /// The folder.
        state_dir: PathBuf,
    },
    /// Another process reads the events.
    #[error("another `weir events` (pid {pid}) follows the dataplane whose state_dir is {}, and each event is read once; read its output, or stop it first", state_dir.display())]
    Followed {
        /// The other process.
        pid: String,
        /// The folder.
        state_dir: PathBuf,
    },
    /// A file could not be worked on.
    #[error("{operation} {} failed: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it was when it was written.
    #[error("{} is damaged: {what}; remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Which slot has which number: what `weir get` needs to name things beside a dead daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The slot, as the configuration names it.
    pub slot: String,
    /// Weir's number of its interface.
    pub interface: u32,
    /// The host's device.
    pub device: String,
}

/// A [`Filter`] that is the daemon's.
#[derive(Serialize, Deserialize)]
struct FilterRecord {
    ifindex: u32,
    mac: [u8; 6],
}

/// The folder, read.
#[derive(Clone, Debug)]
pub struct Store {
    state_dir: PathBuf,
}

/// The right to be the one daemon of a folder, or the one reader of its events, for as long as it is held. The kernel takes it back from the dead.
#[derive(Debug)]
pub struct Held {
    _lock: Flock<File>,
}

impl Store {
    /// The store in this folder; nothing is made yet.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    /// Makes the folder and takes its lock.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::File`].
    pub fn hold(&self) -> Result<Held, StoreError> {
        self.lock(LOCK, |pid, state_dir| StoreError::Busy { pid, state_dir })
    }

    /// Makes the folder and takes the lock of the one who follows events.
    ///
    /// # Errors
    /// [`StoreError::Followed`], [`StoreError::File`].
    pub fn hold_events(&self) -> Result<Held, StoreError> {
        self.lock(EVENTS_LOCK, |pid, state_dir| StoreError::Followed { pid, state_dir })
    }

    fn lock(
        &self,
        name: &str,
        taken: impl FnOnce(String, PathBuf) -> StoreError,
    ) -> Result<Held, StoreError> {
        fs::create_dir_all(&self.state_dir).map_err(file_error("making", &self.state_dir))?;
        let path = self.path(name);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(file_error("opening", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                let pid = std::process::id().to_string();
                lock.set_len(0)
                    .and_then(|()| lock.write_all(pid.as_bytes()))
                    .map_err(file_error("writing", &path))?;
                Ok(Held { _lock: lock })
            }
            Err((mut file, _)) => Err(taken(holder(&mut file), self.state_dir.clone())),
        }
    }

    /// The daemon that holds the folder now, if any.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn running(&self) -> Result<Option<Running>, StoreError> {
        let path = self.path(LOCK);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file_error("opening", &path)(source)),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => Ok(None),
            Err((mut file, _)) => {
                let pid = holder(&mut file);
                let what = || format!("it holds no process id but {pid:?}");
                let pid = pid.parse().map_err(|_| StoreError::Damaged { path, what: what() })?;
                Ok(Some(Running { pid, lock: file }))
            }
        }
    }

    /// The hash key that was made once for this folder; made now if it was not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hash_key(&self) -> Result<HashKey, StoreError> {
        let path = self.path(HASH_KEY);
        if let Some(text) = read(&path)? {
            let what = || "it holds no 32 hex digits".to_owned();
            return parse_hash_key(text.trim()).ok_or_else(|| StoreError::Damaged { path, what: what() });
        }
        let key = random::<16>()?;
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.replace(HASH_KEY, text.as_bytes())?;
        Ok(HashKey(key))
    }

    /// Keeps the configuration that is in force.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn save(&self, document: &Document, slots: &[SlotRecord]) -> Result<(), StoreError> {
        self.write_json(SLOTS, slots)?;
        self.replace(LAST_GOOD, document.text.as_bytes())
    }

    /// Keeps the pool of ENIs; written before anything is made of it.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn save_pool(&self, pool: &Pool) -> Result<(), StoreError> {
        self.write_json(ENIS, pool)
    }

    /// The pool of ENIs that was kept last; an empty one where there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pool(&self) -> Result<Pool, StoreError> {
        let known: Option<Pool> = self.read_json(ENIS)?;
        match known {
            Some(pool) => Ok(pool),
            None => Ok(Pool { seed: u64::from_ne_bytes(random()?), ..Pool::default() }),
        }
    }

    /// Keeps the numbers of tenants; written before anything is charged under them.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn save_tenants(&self, tenants: &Tenants) -> Result<(), StoreError> {
        self.write_json(TENANTS, tenants)
    }

    /// The numbers of tenants that were kept last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tenants(&self) -> Result<Tenants, StoreError> {
        self.read_json(TENANTS)
    }

    /// Keeps which MACs devices were told to let in; written before they are told.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn save_filters(&self, filters: &BTreeSet<Filter>) -> Result<(), StoreError> {
        let record = |filter: &Filter| FilterRecord { ifindex: filter.device.0, mac: filter.mac.0 };
        self.write_json(FILTERS, &filters.iter().map(record).collect::<Vec<_>>())
    }

    /// The MACs that devices were told to let in. Some may be gone, with their devices or before they came about.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn filters(&self) -> Result<BTreeSet<Filter>, StoreError> {
        let filter = |record: FilterRecord| Filter { device: IfIndex(record.ifindex), mac: Mac(record.mac) };
        Ok(self.read_json::<Vec<_>>(FILTERS)?.into_iter().map(filter).collect())
    }

    /// The configuration that was last in force.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn last_good(&self) -> Result<Option<Document>, StoreError> {
        let path = self.path(LAST_GOOD);
        let text = read(&path)?;
        Ok(text.map(|text| Document { name: path.display().to_string(), text }))
    }

    /// The slots that were last in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn slots(&self) -> Result<Vec<SlotRecord>, StoreError> {
        self.read_json(SLOTS)
    }

    /// Removes what belongs to a running dataplane. The hash key stays: the next one places flows alike. So does
    /// the lock: whoever waits for it must not be left with a file that nobody else sees.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn forget(&self) -> Result<(), StoreError> {
        for name in [LAST_GOOD, SLOTS, ENIS, TENANTS, FILTERS] {
            let path = self.path(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error("removing", &path)(source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_json<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StoreError> {
        let path = self.path(name);
        let Some(text) = read(&path)? else { return Ok(T::default()) };
        serde_json::from_str(&text).map_err(|error| StoreError::Damaged { path, what: error.to_string() })
    }

    fn write_json<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let failed = |error| file_error("writing", &self.path(name))(io::Error::other(error));
        self.replace(name, &serde_json::to_vec_pretty(value).map_err(failed)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state_dir.join(name)
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let beside = self.path(&format!("{name}.new"));
        File::create(&beside)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &path))
            .and_then(|()| File::open(&self.state_dir)?.sync_all())
            .map_err(file_error("writing", &path))
    }
}

/// A daemon that runs now.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub pid: i32,
    lock: File,
}

impl Running {
    /// Waits until it has let go of its lock, which the kernel does for it at the latest when it ends.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait(self) -> io::Result<()> {
        Flock::lock(self.lock, FlockArg::LockExclusive).map(drop).map_err(|(_, errno)| errno.into())
    }
}

fn holder(lock: &mut File) -> String {
    let mut pid = String::new();
    // Where it can't be read, the message goes without the number.
    match lock.read_to_string(&mut pid) {
        Ok(_) => pid,
        Err(_) => "unknown".into(),
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    const RANDOM: &str = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(RANDOM)
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(file_error("reading", Path::new(RANDOM)))?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error("reading", path)(source)),
    }
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_daemon_holds_a_folder_and_the_other_learns_its_pid() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert!(store.running().unwrap().is_none());
        let held = store.hold().unwrap();
        let own = std::process::id();
        assert_eq!(store.running().unwrap().unwrap().pid, own as i32);
        let error = store.hold().unwrap_err();
        assert!(matches!(&error, StoreError::Busy { pid, .. } if *pid == own.to_string()), "{error}");
        drop(held);
        assert!(store.running().unwrap().is_none());
        store.hold().unwrap();
    }

    #[test]
    fn only_one_reader_holds_the_events_and_the_daemon_is_not_in_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let _daemon = store.hold().unwrap();
        let reader = store.hold_events().unwrap();
        let error = store.hold_events().unwrap_err();
        let own = std::process::id().to_string();
        assert!(matches!(&error, StoreError::Followed { pid, .. } if *pid == own), "{error}");
        assert!(error.to_string().contains("each event is read once"), "{error}");
        drop(reader);
        store.hold_events().unwrap();
    }

    #[test]
    fn the_hash_key_is_made_once_and_survives_release() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let key = store.hash_key().unwrap();
        assert_ne!(key, HashKey::default());
        store.forget().unwrap();
        assert_eq!(store.hash_key().unwrap(), key);
    }

    #[test]
    fn a_damaged_hash_key_is_an_error_not_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(HASH_KEY), "zz").unwrap();
        let error = Store::new(folder.path()).hash_key().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn what_was_saved_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert!(store.last_good().unwrap().is_none());
        assert!(store.slots().unwrap().is_empty());
        let document = Document { name: "weir.toml".into(), text: "version = 1\n".into() };
        let slots = [SlotRecord { slot: "sb1:eth0".into(), interface: 3, device: "veth1".into() }];
        store.save(&document, &slots).unwrap();
        assert_eq!(store.last_good().unwrap().unwrap().text, document.text);
        assert_eq!(store.slots().unwrap(), slots);
        let filters = BTreeSet::from([Filter { device: IfIndex(7), mac: Mac([6, 0, 0, 0, 0, 1]) }]);
        store.save_filters(&filters).unwrap();
        assert_eq!(store.filters().unwrap(), filters);
        let pool = store.pool().unwrap();
        assert_ne!(pool.seed, store.pool().unwrap().seed, "one that was not kept is made anew");
        store.save_pool(&pool).unwrap();
        assert_eq!(store.pool().unwrap(), pool);
        store.forget().unwrap();
        assert!(store.slots().unwrap().is_empty() && store.filters().unwrap().is_empty());
        assert_ne!(store.pool().unwrap(), pool);
    }
}
