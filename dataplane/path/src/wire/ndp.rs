//! Neighbour Discovery (RFC 4861). Offsets are from the start of the ICMPv6 header.

use super::{Ip, protocol};
use crate::addr::{Address, Ip6, Mac};
use crate::packet::Packet;
use zerocopy::transmute;

/// Type and code of a Neighbour Solicitation.
pub const SOLICITATION: [u8; 2] = [135, 0];
/// Type and code of a Neighbour Advertisement.
pub const ADVERTISEMENT: [u8; 2] = [136, 0];
/// Offset of the target address.
pub const TARGET: usize = 8;
/// Length without options, and so the offset of the first one.
pub const LEN: usize = 24;
/// Option: the sender's MAC. Eight bytes long.
pub const SOURCE_MAC: [u8; 2] = [1, 1];
/// Option: the target's MAC. Eight bytes long.
pub const TARGET_MAC: [u8; 2] = [2, 1];
/// Length of either option.
pub const OPTION_LEN: usize = 8;
/// The hop limit that proves that nobody forwarded a message.
pub const HOP_LIMIT: u8 = 255;
/// Flag of an advertisement: a router sends it.
pub const ROUTER: u8 = 0x80;
/// Flag of an advertisement: it answers a solicitation.
pub const SOLICITED: u8 = 0x40;
/// Flag of an advertisement: it takes the place of what was known.
pub const OVERRIDE: u8 = 0x20;
/// The most bytes of a message that are read: what systems send has one option, or two.
const MOST: usize = 128;

/// A solicitation or an advertisement.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Neighbour {
    /// Whose address is asked for, or told.
    pub target: Ip6,
    /// Whether it is told.
    pub is_told: bool,
    /// Whether it came with the MAC of who sent it.
    pub has_mac: bool,
    /// That MAC.
    pub mac: Mac,
}

impl Neighbour {
    /// What `p` says; `None` where it is another message, or not a valid one (RFC 4861 section 7.1). Of the options the
    /// first one alone is looked at.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P, ip: &Ip<Ip6>) -> Option<Self> {
        let at = ip.payload_at;
        if ip.protocol != protocol::ICMPV6 || ip.hop_limit != HOP_LIMIT || ip.is_fragment {
            return None;
        }
        if ip.payload_len < LEN || ip.payload_len > MOST {
            return None;
        }
        let low = p.read(at + TARGET + 8)?;
        let high = p.read(at + TARGET)?;
        let kind = p.read(at)?;
        let is_told = kind == ADVERTISEMENT;
        let target = Ip6(transmute!([u64::from_ne_bytes(high), u64::from_ne_bytes(low)]));
        if (!is_told && kind != SOLICITATION) || target.is_multicast() {
            return None;
        }
        // Who has no address yet asks all that may have it, and has no MAC to tell of (RFC 4861 section 7.1.1).
        let has_address = ip.src != Ip6::default();
        if has_address && !ip.src.may_be_source() || !has_address && (is_told || !ip.dst.is_multicast()) {
            return None;
        }
        let wanted = if is_told { TARGET_MAC } else { SOURCE_MAC };
        let has_option = ip.payload_len >= LEN + OPTION_LEN && p.read(at + LEN) == Some(wanted);
        let mac = if has_option { Mac(p.read(at + LEN + 2)?) } else { Mac([0; 6]) };
        if has_option && !has_address {
            return None;
        }
        let pseudo = ip.src.sum().plus(ip.dst.sum()).add2([0, protocol::ICMPV6]);
        let pseudo = pseudo.add2((ip.payload_len as u16).to_be_bytes());
        let message = p.sum(at, ip.payload_len)?;
        // What holds its own checksum sums up to all ones (RFC 1071 section 1); what is no whole number of options is
        // not summed up whole.
        let is_valid = ip.payload_len.is_multiple_of(OPTION_LEN) && pseudo.plus(message).fold() == [0xff; 2];
        is_valid.then_some(Self { target, is_told, has_mac: has_option, mac })
    }
}
