//! Whether anything comes through that must not: nftables counts it, behind Weir and in front of everybody else.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::netns::Netns;
use crate::process;

/// What is left to the host of that which comes in by some devices.
///
/// A `netdev` chain meets a frame behind the programs on the device, whatever is in the frame.
#[derive(Debug)]
pub struct Tripwire<'a>(&'a Netns);

impl<'a> Tripwire<'a> {
    /// Begins to count. `dir` is for the rules.
    pub fn set(host: &'a Netns, devices: &[&str], dir: &Path) -> Result<Self, Error> {
        let devices = devices.join(", ");
        let rules = format!(
            "table netdev tripwire {{\n counter heard {{ }}\n chain in {{\n  \
             type filter hook ingress devices = {{ {devices} }} priority 0\n  counter name heard\n }}\n}}\n"
        );
        apply(host, &rules, dir, "tripwire")?;
        Ok(Self(host))
    }

    /// Frames that the host was left with.
    pub fn heard(&self) -> Result<u64, Error> {
        counted(self.0, &["netdev", "tripwire", "heard"])
    }
}

/// Ports on all addresses of a namespace where somebody listens whom nobody may reach.
#[derive(Debug)]
pub struct Trap<'a> {
    netns: &'a Netns,
    listeners: Vec<TcpListener>,
    sockets: Vec<UdpSocket>,
}

/// SYNs, datagrams and pings that come so far, to whichever port and address.
const KNOCKS: &str = "table inet trap {
 counter knocks { }
 chain in {
  type filter hook input priority 0
  tcp flags & (syn | ack) == syn counter name knocks
  meta l4proto udp counter name knocks
  icmp type echo-request counter name knocks
  icmpv6 type echo-request counter name knocks
 }
}
";

impl<'a> Trap<'a> {
    /// Listens, by TCP and by UDP and both families. `dir` is for the rules.
    pub fn set(netns: &'a Netns, ports: &[u16], dir: &Path) -> Result<Self, Error> {
        apply(netns, KNOCKS, dir, "trap")?;
        let ports = ports.to_vec();
        let made = netns.enter(move || {
            let at = |port: &u16| (Ipv6Addr::UNSPECIFIED, *port);
            let listeners =
                ports.iter().map(|port| TcpListener::bind(at(port))).collect::<io::Result<Vec<_>>>()?;
            let sockets =
                ports.iter().map(|port| UdpSocket::bind(at(port))).collect::<io::Result<Vec<_>>>()?;
            listeners.iter().try_for_each(|it| it.set_nonblocking(true))?;
            sockets.iter().try_for_each(|it| it.set_nonblocking(true))?;
            Ok::<_, io::Error>((listeners, sockets))
        })?;
        let (listeners, sockets) = made.map_err(Error::io(format!("set a trap in {}", netns.name())))?;
        Ok(Self { netns, listeners, sockets })
    }

    /// How often somebody came: knocks that the kernel saw, and connections and datagrams that were taken.
    pub fn visits(&self) -> Result<[u64; 2], Error> {
        let came = |waited: io::Result<()>| match waited {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            _ => 1,
        };
        let taken: u64 = self.listeners.iter().map(|it| came(it.accept().map(drop))).sum();
        let heard: u64 = self.sockets.iter().map(|it| came(it.recv(&mut [0]).map(drop))).sum();
        Ok([counted(self.netns, &["inet", "trap", "knocks"])?, taken + heard])
    }
}

fn apply(netns: &Netns, rules: &str, dir: &Path, name: &str) -> Result<(), Error> {
    let file = dir.join(format!("{name}-{}.nft", netns.name()));
    std::fs::write(&file, rules).map_err(Error::file("write", &file))?;
    process::output(netns.command("nft").arg("-f").arg(&file)).map(drop)
}

fn counted(netns: &Netns, counter: &[&str]) -> Result<u64, Error> {
    let listed = process::json(netns.command("nft").args(["-j", "list", "counter"]).args(counter))?;
    let packets = listed.get("nftables").and_then(Value::as_array).into_iter().flatten();
    packets.filter_map(|it| it.pointer("/counter/packets")?.as_u64()).next().ok_or_else(|| Error::Output {
        command: format!("nft list counter {}", counter.join(" ")),
        why: "no count of packets".into(),
        output: listed.to_string(),
    })
}
