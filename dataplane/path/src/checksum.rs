//! The Internet checksum (RFC 1071), and how to change a packet without summing it again (RFC 1624).
//!
//! Two facts carry this file. One's-complement sums don't care about byte order, so bytes are added as the
//! machine loads them. And a field that changes from `m` to `m'` changes the sum by `~m + m'`, so a rewrite
//! only needs what it replaced.
//!
//! A [`Delta`] keeps two sums apart, because packets from local sockets may carry only a *partial* L4
//! checksum (Linux: `CHECKSUM_PARTIAL`): the field then holds the sum of the pseudo header alone and the
//! rest is added later, by hardware or on the way out. In that state a changed address must be mended and a
//! changed port must not.

/// A one's-complement sum that is not folded yet. Room for 2^32 additions of 32-bit words.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sum(u64);

impl Sum {
    /// Adds two bytes that lie at an even offset of the summed data.
    #[must_use]
    #[inline(always)]
    pub const fn add2(self, bytes: [u8; 2]) -> Self {
        Self(self.0.wrapping_add(u16::from_ne_bytes(bytes) as u64))
    }

    /// Adds four bytes that lie at an even offset of the summed data.
    #[must_use]
    #[inline(always)]
    pub const fn add4(self, bytes: [u8; 4]) -> Self {
        Self(self.0.wrapping_add(u32::from_ne_bytes(bytes) as u64))
    }

    /// Takes two bytes away: adds their complement.
    #[must_use]
    #[inline(always)]
    pub const fn sub2(self, bytes: [u8; 2]) -> Self {
        Self(self.0.wrapping_add((!u16::from_ne_bytes(bytes)) as u64))
    }

    /// Takes four bytes away: adds their complement.
    #[must_use]
    #[inline(always)]
    pub const fn sub4(self, bytes: [u8; 4]) -> Self {
        Self(self.0.wrapping_add((!u32::from_ne_bytes(bytes)) as u64))
    }

    /// Both sums together.
    #[must_use]
    #[inline(always)]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// A sum of 32 bits: the kernel's `__wsum`.
    #[must_use]
    #[inline(always)]
    pub const fn from_wsum(sum: u32) -> Self {
        Self(sum as u64)
    }

    /// The sum in 32 bits, carries added back: the kernel's `__wsum`.
    #[must_use]
    #[inline(always)]
    pub const fn to_wsum(self) -> u32 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }

    /// The sum in 16 bits, not complemented: what a partial checksum field holds.
    #[must_use]
    #[inline(always)]
    pub const fn fold(self) -> [u8; 2] {
        let wide = self.to_wsum();
        let once = (wide & 0xffff) + (wide >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        (twice as u16).to_ne_bytes()
    }

    /// The checksum: the folded sum's complement.
    #[must_use]
    #[inline(always)]
    pub const fn checksum(self) -> [u8; 2] {
        let [a, b] = self.fold();
        [!a, !b]
    }

    /// A checksum field mended by this change (RFC 1624, equation 3).
    #[must_use]
    #[inline(always)]
    pub const fn mend(self, field: [u8; 2]) -> [u8; 2] {
        self.sub2(field).checksum()
    }
}

/// How an L4 checksum changes, or what it is made of: the pseudo header's part and the rest.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Delta {
    /// What lies in the pseudo header: addresses, protocol, L4 length.
    pub pseudo: Sum,
    /// What lies in the segment itself: ports, header, data.
    pub body: Sum,
}

impl Delta {
    /// A changed address.
    #[must_use]
    #[inline(always)]
    pub const fn address(self, old: [u8; 4], new: [u8; 4]) -> Self {
        Self { pseudo: self.pseudo.sub4(old).add4(new), ..self }
    }

    /// Two changed bytes of the segment, such as a port.
    #[must_use]
    #[inline(always)]
    pub const fn body2(self, old: [u8; 2], new: [u8; 2]) -> Self {
        Self { body: self.body.sub2(old).add2(new), ..self }
    }

    /// Two changed bytes of the segment at an odd offset, such as the value of an option.
    #[must_use]
    #[inline(always)]
    pub const fn odd_body2(self, [a, b]: [u8; 2], [c, d]: [u8; 2]) -> Self {
        self.body2([b, a], [d, c])
    }

    /// Both parts together.
    #[must_use]
    #[inline(always)]
    pub const fn whole(self) -> Sum {
        self.pseudo.plus(self.body)
    }
}

/// The new value of an L4 checksum field that holds a complete checksum.
///
/// `zero_means_none` is UDP's rule (RFC 768): a zero field says that there is no checksum, stays zero, and a
/// computed zero is sent as all ones.
#[must_use]
#[inline(always)]
pub const fn mend_l4(field: [u8; 2], delta: Delta, zero_means_none: bool) -> [u8; 2] {
    if zero_means_none && matches!(field, [0, 0]) {
        return field;
    }
    match delta.whole().mend(field) {
        [0, 0] if zero_means_none => [0xff, 0xff],
        mended => mended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> Sum {
        bytes.chunks_exact(2).fold(Sum::default(), |sum, pair| sum.add2([pair[0], pair[1]]))
    }

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes).fold(), [0xdd, 0xf2]);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_mends_to_zero_as_equation_3_says() {
        // m = 0x5555 becomes m' = 0x3285 under the checksum 0xdd2f: equation 3 gives 0x0000.
        let change = Sum::default().sub2([0x55, 0x55]).add2([0x32, 0x85]);
        assert_eq!(change.mend([0xdd, 0x2f]), [0x00, 0x00]);
    }

    #[test]
    fn mending_gives_what_summing_again_gives() {
        let mut bytes = [0u8; 40];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (i as u8).wrapping_mul(37) ^ 0x5a;
        }
        let before = sum(&bytes).checksum();
        let delta = Delta::default()
            .address([bytes[4], bytes[5], bytes[6], bytes[7]], [203, 0, 113, 9])
            .body2([bytes[20], bytes[21]], [0x1f, 0x90]);
        bytes[4..8].copy_from_slice(&[203, 0, 113, 9]);
        bytes[20..22].copy_from_slice(&[0x1f, 0x90]);
        assert_eq!(mend_l4(before, delta, false), sum(&bytes).checksum());
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        let delta = Delta::default().body2([1, 2], [3, 4]);
        assert_eq!(mend_l4([0, 0], delta, true), [0, 0]);
        assert_ne!(mend_l4([0, 0], delta, false), [0, 0]);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        // 0xdd2f mended by RFC 1624's example is exactly zero.
        let delta = Delta::default().body2([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(mend_l4([0xdd, 0x2f], delta, true), [0xff, 0xff]);
        assert_eq!(mend_l4([0xdd, 0x2f], delta, false), [0, 0]);
    }

    #[test]
    fn a_carry_that_carries_again_comes_back_in_too() {
        let full = Sum::default().add4([0xff; 4]).add4([0xff; 4]).add2(1u16.to_ne_bytes());
        assert_eq!(full.to_wsum(), 1);
    }

    #[test]
    fn carries_out_of_32_bits_come_back_in() {
        let full = Sum::default().add4([0xff; 4]).add4([0xff; 4]).add4([0, 0, 0, 1]);
        assert_eq!(full.to_wsum(), u32::from_ne_bytes([0, 0, 0, 1]));
    }
}
