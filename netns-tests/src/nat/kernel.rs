//! The kernel as a NAT: the host forwards, and nftables gives what leaves another source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::connectors::{ENI, ENI6};
use crate::error::Error;
use crate::ipv6::GATEWAY6;
use crate::nat::Family;
use crate::nat::times::KERNEL_SHORT;
use crate::netns::Netns;
use crate::process;
use crate::topology::{GATEWAY, HOST, Sandbox, Testbed, UPLINK};

/// The addresses that the fourth sandbox leaves from.
const POOL: [u8; 2] = [110, 113];

/// Where the network of the nth sandbox begins, from that of the first one.
const fn offset(n: usize) -> u8 {
    (n as u8 - 1) * 4
}

/// The address of a sandbox, counted from 1: forwarding needs one for each.
pub(crate) fn sandbox(n: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => plus(GATEWAY, offset(n) + 1).into(),
        Family::V6 => plus6(GATEWAY6, offset(n) + 1).into(),
    }
}

fn plus(address: Ipv4Addr, n: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) + u32::from(n))
}

fn plus6(address: Ipv6Addr, n: u8) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(address) + u128::from(n))
}

/// Gives the host and the sandboxes their addresses, and begins.
pub(crate) fn begin(bed: &Testbed) -> Result<(), Error> {
    for (n, it) in (1..).zip(&bed.sandboxes) {
        wire(&bed.host, it, n)?;
    }
    let [first, last] = POOL;
    let pool = (first..=last).map(|it| Ipv4Addr::new(192, 0, 2, it));
    for address in pool.chain([ENI]) {
        bed.host.ip(&["addr", "add", &format!("{address}/32"), "dev", UPLINK])?;
    }
    bed.host.ip(&["addr", "add", &format!("{ENI6}/128"), "dev", UPLINK, "nodad"])?;
    process::output(bed.host.command("nft").arg(rules()))?;
    for (key, seconds) in KERNEL_SHORT {
        bed.host.sysctl(&format!("net.netfilter.nf_conntrack_{key}"), &seconds.to_string())?;
    }
    Ok(())
}

/// No ICMP error leaves the host any more.
pub(crate) fn hush(host: &Netns) -> Result<(), Error> {
    const RULES: &str = "table inet hush { chain leaving { type filter hook output priority 0; \
                         icmp type destination-unreachable drop; }\n}";
    process::output(host.command("nft").arg(RULES)).map(drop)
}

fn wire(host: &Netns, it: &Sandbox, n: usize) -> Result<(), Error> {
    let (v4, v6) = (plus(GATEWAY, offset(n)), plus6(GATEWAY6, offset(n)));
    // What the host says itself has complete checksums, as on a wire.
    host.set_offload(&it.port, "tx", false)?;
    host.allow_ipv6(&[&it.port])?;
    host.ip(&["addr", "add", &format!("{v4}/30"), "dev", &it.port])?;
    host.ip(&["addr", "add", &format!("{v6}/126"), "dev", &it.port, "nodad"])?;
    for family in ["-4", "-6"] {
        it.netns.ip(&[family, "addr", "flush", "dev", "eth0", "scope", "global"])?;
    }
    let inside = [sandbox(n, Family::V4), sandbox(n, Family::V6)];
    for (address, (prefix, gateway)) in inside.iter().zip([("30", IpAddr::V4(v4)), ("126", v6.into())]) {
        it.netns.ip(&["addr", "add", &format!("{address}/{prefix}"), "dev", "eth0"])?;
        it.netns.ip(&["route", "replace", "default", "via", &gateway.to_string()])?;
    }
    Ok(())
}

fn rules() -> String {
    let [first, last] = POOL;
    let [pooled, few] = [4, 5].map(|it| sandbox(it, Family::V4));
    format!(
        "table inet nat {{ chain out {{ type nat hook postrouting priority srcnat; \
         oifname != \"{UPLINK}\" accept; \
         ip saddr {pooled} snat ip to 192.0.2.{first}-192.0.2.{last}; \
         ip saddr {few} ip protocol udp snat ip to {HOST}:1024-1151; \
         meta nfproto ipv4 snat ip to {ENI}; \
         meta nfproto ipv6 snat ip6 to {ENI6}; }}\n}}"
    )
}
