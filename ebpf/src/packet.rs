//! A packet out of a context, for each hook.
//!
//! Packet bytes are reached in the one form that the verifier follows: an offset with a known bound, then
//! start + offset + length compared with the end.

use core::arch::asm;
use core::intrinsics::is_val_statically_known;

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{
    bpf_l4_csum_replace, bpf_skb_change_tail, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
};
use aya_ebpf::programs::{TcContext, XdpContext};
use weir_path::addr::IfIndex;
use weir_path::checksum::{Delta, mend_l4};
use weir_path::packet::{Packet, Refused, VlanTag};

/// No header that the path reads starts beyond this.
const MAX_OFFSET: usize = 0xff;

/// The longest headers the path reads: Ethernet, IPv4 with all options, TCP.
const HEADERS: u32 = 14 + 60 + 20;

/// Where the readable bytes start and end.
///
/// Read from the context once, and again only after a helper that moves the packet: the verifier forgets what
/// was compared when a pointer is loaded anew, and the compiler, which doesn't, would leave the comparison out.
#[derive(Clone, Copy)]
struct Bytes {
    data: usize,
    end: usize,
}

/// The same address, but the compiler forgets how it came about.
///
/// To the verifier, two sums of the packet's start and an offset it doesn't know are two unrelated pointers,
/// each to be compared with the end. The compiler would see that one comparison implies the other.
#[inline(always)]
fn opaque(mut address: usize) -> usize {
    // One instruction, because the kernel refuses line information for none.
    // SAFETY: copies a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

impl Bytes {
    #[inline(always)]
    fn at<const N: usize>(self, at: usize) -> Option<*mut [u8; N]> {
        if at > MAX_OFFSET {
            return None;
        }
        let start = if is_val_statically_known(at) { self.data + at } else { opaque(self.data + at) };
        if start + N > self.end {
            return None;
        }
        Some(start as *mut [u8; N])
    }

    #[inline(always)]
    fn read<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `at` compared the N bytes with the end of what is readable.
        self.at(at).map(|bytes| unsafe { bytes.read_unaligned() })
    }

    #[inline(always)]
    fn write<const N: usize>(self, at: usize, new: [u8; N]) -> Result<(), Refused> {
        let bytes = self.at(at).ok_or(Refused)?;
        // SAFETY: `at` compared the N bytes with the end of what is readable, and the packet is ours alone:
        // the kernel unshares the head of an skb before a program that writes to it.
        unsafe { bytes.write_unaligned(new) };
        Ok(())
    }
}

/// A packet at XDP: before the kernel made anything of it. Its checksums are complete.
pub struct XdpPacket {
    ctx: XdpContext,
    bytes: Bytes,
}

impl XdpPacket {
    /// The packet of this context.
    #[inline(always)]
    pub fn new(ctx: XdpContext) -> Self {
        let bytes = Bytes { data: ctx.data(), end: ctx.data_end() };
        Self { ctx, bytes }
    }

    /// The device that the packet came in by.
    #[inline(always)]
    pub fn arrived_at(&self) -> IfIndex {
        IfIndex(self.ctx.ingress_ifindex() as u32)
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is the one that this program was called with.
        (unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) }) as usize
    }

    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        // What lies in the first buffer needs no helper call.
        self.bytes.data + bytes <= self.bytes.end || self.length() >= bytes
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        1
    }

    #[inline(always)]
    fn vlan(&self) -> Option<VlanTag> {
        None
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.read(at)
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, at: usize, new: [u8; N]) -> Result<(), Refused> {
        self.bytes.write(at, new)
    }

    #[inline(always)]
    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused> {
        let field = self.read(at).ok_or(Refused)?;
        self.write(at, mend_l4(field, delta, zero_means_none))
    }

    #[inline(always)]
    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused> {
        self.write(at, parts.whole().checksum())
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        let delta = len as i32 - self.length() as i32;
        // SAFETY: the context is the one that this program was called with.
        let result = unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, delta) };
        self.bytes = Bytes { data: self.ctx.data(), end: self.ctx.data_end() };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }
}

/// A packet at TC: an skb, perhaps of many segments, perhaps with a checksum that is yet to be completed.
pub struct TcPacket {
    ctx: TcContext,
    bytes: Bytes,
}

impl TcPacket {
    /// The packet of this context, with its headers made readable: an skb may hold them anywhere.
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        let linear = ctx.data_end() - ctx.data();
        if linear < HEADERS as usize && linear < ctx.len() as usize {
            // Where it fails, the headers stay out of reach and the packet leaves as one that is cut short.
            let _ = ctx.pull_data(if ctx.len() < HEADERS { ctx.len() } else { HEADERS });
        }
        let bytes = Bytes { data: ctx.data(), end: ctx.data_end() };
        Self { ctx, bytes }
    }

    /// The device that the packet came in by.
    #[inline(always)]
    pub fn arrived_at(&self) -> IfIndex {
        // SAFETY: the context is the one that this program was called with.
        IfIndex(unsafe { (*self.ctx.skb.skb).ifindex })
    }

    /// After a helper that may have moved the packet.
    #[inline(always)]
    fn moved(&mut self, result: i64) -> Result<(), Refused> {
        self.bytes = Bytes { data: self.ctx.data(), end: self.ctx.data_end() };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn replace_l4(&mut self, at: usize, difference: u32, flags: u32) -> Result<(), Refused> {
        // A `from` of zero with size zero means that `to` is a difference.
        // SAFETY: the context is the one that this program was called with.
        let result = unsafe {
            bpf_l4_csum_replace(self.ctx.skb.skb, at as u32, 0, u64::from(difference), u64::from(flags))
        };
        self.moved(result)
    }

    /// Whether the field at `at` holds the sum of the pseudo header alone (Linux: `CHECKSUM_PARTIAL`).
    ///
    /// Nothing tells a program so. But in that state, and only then, the kernel ignores a change of the
    /// segment's body (net/core/utils.c, `inet_proto_csum_replace_by_diff`): so make one and look.
    #[inline(always)]
    fn is_partial(&mut self, at: usize) -> Result<bool, Refused> {
        self.write(at, [0, 0])?;
        self.replace_l4(at, 1, 0)?;
        Ok(self.read(at) == Some([0, 0]))
    }
}

impl Packet for TcPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        // SAFETY: the context is the one that this program was called with.
        match unsafe { (*self.ctx.skb.skb).gso_segs } {
            0 => 1,
            segments => segments,
        }
    }

    #[inline(always)]
    fn vlan(&self) -> Option<VlanTag> {
        // SAFETY: the context is the one that this program was called with.
        if unsafe { (*self.ctx.skb.skb).vlan_present } == 0 {
            return None;
        }
        // SAFETY: as above.
        Some(VlanTag(unsafe { (*self.ctx.skb.skb).vlan_tci } as u16))
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.read(at)
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, at: usize, new: [u8; N]) -> Result<(), Refused> {
        self.bytes.write(at, new)
    }

    #[inline(always)]
    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused> {
        let zero_rule = if zero_means_none { BPF_F_MARK_MANGLED_0 } else { 0 };
        self.replace_l4(at, delta.pseudo.to_wsum(), BPF_F_PSEUDO_HDR | zero_rule)?;
        self.replace_l4(at, delta.body.to_wsum(), zero_rule)
    }

    #[inline(always)]
    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused> {
        let field = if self.is_partial(at)? { parts.pseudo.fold() } else { parts.whole().checksum() };
        self.write(at, field)
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        // SAFETY: the context is the one that this program was called with.
        let result = unsafe { bpf_skb_change_tail(self.ctx.skb.skb, len as u32, 0) };
        self.moved(result)
    }
}
