//! A packet at TC: an skb.

use super::{Bytes, opaque, sum};
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::generated::{
    bpf_csum_update, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_vlan_pop,
    bpf_skb_vlan_push,
};
use aya_ebpf::programs::TcContext;
use weir_path::addr::IfIndex;
use weir_path::checksum::{Delta, Sum, mend_l4};
use weir_path::packet::{MOST_INSERTED, Packet, Refused, VlanTag};
use weir_path::wire::{ethernet, ipv4, ipv6, protocol, tcp, udp};

/// How much of a packet has to be readable.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Depth {
    /// The headers of almost all packets: Ethernet, IPv4 with all options, TCP.
    Headers = 14 + 60 + 20,
    /// Those behind IPv6 extension headers, with TCP's options.
    Extensions = 14 + 40 + 128 + 60,
    /// What an ICMPv6 error quotes, behind extension headers of both.
    Quoted = 14 + 40 + 128 + 8 + 40 + 128 + 20,
    /// What an ICMPv6 error is to quote.
    Quotable = 14 + 1280,
}

/// A packet at TC: an skb, perhaps of many segments, perhaps with a checksum that is yet to be completed, and with its
/// VLAN tag beside its bytes.
pub struct TcPacket {
    ctx: TcContext,
    bytes: Bytes,
    segments: u32,
}

impl TcPacket {
    /// The packet of this context, readable down to `depth`: an skb may hold its bytes anywhere.
    #[inline(always)]
    pub fn new(ctx: TcContext, depth: Depth) -> Self {
        let linear = ctx.data_end() - ctx.data();
        let depth = depth as u32;
        if linear < depth as usize && linear < ctx.len() as usize {
            // Where it fails, the headers stay out of reach and the packet leaves as one that is cut short.
            let _ = ctx.pull_data(if ctx.len() < depth { ctx.len() } else { depth });
        }
        let mut packet = Self { bytes: Bytes::untagged(&ctx), ctx, segments: 1 };
        packet.segments = packet.count_segments();
        packet
    }

    /// How many packets this is. A GSO packet from a TAP has a size of segments, but their number has not been
    /// reckoned yet; so does the kernel (net/core/dev.c, `qdisc_pkt_len_segs_init`).
    #[inline(always)]
    fn count_segments(&self) -> u32 {
        // SAFETY: the context is the one that this program was called with.
        let segments = unsafe { (*self.ctx.skb.skb).gso_segs };
        if segments != 0 {
            return segments;
        }
        let payload = self.segment_payload() as u32;
        if payload == 0 {
            return 1;
        }
        reckon_segments(self.bytes, self.ctx.len(), payload)
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
        self.bytes = Bytes::untagged(&self.ctx);
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
}

impl Packet for TcPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        self.segments
    }

    #[inline(always)]
    fn segment_payload(&self) -> usize {
        // SAFETY: the context is the one that this program was called with.
        (unsafe { (*self.ctx.skb.skb).gso_size }) as usize
    }

    #[inline(always)]
    fn vlan(&self) -> VlanTag {
        // SAFETY: the context is the one that this program was called with.
        if unsafe { (*self.ctx.skb.skb).vlan_present } == 0 {
            return VlanTag::NONE;
        }
        // SAFETY: as above.
        VlanTag::of_tci(unsafe { (*self.ctx.skb.skb).vlan_tci } as u16)
    }

    #[inline(always)]
    fn set_vlan(&mut self, tag: VlanTag) -> Result<(), Refused> {
        if self.vlan() != VlanTag::NONE {
            // SAFETY: the context is the one that this program was called with.
            let result = unsafe { bpf_skb_vlan_pop(self.ctx.skb.skb) };
            self.moved(result)?;
        }
        if tag == VlanTag::NONE {
            return Ok(());
        }
        let protocol = u16::from_ne_bytes(ethernet::VLAN);
        // SAFETY: as above.
        let result = unsafe { bpf_skb_vlan_push(self.ctx.skb.skb, protocol, tag.0) };
        self.moved(result)
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
    fn sum(&self, at: usize, len: usize) -> Option<Sum> {
        // SAFETY: the context is the one that this program was called with.
        sum::of(unsafe { sum::sum_tc(self.ctx.skb.skb, at as u64, len as u64) })
    }

    #[inline(always)]
    fn opaque(number: usize) -> usize {
        opaque(number)
    }

    /// A helper call for the pseudo header's part, which tells besides whether the field is partial: then it holds a sum,
    /// and what is added to it moves the other way than a checksum does. The rest is written without a call.
    #[inline(always)]
    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused> {
        let zero_rule = if zero_means_none { BPF_F_MARK_MANGLED_0 } else { 0 };
        let was = self.read(at).ok_or(Refused)?;
        self.replace_l4(at, delta.pseudo.to_wsum(), BPF_F_PSEUDO_HDR | zero_rule)?;
        let is = self.read(at).ok_or(Refused)?;
        let [as_sum, as_checksum] = [delta.pseudo.add2(was).fold(), delta.pseudo.mend(was)];
        if is_same(as_sum, as_checksum) {
            // The pseudo header's part makes no difference, so it tells nothing.
            return self.replace_l4(at, delta.body.to_wsum(), zero_rule);
        }
        if is_same(is, as_sum) {
            return Ok(());
        }
        self.write(at, mend_l4(is, Delta { pseudo: Sum::default(), body: delta.body }, zero_means_none))
    }

    #[inline(always)]
    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused> {
        let field = if self.is_partial(at)? { parts.pseudo.fold() } else { parts.whole().checksum() };
        self.write(at, field)
    }

    /// Nothing tells a program so. But in that state, and only then, the kernel ignores a change of the segment's
    /// body (net/core/utils.c, `inet_proto_csum_replace_by_diff`): so make one and look. The field is lost by that.
    #[inline(always)]
    fn is_partial(&mut self, at: usize) -> Result<bool, Refused> {
        self.write(at, [0, 0])?;
        self.replace_l4(at, 1, 0)?;
        Ok(self.read(at) == Some([0, 0]))
    }

    #[inline(always)]
    fn changed(&mut self, by: Sum) {
        // Refused where there is no such sum, which is as well.
        // SAFETY: the context is the one that this program was called with.
        unsafe { bpf_csum_update(self.ctx.skb.skb, by.to_wsum()) };
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        // SAFETY: the context is the one that this program was called with.
        let result = unsafe { bpf_skb_change_tail(self.ctx.skb.skb, len as u32, 0) };
        // The kernel takes the segments apart no more: it is one packet.
        self.segments = 1;
        self.moved(result)
    }

    #[inline(always)]
    fn insert(&mut self, len: usize) -> Result<(), Refused> {
        if len > MOST_INSERTED {
            return Err(Refused);
        }
        // SAFETY: as above.
        let result = unsafe { bpf_skb_adjust_room(self.ctx.skb.skb, len as i32, BPF_ADJ_ROOM_MAC, 0) };
        self.moved(result)
    }
}

impl Bytes {
    #[inline(always)]
    fn untagged(ctx: &TcContext) -> Self {
        Self { data: ctx.data(), behind_tag: ctx.data(), end: ctx.data_end() }
    }
}

/// Whether two sums are the same number: zero has two forms.
#[inline(always)]
fn is_same(a: [u8; 2], b: [u8; 2]) -> bool {
    let [a, b] = [a, b].map(u16::from_ne_bytes);
    let form = |sum: u16| if sum == 0xffff { 0 } else { sum };
    form(a) == form(b)
}

/// How many segments of `payload` bytes a GSO packet of `len` bytes has.
#[inline(always)]
fn reckon_segments(bytes: Bytes, len: u32, payload: u32) -> u32 {
    let Some(ethertype) = bytes.read(ethernet::TYPE) else { return 1 };
    let (l4_at, protocol) = if u16::from_ne_bytes(ethertype) == u16::from_ne_bytes(ethernet::IPV4) {
        let Some([protocol]) = bytes.read(ipv4::TTL + 1) else { return 1 };
        let Some([version_ihl]) = bytes.read(ipv4::AT) else { return 1 };
        (ipv4::AT + usize::from(version_ihl & 0xf) * 4, protocol)
    } else {
        let Some([protocol]) = bytes.read(ipv6::NEXT_HEADER) else { return 1 };
        (ipv6::PAYLOAD, protocol)
    };
    let header_len = if protocol == protocol::TCP {
        let Some([offset]) = bytes.read(l4_at + tcp::DATA_OFFSET) else { return 1 };
        usize::from(offset >> 4) * 4
    } else {
        udp::LEN
    };
    let headers = (l4_at + header_len) as u32;
    if len <= headers { 1 } else { (len - headers).div_ceil(payload) }
}
