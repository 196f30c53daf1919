//! Services of the host that sandboxes may reach: a link from the daemon's namespace to itself, and a VPC around it.
//!
//! ```text
//!   …-host
//!     weir ── svc0 [XDP | TC] ══ svc1   10.255.0.1, fd00:255::1       the gateway of the ENIs' subnet
//!             VPC "host"                10.255.1.1, fd00:255:1::1     the host's servers, beyond it
//!             ENI 10.255.0.100,         169.254.100.1, fd57:…:52::1   others, at what sandboxes know as their gateway
//!                 fd00:255::100
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Hook;
use crate::error::Error;
use crate::ipv6::GATEWAY6;
use crate::netns::{End, veth};
use crate::topology::{GATEWAY, Testbed};

/// The host's own end of the link: the gateway of the ENIs' subnet.
pub const END: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// The same of IPv6.
pub const END6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x255, 0, 0, 0, 0, 0, 1);
/// What the host serves on.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 255, 1, 1);
/// The same of IPv6.
pub const HERE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x255, 1, 0, 0, 0, 0, 1);
/// The first address of ENIs on the link: as which sandboxes are seen.
pub const SEEN: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 100);
/// The same of IPv6.
pub const SEEN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x255, 0, 0, 0, 0, 0, 0x100);

/// Weir's end of the link.
const WEIRS: &str = "svc0";
/// The host's.
pub const HOSTS: &str = "svc1";

/// Makes the link, and gives its host's end the addresses that are served on.
pub fn link(bed: &Testbed) -> Result<(), Error> {
    veth(End { netns: &bed.host, device: WEIRS }, End { netns: &bed.host, device: HOSTS })?;
    bed.host.allow_ipv6(&[HOSTS])?;
    let v4 = [format!("{END}/24"), format!("{HERE}/32"), format!("{GATEWAY}/32")];
    let v6 = [format!("{END6}/64"), format!("{HERE6}/128"), format!("{GATEWAY6}/128")];
    for address in v4.into_iter().chain(v6) {
        bed.host.ip(&["addr", "add", &address, "dev", HOSTS])?;
    }
    // What is sent to Weir has complete checksums, as on a wire, and what it sends by XDP arrives.
    bed.host.set_offload(HOSTS, "tx", false)?;
    bed.host.set_offload(HOSTS, "gro", true)
}

/// The VPC around the link, and the connector that leads there.
#[must_use]
pub fn vpc(hook: Hook) -> String {
    let hook = match hook {
        Hook::Xdp => "hook = \"xdp\"\nsenders_complete_checksums = true",
        Hook::Tc => "hook = \"tc\"",
    };
    format!(
        "\n[[vpc]]\nname = \"host\"\n\n[[uplink]]\ninterface = \"{WEIRS}\"\nvpc = \"host\"\n{hook}\n\
         \n[[subnet]]\nname = \"host\"\nvpc = \"host\"\nprefix = \"10.255.0.0/24\"\ngateway = \"{END}\"\n\
         pool = \"{SEEN}-10.255.0.131\"\nprefix6 = \"fd00:255::/64\"\ngateway6 = \"{END6}\"\n\
         pool6 = \"{SEEN6}-fd00:255::1ff\"\n\
         \n[[connector]]\nname = \"host\"\ntenant = \"host\"\nsubnets = [\"host\"]\n"
    )
}

/// A service as a connector's section has it, right behind that connector.
#[must_use]
pub fn service(at: SocketAddr, protocol: &str, to: Option<IpAddr>) -> String {
    let to = to.map(|to| format!("to = \"{to}\"\n"));
    format!(
        "\n[[connector.service]]\naddress = \"{}\"\nport = {}\nprotocol = \"{protocol}\"\nvia = \"host\"\n{}",
        at.ip(),
        at.port(),
        to.unwrap_or_default()
    )
}
