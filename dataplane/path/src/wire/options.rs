//! IPv4 options (RFC 791 section 3.1): read for what they may not say.

use super::ipv4;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::verifier::rolled_over;

const END: u8 = 0;
const NOTHING: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;
/// Options fill forty bytes at most; then there is one more step to see that they end.
const MOST: u32 = 41;
/// A header ends before this.
const OFFSETS: usize = 0x7f;

/// Whether a packet may have the options that end before `end`: none may send it elsewhere than where its header does.
///
/// # Errors
/// [`Reason::SourceRouted`]; [`Reason::BadHeader`] where one is cut short.
#[inline(never)]
pub(super) fn check<P: Packet>(p: &P, end: usize) -> Result<(), Reason> {
    let mut at = ipv4::AT + ipv4::LEN;
    for _ in rolled_over::<P>(MOST) {
        let here = P::opaque(at) & OFFSETS;
        if here >= end {
            return Ok(());
        }
        let Some([kind]) = p.read(here) else { return Err(Reason::BadHeader) };
        match kind {
            END => return Ok(()),
            NOTHING => at = here + 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Reason::SourceRouted),
            _ => {
                let Some([len]) = p.read(here + 1) else { return Err(Reason::BadHeader) };
                if len < 2 || here + usize::from(len) > end {
                    return Err(Reason::BadHeader);
                }
                at = here + usize::from(len);
            }
        }
    }
    Err(Reason::BadHeader)
}
