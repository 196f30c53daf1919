//! Addresses and numbers by role. Addresses are byte arrays in network order, so they have no padding,
//! no alignment and no byte order to get wrong when they cross into the kernel.

mod zone;

pub use zone::Zone;

use crate::checksum::Sum;
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

macro_rules! network_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, PartialOrd, Ord, Default)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(transparent)]
        pub struct $name(pub [u8; $len]);

        // Compared as numbers: an array of three or six bytes would be compared in memory, and so be put
        // on the stack, where the verifier wants an alignment that bytes don't have.
        impl PartialEq for $name {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                self.as_number() == other.as_number()
            }
        }

        impl core::hash::Hash for $name {
            fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
                self.as_number().hash(state);
            }
        }
    };
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

network_bytes!(
    /// An IPv4 address, in network order.
    Ip4, 4
);
network_bytes!(
    /// An IPv6 address, in network order.
    Ip6, 16
);
network_bytes!(
    /// A TCP or UDP port, in network order. Of an ICMP query, its identifier (RFC 5508 section 3).
    L4Port, 2
);
network_bytes!(
    /// An Ethernet address (IEEE 802 MAC-48).
    Mac, 6
);

number!(
    /// The kernel's index of a network device, in the namespace the dataplane runs in.
    IfIndex
);
number!(
    /// Weir's own dense number of an interface (an uplink or a slot): the index of its [`Interface`] record
    /// and of its counters.
    ///
    /// [`Interface`]: crate::tables::Interface
    InterfaceId
);

impl Ip4 {
    /// A mask that keeps all of an address.
    pub const ALL_ONES: Self = Self([0xff; 4]);
    /// A mask that keeps nothing of an address.
    pub const ALL_ZEROS: Self = Self([0; 4]);

    #[inline(always)]
    const fn as_number(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }

    /// The address as a number, most significant byte first.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    /// Whether packets may come from this address: not "this network", loopback, multicast, reserved or
    /// limited broadcast (RFC 1122 section 3.2.1.3).
    #[must_use]
    #[inline(always)]
    pub const fn may_be_source(self) -> bool {
        let number = self.to_bits();
        number > 0x00ff_ffff && number >> 24 != 127 && number < 0xe000_0000
    }
}

impl Ip6 {
    /// Whether this is a group's (RFC 4291 section 2.7).
    #[must_use]
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first == 0xff
    }

    /// A mask that keeps all of an address.
    pub const ALL_ONES: Self = Self([0xff; 16]);
    /// A mask that keeps nothing of an address.
    pub const ALL_ZEROS: Self = Self([0; 16]);

    #[inline(always)]
    const fn as_number(self) -> u128 {
        u128::from_ne_bytes(self.0)
    }
}

/// What the path asks of an address, of either family.
pub trait Address: Copy + Eq + Default + fmt::Debug {
    /// Whether packets may come from this address: one machine's, and not this one's.
    fn may_be_source(self) -> bool;

    /// The address as the configuration tables hold it: IPv4 mapped into IPv6 (RFC 4291 section 2.5.5.2).
    fn mapped(self) -> Ip6;

    /// The address that [`Self::mapped`] was made of.
    fn of_mapped(mapped: Ip6) -> Self;

    /// Whether nobody beyond the link is ever reached by this address: link-local ones, and those that clouds answer for
    /// with what only the machine itself is to know ("metadata").
    fn is_links_own(self) -> bool;

    /// How a checksum changes where this address becomes `new`, as a part of the pseudo header.
    fn replaced_by(self, new: Self) -> Sum;

    /// The sum of the address.
    fn sum(self) -> Sum;
}

impl Address for Ip4 {
    #[inline(always)]
    fn may_be_source(self) -> bool {
        Self::may_be_source(self)
    }

    #[inline(always)]
    fn mapped(self) -> Ip6 {
        let [a, b, c, d] = self.0;
        Ip6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    #[inline(always)]
    fn of_mapped(mapped: Ip6) -> Self {
        let [_, _, _, last]: [[u8; 4]; 4] = transmute!(mapped);
        Self(last)
    }

    /// 169.254.0.0/16 (RFC 3927), which 169.254.169.254 is an address of, 100.100.100.200 and 168.63.129.16.
    #[inline(always)]
    fn is_links_own(self) -> bool {
        let number = self.to_bits();
        number >> 16 == 0xa9fe || number == 0x6464_64c8 || number == 0xa83f_8110
    }

    #[inline(always)]
    fn replaced_by(self, new: Self) -> Sum {
        Sum::default().sub4(self.0).add4(new.0)
    }

    #[inline(always)]
    fn sum(self) -> Sum {
        Sum::default().add4(self.0)
    }
}

impl Address for Ip6 {
    /// Not unspecified, loopback, IPv4-mapped or multicast (RFC 4291 sections 2.5.2, 2.5.3, 2.5.5 and 2.7).
    #[inline(always)]
    fn may_be_source(self) -> bool {
        let number = u128::from_be_bytes(self.0);
        number >> 32 != 0 && number >> 32 != 0xffff && number >> 120 != 0xff
    }

    #[inline(always)]
    fn mapped(self) -> Ip6 {
        self
    }

    #[inline(always)]
    fn of_mapped(mapped: Ip6) -> Self {
        mapped
    }

    /// fe80::/10 (RFC 4291 section 2.5.6), fd00:ec2::/32 and fd20:ce::/32.
    #[inline(always)]
    fn is_links_own(self) -> bool {
        let [[first, ..], _]: [[[u8; 4]; 2]; 2] = transmute!(self);
        let first = u32::from_be_bytes(first);
        first >> 22 == 0xfe80 >> 6 || first == 0xfd00_0ec2 || first == 0xfd20_00ce
    }

    #[inline(always)]
    fn replaced_by(self, new: Self) -> Sum {
        let words: [[[u8; 4]; 4]; 2] = [transmute!(self), transmute!(new)];
        let [[a, b, c, d], [e, f, g, h]] = words;
        Sum::default().sub4(a).sub4(b).sub4(c).sub4(d).add4(e).add4(f).add4(g).add4(h)
    }

    #[inline(always)]
    fn sum(self) -> Sum {
        let [a, b, c, d]: [[u8; 4]; 4] = transmute!(self);
        Sum::default().add4(a).add4(b).add4(c).add4(d)
    }
}

impl Ip6 {
    /// The IPv4 address that is mapped into this one, if it is one.
    #[must_use]
    pub const fn as_ip4(self) -> Option<Ip4> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some(Ip4([a, b, c, d])),
            _ => None,
        }
    }
}

impl L4Port {
    #[inline(always)]
    const fn as_number(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }

    /// A port from its number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be_bytes())
    }

    /// The port's number.
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

impl Mac {
    #[inline(always)]
    const fn as_number(self) -> (u32, u16) {
        let [a, b, c, d, e, f] = self.0;
        (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]))
    }

    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// What the MACs of ENIs begin with: locally administered, and nobody else's.
    pub const ENI: [u8; 2] = [0x06, 0xe1];

    /// The MAC of an ENI that has one of its own.
    #[must_use]
    pub const fn of_eni(number: u32) -> Self {
        let ([a, b], [c, d, e, f]) = (Self::ENI, number.to_be_bytes());
        Self([a, b, c, d, e, f])
    }

    /// Whether an ENI may have this MAC. The path asks a packet itself: see [`crate::wire::Ethernet::may_be_for_an_eni`].
    #[must_use]
    pub const fn may_be_an_enis(self) -> bool {
        let ([a, b, ..], [c, d]) = (self.0, Self::ENI);
        a == c && b == d
    }

    /// Whether this is one station's address: the group bit is not set (IEEE 802 section 8.2).
    #[must_use]
    #[inline(always)]
    pub const fn is_unicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0
    }
}

impl fmt::Display for Ip4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::Ipv4Addr::from(self.0).fmt(f)
    }
}

impl fmt::Debug for Ip4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<core::net::Ipv4Addr> for Ip4 {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ip4> for core::net::Ipv4Addr {
    fn from(address: Ip4) -> Self {
        Self::from(address.0)
    }
}

impl fmt::Display for Ip6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Ip6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<core::net::IpAddr> for Ip6 {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(address) => Ip4::from(address).mapped(),
            core::net::IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

impl From<Ip6> for core::net::IpAddr {
    fn from(address: Ip6) -> Self {
        match address.as_ip4() {
            Some(address) => Self::V4(address.into()),
            None => Self::V6(address.0.into()),
        }
    }
}

impl fmt::Display for L4Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl fmt::Debug for L4Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        extern crate std;
        use std::format;
        assert_eq!(format!("{0} {0:?}", Ip4([198, 51, 100, 10])), "198.51.100.10 198.51.100.10");
        assert_eq!(format!("{0} {0:?}", L4Port::new(8080)), "8080 8080");
        assert_eq!(
            format!("{0} {0:?}", Mac([2, 0x57, 0, 0xab, 1, 0])),
            "02:57:00:ab:01:00 02:57:00:ab:01:00"
        );
        assert_eq!(
            format!("{:?} {:?}", Zone::of_vpc(7).unwrap(), Zone::of_binding(8).unwrap()),
            "vpc:7 binding:8"
        );
        assert_eq!(format!("{} {}", IfIndex(3), InterfaceId(4)), "3 4");
        let address = core::net::Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(core::net::Ipv4Addr::from(Ip4::from(address)), address);
    }

    #[test]
    fn a_mac_is_one_stations_or_a_groups() {
        assert!(Mac([2, 0xff, 0xff, 0xff, 0xff, 0xff]).is_unicast());
        assert!(!Mac([1, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(!Mac::BROADCAST.is_unicast());
    }

    #[test]
    fn every_byte_of_an_address_tells_it_from_another() {
        for at in 0..6 {
            let mut other = [0; 6];
            other[at] = 1;
            assert_ne!(Mac(other), Mac([0; 6]));
        }
    }

    #[test]
    fn only_unicast_addresses_of_other_machines_may_be_sources() {
        for good in [
            [10, 0, 0, 1],
            [1, 0, 0, 0],
            [126, 1, 2, 3],
            [128, 0, 0, 1],
            [223, 255, 255, 255],
            [128, 1, 2, 3],
        ] {
            assert!(Ip4(good).may_be_source(), "{good:?}");
        }
        for bad in [
            [0, 0, 0, 0],
            [0, 255, 255, 255],
            [224, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [240, 0, 0, 1],
            [255, 255, 255, 255],
        ] {
            assert!(!Ip4(bad).may_be_source(), "{bad:?}");
        }
    }
}
