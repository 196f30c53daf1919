//! Fragments that show no ports: they go where the first one of their datagram went.
//!
//! Kept under a key as a flow is, with the datagram's identification in the place of the ports, for as long as a
//! receiver waits for the pieces.

use super::entry::Hop;
use super::key::Ends;
use crate::addr::{Ip4, Ip6, L4Port, Zone};
use crate::time::{Now, Seconds};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How long a receiver waits for the rest of a datagram (RFC 8200 section 4.5; RFC 1122 section 3.3.2 has 60 to 120).
pub const REASSEMBLY: Seconds = Seconds(60);

/// Where a datagram's fragments go.
pub trait Datagram: Copy {
    /// Of which family its addresses are.
    type Address;

    /// The addresses that they get, and their new identification in the place of the ports; where they go, and the
    /// zone of the interface there: its number may be given to another one.
    fn new(to: Ends<Self::Address>, hop: Hop, zone: Zone, now: Now) -> Self;

    /// The addresses that they get, and their new identification in the place of the ports.
    fn to(&self) -> Ends<Self::Address>;

    /// Where they go.
    fn hop(&self) -> Hop;

    /// The zone of the interface that they leave by.
    fn zone(&self) -> Zone;

    /// When the first one was seen.
    fn seen(&self) -> Now;
}

/// An identification, as it lies in the place of the ports. IPv4's has two bytes, and two are zero.
#[inline(always)]
pub(crate) const fn as_ports(identification: [u8; 4]) -> [L4Port; 2] {
    let [a, b, c, d] = identification;
    [L4Port([a, b]), L4Port([c, d])]
}

macro_rules! datagram {
    ($(#[$doc:meta])* $Datagram:ident, $Address:ty, $zeros:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $Datagram {
            hop: Hop,
            to: Ends<$Address>,
            seen: Now,
            zone: Zone,
            zero: [u8; $zeros],
        }

        impl Datagram for $Datagram {
            type Address = $Address;

            #[inline(always)]
            fn new(to: Ends<$Address>, hop: Hop, zone: Zone, seen: Now) -> Self {
                Self { hop, to, seen, zone, zero: [0; $zeros] }
            }

            #[inline(always)]
            fn to(&self) -> Ends<$Address> {
                self.to
            }

            #[inline(always)]
            fn hop(&self) -> Hop {
                self.hop
            }

            #[inline(always)]
            fn zone(&self) -> Zone {
                self.zone
            }

            #[inline(always)]
            fn seen(&self) -> Now {
                self.seen
            }
        }
    };
}

datagram!(
    /// An IPv4 datagram.
    Datagram4, Ip4, 4
);
datagram!(
    /// An IPv6 datagram.
    Datagram6, Ip6, 4
);

const _: () = {
    assert!(size_of::<Datagram4>() == 32 && align_of::<Datagram4>() == 8);
    assert!(size_of::<Datagram6>() == 56 && align_of::<Datagram6>() == 8);
};
