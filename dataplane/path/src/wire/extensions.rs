//! IPv6 extension headers (RFC 8200 section 4), up to the one that says what the packet carries.

use super::protocol;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::verifier::{forgotten, rolled_over};

/// Each may be there once, destination options twice (RFC 8200 section 4.1); with one more the list is too long.
const MOST_HEADERS: u32 = 6;
/// The most bytes that they may have together.
pub const MOST_BYTES: usize = 128;

/// Where the headers lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// Offset of what follows them, from the start of the frame.
    pub(super) at: usize,
    /// Offset of the fragment header; 0 where there is none.
    pub(super) fragment_at: usize,
    /// What follows.
    pub(super) protocol: u8,
    /// Whether what follows is a piece of it.
    pub(super) is_fragment: bool,
    /// Whether it is a piece from the middle, or the last one.
    pub(super) is_later: bool,
}

impl Chain {
    /// The same; but the verifier, which would go on with each way through the headers for itself, no longer knows
    /// more of it than that it is in bounds. `noise` is anything it does not know.
    #[inline(always)]
    fn forgotten<P: Packet>(self, noise: usize) -> Self {
        const OFFSETS: usize = 0x3ff;
        let forget = |number| forgotten::<P>(number, noise);
        let flags = forget(usize::from(self.is_fragment) | usize::from(self.is_later) << 1);
        Self {
            at: forget(self.at) & OFFSETS,
            fragment_at: forget(self.fragment_at) & OFFSETS,
            protocol: forget(usize::from(self.protocol)) as u8,
            is_fragment: flags & 1 != 0,
            is_later: flags & 2 != 0,
        }
    }
}

/// Walks the headers that begin at `at` with one of kind `protocol`, and end before `end`.
///
/// # Errors
/// [`Reason::TooManyHeaders`]; [`Reason::SourceRouted`]; [`Reason::BadHeader`] where one is cut short, or stands where it may not.
#[inline(always)]
pub(super) fn walk<P: Packet>(p: &P, at: usize, protocol: u8, end: usize) -> Result<Chain, Reason> {
    let furthest = at + MOST_BYTES;
    let mut chain = Chain { at, fragment_at: 0, protocol, is_fragment: false, is_later: false };
    for _ in rolled_over::<P>(MOST_HEADERS + 1) {
        let here = chain.at;
        let is_last = !matches!(
            chain.protocol,
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION
        );
        if is_last || chain.is_later {
            return Ok(chain.forgotten::<P>(end));
        }
        if here > furthest {
            break;
        }
        let Some([next, len, high, low]) = p.read(here) else { return Err(Reason::BadHeader) };
        // Every node on the way has to see it first (RFC 8200 section 4.1).
        if chain.protocol == protocol::HOP_BY_HOP && here != at {
            return Err(Reason::BadHeader);
        }
        let mut header_len = 8;
        if chain.protocol == protocol::FRAGMENT {
            // More fragments, or an offset; neither is a whole packet (RFC 6946).
            chain.is_later = high != 0 || low & 0xf8 != 0;
            chain.is_fragment = chain.is_later || low & 1 != 0;
            chain.fragment_at = here;
        } else {
            header_len += usize::from(len) * 8;
        }
        if chain.protocol == protocol::ROUTING && low != 0 {
            return Err(Reason::SourceRouted);
        }
        chain.at = here + header_len;
        chain.protocol = next;
        if chain.at > end {
            return Err(Reason::BadHeader);
        }
        if chain.at > furthest {
            break;
        }
    }
    Err(Reason::TooManyHeaders)
}
