//! The internet checksum, mended where words of what it covers were changed (RFC 1624).

/// The checksum `field` after words were replaced: `delta` is the sum of the new ones and of the old ones' complements.
/// Any byte order, as long as it is one.
#[inline(always)]
pub(crate) fn mend(field: u16, delta: u64) -> u16 {
    let mut sum = u64::from(!field) + delta;
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
