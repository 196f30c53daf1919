//! The least a NAT can do to an IPv4 TCP packet, once for each hook.

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{DevMap, HashMap, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::checksum::mend;

const LOOPBACK: u32 = 1;

/// Addresses, ports, protocol. Aligned, because it is put together on the stack.
#[repr(C, align(8))]
struct FloorKey([u32; 4]);

#[map]
static FLOOR_FLOWS: HashMap<FloorKey, [u32; 8]> = HashMap::with_max_entries(1 << 21, 0);
#[map]
static FLOOR_COUNTER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FLOOR_DEVICES: DevMap = DevMap::with_max_entries(1, 0);

/// On XDP.
#[xdp(frags)]
pub fn floor(ctx: XdpContext) -> u32 {
    if translate(ctx.data(), ctx.data_end()).is_none() {
        return xdp_action::XDP_PASS;
    }
    FLOOR_DEVICES.redirect(0, 0).unwrap_or(xdp_action::XDP_PASS)
}

/// On TC.
#[classifier]
pub fn floor_tc(ctx: TcContext) -> i32 {
    if translate(ctx.data(), ctx.data_end()).is_none() {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: the helper takes plain numbers and checks them.
    unsafe { bpf_redirect(LOOPBACK, 0) as i32 }
}

#[inline(always)]
fn translate(data: usize, end: usize) -> Option<()> {
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
    Some(())
}
