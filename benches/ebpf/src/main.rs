//! What packets are measured with: a harness that makes each one afresh, and the least that a program can do.
//!
//! The harness restores the frame, gives it the address and port of one of n flows, and tail-calls the program
//! under test. An IPv4 header's checksum is right: no flow is opened by a packet whose isn't. The floor programs do what every NAT must and nothing else: parse, one look-up, destination
//! rewrite, three incremental checksums, a counter, MACs, redirect. The bare programs enter two keys into a
//! hash, or take them out.
#![no_std]
#![no_main]

mod bare;
mod checksum;
mod floor;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::{bpf_skb_change_tail, bpf_xdp_adjust_tail};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Ethernet, IPv6, TCP, and a few bytes more: every frame has this length, so that families compare.
const FRAME: usize = 80;
/// Ethernet, IPv4, TCP.
const RST: usize = 54;
/// Packets that a flow is measured with, one after the other, at most.
const SHOTS_A_FLOW: u32 = 8;

/// A frame, and what differs from flow to flow: a part of an address (its last four bytes), and a port.
#[repr(C)]
struct Shot {
    frame: [u8; FRAME],
    address_at: u32,
    port_at: u32,
    first_port: u32,
    /// How many flows share an address, one port after the other.
    ports: u32,
    /// Not zero where ports are those of [`LISTED`] instead.
    is_listed: u32,
}

/// Where an IPv4 header's checksum lies.
const IPV4_CHECKSUM: usize = 24;
/// The ethertype of IPv4, as it is read from a frame.
const IPV4: u16 = 0x0800_u16.to_be();

#[map]
static SHOTS: Array<Shot> = Array::with_max_entries(SHOTS_A_FLOW, 0);
/// How many flows, the first one, whether they come scattered, and how many packets of each come in a row.
#[map]
static PLAN: Array<[u32; 4]> = Array::with_max_entries(1, 0);
/// The ports that flows were given, by the flow's number.
#[map]
static LISTED: Array<u32> = Array::with_max_entries(1 << 16, 0);
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
    if ctx.data_end().wrapping_sub(ctx.data()) < FRAME {
        // SAFETY: the context is the one that this program was called with.
        unsafe { bpf_skb_change_tail(ctx.skb.skb, FRAME as u32, 0) };
    }
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

/// Makes the frame as short as a RST is: what answers have to do, and what the harness has to undo.
#[classifier]
pub fn shorten_tc(ctx: TcContext) -> i32 {
    // SAFETY: the context is the one that this program was called with.
    unsafe { bpf_skb_change_tail(ctx.skb.skb, RST as u32, 0) };
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
    let to = flow.checked_div(shot.ports).unwrap_or(flow);
    put_address(data, end, shot.address_at, (0x0a00_0000 | to).to_be())?;
    let port = match shot.is_listed {
        0 => shot.first_port + flow.wrapping_sub(to.wrapping_mul(shot.ports)),
        _ => *LISTED.get(flow & 0xffff)?,
    };
    let place = data + (shot.port_at & 0x3f) as usize;
    if place + 2 > end {
        return None;
    }
    // SAFETY: two bytes were compared with the packet's end.
    unsafe { (place as *mut [u8; 2]).write_unaligned((port as u16).to_be_bytes()) };
    Some(which)
}

/// Writes four bytes of an address, and mends the checksum of an IPv4 header. The frame was compared with the packet's
/// end.
#[inline(always)]
fn put_address(data: usize, end: usize, at: u32, bytes: u32) -> Option<()> {
    let address = data + (at & 0x3f) as usize;
    if address + 4 > end {
        return None;
    }
    let place = address as *mut u32;
    // SAFETY: four bytes were compared with the packet's end.
    let before = unsafe { place.read_unaligned() };
    // SAFETY: as above.
    unsafe { place.write_unaligned(bytes) };
    // SAFETY: FRAME bytes were compared with the packet's end.
    let ethertype = unsafe { ((data + 12) as *const u16).read_unaligned() };
    if ethertype == IPV4 {
        let checksum = (data + IPV4_CHECKSUM) as *mut u16;
        // SAFETY: as above.
        let was = unsafe { checksum.read_unaligned() };
        let is = checksum::mend(was, u64::from(!before) + u64::from(bytes));
        // SAFETY: as above.
        unsafe { checksum.write_unaligned(is) };
    }
    Some(())
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
