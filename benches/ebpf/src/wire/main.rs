//! What the wire is measured with: a source and a sink of packets, and the bare ways between them.
//!
//! ```text
//!   source ──► uplink: redirect | dnat | redirect_tc | redirect_peer ──► slot ── sink
//!              uplink ◄── back | back_dnat :slot
//! ```
#![no_std]
#![no_main]

mod ends;
mod ways;

#[path = "../checksum.rs"]
mod checksum;

use aya_ebpf::Global;

/// The load balancer's device towards the client.
#[unsafe(no_mangle)]
static UPLINK: Global<u32> = Global::new(0);
/// Its device towards the sandbox.
#[unsafe(no_mangle)]
static SLOT: Global<u32> = Global::new(0);
/// Destination and source MAC of what goes to the sandbox.
#[unsafe(no_mangle)]
static TO_SANDBOX: Global<[u8; 12]> = Global::new([0; 12]);
/// Destination and source MAC of what goes to the client.
#[unsafe(no_mangle)]
static TO_CLIENT: Global<[u8; 12]> = Global::new([0; 12]);
/// The address that a stateless way translates.
#[unsafe(no_mangle)]
static VIP: Global<[u8; 4]> = Global::new([0; 4]);
/// The address that packets have at the end of every way.
#[unsafe(no_mangle)]
static SANDBOX: Global<[u8; 4]> = Global::new([0; 4]);
/// How much larger a port of the sandbox is than the VIP's that leads to it.
#[unsafe(no_mangle)]
static PORT_OFFSET: Global<u16> = Global::new(0);
/// The port that packets have at the end of every way.
#[unsafe(no_mangle)]
static SINK_PORT: Global<u16> = Global::new(0);

/// Where things are in an Ethernet frame with IPv4 and no options.
mod at {
    pub(crate) const ETHERTYPE: usize = 12;
    pub(crate) const VERSION: usize = 14;
    pub(crate) const PROTOCOL: usize = 23;
    pub(crate) const IP_CHECKSUM: usize = 24;
    pub(crate) const SOURCE: usize = 26;
    pub(crate) const DESTINATION: usize = 30;
    pub(crate) const SOURCE_PORT: usize = 34;
    pub(crate) const DESTINATION_PORT: usize = 36;
    pub(crate) const UDP_CHECKSUM: usize = 40;
    pub(crate) const UDP_END: usize = 42;
    pub(crate) const TCP_CHECKSUM: usize = 50;
    pub(crate) const TCP_END: usize = 54;
}

/// IPv4's ethertype, and version and header length without options.
const IPV4: [u8; 2] = [8, 0];
const NO_OPTIONS: u8 = 0x45;
const TCP: u8 = 6;
const UDP: u8 = 17;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
