//! The packet path in the kernel: one program for each hook, nothing but glue.
//!
//! What happens to a packet is in `weir-path`. Here are the adapters that make a packet out of an XDP or a
//! TC context ([`packet`]), the tables out of maps ([`maps`]), and a return code out of a verdict.
#![no_std]
// Both exist to please the verifier, in one place each in `packet`.
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "there is no stable way to ask what the compiler knows")]
#![no_main]

mod maps;
mod packet;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use maps::Maps;
use packet::{TcPacket, XdpPacket};
use weir_path::layout::Hook;
use weir_path::tables::{Delivery, Egress};
use weir_path::{Verdict, from_slot, from_uplink};

/// XDP on an uplink.
#[xdp(frags)]
pub fn uplink_xdp(ctx: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(ctx);
    let maps = Maps { hook: Hook::UplinkXdp, arrived_at: packet.arrived_at() };
    xdp_action(from_uplink(&mut packet, &maps))
}

/// TC ingress on an uplink whose senders may leave checksums to others.
#[classifier]
pub fn uplink_tc(ctx: TcContext) -> i32 {
    let mut packet = TcPacket::new(ctx);
    let maps = Maps { hook: Hook::UplinkTc, arrived_at: packet.arrived_at() };
    tc_action(from_uplink(&mut packet, &maps))
}

/// TC ingress on a slot.
#[classifier]
pub fn slot_tc(ctx: TcContext) -> i32 {
    let mut packet = TcPacket::new(ctx);
    let maps = Maps { hook: Hook::SlotTc, arrived_at: packet.arrived_at() };
    tc_action(from_slot(&mut packet, &maps))
}

/// The slot's walk on XDP: never attached, so that every fixture can run on both hooks.
#[xdp(frags)]
pub fn slot_xdp(ctx: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(ctx);
    let maps = Maps { hook: Hook::SlotTc, arrived_at: packet.arrived_at() };
    xdp_action(from_slot(&mut packet, &maps))
}

#[inline(always)]
fn xdp_action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        // Never XDP_TX, also not back to the sender: veth counts it as sent and may lose it.
        // SAFETY: the helper takes plain numbers and checks them.
        Verdict::Send(to) => (unsafe { bpf_redirect(to.ifindex.0, 0) }) as u32,
    }
}

#[inline(always)]
fn tc_action(verdict: Verdict) -> i32 {
    match verdict {
        // "Unspecified" lets the next program on the hook have its say.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
        Verdict::Send(Egress { ifindex, delivery: Delivery::VETH_PEER, .. }) => {
            // SAFETY: the helper takes plain numbers and checks them.
            (unsafe { bpf_redirect_peer(ifindex.0, 0) }) as i32
        }
        // SAFETY: the helper takes plain numbers and checks them.
        Verdict::Send(to) => (unsafe { bpf_redirect(to.ifindex.0, 0) }) as i32,
    }
}

/// What the kernel reads to decide which helpers a program may call.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
