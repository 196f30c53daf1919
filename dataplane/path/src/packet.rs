//! What the path needs from a packet: what to do with its bytes, and a few things to know about it.
//!
//! There are three implementors: the XDP adapter and the TC adapter in `ebpf/`, and [`crate::frame::Frame`]. The
//! trait carries the difference between the hooks, so that nothing above it has to.

use crate::checksum::{Delta, Sum};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which VLAN a frame belongs to: the identifier of its IEEE 802.1Q tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// The frame has no tag, or one that names no VLAN, but a priority (IEEE 802.1Q section 6.9.1).
    pub const NONE: Self = Self(0);

    /// What a tag's sixteen bits say ("tag control information": priority, drop eligible, identifier).
    #[must_use]
    #[inline(always)]
    pub const fn of_tci(tci: u16) -> Self {
        Self(tci & 0xfff)
    }
}

/// The most bytes that are summed up at once: an IPv6 packet that everybody can receive.
pub const MOST_SUMMED: usize = 1280;

/// The most bytes that are put in front of what is there: an IPv6 and an ICMPv6 header.
pub const MOST_INSERTED: usize = 48;

/// The packet did not have the room, or the kernel refused. The packet may have been changed: drop it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// One packet, starting at its Ethernet header. Offsets are in bytes from there, and don't see a VLAN tag: XDP has
/// it in the bytes, TC beside them, and the implementors make up for that.
pub trait Packet {
    /// The packet's length in bytes without a VLAN tag, the parts that can't be read directly included.
    fn length(&self) -> usize;

    /// Whether the packet has at least `bytes` bytes. Cheaper than [`Self::length`] where that must be asked for.
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.length() >= bytes
    }

    /// How many packets this is on the wire: 1, or a GSO super-packet's number of segments.
    fn segments(&self) -> u32;

    /// How much payload each segment of a GSO super-packet has, in bytes; 0 where this is one packet.
    fn segment_payload(&self) -> usize;

    /// The frame's tag.
    fn vlan(&self) -> VlanTag;

    /// Gives the frame another tag, or none. What it says about priority is lost. The MACs have to be written
    /// afterwards.
    ///
    /// # Errors
    /// [`Refused`] where the kernel has no room.
    fn set_vlan(&mut self, tag: VlanTag) -> Result<(), Refused>;

    /// The `N` bytes at `at`; `None` where the packet is shorter.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Overwrites the `N` bytes at `at`.
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Refused>;

    /// The sum of the `len` bytes at `at`, at most [`MOST_SUMMED`], but for up to three at the end that make no whole
    /// word. `None` where the packet is shorter.
    fn sum(&self, at: usize, len: usize) -> Option<Sum>;

    /// The same number. A compiler that does not see that can't tell the verifier either; see `verifier.rs`.
    #[must_use]
    #[inline(always)]
    fn opaque(number: usize) -> usize {
        number
    }

    /// Mends the L4 checksum field at `at` by `delta`. For `zero_means_none` see [`crate::checksum::mend_l4`].
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused>;

    /// Writes the L4 checksum field at `at` afresh, for a segment whose parts sum up to `parts`.
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused>;

    /// Whether the L4 checksum field at `at` holds the sum of the pseudo header alone, and is completed by whoever
    /// sends the packet on (Linux: `CHECKSUM_PARTIAL`). What the field holds is lost by asking.
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn is_partial(&mut self, at: usize) -> Result<bool, Refused>;

    /// Bytes that no checksum in the packet covers changed by this much. A device may have summed up all of it
    /// (Linux: `CHECKSUM_COMPLETE`), and that sum has to follow.
    fn changed(&mut self, by: Sum);

    /// Makes the packet `len` bytes long, at its end. New bytes are zero. What was read before still holds.
    ///
    /// # Errors
    /// [`Refused`] where there is no room to grow.
    fn resize(&mut self, len: usize) -> Result<(), Refused>;

    /// Makes room for `len` bytes behind the Ethernet header: an even number, at most [`MOST_INSERTED`]. The MACs and
    /// the ethertype have to be written afterwards.
    ///
    /// # Errors
    /// [`Refused`] where there is no room to grow.
    fn insert(&mut self, len: usize) -> Result<(), Refused>;
}
