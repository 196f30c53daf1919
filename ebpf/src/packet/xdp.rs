//! A packet at XDP: before the kernel made anything of it.

use super::{Bytes, opaque, sum};
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use weir_path::addr::IfIndex;
use weir_path::checksum::{Delta, Sum, mend_l4};
use weir_path::packet::{MOST_INSERTED, Packet, Refused, VlanTag};
use weir_path::wire::ethernet;

/// A packet at XDP. Its checksums are complete, and its VLAN tag is in its bytes.
pub struct XdpPacket {
    ctx: XdpContext,
    bytes: Bytes,
    tag: VlanTag,
    /// 0, or [`ethernet::VLAN_LEN`].
    tag_len: usize,
}

impl XdpPacket {
    /// The packet of this context; `None` where it has a tag.
    #[inline(always)]
    pub fn untagged(ctx: XdpContext) -> Option<Self> {
        let bytes = Bytes { data: ctx.data(), behind_tag: ctx.data(), end: ctx.data_end() };
        if bytes.read(ethernet::TYPE) == Some(ethernet::VLAN) {
            return None;
        }
        Some(Self { ctx, bytes, tag: VlanTag::NONE, tag_len: 0 })
    }

    /// The packet of this context.
    #[inline(always)]
    pub fn new(ctx: XdpContext) -> Self {
        let bytes = Bytes { data: ctx.data(), behind_tag: ctx.data(), end: ctx.data_end() };
        let is_tagged = bytes.read(ethernet::TYPE) == Some(ethernet::VLAN);
        let tag = match bytes.read(ethernet::LEN) {
            Some(tci) if is_tagged => VlanTag::of_tci(u16::from_be_bytes(tci)),
            _ => VlanTag::NONE,
        };
        // The verifier would go on with each kind of tag for itself: it must not know which one it is.
        let noise = ctx.ingress_ifindex();
        let tag = VlanTag((opaque(usize::from(tag.0) ^ noise) ^ noise) as u16);
        let tag_len = ((opaque(usize::from(is_tagged) ^ noise) ^ noise) & 1) * ethernet::VLAN_LEN;
        let bytes = Bytes { behind_tag: bytes.data + tag_len, ..bytes };
        Self { ctx, bytes, tag, tag_len }
    }

    /// The device that the packet came in by.
    #[inline(always)]
    pub fn arrived_at(&self) -> IfIndex {
        IfIndex(self.ctx.ingress_ifindex() as u32)
    }

    /// After a helper that moved an end of the packet, which has this tag now.
    #[inline(always)]
    fn moved(&mut self, result: i64, tag: VlanTag) -> Result<(), Refused> {
        if tag != self.tag {
            self.tag = tag;
            self.tag_len = if tag == VlanTag::NONE { 0 } else { ethernet::VLAN_LEN };
        }
        let data = self.ctx.data();
        self.bytes = Bytes { data, behind_tag: data + self.tag_len, end: self.ctx.data_end() };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn move_head(&mut self, by: i32, tag: VlanTag) -> Result<(), Refused> {
        // SAFETY: the context is the one that this program was called with.
        let result = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, by) };
        self.moved(result, tag)?;
        self.write_tag()
    }

    #[inline(always)]
    fn write_tag(&mut self) -> Result<(), Refused> {
        if self.tag_len == 0 {
            return Ok(());
        }
        let [t0, t1] = ethernet::VLAN;
        let [v0, v1] = self.tag.0.to_be_bytes();
        // The compiler knows of a frame with a tag that it is long enough for one; the verifier doesn't.
        let data = opaque(self.bytes.data);
        let untagged = Bytes { data, behind_tag: data, ..self.bytes };
        untagged.write(ethernet::TYPE, [t0, t1, v0, v1])
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is the one that this program was called with.
        (unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) }) as usize - self.tag_len
    }

    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        // What lies in the first buffer needs no helper call.
        self.bytes.behind_tag + bytes <= self.bytes.end || self.length() >= bytes
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        1
    }

    #[inline(always)]
    fn segment_payload(&self) -> usize {
        0
    }

    #[inline(always)]
    fn vlan(&self) -> VlanTag {
        self.tag
    }

    #[inline(always)]
    fn set_vlan(&mut self, tag: VlanTag) -> Result<(), Refused> {
        let by = match (self.tag_len, tag) {
            (0, VlanTag::NONE) => return Ok(()),
            (0, _) => -(ethernet::VLAN_LEN as i32),
            (_, VlanTag::NONE) => ethernet::VLAN_LEN as i32,
            _ => {
                self.tag = tag;
                return self.write_tag();
            }
        };
        self.move_head(by, tag)
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
        sum::of(unsafe { sum::sum_xdp(self.ctx.ctx, (at + self.tag_len) as u64, len as u64) })
    }

    #[inline(always)]
    fn opaque(number: usize) -> usize {
        opaque(number)
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
    fn is_partial(&mut self, _: usize) -> Result<bool, Refused> {
        Ok(false)
    }

    #[inline(always)]
    fn changed(&mut self, _: Sum) {}

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        let delta = len as i32 - self.length() as i32;
        // SAFETY: the context is the one that this program was called with.
        let result = unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, delta) };
        self.moved(result, self.tag)
    }

    #[inline(always)]
    fn insert(&mut self, len: usize) -> Result<(), Refused> {
        if len > MOST_INSERTED {
            return Err(Refused);
        }
        self.move_head(-(len as i32), self.tag)
    }
}
