//! The bare ways between client and sandbox: what can't be done without, once for each kind of hook.
//!
//! They know one VIP and one sandbox and keep no table, so they are no load balancers: they are what is taken for
//! granted below one.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::DevMap;
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::checksum::mend;
use crate::{IPV4, NO_OPTIONS, PORT_OFFSET, SANDBOX, SLOT, TCP, TO_CLIENT, TO_SANDBOX, UDP, UPLINK, VIP, at};

#[map]
static SLOTS: DevMap = DevMap::with_max_entries(1, 0);

/// To the slot as it is. What isn't IPv4 stays: ARP.
#[xdp(frags)]
pub fn redirect(ctx: XdpContext) -> u32 {
    if is_ipv4(ctx.data(), ctx.data_end()) { to_slot() } else { xdp_action::XDP_PASS }
}

/// What is for the VIP goes to the slot, with the sandbox's address, port and MAC.
#[xdp(frags)]
pub fn dnat(ctx: XdpContext) -> u32 {
    if translate(ctx.data(), ctx.data_end()).is_some() { to_slot() } else { xdp_action::XDP_PASS }
}

/// As `redirect`, on TC.
#[classifier]
pub fn redirect_tc(ctx: TcContext) -> i32 {
    if !is_ipv4(ctx.data(), ctx.data_end()) {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: the helper takes plain numbers and checks them.
    unsafe { bpf_redirect(SLOT.load(), 0) as i32 }
}

/// Into the sandbox, past the slot.
#[classifier]
pub fn redirect_peer(ctx: TcContext) -> i32 {
    if !is_ipv4(ctx.data(), ctx.data_end()) {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: the helper takes plain numbers and checks them.
    unsafe { bpf_redirect_peer(SLOT.load(), 0) as i32 }
}

/// From the slot to the uplink as it is.
#[classifier]
pub fn back(ctx: TcContext) -> i32 {
    if is_ipv4(ctx.data(), ctx.data_end()) { to_uplink() } else { TC_ACT_UNSPEC }
}

/// From the slot to the uplink, with the VIP's address and port as the sender's.
#[classifier]
pub fn back_dnat(ctx: TcContext) -> i32 {
    if translate_back(&ctx).is_some() { to_uplink() } else { TC_ACT_UNSPEC }
}

#[inline(always)]
fn to_slot() -> u32 {
    SLOTS.redirect(0, 0).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn to_uplink() -> i32 {
    // SAFETY: the helper takes plain numbers and checks them.
    unsafe { bpf_redirect(UPLINK.load(), 0) as i32 }
}

#[inline(always)]
fn is_ipv4(data: usize, end: usize) -> bool {
    if data + at::VERSION > end {
        return false;
    }
    // SAFETY: the bytes were compared with the packet's end.
    unsafe { ((data + at::ETHERTYPE) as *const [u8; 2]).read_unaligned() == IPV4 }
}

#[inline(always)]
fn translate(data: usize, end: usize) -> Option<()> {
    if data + at::UDP_END > end || !is_ipv4(data, end) {
        return None;
    }
    // SAFETY: every place asked for is below UDP_END, which was compared with the packet's end.
    let byte = |at: usize| unsafe { *((data + at) as *const u8) };
    // SAFETY: as above; what is behind UDP_END is compared before it is asked for.
    let load = |at: usize| unsafe { ((data + at) as *const u16).read_unaligned() };
    let store = |at: usize, value: u16| {
        // SAFETY: as above.
        unsafe { ((data + at) as *mut u16).write_unaligned(value) };
    };
    // SAFETY: as above.
    let destination = unsafe { ((data + at::DESTINATION) as *const [u8; 4]).read_unaligned() };
    if byte(at::VERSION) != NO_OPTIONS || destination != VIP.load() {
        return None;
    }
    let port = load(at::DESTINATION_PORT);
    let to_port = u16::from_be(port).wrapping_add(PORT_OFFSET.load()).to_be();
    let [from, to] = [destination, SANDBOX.load()].map(u32::from_ne_bytes);
    let addresses = u64::from(!from) + u64::from(to);
    let all = addresses + u64::from(!port) + u64::from(to_port);
    match byte(at::PROTOCOL) {
        TCP if data + at::TCP_END <= end => store(at::TCP_CHECKSUM, mend(load(at::TCP_CHECKSUM), all)),
        // None was made, so there is none to mend; a mended one is never 0 (RFC 768).
        UDP if load(at::UDP_CHECKSUM) != 0 => {
            let mended = mend(load(at::UDP_CHECKSUM), all);
            store(at::UDP_CHECKSUM, if mended == 0 { 0xffff } else { mended });
        }
        UDP => {}
        _ => return None,
    }
    store(at::IP_CHECKSUM, mend(load(at::IP_CHECKSUM), addresses));
    store(at::DESTINATION_PORT, to_port);
    // SAFETY: as above.
    unsafe { ((data + at::DESTINATION) as *mut u32).write_unaligned(to) };
    // SAFETY: as above.
    unsafe { (data as *mut [u8; 12]).write_unaligned(TO_SANDBOX.load()) };
    Some(())
}

/// By helpers: a local socket's checksum is yet to be completed, and they know.
#[inline(always)]
fn translate_back(ctx: &TcContext) -> Option<()> {
    if !is_ipv4(ctx.data(), ctx.data_end()) || ctx.load::<[u8; 4]>(at::SOURCE).ok()? != SANDBOX.load() {
        return None;
    }
    let (checksum, flags) = match ctx.load::<u8>(at::PROTOCOL).ok()? {
        TCP => (at::TCP_CHECKSUM, 0),
        UDP => (at::UDP_CHECKSUM, u64::from(BPF_F_MARK_MANGLED_0)),
        _ => return None,
    };
    let port: u16 = ctx.load(at::SOURCE_PORT).ok()?;
    let to_port = u16::from_be(port).wrapping_sub(PORT_OFFSET.load()).to_be();
    let [from, to] = [SANDBOX.load(), VIP.load()].map(u32::from_ne_bytes);
    let pseudo = u64::from(BPF_F_PSEUDO_HDR) | flags | 4;
    ctx.l4_csum_replace(checksum, u64::from(from), u64::from(to), pseudo).ok()?;
    ctx.l4_csum_replace(checksum, u64::from(port), u64::from(to_port), flags | 2).ok()?;
    ctx.l3_csum_replace(at::IP_CHECKSUM, u64::from(from), u64::from(to), 4).ok()?;
    ctx.store(at::SOURCE, &to, 0).ok()?;
    ctx.store(at::SOURCE_PORT, &to_port, 0).ok()?;
    ctx.store(0, &TO_CLIENT.load(), 0).ok()
}
