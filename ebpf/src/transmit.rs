//! Frames that user space sends: announcements, and questions to neighbours. A program sends them, so that the daemon
//! needs neither raw sockets nor the capability for them.

use aya_ebpf::helpers::generated::bpf_clone_redirect;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Sends the frame out of the device whose index is in the first word of the control block.
#[classifier]
pub fn transmit(ctx: TcContext) -> i32 {
    // SAFETY: the context is the one that this program was called with.
    let [ifindex, ..] = unsafe { (*ctx.skb.skb).cb };
    // SAFETY: as above; the helper checks the index.
    (unsafe { bpf_clone_redirect(ctx.skb.skb, ifindex, 0) }) as i32
}
