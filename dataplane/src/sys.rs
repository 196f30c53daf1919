//! The system calls that no crate wraps: map operations in batches, a shared word, a grace period.
//!
//! All of this crate's `unsafe`. Everything else goes through aya.

use crate::others::ProgramId;
use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, IntoBytes};

const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_LINK_DETACH: u32 = 34;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;
const BPF_MAP_UPDATE_BATCH: u32 = 26;
const BPF_MAP_DELETE_BATCH: u32 = 27;

/// The part of `union bpf_attr` for one element (include/uapi/linux/bpf.h).
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for many elements (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The part of `union bpf_attr` that opens a pin (include/uapi/linux/bpf.h).
#[repr(C)]
struct PinAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that asks about an object (include/uapi/linux/bpf.h).
#[repr(C)]
struct InfoAttr {
    fd: u32,
    info_len: u32,
    info: u64,
}

fn bpf<A>(command: u32, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a live, initialised prefix of `union bpf_attr` of the length given, and the callers
    // in this file put only pointers to live buffers of the map's key and value sizes into it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, libc::c_long::from(command), std::ptr::from_mut(attr), size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr() as u64
}

/// Copies the value under `key` into `value`. Both must have the map's sizes; [`crate::typed_map`] sees to it.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: address(key),
        value: address_mut(value),
        flags: 0,
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop)
}

/// Writes `value` under `key`. Both must have the map's sizes.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: address(key),
        value: address(value),
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Writes `count` elements that lie end to end.
pub(crate) fn update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> io::Result<()> {
    let mut attr = BatchAttr {
        keys: address(keys),
        values: address(values),
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// Deletes `count` keys that lie end to end. Stops at one that isn't there; returns how many it deleted.
pub(crate) fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> (u32, io::Result<()>) {
    let mut attr =
        BatchAttr { keys: address(keys), count, map_fd: map.as_raw_fd() as u32, ..BatchAttr::default() };
    let result = bpf(BPF_MAP_DELETE_BATCH, &mut attr);
    (attr.count, result.map(drop))
}

/// One step of reading a hash map whole.
pub(crate) struct BatchRead {
    /// How many elements were read.
    pub(crate) count: u32,
    /// Whether there is more.
    pub(crate) more: bool,
}

/// Reads up to `room` elements. `cursor` is where to go on: empty at first, then left alone.
pub(crate) fn lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Option<[u8; 8]>,
    keys: &mut [u8],
    values: &mut [u8],
    room: u32,
) -> io::Result<BatchRead> {
    let mut next = [0u8; 8];
    let mut attr = BatchAttr {
        in_batch: cursor.as_ref().map_or(0, |cursor| address(cursor)),
        out_batch: address_mut(&mut next),
        keys: address_mut(keys),
        values: address_mut(values),
        count: room,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut attr);
    let more = match result {
        Ok(_) => true,
        // The kernel's way to say that this was the last of it.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    *cursor = Some(next);
    Ok(BatchRead { count: attr.count, more })
}

/// The descriptor `fd`, which `owner` keeps open.
pub(crate) fn borrow<T>(fd: RawFd, _owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps it open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Opens what is pinned at `path`.
pub(crate) fn open_pin(path: &CStr) -> io::Result<OwnedFd> {
    let mut attr = PinAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The program of a link of XDP or TCX, and the device that it holds; 0 once the device is gone or the link was
/// detached.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<(ProgramId, u32)> {
    // `struct bpf_link_info`: type, id, program, padding; then, for both kinds of link, the device's index.
    let mut info = [0u32; 16];
    let mut attr = InfoAttr {
        fd: link.as_raw_fd() as u32,
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let [_, _, program, _, ifindex, ..] = info;
    Ok((ProgramId(program), ifindex))
}

/// Detaches a link now. Removing its pin would leave it to a work queue, some time later.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut fd = link.as_raw_fd() as u32;
    bpf(BPF_LINK_DETACH, &mut fd).map(drop)
}

const fn mapped_bytes<T>(count: u32) -> usize {
    const PAGE: usize = 4096;
    (count as usize * size_of::<T>()).next_multiple_of(PAGE)
}

/// The values of an array map that was made with `BPF_F_MMAPABLE`, mapped into this process.
///
/// Values change under our eyes: they are copied out whole, and whoever reads them checks what it read.
pub(crate) struct Mapping<T> {
    values: NonNull<T>,
    count: u32,
}

// SAFETY: the mapping is shared memory that is only ever copied from and to, or used as atomics.
unsafe impl<T> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapping<T> {}

impl<T: FromBytes + IntoBytes + Copy> Mapping<T> {
    /// Maps `count` values, which the map must have. A value's size must be a multiple of eight bytes, because
    /// the kernel rounds it up.
    pub(crate) fn new(map: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        // SAFETY: a fresh mapping at an address of the kernel's choice; the file outlives it by reference.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes::<T>(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(|values| Self { values, count }).ok_or_else(io::Error::last_os_error)
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    fn at(&self, number: u32) -> Option<NonNull<T>> {
        // SAFETY: it lies within what was mapped, which lives as long as `self`.
        (number < self.count).then(|| unsafe { self.values.add(number as usize) })
    }

    /// A copy of one value.
    pub(crate) fn get(&self, number: u32) -> Option<T> {
        // SAFETY: a valid, aligned value of shared memory; any bytes are a `T`.
        self.at(number).map(|value| unsafe { value.read_volatile() })
    }

    /// Writes one value; nothing happens where there is no such value.
    pub(crate) fn set(&self, number: u32, new: &T) {
        if let Some(value) = self.at(number) {
            // SAFETY: as above.
            unsafe { value.write_volatile(*new) };
        }
    }
}

impl Mapping<u64> {
    fn word(&self, number: u32) -> Option<&AtomicU64> {
        // SAFETY: an aligned word of shared memory, only ever used as an atomic, that lives as long as `self`.
        self.at(number).map(|word| unsafe { word.cast::<AtomicU64>().as_ref() })
    }

    pub(crate) fn load(&self, number: u32) -> u64 {
        self.word(number).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Makes everything written before visible to whoever sees the new value.
    pub(crate) fn store(&self, number: u32, value: u64) {
        if let Some(word) = self.word(number) {
            word.store(value, Ordering::Release);
        }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; no reference to it can be alive.
        unsafe { libc::munmap(self.values.as_ptr().cast(), mapped_bytes::<T>(self.count)) };
    }
}

/// Waits until every program that is running now has left: an RCU grace period
/// (kernel/sched/membarrier.c: `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`).
pub(crate) fn grace_period() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes plain numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
