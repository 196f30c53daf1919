//! Sums of packet bytes, as functions that the verifier looks at once, not once for every way that leads to them: what
//! it calls global ones.

use super::{Bytes, opaque};
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use core::hint::black_box;
use weir_path::checksum::Sum;
use weir_path::packet::MOST_SUMMED;

/// What stands for "the packet is shorter": no sum has more than 32 bits.
const SHORTER: u64 = u64::MAX;

/// What one of the functions returned.
#[inline(always)]
pub fn of(sum: u64) -> Option<Sum> {
    if sum == SHORTER { None } else { Some(Sum::from_wsum(sum as u32)) }
}

/// The sum of bytes of a packet at XDP.
///
/// # Safety
/// The context must be the one that the program was called with.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn sum_xdp(ctx: *mut xdp_md, at: u64, len: u64) -> u64 {
    if ctx.is_null() {
        return SHORTER;
    }
    // SAFETY: the caller vouches for it.
    let data = unsafe { (*ctx).data } as usize;
    // SAFETY: as above.
    let end = unsafe { (*ctx).data_end } as usize;
    sum(data, end, at as usize, len as usize)
}

/// The sum of bytes of a packet at TC.
///
/// # Safety
/// As for [`sum_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn sum_tc(ctx: *mut __sk_buff, at: u64, len: u64) -> u64 {
    if ctx.is_null() {
        return SHORTER;
    }
    // SAFETY: the caller vouches for it.
    let data = unsafe { (*ctx).data } as usize;
    // SAFETY: as above.
    let end = unsafe { (*ctx).data_end } as usize;
    sum(data, end, at as usize, len as usize)
}

#[inline(always)]
fn sum(data: usize, end: usize, at: usize, len: usize) -> u64 {
    let bytes = Bytes { data, behind_tag: data, end };
    let mut sum = Sum::default();
    let mut done = 0;
    // Not unrolled, and in steps that the verifier can bound.
    for _ in 0..black_box(MOST_SUMMED / 4) {
        if done + 4 > len {
            break;
        }
        let Some(word) = bytes.read(opaque(at + done)) else { return SHORTER };
        sum = sum.add4(word);
        done += 4;
    }
    u64::from(sum.to_wsum())
}
