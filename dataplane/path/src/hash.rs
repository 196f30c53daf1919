//! SipHash-2-4 of flow keys: which target a new flow goes to.
//!
//! Keyed, so that nobody who doesn't know the key can aim many flows at one target. Ours, so that every
//! node and every build place a flow alike: TC would offer `skb->hash`, XDP has none.
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, section 2 and appendix A.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

/// The 128-bit secret of [`siphash_2_4`]. A fleet that should place flows alike shares it.
#[derive(Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct HashKey(pub [u8; 16]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// SipHash-2-4 of whole words. The upper and the lower half may be used as two independent choices.
#[must_use]
#[inline(always)]
pub fn siphash_2_4<const N: usize>(key: HashKey, message: [[u8; 8]; N]) -> u64 {
    siphash_2_4_of::<N>(key, |nth| message.get(nth).map_or(0, |word| u64::from_le_bytes(*word)))
}

/// The same of words that are asked for one by one, so that they need not lie together.
#[inline(always)]
pub(crate) fn siphash_2_4_of<const N: usize>(key: HashKey, word: impl Fn(usize) -> u64) -> u64 {
    // The last word holds the length and no bytes.
    let length_word = (8 * N as u64) << 56;
    let key: [[u8; 8]; 2] = transmute!(key);
    let [k0, k1] = key.map(u64::from_le_bytes);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for nth in 0..N {
        v = absorb(v, word(nth));
    }
    v = absorb(v, length_word);
    v[2] ^= 0xff;
    v = round(round(round(round(v))));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
const fn absorb(mut v: [u64; 4], word: u64) -> [u64; 4] {
    v[3] ^= word;
    v = round(round(v));
    v[0] ^= word;
    v
}

#[inline(always)]
const fn round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v1);
    v0 = v0.wrapping_add(v3);
    v1 = v1.rotate_left(17) ^ v2;
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

/// Maps 32 bits of hash onto `0..len` without a division: the product's upper half (Lemire, 2016).
#[must_use]
#[inline(always)]
pub const fn scale(hash: u32, len: u32) -> u32 {
    ((hash as u64 * len as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_hash_as_the_reference_vector_says() {
        // The reference implementation's vectors: key 00..0f, message 00..0f, output db9bc2577fcc2a3f.
        let mut bytes = [0u8; 16];
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
        let message: [[u8; 8]; 2] = transmute!(bytes);
        assert_eq!(siphash_2_4(HashKey(bytes), message), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn scaling_reaches_both_ends_and_never_beyond() {
        assert_eq!(scale(0, 10), 0);
        assert_eq!(scale(u32::MAX, 10), 9);
        assert_eq!(scale(u32::MAX, 0), 0);
    }
}
