//! The packet path in the kernel: one program for each hook, nothing but glue.
//!
//! What happens to a packet is in `weir-path`. Here are the adapters that make a packet out of an XDP or a
//! TC context ([`packet`]), the tables out of maps ([`maps`], [`flows`], [`cells`]), and a return code out of a verdict;
//! the timer that ages flows ([`ageing`]); and what sends frames of user space's ([`transmit`]).
#![no_std]
// Both exist to please the verifier, in one place each in `packet`.
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "there is no stable way to ask what the compiler knows")]
#![expect(
    clippy::redundant_closure,
    reason = "a function that is called through a name has a stack frame of its own"
)]
#![no_main]

mod ageing;
mod cells;
mod events;
mod flows;
mod guards;
mod maps;
mod packet;
mod transmit;
mod words;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh, xdp_action};
use aya_ebpf::helpers::generated::bpf_redirect_neigh;
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use maps::Maps;
use packet::{Depth, TcPacket, XdpPacket};
use weir_path::addr::{IfIndex, Ip6};
use weir_path::flow::{V4, V6};
use weir_path::layout::{self, Hook};
use weir_path::packet::Packet;
use weir_path::steps::Next;
use weir_path::tables::{Counters, Delivery, Egress};
use weir_path::walk::{From, moving, ready, settled};
use weir_path::{Reason, Verdict, entering, odd, opening, outbound, query, relay, tell, unknown};

/// The programs that each hook's first one goes on with.
#[map]
static UPLINK_XDP_NEXT: ProgramArray = ProgramArray::with_max_entries(layout::STEPS, 0);
#[map]
static UPLINK_TC_NEXT: ProgramArray = ProgramArray::with_max_entries(layout::STEPS, 0);
#[map]
static SLOT_TC_NEXT: ProgramArray = ProgramArray::with_max_entries(layout::STEPS, 0);
#[map]
static SLOT_XDP_NEXT: ProgramArray = ProgramArray::with_max_entries(layout::STEPS, 0);

macro_rules! xdp_programs {
    ($($(#[$doc:meta])* $name:ident($hook:ident, $next:ident) $step:expr;)+) => {
        $($(#[$doc])*
        #[xdp(frags)]
        pub fn $name(ctx: XdpContext) -> u32 {
            let packet = XdpPacket::new(XdpContext::new(ctx.ctx));
            xdp_step(&ctx, packet, Hook::$hook, &$next, $step)
        })+
    };
}

macro_rules! first_xdp_programs {
    ($($(#[$doc:meta])* $name:ident($hook:ident, $next:ident) $step:expr;)+) => {
        $($(#[$doc])*
        #[xdp(frags)]
        pub fn $name(ctx: XdpContext) -> u32 {
            let Some(packet) = XdpPacket::untagged(XdpContext::new(ctx.ctx)) else {
                // SAFETY: the array holds programs for this hook alone.
                unsafe { $next.tail_call(&ctx, layout::TAGGED_STEP) };
                // Fail closed, as below.
                let maps = Maps { hook: Hook::$hook, arrived_at: IfIndex(ctx.ingress_ifindex() as u32) };
                maps.entered(1);
                maps.left(Reason::NotReady, 1);
                return xdp_action::XDP_DROP;
            };
            xdp_step(&ctx, packet, Hook::$hook, &$next, $step)
        })+
    };
}

macro_rules! tc_programs {
    ($($(#[$doc:meta])* $name:ident($hook:ident, $next:ident, $depth:ident) $step:expr;)+) => {
        $($(#[$doc])*
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            let packet = TcPacket::new(TcContext::new(ctx.skb.skb), Depth::$depth);
            tc_step(&ctx, packet, Hook::$hook, &$next, $step)
        })+
    };
}

first_xdp_programs! {
    /// XDP on an uplink. This one is attached, the next ones are reached by tail calls.
    uplink_xdp(UplinkXdp, UPLINK_XDP_NEXT) |p, t| settled(p, t, From::Uplink);
    /// The slot's walk on XDP: never attached, so that every fixture can run on both hooks.
    slot_xdp(SlotTc, SLOT_XDP_NEXT) |p, t| settled(p, t, From::Slot);
}

xdp_programs! {
    uplink_xdp_tagged(UplinkXdp, UPLINK_XDP_NEXT) |p, t| settled(p, t, From::Uplink);
    uplink_xdp_ready_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| ready::<V4, _, _>(p, t, From::Uplink);
    uplink_xdp_ready_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| ready::<V6, _, _>(p, t, From::Uplink);
    uplink_xdp_moving_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| Err(moving::<V4, _, _>(p, t, From::Uplink));
    uplink_xdp_moving_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| Err(moving::<V6, _, _>(p, t, From::Uplink));
    uplink_xdp_unknown(UplinkXdp, UPLINK_XDP_NEXT) |p, t| unknown::walk(p, t, From::Uplink);
    uplink_xdp_opening_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| opening::walk::<V4, _, _>(p, t);
    uplink_xdp_opening_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| opening::walk::<V6, _, _>(p, t);
    uplink_xdp_enter_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| entering::walk::<V4, _, _>(p, t);
    uplink_xdp_enter_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| entering::walk::<V6, _, _>(p, t);
    uplink_xdp_odd_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| odd::walk::<V4, _, _>(p, t, From::Uplink);
    uplink_xdp_odd_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| odd::walk::<V6, _, _>(p, t, From::Uplink);
    uplink_xdp_relay_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| Ok(relay::walk::<V4, _, _>(p, t, From::Uplink));
    uplink_xdp_relay_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| Ok(relay::walk::<V6, _, _>(p, t, From::Uplink));
    uplink_xdp_tell_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| Ok(tell::walk::<V4, _, _>(p, t, From::Uplink));
    uplink_xdp_tell_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| Ok(tell::walk::<V6, _, _>(p, t, From::Uplink));
    uplink_xdp_query_v4(UplinkXdp, UPLINK_XDP_NEXT) |p, t| query::walk::<V4, _, _>(p, t, From::Uplink);
    uplink_xdp_query_v6(UplinkXdp, UPLINK_XDP_NEXT) |p, t| query::walk::<V6, _, _>(p, t, From::Uplink);
    slot_xdp_tagged(SlotTc, SLOT_XDP_NEXT) |p, t| settled(p, t, From::Slot);
    slot_xdp_ready_v4(SlotTc, SLOT_XDP_NEXT) |p, t| ready::<V4, _, _>(p, t, From::Slot);
    slot_xdp_ready_v6(SlotTc, SLOT_XDP_NEXT) |p, t| ready::<V6, _, _>(p, t, From::Slot);
    slot_xdp_moving_v4(SlotTc, SLOT_XDP_NEXT) |p, t| Err(moving::<V4, _, _>(p, t, From::Slot));
    slot_xdp_moving_v6(SlotTc, SLOT_XDP_NEXT) |p, t| Err(moving::<V6, _, _>(p, t, From::Slot));
    slot_xdp_unknown(SlotTc, SLOT_XDP_NEXT) |p, t| unknown::walk(p, t, From::Slot);
    slot_xdp_outbound_v4(SlotTc, SLOT_XDP_NEXT) |p, t| outbound::walk::<V4, _, _>(p, t);
    slot_xdp_outbound_v6(SlotTc, SLOT_XDP_NEXT) |p, t| outbound::walk::<V6, _, _>(p, t);
    slot_xdp_enter_v4(SlotTc, SLOT_XDP_NEXT) |p, t| entering::walk::<V4, _, _>(p, t);
    slot_xdp_enter_v6(SlotTc, SLOT_XDP_NEXT) |p, t| entering::walk::<V6, _, _>(p, t);
    slot_xdp_query_v4(SlotTc, SLOT_XDP_NEXT) |p, t| query::walk::<V4, _, _>(p, t, From::Slot);
    slot_xdp_query_v6(SlotTc, SLOT_XDP_NEXT) |p, t| query::walk::<V6, _, _>(p, t, From::Slot);
    slot_xdp_odd_v4(SlotTc, SLOT_XDP_NEXT) |p, t| odd::walk::<V4, _, _>(p, t, From::Slot);
    slot_xdp_odd_v6(SlotTc, SLOT_XDP_NEXT) |p, t| odd::walk::<V6, _, _>(p, t, From::Slot);
    slot_xdp_relay_v4(SlotTc, SLOT_XDP_NEXT) |p, t| Ok(relay::walk::<V4, _, _>(p, t, From::Slot));
    slot_xdp_relay_v6(SlotTc, SLOT_XDP_NEXT) |p, t| Ok(relay::walk::<V6, _, _>(p, t, From::Slot));
    slot_xdp_tell_v4(SlotTc, SLOT_XDP_NEXT) |p, t| Ok(tell::walk::<V4, _, _>(p, t, From::Slot));
    slot_xdp_tell_v6(SlotTc, SLOT_XDP_NEXT) |p, t| Ok(tell::walk::<V6, _, _>(p, t, From::Slot));
}

tc_programs! {
    /// TC ingress on an uplink whose senders may leave checksums to others.
    uplink_tc(UplinkTc, UPLINK_TC_NEXT, Headers) |p, t| settled(p, t, From::Uplink);
    uplink_tc_ready_v4(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| ready::<V4, _, _>(p, t, From::Uplink);
    uplink_tc_ready_v6(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| ready::<V6, _, _>(p, t, From::Uplink);
    uplink_tc_moving_v4(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| Err(moving::<V4, _, _>(p, t, From::Uplink));
    uplink_tc_moving_v6(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| Err(moving::<V6, _, _>(p, t, From::Uplink));
    uplink_tc_unknown(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| unknown::walk(p, t, From::Uplink);
    uplink_tc_opening_v4(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| opening::walk::<V4, _, _>(p, t);
    uplink_tc_opening_v6(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| opening::walk::<V6, _, _>(p, t);
    uplink_tc_enter_v4(UplinkTc, UPLINK_TC_NEXT, Headers) |p, t| entering::walk::<V4, _, _>(p, t);
    uplink_tc_enter_v6(UplinkTc, UPLINK_TC_NEXT, Headers) |p, t| entering::walk::<V6, _, _>(p, t);
    uplink_tc_odd_v4(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| odd::walk::<V4, _, _>(p, t, From::Uplink);
    uplink_tc_odd_v6(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| odd::walk::<V6, _, _>(p, t, From::Uplink);
    uplink_tc_relay_v4(UplinkTc, UPLINK_TC_NEXT, Quoted) |p, t| Ok(relay::walk::<V4, _, _>(p, t, From::Uplink));
    uplink_tc_relay_v6(UplinkTc, UPLINK_TC_NEXT, Quoted) |p, t| Ok(relay::walk::<V6, _, _>(p, t, From::Uplink));
    uplink_tc_tell_v4(UplinkTc, UPLINK_TC_NEXT, Quotable) |p, t| Ok(tell::walk::<V4, _, _>(p, t, From::Uplink));
    uplink_tc_tell_v6(UplinkTc, UPLINK_TC_NEXT, Quotable) |p, t| Ok(tell::walk::<V6, _, _>(p, t, From::Uplink));
    uplink_tc_query_v4(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| query::walk::<V4, _, _>(p, t, From::Uplink);
    uplink_tc_query_v6(UplinkTc, UPLINK_TC_NEXT, Extensions) |p, t| query::walk::<V6, _, _>(p, t, From::Uplink);
    /// TC ingress on a slot.
    slot_tc(SlotTc, SLOT_TC_NEXT, Headers) |p, t| settled(p, t, From::Slot);
    slot_tc_ready_v4(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| ready::<V4, _, _>(p, t, From::Slot);
    slot_tc_ready_v6(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| ready::<V6, _, _>(p, t, From::Slot);
    slot_tc_moving_v4(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| Err(moving::<V4, _, _>(p, t, From::Slot));
    slot_tc_moving_v6(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| Err(moving::<V6, _, _>(p, t, From::Slot));
    slot_tc_unknown(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| unknown::walk(p, t, From::Slot);
    slot_tc_outbound_v4(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| outbound::walk::<V4, _, _>(p, t);
    slot_tc_outbound_v6(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| outbound::walk::<V6, _, _>(p, t);
    slot_tc_enter_v4(SlotTc, SLOT_TC_NEXT, Headers) |p, t| entering::walk::<V4, _, _>(p, t);
    slot_tc_enter_v6(SlotTc, SLOT_TC_NEXT, Headers) |p, t| entering::walk::<V6, _, _>(p, t);
    slot_tc_query_v4(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| query::walk::<V4, _, _>(p, t, From::Slot);
    slot_tc_query_v6(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| query::walk::<V6, _, _>(p, t, From::Slot);
    slot_tc_odd_v4(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| odd::walk::<V4, _, _>(p, t, From::Slot);
    slot_tc_odd_v6(SlotTc, SLOT_TC_NEXT, Extensions) |p, t| odd::walk::<V6, _, _>(p, t, From::Slot);
    slot_tc_relay_v4(SlotTc, SLOT_TC_NEXT, Quoted) |p, t| Ok(relay::walk::<V4, _, _>(p, t, From::Slot));
    slot_tc_relay_v6(SlotTc, SLOT_TC_NEXT, Quoted) |p, t| Ok(relay::walk::<V6, _, _>(p, t, From::Slot));
    slot_tc_tell_v4(SlotTc, SLOT_TC_NEXT, Quotable) |p, t| Ok(tell::walk::<V4, _, _>(p, t, From::Slot));
    slot_tc_tell_v6(SlotTc, SLOT_TC_NEXT, Quotable) |p, t| Ok(tell::walk::<V6, _, _>(p, t, From::Slot));
}

#[inline(always)]
fn xdp_step(
    ctx: &XdpContext,
    mut packet: XdpPacket,
    hook: Hook,
    next_steps: &ProgramArray,
    step: impl FnOnce(&mut XdpPacket, &Maps) -> Result<Verdict, Next>,
) -> u32 {
    let maps = Maps { hook, arrived_at: packet.arrived_at() };
    match step(&mut packet, &maps) {
        Ok(verdict) => xdp_action(verdict),
        Err(next) => {
            // SAFETY: the array holds programs for this hook alone.
            unsafe { next_steps.tail_call(ctx, next as u32) };
            // Fail closed: the dataplane is being set up, or taken away.
            maps.left(Reason::NotReady, packet.segments());
            xdp_action::XDP_DROP
        }
    }
}

#[inline(always)]
fn tc_step(
    ctx: &TcContext,
    mut packet: TcPacket,
    hook: Hook,
    next_steps: &ProgramArray,
    step: impl FnOnce(&mut TcPacket, &Maps) -> Result<Verdict, Next>,
) -> i32 {
    let maps = Maps { hook, arrived_at: packet.arrived_at() };
    match step(&mut packet, &maps) {
        Ok(verdict) => tc_action(verdict),
        Err(next) => {
            // SAFETY: the array holds programs for this hook alone.
            unsafe { next_steps.tail_call(ctx, next as u32) };
            // Fail closed: the dataplane is being set up, or taken away.
            maps.left(Reason::NotReady, packet.segments());
            TC_ACT_SHOT
        }
    }
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
        Verdict::Send(Egress { ifindex, delivery: Delivery::NEIGHBOUR, .. }) => redirect_neighbour(ifindex),
        // SAFETY: the helper takes plain numbers and checks them.
        Verdict::Send(to) => (unsafe { bpf_redirect(to.ifindex.0, 0) }) as i32,
    }
}

/// Sends the packet out of a device to a neighbour whose station the kernel finds.
#[inline(always)]
fn redirect_neighbour(device: IfIndex) -> i32 {
    const INET: u32 = 2;
    const INET6: u32 = 10;
    let Ip6(address) = maps::neighbour();
    // SAFETY: any bytes are numbers.
    let words: [u32; 4] = unsafe { core::mem::transmute(address) };
    // SAFETY: zeros are a value of this type.
    let mut params: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    match Ip6(address).as_ip4() {
        Some(_) => {
            params.nh_family = INET;
            params.__bindgen_anon_1.ipv4_nh = words[3];
        }
        None => {
            params.nh_family = INET6;
            params.__bindgen_anon_1.ipv6_nh = words;
        }
    }
    // SAFETY: the parameters are as long as they are said to be.
    (unsafe { bpf_redirect_neigh(device.0, &raw mut params, size_of::<bpf_redir_neigh>() as i32, 0) }) as i32
}

/// What the kernel reads to decide which helpers a program may call.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
