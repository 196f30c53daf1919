//! Sets of addresses as people write them: those that begin alike, and those from one to another.

use std::fmt;
use weir_path::addr::Ip6;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prefix {
    /// The first of them; an IPv4 address is mapped.
    pub address: Ip6,
    /// How many bits they share; of an IPv4 prefix, 96 more than people write.
    pub bits: u8,
}

/// How many bits of a mapped IPv4 address are not the address.
pub(crate) const MAPPED_BITS: u8 = 96;

impl Prefix {
    /// All of IPv4.
    pub(crate) const ALL_V4: Self = Self { address: address(0xffff << 32), bits: MAPPED_BITS };

    /// Whether this address begins so.
    #[must_use]
    pub fn contains(&self, address: Ip6) -> bool {
        self.range().contains(address)
    }

    /// Whether some address begins with both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.range().overlaps(&other.range())
    }

    /// All of its addresses.
    #[must_use]
    pub fn range(&self) -> AddressRange {
        let hosts = u128::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
        let first = number(self.address) & !hosts;
        AddressRange { first: address(first), last: address(first | hosts) }
    }

    /// How many bits people write behind the slash.
    #[must_use]
    pub const fn written_bits(&self) -> u8 {
        if self.address.as_ip4().is_some() { self.bits.saturating_sub(MAPPED_BITS) } else { self.bits }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.written_bits())
    }
}

/// The addresses from one to another, both included. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AddressRange {
    /// The first one.
    pub first: Ip6,
    /// The last one, of the same family.
    pub last: Ip6,
}

impl AddressRange {
    /// One address alone.
    #[must_use]
    pub const fn one(address: Ip6) -> Self {
        Self { first: address, last: address }
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, address: Ip6) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// How many addresses these are; all of IPv6 counts as one less.
    #[must_use]
    pub fn count(&self) -> u128 {
        number(self.last).saturating_sub(number(self.first)).saturating_add(1)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The address as a number.
pub(crate) const fn number(address: Ip6) -> u128 {
    u128::from_be_bytes(address.0)
}

/// The address of this number.
pub(crate) const fn address(number: u128) -> Ip6 {
    Ip6(number.to_be_bytes())
}
