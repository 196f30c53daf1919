//! What packets are measured with: a harness that makes each one afresh, and the least that a program can do.
//!
//! The harness restores the frame, gives it the address and port of one of n flows, and tail-calls the program
//! under test. The floor programs do what every NAT must and nothing else: parse, one look-up, destination
//! rewrite, three incremental checksums, a counter, MACs, redirect. The bare programs enter two keys into a
//! hash, or take them out.
#![no_std]
#![no_main]

mod bare;
mod checksum;
mod floor;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Ethernet, IPv6, TCP, and a few bytes more: every frame has this length, so that families compare.
const FRAME: usize = 80;
/// Packets that a flow is measured with, one after the other, at most.
const SHOTS_A_FLOW: u32 = 8;

/// A frame, and where in it the client's address (its last four bytes) and port go.
#[repr(C)]
struct Shot {
    frame: [u8; FRAME],
    address_at: u32,
    port_at: u32,
}

#[map]
static SHOTS: Array<Shot> = Array::with_max_entries(SHOTS_A_FLOW, 0);
/// How many flows, the first one, whether they come scattered, and how many packets of each come in a row.
#[map]
static PLAN: Array<[u32; 4]> = Array::with_max_entries(1, 0);
/// Packets made so far. One CPU at a time runs a harness.
#[map]
static CURSOR: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static UNDER_TEST: ProgramArray = ProgramArray::with_max_entries(SHOTS_A_FLOW, 0);
#[map]
static UNDER_TEST_TC: ProgramArray = ProgramArray::with_max_entries(SHOTS_A_FLOW, 0);

/// Makes the next packet and hands it to the program under test.
#[xdp(frags)]
pub fn harness(ctx: XdpContext) -> u32 {
    let lacks = (FRAME as i32).wrapping_sub(ctx.data_end().wrapping_sub(ctx.data()) as i32);
    if lacks > 0 {
        // An answer was made of the packet before, which is shorter.
        // SAFETY: the context is the one that this program was called with.
        unsafe { bpf_xdp_adjust_tail(ctx.ctx, lacks) };
    }
    if let Some(shot) = make(ctx.data(), ctx.data_end()) {
        // SAFETY: the context is the one that this program was called with.
        unsafe { UNDER_TEST.tail_call(&ctx, shot) };
    }
    xdp_action::XDP_ABORTED
}

/// The same on TC.
#[classifier]
pub fn harness_tc(ctx: TcContext) -> i32 {
    if let Some(shot) = make(ctx.data(), ctx.data_end()) {
        // SAFETY: the context is the one that this program was called with.
        unsafe { UNDER_TEST_TC.tail_call(&ctx, shot) };
    }
    TC_ACT_SHOT
}

/// Nothing: what the harness itself costs.
#[xdp(frags)]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The same on TC.
#[classifier]
pub fn empty_tc(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Writes the next packet, and says which of its flow's it is.
#[inline(always)]
fn make(data: usize, end: usize) -> Option<u32> {
    let [flows, first, is_scattered, in_a_row] = *PLAN.get(0)?;
    let cursor = CURSOR.get_ptr_mut(0)?;
    // SAFETY: a valid map value; one CPU at a time runs a harness.
    let turn = unsafe { *cursor };
    // SAFETY: as above.
    unsafe { *cursor = turn.wrapping_add(1) };
    let (nth, which) = if in_a_row < 2 { (turn, 0) } else { (turn / in_a_row, turn % in_a_row) };
    // An odd multiplier visits all of 2^32 in a scattered order; the product's upper half picks a flow.
    let scattered = ((u64::from(nth.wrapping_mul(0x9e37_79b1)) * u64::from(flows)) >> 32) as u32;
    let flow = first.wrapping_add(if is_scattered == 0 { nth } else { scattered });
    let shot = SHOTS.get(which)?;
    if data + FRAME > end {
        return None;
    }
    let packet = data as *mut [u8; FRAME];
    // SAFETY: FRAME bytes were compared with the packet's end.
    unsafe { packet.write_unaligned(shot.frame) };
    let address = data + (shot.address_at & 0x3f) as usize;
    if address + 4 > end {
        return None;
    }
    // SAFETY: four bytes were compared with the packet's end.
    unsafe { (address as *mut [u8; 4]).write_unaligned((0x0a00_0000 | (flow >> 14)).to_be_bytes()) };
    let port = data + (shot.port_at & 0x3f) as usize;
    if port + 2 > end {
        return None;
    }
    // SAFETY: two bytes were compared with the packet's end.
    unsafe { (port as *mut [u8; 2]).write_unaligned((1024 + (flow & 0x3fff) as u16).to_be_bytes()) };
    Some(which)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
