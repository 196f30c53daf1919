//! Which address space an address is in.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which address space a packet's addresses belong to: a VPC on the wire, or one binding on a slot.
///
/// Overlapping VPCs and identical sandboxes are told apart by it, because it is part of every flow key.
/// Twenty-three bits of number, and one bit that says which kind of number it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Zone(u32);

impl Zone {
    /// The largest number a VPC or a binding can have.
    pub const MAX_NUMBER: u32 = 0x7f_ffff;
    const SLOT_BIT: u32 = 0x80_0000;
    /// The zone's part of a word that [`Self::with_protocol`] made.
    pub(crate) const MASK: u32 = !0xff;

    /// The zone of a VPC, as seen on an uplink. `None` above [`Self::MAX_NUMBER`].
    #[must_use]
    pub const fn of_vpc(number: u32) -> Option<Self> {
        if number <= Self::MAX_NUMBER { Some(Self(number)) } else { None }
    }

    /// The zone of a binding, as seen on a slot. `None` above [`Self::MAX_NUMBER`].
    #[must_use]
    pub const fn of_binding(number: u32) -> Option<Self> {
        if number <= Self::MAX_NUMBER { Some(Self(number | Self::SLOT_BIT)) } else { None }
    }

    /// A space that no packet is in: where the services are listed that sandboxes of a connector may reach. The numbers
    /// are those of bindings, in whose spaces nobody listens.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn of_services(connector: u32) -> Self {
        Self(connector & Self::MAX_NUMBER | Self::SLOT_BIT)
    }

    /// Whether this is the zone of a binding on a slot (else of a VPC on the wire).
    #[must_use]
    pub const fn is_binding(self) -> bool {
        self.0 & Self::SLOT_BIT != 0
    }

    /// The VPC's or the binding's number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 & Self::MAX_NUMBER
    }

    /// Together with a protocol number, in one word.
    #[inline(always)]
    pub(crate) const fn with_protocol(self, protocol: u8) -> u32 {
        self.0 << 8 | protocol as u32
    }

    /// The zone in a word that [`Self::with_protocol`] made.
    #[inline(always)]
    pub(crate) const fn of_word(word: u32) -> Self {
        Self(word >> 8)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_binding() { "binding" } else { "vpc" };
        write!(f, "{kind}:{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_keeps_its_number_and_its_kind() {
        for number in [0, 1, 0x1234, Zone::MAX_NUMBER] {
            let vpc = Zone::of_vpc(number).unwrap();
            let binding = Zone::of_binding(number).unwrap();
            assert_eq!((vpc.number(), vpc.is_binding()), (number, false));
            assert_eq!((binding.number(), binding.is_binding()), (number, true));
        }
        assert_eq!(Zone::of_vpc(Zone::MAX_NUMBER + 1), None);
        assert_eq!(Zone::of_binding(Zone::MAX_NUMBER + 1), None);
    }
}
