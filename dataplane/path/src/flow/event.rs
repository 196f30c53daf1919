//! What is told about a flow that ended: one record of fixed size, for both families.

use super::{Account, Counts, Ends, Hop};
use crate::addr::{Ip6, Zone};
use crate::time::Now;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A flow that ended, as it lies in the ring of events. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// What both directions carried, by [`super::Side`].
    pub counts: [Counts; 2],
    /// What the original direction's packets looked like where they arrived.
    pub original: Ends<Ip6>,
    /// What the reply direction's packets looked like where they arrived.
    pub reply: Ends<Ip6>,
    /// The address spaces of both directions.
    pub zones: [Zone; 2],
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
    /// The number of the last [`super::Phase`].
    pub phase: u8,
    /// 1 where both ends are told when it was silent for too long; else 0.
    pub tells_idle: u8,
    /// Always zero.
    pub zero: u8,
    /// The number of the [`super::end::End`].
    pub why: u32,
    /// When the flow was opened.
    pub opened: Now,
    /// When it was last heard, as far as that was written down.
    pub seen: Now,
    /// When it ended.
    pub ended: Now,
    /// Whose it was.
    pub account: Account,
    /// TCP: what each direction's last segment acknowledged, by [`super::Side`]: the number that its sender takes next.
    pub acknowledged: [u32; 2],
    /// Where each direction's packets went, by [`super::Side`].
    pub hops: [Hop; 2],
}

const _: () = assert!(size_of::<Event>() == 160 && align_of::<Event>() == 8);
