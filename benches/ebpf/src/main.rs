//! What packets are measured with: a harness that makes each one afresh, and the least a program can do.
//!
//! The harness restores the frame, gives it the address and port of one of n flows in a scattered order, and
//! tail-calls the program under test. The floor program does what every NAT must and nothing else: parse, one
//! look-up, destination rewrite, three incremental checksums, a counter, MACs, redirect.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, DevMap, HashMap, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;

/// Ethernet, IPv4, TCP, padded to the shortest Ethernet frame.
const FRAME: usize = 60;

#[map]
static TEMPLATE: Array<[u8; FRAME]> = Array::with_max_entries(1, 0);
#[map]
static FLOW_COUNT: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static CURSOR: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
#[map]
static UNDER_TEST: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Addresses, ports, protocol. Aligned, because it is put together on the stack.
#[repr(C, align(8))]
struct FloorKey([u32; 4]);

#[map]
static FLOOR_FLOWS: HashMap<FloorKey, [u32; 8]> = HashMap::with_max_entries(1 << 21, 0);
#[map]
static FLOOR_COUNTER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FLOOR_DEVICES: DevMap = DevMap::with_max_entries(1, 0);

/// Makes the next packet and hands it to the program under test.
#[xdp(frags)]
pub fn harness(ctx: XdpContext) -> u32 {
    let (data, end) = (ctx.data(), ctx.data_end());
    let (Some(template), Some(flows), Some(cursor)) =
        (TEMPLATE.get(0), FLOW_COUNT.get(0), CURSOR.get_ptr_mut(0))
    else {
        return xdp_action::XDP_ABORTED;
    };
    if data + FRAME > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: a valid map value of this CPU.
    let turn = unsafe { *cursor };
    // SAFETY: as above.
    unsafe { *cursor = turn.wrapping_add(1) };
    // An odd multiplier visits all of 2^32 in a scattered order; the product's upper half picks a flow.
    let flow = ((u64::from(turn.wrapping_mul(0x9e37_79b1)) * u64::from(*flows)) >> 32) as u32;
    let packet = data as *mut [u8; FRAME];
    // SAFETY: FRAME bytes were compared with the packet's end.
    unsafe { packet.write_unaligned(*template) };
    let source = (0x0a00_0000 | (flow >> 14)).to_be_bytes();
    // SAFETY: lies within FRAME.
    unsafe { ((data + 26) as *mut [u8; 4]).write_unaligned(source) };
    let port = (1024 + (flow & 0x3fff) as u16).to_be_bytes();
    // SAFETY: lies within FRAME.
    unsafe { ((data + 34) as *mut [u8; 2]).write_unaligned(port) };
    // SAFETY: the context is the one that this program was called with.
    unsafe { UNDER_TEST.tail_call(&ctx, 0) };
    xdp_action::XDP_ABORTED
}

/// Nothing: what the harness itself costs.
#[xdp(frags)]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The least a NAT can do to an IPv4 TCP packet.
#[xdp(frags)]
pub fn floor(ctx: XdpContext) -> u32 {
    try_floor(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn try_floor(ctx: &XdpContext) -> Option<u32> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + 54 > end {
        return None;
    }
    let load16 = |at: usize| {
        // SAFETY: the first 54 bytes were compared with the packet's end.
        u32::from(unsafe { ((data + at) as *const u16).read_unaligned() })
    };
    // SAFETY: as above.
    let load32 = |at: usize| unsafe { ((data + at) as *const u32).read_unaligned() };
    if load16(12) != 0x0008 || load16(14) & 0xff != 0x45 || load16(23) & 0xff != 6 {
        return None;
    }
    let key = FloorKey([load32(26), load32(30), load32(34), 6]);
    // SAFETY: the value is only read.
    let to = unsafe { FLOOR_FLOWS.get(&key) }?;
    let store16 = |at: usize, value: u16| {
        // SAFETY: as above.
        unsafe { ((data + at) as *mut u16).write_unaligned(value) };
    };
    let store32 = |at: usize, value: u32| {
        // SAFETY: as above.
        unsafe { ((data + at) as *mut u32).write_unaligned(value) };
    };
    let [address, port, mac0, mac1, mac2, ..] = *to;
    let addresses = u64::from(!load32(30)) + u64::from(address);
    let ports = u64::from(!load16(36) as u16) + u64::from(port);
    store16(24, mend(load16(24) as u16, addresses));
    store16(50, mend(mend(load16(50) as u16, addresses), ports));
    store32(30, address);
    store16(36, port as u16);
    store32(0, mac0);
    store32(4, mac1);
    store32(8, mac2);
    let counter = FLOOR_COUNTER.get_ptr_mut(0)?;
    // SAFETY: a valid map value of this CPU.
    unsafe { *counter += 1 };
    FLOOR_DEVICES.redirect(0, 0).ok()
}

#[inline(always)]
fn mend(field: u16, delta: u64) -> u16 {
    let mut sum = u64::from(!field) + delta;
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
