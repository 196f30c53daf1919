//! A way from client to sandbox: built, proved by a datagram and its answer, and taken down.
//!
//! ```text
//!     …-router                      …-host                        …-sb1
//!   ┌─────────────────┐     ┌──────────────────────┐     ┌───────────────────────┐
//!   │ the client here │     │ the load balancer    │     │ 169.254.100.2         │
//!   │       192.0.2.1 │     │ 192.0.2.2            │     │                       │
//!   │             rh0 ├─────┤ hu0  ◄─ mode ─►  sb1 ├─────┤ eth0                  │
//!   │          tx off │     │ tx off, gro          │     │ gro                   │
//!   │          gro    │     │                      │     │ nginx, echo, a stream │
//!   └─────────────────┘     └──────────────────────┘     └───────────────────────┘
//! ```
//!
//! It is the tests' topology, of which the far client is left alone. Frames that a program sends arrive only at a
//! device that polls (NAPI), which on a veth `gro on` sees to. No receiver spreads packets over CPUs (RPS): a packet
//! is carried to the sink by the CPU that made it, so that what a way costs is what is seen.

use std::fs;
use std::path::Path;

use aya::Ebpf;
use aya::maps::DevMap;
use nix::net::if_::if_nametoindex;
use weir_benches::Outcome;
use weir_netns_tests::netns::Netns;
use weir_netns_tests::plain::PlainRoute;
use weir_netns_tests::process::{output, run};
use weir_netns_tests::servers::Server;
use weir_netns_tests::topology::{
    GATEWAY, GATEWAY_MAC, HOST, ROUTER_DEVICE, SANDBOX, SANDBOX_MAC, Sandbox, Testbed, Topology, UPLINK, VIP,
};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;
use weir_path::addr::{IfIndex, Mac};

use crate::mode::{Mode, PORT_OFFSET, SERVED};
use crate::programs::{self, Devices, inside};

/// Flows that conntrack knows in a namespace.
const CONNTRACK_COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// The sandbox's device.
pub(crate) const SANDBOX_DEVICE: &str = "eth0";

/// A mode in force.
pub(crate) struct Way {
    mode: Mode,
    // Dropped in this order: what is attached before what it is attached to.
    bare: Option<Ebpf>,
    weir: Option<Weir>,
    bed: Testbed,
}

impl Way {
    /// Builds namespaces and puts the mode in force.
    pub(crate) fn build(mode: Mode) -> Outcome<Self> {
        let bed = Topology { name: mode.topology(), sandboxes: 1 }.build()?;
        let mut way = Self { mode, bare: None, weir: None, bed };
        let sandbox = &way.sandbox()?.netns;
        for (netns, device) in
            [(way.client_side(), ROUTER_DEVICE), (&way.bed.host, UPLINK), (sandbox, SANDBOX_DEVICE)]
        {
            netns.set_offload(device, "gro", true)?;
            receive_where_sent(netns, device)?;
        }
        receive_where_sent(&way.bed.host, &way.sandbox()?.port)?;
        match mode.config() {
            Some(config) => way.weir = Some(way.bed.weir(&config)?),
            None if mode.programs().is_some() => way.bare = Some(way.attach()?),
            None => way.route()?,
        }
        Ok(way)
    }

    /// Which one it is.
    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// The namespace that the client is in.
    pub(crate) const fn client_side(&self) -> &Netns {
        &self.bed.router
    }

    /// The one sandbox.
    pub(crate) fn sandbox(&self) -> Outcome<&Sandbox> {
        Ok(self.bed.sandboxes.first().ok_or("the topology has no sandbox")?)
    }

    /// A folder for files of servers.
    pub(crate) fn files(&self) -> &Path {
        self.bed.dir()
    }

    /// Keeps a server running until the end.
    pub(crate) fn keep(&mut self, server: impl Into<Server>) {
        self.bed.keep(server);
    }

    /// Destination and source MAC of what the client sends.
    pub(crate) fn macs(&self) -> Outcome<[Mac; 2]> {
        let translates = self.mode.translates() || self.mode == Mode::Forwarding;
        let to = if translates { mac(&self.bed.host.mac(UPLINK)?)? } else { mac(SANDBOX_MAC)? };
        Ok([to, mac(&self.client_side().mac(ROUTER_DEVICE)?)?])
    }

    /// How many flows it opened, where it has a table.
    pub(crate) fn flows_opened(&self) -> Outcome<Option<u64>> {
        if let Some(weir) = &self.weir {
            return Ok(Some(weir.counters()?.of(Reason::Opened)));
        }
        if self.mode != Mode::Nftables {
            return Ok(None);
        }
        inside(&self.bed.host, || Ok(Some(fs::read_to_string(CONNTRACK_COUNT)?.trim().parse()?)))
    }

    /// Takes it down. What is left behind is an error.
    pub(crate) fn end(self) -> Outcome<()> {
        drop(self.bare);
        match self.weir {
            Some(weir) => self.bed.finish(weir)?,
            None => self.bed.finish_without_weir()?,
        }
        Ok(())
    }

    /// The kernel's forwarding, and its translation. Addresses and routes go with the namespaces.
    fn route(&self) -> Outcome<()> {
        let (host, sandbox) = (&self.bed.host, self.sandbox()?);
        PlainRoute::begin(&self.bed, sandbox)?;
        neighbour(host, SANDBOX.to_string(), SANDBOX_MAC, &sandbox.port)?;
        if self.mode == Mode::Nftables {
            self.client_side().ip(&["route", "add", &VIP.to_string(), "via", &HOST.to_string()])?;
            let rules = SERVED.map(|port| {
                let protocol = if port == SERVED[0] { "udp" } else { "tcp" };
                let listened = port - PORT_OFFSET;
                format!("add rule ip wire there ip daddr {VIP} {protocol} dport {listened} dnat to {SANDBOX}:{port};")
            });
            let chain = "add chain ip wire there { type nat hook prerouting priority dstnat; };";
            let script = format!("add table ip wire; {chain} {}", rules.concat());
            output(host.command("nft").arg(script))?;
        }
        Ok(())
    }

    /// The bare programs. Nobody answers for the VIP or the gateway: both neighbours are told where to send.
    fn attach(&self) -> Outcome<Ebpf> {
        let Some(programs @ [there, back]) = self.mode.programs() else {
            return Err(format!("{} has no programs of its own", self.mode.name()).into());
        };
        let (client, host, sandbox) = (self.client_side(), &self.bed.host, self.sandbox()?);
        let [client_mac, uplink_mac] = [client.mac(ROUTER_DEVICE)?, host.mac(UPLINK)?];
        if self.mode.translates() {
            neighbour(client, VIP.to_string(), &uplink_mac, ROUTER_DEVICE)?;
            neighbour(&sandbox.netns, GATEWAY.to_string(), GATEWAY_MAC, SANDBOX_DEVICE)?;
        } else {
            client.ip(&["route", "add", &SANDBOX.to_string(), "dev", ROUTER_DEVICE])?;
            neighbour(client, SANDBOX.to_string(), SANDBOX_MAC, ROUTER_DEVICE)?;
            neighbour(&sandbox.netns, GATEWAY.to_string(), &client_mac, SANDBOX_DEVICE)?;
        }
        let macs = [mac(SANDBOX_MAC)?, mac(GATEWAY_MAC)?, mac(&client_mac)?, mac(&uplink_mac)?];
        let slot = sandbox.port.clone();
        inside(host, move || {
            let [to_sandbox, from_gateway, to_client, from_uplink] = macs;
            let devices = Devices {
                uplink: IfIndex(if_nametoindex(UPLINK)?),
                slot: IfIndex(if_nametoindex(slot.as_str())?),
                to_sandbox: [to_sandbox, from_gateway],
                to_client: [to_client, from_uplink],
            };
            let mut ebpf = programs::load(&programs, &devices)?;
            DevMap::try_from(programs::table(&mut ebpf, "SLOTS")?)?.set(0, devices.slot.0, None, 0)?;
            programs::attach(&mut ebpf, there, UPLINK)?;
            programs::attach(&mut ebpf, back, &slot)?;
            Ok(ebpf)
        })
    }
}

/// Turns RPS off. Under a fresh /sys, which shows the devices of the namespace.
fn receive_where_sent(netns: &Netns, device: &str) -> Outcome<()> {
    let write = format!("echo 0 > /sys/class/net/{device}/queues/rx-0/rps_cpus");
    run("ip", &["netns", "exec", netns.name(), "sh", "-c", &write])?;
    Ok(())
}

/// A neighbour that is known for ever: while a sink takes all packets, nobody would answer.
fn neighbour(netns: &Netns, address: String, mac: &str, device: &str) -> Outcome<()> {
    netns.ip(&["neigh", "replace", &address, "lladdr", mac, "dev", device, "nud", "permanent"])?;
    Ok(())
}

fn mac(text: &str) -> Outcome<Mac> {
    let parsed: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    Ok(Mac(parsed.try_into().map_err(|_| format!("{text} is no MAC"))?))
}
