//! The topology's second set of addresses, where a test is about IPv6.
//!
//! ```text
//!     …-client                …-router                     …-host                        …-sb1, …-sb2, …
//!   ┌──────────────┐     ┌──────────────────┐     ┌────────────────────────┐      ┌────────────────────────┐
//!   │ 2001:db8:1::2│     │2001:db8:1::1     │     │ 2001:db8:2::2  weir    │      │ fd57:4549:52::2/126    │
//!   │           c0 ├─────┤ rc0          rh0 ├─────┤ hu0            sb1 …   ├──────┤ eth0                   │
//!   │              │     │     2001:db8:2::1│     │                        │      │ default:               │
//!   └──────────────┘     └──────────────────┘     └────────────────────────┘      │        fd57:4549:52::1 │
//!                         2001:db8:100::/64 is      forwards                      └────────────────────────┘
//!                         on-link at rh0: it
//!                         asks for VIPs by NDP
//! ```

use std::net::{Ipv6Addr, SocketAddr};

use crate::error::Error;
use crate::servers::{ECHO_PORT, Echo};
use crate::topology::{ROUTER_DEVICE, Testbed, Topology, UPLINK};

/// The client's address.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
/// The router's address on the client's side.
pub const CLIENT_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// Weir's own address on the uplink, where it has one. No device has it.
pub const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 5);
/// The host's own address.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
/// The router's address on the host's side.
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
/// The VIP.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10);
/// The address of every sandbox.
pub const SANDBOX6: Ipv6Addr = Ipv6Addr::new(0xfd57, 0x4549, 0x52, 0, 0, 0, 0, 2);
/// The gateway of every sandbox.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd57, 0x4549, 0x52, 0, 0, 0, 0, 1);

/// A port of the VIP.
#[must_use]
pub fn vip6(port: u16) -> SocketAddr {
    SocketAddr::from((VIP6, port))
}

/// Gives everyone in a testbed an IPv6 address as well, and the ways between them.
pub fn add_to(bed: &Testbed) -> Result<(), Error> {
    bed.client.allow_ipv6(&["c0"])?;
    bed.router.allow_ipv6(&["rc0", ROUTER_DEVICE])?;
    bed.host.allow_ipv6(&[UPLINK])?;
    for (netns, device, address) in [
        (&bed.client, "c0", CLIENT6),
        (&bed.router, "rc0", CLIENT_GATEWAY6),
        (&bed.router, ROUTER_DEVICE, ROUTER6),
        (&bed.host, UPLINK, HOST6),
    ] {
        netns.ip(&["addr", "add", &format!("{address}/64"), "dev", device])?;
    }
    for (netns, gateway) in [(&bed.client, CLIENT_GATEWAY6), (&bed.host, ROUTER6)] {
        netns.ip(&["-6", "route", "add", "default", "via", &gateway.to_string()])?;
    }
    bed.router.ip(&["-6", "route", "add", "2001:db8:100::/64", "dev", ROUTER_DEVICE])?;
    for forwarder in [&bed.router, &bed.host] {
        forwarder.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    }
    for sandbox in &bed.sandboxes {
        sandbox.netns.allow_ipv6(&["eth0"])?;
        sandbox.netns.ip(&["addr", "add", &format!("{SANDBOX6}/126"), "dev", "eth0"])?;
        sandbox.netns.ip(&["-6", "route", "add", "default", "via", &GATEWAY6.to_string()])?;
    }
    Ok(())
}

/// A testbed with both sets of addresses.
pub fn dual(name: &'static str, sandboxes: usize) -> Result<Testbed, Error> {
    let bed = Topology { name, sandboxes }.build()?;
    add_to(&bed)?;
    Ok(bed)
}

/// Starts the echo servers, TCP and UDP, in every sandbox, for both families.
pub fn serve_echo(bed: &mut Testbed) -> Result<(), Error> {
    // A socket on no address of IPv6 hears IPv4 as well.
    let any = (Ipv6Addr::UNSPECIFIED, ECHO_PORT).into();
    let servers = bed
        .sandboxes
        .iter()
        .map(|sandbox| Ok([Echo::tcp_at(&sandbox.netns, any)?, Echo::udp_at(&sandbox.netns, any)?]));
    let servers = servers.collect::<Result<Vec<_>, Error>>()?;
    servers.into_iter().flatten().for_each(|server| bed.keep(server));
    Ok(())
}
