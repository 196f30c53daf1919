//! Where packets come from and where they end: no sockets, so that the way between is what is measured.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::checksum::mend;
use crate::{IPV4, NO_OPTIONS, SANDBOX, SINK_PORT, UDP, at};

/// As long as every packet is: with the checksum that a card adds, the shortest that Ethernet has.
const FRAME: usize = 60;
/// The clock is read once in as many packets: reading it costs as much as some of the ways.
const STAMPED: u64 = 1024;

#[map]
static SHOT: Array<[u8; FRAME]> = Array::with_max_entries(1, 0);
/// Whether every packet begins a flow, and how many were made. One CPU at a time runs a source.
#[map]
static PLAN: Array<[u32; 2]> = Array::with_max_entries(1, 0);
/// What came, by CPU: how many, when the first, when the last that was stamped, and which one that was.
#[map]
static TALLY: PerCpuArray<[u64; 4]> = PerCpuArray::with_max_entries(1, 0);

/// Sends a packet out of the device that it is run on.
///
/// All of it is written each time: the kernel gives back the page of a packet as the last way left it.
#[xdp]
pub fn source(ctx: XdpContext) -> u32 {
    if make(ctx.data(), ctx.data_end()).is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// Counts a packet that came as it should, and drops it.
#[xdp(frags)]
pub fn sink(ctx: XdpContext) -> u32 {
    if is_translated(ctx.data(), ctx.data_end()) {
        count();
        return xdp_action::XDP_DROP;
    }
    xdp_action::XDP_PASS
}

/// The same on TC: what is handed from one end of a veth to the other passes by XDP.
#[classifier]
pub fn sink_tc(ctx: TcContext) -> i32 {
    if is_translated(ctx.data(), ctx.data_end()) {
        count();
        return TC_ACT_SHOT;
    }
    TC_ACT_UNSPEC
}

/// Writes the next packet. New flows are as many addresses of 10.0.0.0/8, and as many ports of each, as it takes.
#[inline(always)]
fn make(data: usize, end: usize) -> Option<()> {
    let plan = PLAN.get_ptr_mut(0)?;
    let shot = SHOT.get(0)?;
    if data + FRAME > end {
        return None;
    }
    // SAFETY: FRAME bytes were compared with the packet's end.
    unsafe { (data as *mut [u8; FRAME]).write_unaligned(*shot) };
    // SAFETY: a valid map value; one CPU at a time runs a source.
    let [is_new, flow] = unsafe { *plan };
    // SAFETY: as above.
    unsafe { *plan = [is_new, flow.wrapping_add(1)] };
    if is_new == 0 {
        return Some(());
    }
    // The shot has 0 in both places, and its checksums are right for that.
    let [address, port] = [(flow >> 14) as u16, 1024 + (flow & 0x3fff) as u16];
    let place = |at: usize, word: u16| {
        // SAFETY: every place is below FRAME, which was compared with the packet's end.
        unsafe { ((data + at) as *mut [u8; 2]).write_unaligned(word.to_be_bytes()) };
    };
    let was = |at: usize| {
        // SAFETY: as above.
        u16::from_be_bytes(unsafe { ((data + at) as *const [u8; 2]).read_unaligned() })
    };
    let ip = mend(was(at::IP_CHECKSUM), address.into());
    let udp = mend(was(at::UDP_CHECKSUM), u64::from(address) + u64::from(port));
    place(at::IP_CHECKSUM, ip);
    place(at::UDP_CHECKSUM, udp);
    place(at::SOURCE + 2, address);
    place(at::SOURCE_PORT, port);
    Some(())
}

/// Whether it is one of the source's, with the address and port of the sandbox.
#[inline(always)]
fn is_translated(data: usize, end: usize) -> bool {
    if data + at::UDP_END > end {
        return false;
    }
    // SAFETY: the bytes were compared with the packet's end.
    let header = unsafe { (data as *const [u8; at::UDP_END]).read_unaligned() };
    let two = |at: usize| [header[at], header[at + 1]];
    two(at::ETHERTYPE) == IPV4
        && header[at::VERSION] == NO_OPTIONS
        && header[at::PROTOCOL] == UDP
        && [two(at::DESTINATION), two(at::DESTINATION + 2)].as_flattened() == SANDBOX.load()
        && u16::from_be_bytes(two(at::DESTINATION_PORT)) == SINK_PORT.load()
}

#[inline(always)]
fn count() {
    let Some(tally) = TALLY.get_ptr_mut(0) else { return };
    // SAFETY: a valid map value of this CPU.
    let [so_far, first, last, nth] = unsafe { *tally };
    let came = so_far + 1;
    let next = if came % STAMPED == 1 {
        // SAFETY: the helper takes nothing.
        let now = unsafe { bpf_ktime_get_ns() };
        [came, if so_far == 0 { now } else { first }, now, came]
    } else {
        [came, first, last, nth]
    };
    // SAFETY: as above.
    unsafe { *tally = next };
}
