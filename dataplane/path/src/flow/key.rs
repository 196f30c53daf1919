//! What a flow is known by: the two ends of its packets, the protocol, and the address space.

use crate::addr::{Address, Ip4, Ip6, L4Port, Zone};
use crate::hash::{HashKey, siphash_2_4_of};
use crate::wire::protocol;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute, transmute_ref};

/// The addresses and ports of a packet: what it shows, or what it is to become.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ends<A> {
    /// The source address.
    pub src: A,
    /// The destination address.
    pub dst: A,
    /// The source port.
    pub sport: L4Port,
    /// The destination port.
    pub dport: L4Port,
}

impl<A: Copy> Ends<A> {
    /// The ends of an answer.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport }
    }
}

impl<A: Address> Ends<A> {
    /// The same, with IPv4 addresses mapped ([`Address::mapped`]).
    #[must_use]
    #[inline(always)]
    pub fn mapped(self) -> Ends<Ip6> {
        Ends { src: self.src.mapped(), dst: self.dst.mapped(), sport: self.sport, dport: self.dport }
    }
}

/// Which part of a key a target is chosen by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it: each flow for itself.
    Flow,
    /// Addresses and protocol: what every fragment of a datagram shows.
    Addresses,
    /// The source address: all flows of a client.
    Source,
}

/// What one direction's packets look like where they arrive.
pub trait Key: Copy + Eq + Default + core::fmt::Debug {
    /// Of which family its addresses are.
    type Address: Address;

    /// The key of packets with these ends.
    fn new(ends: Ends<Self::Address>, protocol: u8, zone: Zone) -> Self;

    /// The ends of its packets.
    fn ends(&self) -> Ends<Self::Address>;

    /// The IP protocol number (RFC 790).
    fn protocol(&self) -> u8;

    /// The address space that the addresses belong to.
    fn zone(&self) -> Zone;

    /// The key of what holds the port that packets with this one leave from, whatever the remote: its remote is zero, and
    /// its protocol is no packet's.
    fn mapping(&self) -> Self;

    /// Whether this is the same key, compared in whole words.
    fn is(&self, other: &Self) -> bool;

    /// The keyed hash of a part of it: which target a new flow goes to. See [`crate::hash`].
    fn hash(&self, part: Part, secret: HashKey) -> u64;
}

macro_rules! key {
    ($(#[$doc:meta])* $Key:ident, $Address:ty, $words:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C, align(8))]
        pub struct $Key {
            /// The addresses and ports.
            pub ends: Ends<$Address>,
            /// The address space that the addresses belong to, and the IP protocol number (RFC 790): in one
            /// word, because the verifier wants alignment where a key is put together.
            zone_protocol: u32,
        }

        impl $Key {
            /// Sets the address space and the IP protocol number (RFC 790).
            #[inline(always)]
            pub const fn set_space(&mut self, zone: Zone, protocol: u8) {
                self.zone_protocol = zone.with_protocol(protocol);
            }
        }

        impl Key for $Key {
            type Address = $Address;

            #[inline(always)]
            fn new(ends: Ends<$Address>, protocol: u8, zone: Zone) -> Self {
                Self { ends, zone_protocol: zone.with_protocol(protocol) }
            }

            #[inline(always)]
            fn ends(&self) -> Ends<$Address> {
                self.ends
            }

            #[inline(always)]
            fn protocol(&self) -> u8 {
                self.zone_protocol as u8
            }

            #[inline(always)]
            fn zone(&self) -> Zone {
                Zone::of_word(self.zone_protocol)
            }

            #[inline(always)]
            fn mapping(&self) -> Self {
                let ends = Ends { dst: <$Address>::ALL_ZEROS, dport: L4Port([0; 2]), ..self.ends };
                Self::new(ends, protocol::MAPPING, self.zone())
            }

            #[inline(always)]
            fn is(&self, other: &Self) -> bool {
                let [mine, theirs]: [[u64; $words]; 2] = [transmute!(*self), transmute!(*other)];
                let mut differences = 0;
                for (word, other) in mine.into_iter().zip(theirs) {
                    differences |= word ^ other;
                }
                differences == 0
            }

            #[inline(always)]
            fn hash(&self, part: Part, secret: HashKey) -> u64 {
                // Word by word: there is no room for a copy on the stack.
                const ADDRESSES: [u64; $words] = transmute!($Key {
                    zone_protocol: u32::MAX,
                    ends: Ends { src: <$Address>::ALL_ONES, dst: <$Address>::ALL_ONES, ..NOTHING },
                });
                const SOURCE: [u64; $words] = transmute!($Key {
                    zone_protocol: Zone::MASK,
                    ends: Ends { src: <$Address>::ALL_ONES, ..NOTHING },
                });
                const NOTHING: Ends<$Address> = Ends {
                    src: <$Address>::ALL_ZEROS,
                    dst: <$Address>::ALL_ZEROS,
                    sport: L4Port([0; 2]),
                    dport: L4Port([0; 2]),
                };
                let words: &[[u8; 8]; $words] = transmute_ref!(self);
                let masks = match part {
                    Part::Flow => &[u64::MAX; $words],
                    Part::Addresses => &ADDRESSES,
                    Part::Source => &SOURCE,
                };
                siphash_2_4_of::<$words>(secret, |nth| {
                    let (word, mask) = (words.get(nth), masks.get(nth));
                    let word = word.map_or(0, |word| u64::from_le_bytes(*word));
                    word & mask.map_or(0, |mask| u64::from_le(*mask))
                })
            }
        }
    };
}

key!(
    /// The key of an IPv4 packet.
    Key4, Ip4, 2
);
key!(
    /// The key of an IPv6 packet.
    Key6, Ip6, 5
);

const _: () = {
    assert!(size_of::<Key4>() == 16 && align_of::<Key4>() == 8);
    assert!(size_of::<Key6>() == 40 && align_of::<Key6>() == 8);
};

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn each_byte_counts<K: Key + IntoBytes + FromBytes>() {
        let zero = K::new_zeroed();
        for at in 0..size_of::<K>() {
            let mut other = K::new_zeroed();
            other.as_mut_bytes()[at] = 1;
            assert!(!zero.is(&other), "byte {at}");
            assert!(other.is(&other));
            let [a, b] = [zero, other].map(|key| key.hash(Part::Flow, HashKey::default()));
            assert_ne!(a, b, "byte {at}");
        }
    }

    #[test]
    fn every_byte_of_a_key_tells_it_from_another() {
        each_byte_counts::<Key4>();
        each_byte_counts::<Key6>();
    }

    #[test]
    fn a_part_of_a_key_hashes_without_the_rest() {
        let ends = |src, dst, port| Ends {
            src: Ip4([10, 0, 0, src]),
            dst: Ip4([10, 0, 1, dst]),
            sport: L4Port::new(port),
            dport: L4Port::new(port),
        };
        let zone = Zone::of_vpc(7).unwrap();
        let hash = |part, ends, protocol| Key4::new(ends, protocol, zone).hash(part, HashKey::default());
        let all = hash(Part::Addresses, ends(1, 1, 1), 6);
        assert_eq!(all, hash(Part::Addresses, ends(1, 1, 2), 6));
        assert_ne!(all, hash(Part::Addresses, ends(1, 2, 1), 6));
        assert_ne!(all, hash(Part::Addresses, ends(1, 1, 1), 17));
        let one = hash(Part::Source, ends(1, 1, 1), 6);
        assert_eq!(one, hash(Part::Source, ends(1, 2, 2), 17));
        assert_ne!(one, hash(Part::Source, ends(2, 1, 1), 6));
    }

    #[test]
    fn an_answer_of_an_answer_is_where_it_began() {
        let ends = Ends {
            src: Ip4([1, 2, 3, 4]),
            dst: Ip4([5, 6, 7, 8]),
            sport: L4Port::new(9),
            dport: L4Port::new(10),
        };
        assert_eq!(ends.reversed().reversed(), ends);
        assert_eq!((ends.reversed().src, ends.reversed().sport), (ends.dst, ends.dport));
    }
}
