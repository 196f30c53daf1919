//! IP headers of answers, for both families.

use super::TTL;
use crate::addr::{Ip4, Ip6};
use crate::checksum::Sum;
use crate::flow::{V4, V6};
use crate::packet::{Packet, Refused};
use crate::verifier::rolled_over;
use crate::wire::{Icmp, Ip, ipv4, ipv6, protocol};

/// What a family's answers look like.
pub trait Answer: Icmp {
    /// Swaps the addresses, and lets the packet go as far as it can.
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter than its header.
    fn turn_round<P: Packet>(p: &mut P, ip: &Ip<Self::Address>) -> Result<(), Refused>;

    /// A fresh header back to the sender, for `payload_len` bytes of TCP where there was TCP before. What lies between
    /// becomes padding, because the kernel may have noted where the segment starts.
    ///
    /// # Errors
    /// As for [`Self::turn_round`].
    fn head_back<P: Packet>(p: &mut P, ip: &Ip<Self::Address>, payload_len: usize) -> Result<(), Refused>;

    /// A fresh header without options, `from` one address to another, for `payload_len` bytes of ICMP.
    ///
    /// # Errors
    /// As for [`Self::turn_round`].
    fn head_error<P: Packet>(
        p: &mut P,
        from: Self::Address,
        to: Self::Address,
        payload_len: usize,
    ) -> Result<(), Refused>;
}

/// Version, header length, and no service of any kind; total length, no identification, "don't fragment"; TTL and
/// protocol; addresses.
#[inline(always)]
fn write_v4<P: Packet>(
    p: &mut P,
    [header_len, payload_len]: [usize; 2],
    protocol: u8,
    [src, dst]: [Ip4; 2],
) -> Result<(), Refused> {
    const DONT_FRAGMENT: [u8; 4] = [0, 0, 0x40, 0];
    let version_ihl = 0x40 | (header_len / 4) as u8;
    let total_len = ((header_len + payload_len) as u16).to_be_bytes();
    let checksum = Sum::default()
        .add2([version_ihl, 0])
        .add2(total_len)
        .add4(DONT_FRAGMENT)
        .add2([TTL, protocol])
        .add4(src.0)
        .add4(dst.0)
        .checksum();
    p.write(ipv4::AT, [version_ihl, 0])?;
    p.write(ipv4::AT + 2, total_len)?;
    p.write(ipv4::AT + 4, DONT_FRAGMENT)?;
    p.write(ipv4::TTL, [TTL, protocol])?;
    p.write(ipv4::CHECKSUM, checksum)?;
    p.write(ipv4::SRC, src.0)?;
    p.write(ipv4::DST, dst.0)
}

impl Answer for V4 {
    #[inline(always)]
    fn turn_round<P: Packet>(p: &mut P, ip: &Ip<Ip4>) -> Result<(), Refused> {
        // Swapped addresses sum up to what they did before: only the hop limit moves the header's checksum.
        let [old, new] = [[ip.hop_limit, ip.protocol], [TTL, ip.protocol]];
        let checksum = p.read(ipv4::CHECKSUM).ok_or(Refused)?;
        p.write(ipv4::TTL, new)?;
        p.write(ipv4::CHECKSUM, Sum::default().sub2(old).add2(new).mend(checksum))?;
        p.write(ipv4::SRC, ip.dst.0)?;
        p.write(ipv4::DST, ip.src.0)
    }

    /// Options become "end of options" (RFC 791 section 3.1).
    #[inline(always)]
    fn head_back<P: Packet>(p: &mut P, ip: &Ip<Ip4>, payload_len: usize) -> Result<(), Refused> {
        const MAX_OPTIONS: usize = 40;
        let header_len = ip.payload_at - ipv4::AT;
        write_v4(p, [header_len, payload_len], protocol::TCP, [ip.dst, ip.src])?;
        let mut option = 0;
        while option < MAX_OPTIONS {
            if ipv4::AT + ipv4::LEN + option < ip.payload_at {
                p.write(ipv4::AT + ipv4::LEN + option, [0; 4])?;
            }
            option += 4;
        }
        Ok(())
    }

    #[inline(always)]
    fn head_error<P: Packet>(p: &mut P, from: Ip4, to: Ip4, payload_len: usize) -> Result<(), Refused> {
        write_v4(p, [ipv4::LEN, payload_len], protocol::ICMP, [from, to])
    }
}

/// Version, no traffic class, no flow; payload length, next header, hop limit; addresses.
#[inline(always)]
fn write_v6<P: Packet>(p: &mut P, payload_len: usize, next: u8, [src, dst]: [Ip6; 2]) -> Result<(), Refused> {
    const VERSION: [u8; 4] = [0x60, 0, 0, 0];
    let [len0, len1] = (payload_len as u16).to_be_bytes();
    p.write(ipv6::AT, VERSION)?;
    p.write(ipv6::PAYLOAD_LEN, [len0, len1, next, TTL])?;
    p.write(ipv6::SRC, src.0)?;
    p.write(ipv6::DST, dst.0)
}

impl Answer for V6 {
    #[inline(always)]
    fn turn_round<P: Packet>(p: &mut P, ip: &Ip<Ip6>) -> Result<(), Refused> {
        p.write(ipv6::HOP_LIMIT, [TTL])?;
        p.write(ipv6::SRC, ip.dst.0)?;
        p.write(ipv6::DST, ip.src.0)
    }

    /// Extension headers become one of destination options, which is all padding (RFC 8200 section 4.2).
    #[inline(always)]
    fn head_back<P: Packet>(p: &mut P, ip: &Ip<Ip6>, payload_len: usize) -> Result<(), Refused> {
        const PADDING: u8 = 1;
        /// Two bytes of header, two of the one option.
        const HEADERS: usize = 4;
        let extra = ip.payload_at - ipv6::PAYLOAD;
        let next = if extra == 0 { protocol::TCP } else { protocol::DESTINATION };
        write_v6(p, extra + payload_len, next, [ip.dst, ip.src])?;
        if extra == 0 {
            return Ok(());
        }
        let padding = [protocol::TCP, (extra / 8 - 1) as u8, PADDING, (extra - HEADERS) as u8];
        p.write(ipv6::PAYLOAD, padding)?;
        let mut done = HEADERS;
        for _ in rolled_over::<P>(MOST_PADDING / 4) {
            if done >= extra {
                break;
            }
            p.write(ipv6::PAYLOAD + done, [0; 4])?;
            done += 4;
        }
        Ok(())
    }

    #[inline(always)]
    fn head_error<P: Packet>(p: &mut P, from: Ip6, to: Ip6, payload_len: usize) -> Result<(), Refused> {
        write_v6(p, payload_len, protocol::ICMPV6, [from, to])
    }
}

/// As many bytes of extension headers as are read.
const MOST_PADDING: u32 = crate::wire::MOST_EXTENSION_BYTES as u32;
