//! What can stand between client and sandbox.

use std::net::{Ipv4Addr, SocketAddrV4};

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::servers::{ECHO_PORT, HTTP_PORT};
use weir_netns_tests::topology::{SANDBOX, VIP};

/// How much larger a port of the sandbox is than the VIP's that leads to it.
pub(crate) const PORT_OFFSET: u16 = 7_000;
/// What the sandbox serves, by its ports: UDP echo, HTTP, and a stream that is thrown away.
pub(crate) const SERVED: [u16; 3] = [ECHO_PORT, HTTP_PORT, SINK_PORT];
/// Where the sandbox takes a stream.
pub(crate) const SINK_PORT: u16 = 12_001;

/// Room for all flows of a visit, half-open as they stay: what is measured is opening them, not making room.
const ROOM: u32 = 1 << 20;

/// One way from the client to the sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// The kernel's routing, to the sandbox's own address.
    Forwarding,
    /// The same, and nftables translates the VIP.
    Nftables,
    /// `bpf_redirect` on TC, no translation.
    TcRedirect,
    /// `bpf_redirect_peer` on TC, no translation.
    TcRedirectPeer,
    /// A redirect by devmap on native XDP, no translation.
    XdpRedirect,
    /// The same, translated without a table: one VIP, one sandbox.
    XdpDnat,
    /// The daemon, its uplink on TC.
    WeirTc,
    /// The daemon, its uplink on native XDP.
    WeirXdp,
}

impl Mode {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [Self; 8] = [
        Self::Forwarding,
        Self::Nftables,
        Self::TcRedirect,
        Self::TcRedirectPeer,
        Self::WeirTc,
        Self::XdpRedirect,
        Self::XdpDnat,
        Self::WeirXdp,
    ];

    /// What it is called in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forwarding => "kernel forwarding",
            Self::Nftables => "nftables DNAT",
            Self::TcRedirect => "TC redirect",
            Self::TcRedirectPeer => "TC redirect_peer",
            Self::XdpRedirect => "XDP redirect",
            Self::XdpDnat => "XDP stateless DNAT",
            Self::WeirTc => "Weir on TC",
            Self::WeirXdp => "Weir on XDP",
        }
    }

    /// Whose the namespaces are that it is built in: `weir-NAME-host`.
    pub(crate) const fn topology(self) -> &'static str {
        match self {
            Self::Forwarding => "bench-forwarding",
            Self::Nftables => "bench-nftables",
            Self::TcRedirect => "bench-tc-redirect",
            Self::TcRedirectPeer => "bench-tc-peer",
            Self::XdpRedirect => "bench-xdp-redirect",
            Self::XdpDnat => "bench-xdp-dnat",
            Self::WeirTc => "bench-weir-tc",
            Self::WeirXdp => "bench-weir-xdp",
        }
    }

    /// Whether it knows the VIP; the others are sent to the sandbox's own address.
    pub(crate) const fn translates(self) -> bool {
        matches!(self, Self::Nftables | Self::XdpDnat | Self::WeirTc | Self::WeirXdp)
    }

    /// Where a client finds what the sandbox serves on this port.
    pub(crate) const fn towards(self, port: u16) -> SocketAddrV4 {
        const fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
            SocketAddrV4::new(address, port)
        }
        if self.translates() { at(VIP, port - PORT_OFFSET) } else { at(SANDBOX, port) }
    }

    /// What a daemon is told, where there is one.
    pub(crate) fn config(self) -> Option<Config> {
        let hook = match self {
            Self::WeirTc => Hook::Tc,
            Self::WeirXdp => Hook::Xdp,
            _ => return None,
        };
        let [web, stream] = [("web", HTTP_PORT), ("stream", SINK_PORT)]
            .map(|(name, port)| Service::tcp(name, port - PORT_OFFSET, port, 1..=1));
        let services = [Service::echo_udp(1..=1), web, stream];
        Some(Config { max_flows: ROOM, max_half_open: Some(ROOM), ..Config::new(hook, services) })
    }

    /// The bare program of the way there, by its name in `benches/ebpf/`, and that of the way back.
    pub(crate) const fn programs(self) -> Option<[&'static str; 2]> {
        match self {
            Self::TcRedirect => Some(["redirect_tc", "back"]),
            Self::TcRedirectPeer => Some(["redirect_peer", "back"]),
            Self::XdpRedirect => Some(["redirect", "back"]),
            Self::XdpDnat => Some(["dnat", "back_dnat"]),
            Self::Forwarding | Self::Nftables | Self::WeirTc | Self::WeirXdp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_translates_is_asked_by_the_vip_and_the_others_by_the_sandboxs_address() {
        assert_eq!(Mode::WeirXdp.towards(HTTP_PORT).to_string(), "198.51.100.10:1080");
        assert_eq!(Mode::TcRedirectPeer.towards(HTTP_PORT).to_string(), "169.254.100.2:8080");
    }

    #[test]
    fn the_daemon_has_a_listener_where_a_stateless_way_would_lead() {
        let config = Mode::WeirTc.config().unwrap();
        let mut ports: Vec<_> = config.services.iter().map(|service| service.target_port).collect();
        assert!(config.services.iter().all(|service| service.target_port - service.port == PORT_OFFSET));
        ports.sort_unstable();
        assert_eq!(ports, SERVED);
    }
}
