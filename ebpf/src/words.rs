//! Words in map values that several CPUs change. The target has no atomics in `core`, so they are written in
//! the kernel's instructions; each is also a barrier for the compiler.

use core::arch::asm;
use weir_path::flow::store::{PortCells, Word};
use weir_path::layout::{PORT_SET_WORDS, PortSet};

/// The same number, whose bounds the compiler doesn't know.
#[inline(always)]
fn opaque(nth: u32) -> u64 {
    let mut nth = u64::from(nth);
    // SAFETY: copies a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) nth, options(nomem, nostack, preserves_flags)) };
    nth
}

/// A 64-bit word in a map value.
#[derive(Clone, Copy)]
pub struct Shared(*mut u64);

impl Shared {
    /// The word at `word`.
    ///
    /// # Safety
    /// It must point to an aligned word of a map value, which stays one for as long as the program runs.
    #[inline(always)]
    pub const unsafe fn at(word: *mut u64) -> Self {
        Self(word)
    }
}

impl Word for Shared {
    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: `at` was given an aligned word of a map value.
        unsafe { self.0.read_volatile() }
    }

    #[inline(always)]
    fn swap(self, from: u64, to: u64) -> bool {
        let mut was = from;
        // SAFETY: as for `load`; compare-and-swap takes what is expected in r0 and leaves there what was found.
        unsafe { asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) self.0, in(reg) to, inout("r0") was) };
        was == from
    }

    #[inline(always)]
    fn add(self, number: u64) -> u64 {
        let mut was = number;
        // SAFETY: as for `load`.
        unsafe { asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) self.0, inout(reg) was) };
        was
    }

    #[inline(always)]
    fn set(self, bits: u64) -> u64 {
        let mut was = bits;
        // SAFETY: as for `load`.
        unsafe { asm!("{1} = atomic_fetch_or((u64 *)({0} + 0), {1})", in(reg) self.0, inout(reg) was) };
        was
    }

    #[inline(always)]
    fn clear(self, bits: u64) -> u64 {
        let mut was = !bits;
        // SAFETY: as for `load`.
        unsafe { asm!("{1} = atomic_fetch_and((u64 *)({0} + 0), {1})", in(reg) self.0, inout(reg) was) };
        was
    }
}

/// A set of ports in a map value.
#[derive(Clone, Copy)]
pub struct PortsAt(*mut PortSet);

impl PortsAt {
    /// The set at `set`.
    ///
    /// # Safety
    /// It must point to a map value, which stays one for as long as the program runs.
    #[inline(always)]
    pub const unsafe fn at(set: *mut PortSet) -> Self {
        Self(set)
    }
}

impl PortCells for PortsAt {
    type Word = Shared;

    #[inline(always)]
    fn word(self, nth: u32) -> Shared {
        // The path asks for no other one; the verifier wants to see it.
        let nth = opaque(nth);
        let nth = if nth < u64::from(PORT_SET_WORDS) { nth } else { 0 };
        // SAFETY: within the value.
        let word = unsafe { self.0.cast::<u64>().add(nth as usize) };
        // SAFETY: an aligned word of a map value.
        unsafe { Shared::at(word) }
    }
}

/// Adds to a word of a map value without asking what was there.
///
/// # Safety
/// As for [`Shared::at`].
#[inline(always)]
pub unsafe fn add(word: *mut u64, number: u64) {
    // SAFETY: the caller vouches for the word.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) number) };
}
