//! A packet out of a context, for each hook.
//!
//! Packet bytes are reached in the one form that the verifier follows: an offset with a known bound, then
//! start + offset + length compared with the end.

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

#[inline(always)]
fn bytes_at<const N: usize>(data: usize, end: usize, at: usize) -> Option<*mut [u8; N]> {
    if at > MAX_OFFSET {
        return None;
    }
    let start = data + at;
    if start + N > end {
        return None;
    }
    Some(start as *mut [u8; N])
}

/// A packet at XDP: before the kernel made anything of it. Its checksums are complete.
pub struct XdpPacket(pub XdpContext);

impl XdpPacket {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<*mut [u8; N]> {
        bytes_at(self.0.data(), self.0.data_end(), at)
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is the one that this program was called with.
        (unsafe { bpf_xdp_get_buff_len(self.0.ctx) }) as usize
    }

    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        // What lies in the first buffer needs no helper call.
        self.0.data() + bytes <= self.0.data_end() || self.length() >= bytes
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
        // SAFETY: `bytes` compared the N bytes with the packet's end.
        self.bytes(at).map(|bytes| unsafe { bytes.read_unaligned() })
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, at: usize, new: [u8; N]) -> Result<(), Refused> {
        let bytes = self.bytes(at).ok_or(Refused)?;
        // SAFETY: `bytes` compared the N bytes with the packet's end, and the packet is ours alone.
        unsafe { bytes.write_unaligned(new) };
        Ok(())
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
        // SAFETY: the context is the one that this program was called with; pointers into the packet are
        // made anew at each use.
        match unsafe { bpf_xdp_adjust_tail(self.0.ctx, delta) } {
            0 => Ok(()),
            _ => Err(Refused),
        }
    }
}

/// A packet at TC: an skb, perhaps of many segments, perhaps with a checksum that is yet to be completed.
pub struct TcPacket(TcContext);

impl TcPacket {
    /// Makes the headers readable: an skb may hold them anywhere.
    #[inline(always)]
    pub fn new(ctx: TcContext) -> Self {
        let linear = ctx.data_end() - ctx.data();
        if linear < HEADERS as usize && linear < ctx.len() as usize {
            // Where it fails, the headers stay out of reach and the packet leaves as one that is cut short.
            let _ = ctx.pull_data(if ctx.len() < HEADERS { ctx.len() } else { HEADERS });
        }
        Self(ctx)
    }

    /// The device that the packet came in by.
    #[inline(always)]
    pub fn arrived_at(&self) -> IfIndex {
        // SAFETY: the context is the one that this program was called with.
        IfIndex(unsafe { (*self.0.skb.skb).ifindex })
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<*mut [u8; N]> {
        bytes_at(self.0.data(), self.0.data_end(), at)
    }

    #[inline(always)]
    fn replace_l4(&mut self, at: usize, difference: u32, flags: u32) -> Result<(), Refused> {
        // SAFETY: the context is the one that this program was called with; pointers into the packet are
        // made anew at each use. A `from` of zero with size zero means that `to` is a difference.
        match unsafe {
            bpf_l4_csum_replace(self.0.skb.skb, at as u32, 0, u64::from(difference), u64::from(flags))
        } {
            0 => Ok(()),
            _ => Err(Refused),
        }
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
        self.0.len() as usize
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        // SAFETY: the context is the one that this program was called with.
        match unsafe { (*self.0.skb.skb).gso_segs } {
            0 => 1,
            segments => segments,
        }
    }

    #[inline(always)]
    fn vlan(&self) -> Option<VlanTag> {
        // SAFETY: the context is the one that this program was called with.
        if unsafe { (*self.0.skb.skb).vlan_present } == 0 {
            return None;
        }
        // SAFETY: as above.
        Some(VlanTag(unsafe { (*self.0.skb.skb).vlan_tci } as u16))
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `bytes` compared the N bytes with the end of what is readable.
        self.bytes(at).map(|bytes| unsafe { bytes.read_unaligned() })
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, at: usize, new: [u8; N]) -> Result<(), Refused> {
        let bytes = self.bytes(at).ok_or(Refused)?;
        // SAFETY: `bytes` compared the N bytes with the end of what is readable; the kernel unshares the
        // head of an skb before a program that writes to it.
        unsafe { bytes.write_unaligned(new) };
        Ok(())
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
        // SAFETY: the context is the one that this program was called with; pointers into the packet are
        // made anew at each use.
        match unsafe { bpf_skb_change_tail(self.0.skb.skb, len as u32, 0) } {
            0 => Ok(()),
            _ => Err(Refused),
        }
    }
}
