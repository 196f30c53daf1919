//! The topology, as a value, and what is built from it.
//!
//! ```text
//!     …-client                …-router                     …-host                        …-sb1, …-sb2, …
//!   ┌──────────────┐     ┌──────────────────┐     ┌────────────────────────┐      ┌────────────────────────┐
//!   │     10.0.1.2 │     │ 10.0.1.1         │     │ 192.0.2.2  weir        │      │ 169.254.100.2/30       │
//!   │           c0 ├─────┤ rc0          rh0 ├─────┤ hu0            sb1 …   ├──────┤ eth0                   │
//!   │   tx off     │     │ tx off    tx off │     │ tx off                 │      │ 02:57:45:49:52:02      │
//!   │              │     │        192.0.2.1 │     │ default: 192.0.2.1     │      │ default: 169.254.100.1 │
//!   └──────────────┘     └──────────────────┘     └────────────────────────┘      └────────────────────────┘
//!                          198.51.100.0/24 is        forwards, so that a             every sandbox looks
//!                          on-link at rh0: it        leak would really leave         the same from inside
//!                          asks for VIPs by ARP
//! ```
//!
//! `tx off` makes a veth behave like a wire: checksums are complete in every frame. The router's `rh0` has
//! `gro on`, because a frame that XDP redirects out of `hu0` arrives only at a peer that polls (NAPI).
//! Nothing translates on the way, so each sandbox sees the client's own address and port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use weir_path::packet::VlanTag;

use crate::cable::Cable;
use crate::config::Config;
use crate::error::Error;
use crate::leftovers::Watch;
use crate::netns::{End, NETNS_DIR, Netns, veth};
use crate::requirements::{self, BPFFS};
use crate::servers::{ECHO_PORT, Echo, Server, nginx};
use crate::tap::Offload;
use crate::weir::Weir;

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// Weir's own address on the uplink, where it has one. No device has it.
pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 5);
/// The host's own address.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The router's address on the host's side.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The VIP of every listener here.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The address of every sandbox.
pub const SANDBOX: Ipv4Addr = Ipv4Addr::new(169, 254, 100, 2);
/// The gateway of every sandbox. No device has it: Weir answers for it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 100, 1);
/// The MAC of every sandbox.
pub const SANDBOX_MAC: &str = "02:57:45:49:52:02";
/// The MAC that Weir gives to the gateway. The host's end of each veth has it as well, so that the kernel would
/// forward whatever Weir lets through by mistake.
pub const GATEWAY_MAC: &str = "02:57:45:49:52:01";
/// The host's uplink device.
pub const UPLINK: &str = "hu0";
/// The router's device towards the host.
pub const ROUTER_DEVICE: &str = "rh0";

/// A port of the VIP.
#[must_use]
pub fn vip(port: u16) -> SocketAddr {
    SocketAddr::from((VIP, port))
}

/// What is to be built.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Says whose it is, in the name of each namespace: `weir-NAME-host`. Unique in the machine.
    pub name: &'static str,
    /// How many sandboxes.
    pub sandboxes: usize,
}

impl Topology {
    /// Builds it.
    pub fn build(self) -> Result<Testbed, Error> {
        requirements::check()?;
        self.must_be_new()?;
        let watch = Watch::begin()?;
        let namespace = |role: &str| Netns::add(format!("weir-{}-{role}", self.name));
        let bed = Testbed {
            dir: TempDir::with_prefix(format!("weir-{}-", self.name))
                .map_err(Error::io("make a temporary folder"))?,
            pin_dir: PathBuf::from(format!("{BPFFS}/weir-{}-{}", self.name, std::process::id())),
            servers: Vec::new(),
            client: namespace("client")?,
            router: namespace("router")?,
            host: namespace("host")?,
            sandboxes: (1..=self.sandboxes).map(|n| Sandbox::add(self.name, n)).collect::<Result<_, _>>()?,
            watch,
        };
        bed.wire()?;
        bed.address()?;
        Ok(bed)
    }
}

impl Topology {
    /// What is left of a run that was killed is not taken over: it may as well be a run under way.
    fn must_be_new(self) -> Result<(), Error> {
        let name = format!("weir-{}-client", self.name);
        if !Path::new(NETNS_DIR).join(&name).exists() {
            return Ok(());
        }
        let prefix = format!("weir-{}-", self.name);
        let pins = format!("{BPFFS}/{prefix}");
        Err(Error::Exists { name, dir: NETNS_DIR, prefix, pins })
    }
}

/// A sandbox and its port on the host.
#[derive(Debug)]
pub struct Sandbox {
    /// The name it serves under: `sandbox-1`, …
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// The host's end of its veth.
    pub port: String,
}

impl Sandbox {
    fn add(topology: &str, n: usize) -> Result<Self, Error> {
        Ok(Self {
            name: format!("sandbox-{n}"),
            netns: Netns::add(format!("weir-{topology}-sb{n}"))?,
            port: format!("sb{n}"),
        })
    }

    fn wire(&self, host: &Netns) -> Result<(), Error> {
        veth(End { netns: host, device: &self.port }, End { netns: &self.netns, device: "eth0" })?;
        host.ip(&["link", "set", &self.port, "address", GATEWAY_MAC])?;
        self.address()
    }

    /// Gives the sandbox's end the MAC, the address and the route that all sandboxes have.
    pub(crate) fn address(&self) -> Result<(), Error> {
        let inside = |args: &[&str]| self.netns.ip(args).map(drop);
        inside(&["link", "set", "eth0", "address", SANDBOX_MAC])?;
        inside(&["addr", "add", &format!("{SANDBOX}/30"), "dev", "eth0"])?;
        inside(&["route", "add", "default", "via", &GATEWAY.to_string()])
    }
}

/// A built topology, and everything that was started in it.
///
/// End it by [`Testbed::finish`], which checks that nothing is left. A dropped one is taken down as well,
/// so that a failed test does not disturb the next.
#[derive(Debug)]
pub struct Testbed {
    // Dropped in this order: programs before the namespaces they run in.
    servers: Vec<Server>,
    pub(crate) dir: TempDir,
    pub(crate) pin_dir: PathBuf,
    /// The namespace of the client.
    pub client: Netns,
    /// The namespace of the router.
    pub router: Netns,
    /// The namespace in which the daemon runs.
    pub host: Netns,
    /// The sandboxes, the first one first.
    pub sandboxes: Vec<Sandbox>,
    watch: Watch,
}

impl Testbed {
    /// Keeps a server running until the testbed ends.
    pub fn keep(&mut self, server: impl Into<Server>) {
        self.servers.push(server.into());
    }

    /// Starts nginx in every sandbox.
    pub fn serve_http(&mut self) -> Result<(), Error> {
        for sandbox in &self.sandboxes {
            self.servers.push(nginx(&sandbox.netns, &sandbox.name, self.dir.path())?.into());
        }
        Ok(())
    }

    /// Starts the echo servers, TCP and UDP, in every sandbox.
    pub fn serve_echo(&mut self) -> Result<(), Error> {
        for sandbox in &self.sandboxes {
            self.servers.push(Echo::tcp(&sandbox.netns, ECHO_PORT)?.into());
            self.servers.push(Echo::udp(&sandbox.netns, ECHO_PORT)?.into());
        }
        Ok(())
    }

    /// Puts TAP devices with the same names into the place of the veth between the router and the host, for as long as
    /// the cable lives.
    pub fn plug_uplink(&self, offload: Offload) -> Result<Cable, Error> {
        self.host.ip(&["link", "del", UPLINK])?;
        let [router, host] = self.uplink_ends();
        let cable = Cable::plug(router, host, offload)?;
        self.address_uplink()?;
        Ok(cable)
    }

    /// As [`Testbed::plug_uplink`], with the router in a VLAN, and other devices in other ones.
    pub fn plug_trunk(&self, vlan: VlanTag, others: &[(VlanTag, End<'_>)]) -> Result<Cable, Error> {
        self.host.ip(&["link", "del", UPLINK])?;
        let [router, host] = self.uplink_ends();
        let ends: Vec<_> = others.iter().copied().chain([(vlan, router)]).collect();
        let cable = Cable::trunk(host, &ends)?;
        self.address_uplink()?;
        Ok(cable)
    }

    /// Puts TAP devices with the same names into the place of a sandbox's veth.
    pub fn plug_sandbox(&self, sandbox: &Sandbox, offload: Offload) -> Result<Cable, Error> {
        self.host.ip(&["link", "del", &sandbox.port])?;
        let inside = End { netns: &sandbox.netns, device: "eth0" };
        let cable = Cable::plug(inside, End { netns: &self.host, device: &sandbox.port }, offload)?;
        sandbox.address()?;
        Ok(cable)
    }

    fn uplink_ends(&self) -> [End<'_>; 2] {
        [End { netns: &self.router, device: ROUTER_DEVICE }, End { netns: &self.host, device: UPLINK }]
    }

    /// Where its daemon pins.
    #[must_use]
    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// A folder for files of this run.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A daemon with this configuration, started and ready.
    pub fn weir(&self, config: &Config) -> Result<Weir, Error> {
        let mut weir = Weir::new(self, config)?;
        weir.start()?;
        Ok(weir)
    }

    /// Releases Weir's hold, takes everything down, and reports what is left of it, which must be nothing.
    pub fn finish(self, weir: Weir) -> Result<(), Error> {
        weir.release()?;
        self.finish_without_weir()
    }

    /// As [`Testbed::finish`], where no daemon was ever started or it is released already.
    pub fn finish_without_weir(mut self) -> Result<(), Error> {
        self.servers.clear();
        let mut left = self.watch.attachments(&self.host, &self.ports())?;
        let sandboxes = self.sandboxes.into_iter().map(|sandbox| sandbox.netns);
        let namespaces: Vec<_> = [self.client, self.router, self.host].into_iter().chain(sandboxes).collect();
        left.extend(self.watch.processes(&namespaces)?);
        let names: Vec<_> = namespaces.iter().map(|netns| netns.name().to_owned()).collect();
        namespaces.into_iter().try_for_each(Netns::delete)?;
        let dir = self.dir.path().to_owned();
        self.dir.close().map_err(Error::file("remove", &dir))?;
        left.extend(self.watch.traces(&names, &[&self.pin_dir, &dir])?);
        if self.pin_dir.exists() {
            // Named above; now it should not trouble the next run as well.
            std::fs::remove_dir_all(&self.pin_dir).map_err(Error::file("remove", &self.pin_dir))?;
        }
        if left.is_empty() { Ok(()) } else { Err(Error::LeftBehind(left)) }
    }

    fn ports(&self) -> Vec<String> {
        let sandboxes = self.sandboxes.iter().map(|sandbox| sandbox.port.clone());
        std::iter::once(UPLINK.to_owned()).chain(sandboxes).collect()
    }

    fn wire(&self) -> Result<(), Error> {
        let (client, router, host) = (&self.client, &self.router, &self.host);
        veth(End { netns: client, device: "c0" }, End { netns: router, device: "rc0" })?;
        veth(End { netns: router, device: ROUTER_DEVICE }, End { netns: host, device: UPLINK })?;
        for (netns, device) in [(client, "c0"), (router, "rc0"), (router, ROUTER_DEVICE), (host, UPLINK)] {
            netns.set_offload(device, "tx", false)?;
        }
        router.set_offload(ROUTER_DEVICE, "gro", true)?;
        self.sandboxes.iter().try_for_each(|sandbox| sandbox.wire(host))
    }

    fn address(&self) -> Result<(), Error> {
        self.client.ip(&["addr", "add", &format!("{CLIENT}/24"), "dev", "c0"])?;
        self.client.ip(&["route", "add", "default", "via", "10.0.1.1"])?;
        self.client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        self.router.ip(&["addr", "add", "10.0.1.1/24", "dev", "rc0"])?;
        self.address_uplink()?;
        for forwarder in [&self.router, &self.host] {
            forwarder.sysctl("net.ipv4.ip_forward", "1")?;
        }
        Ok(())
    }

    fn address_uplink(&self) -> Result<(), Error> {
        self.router.ip(&["addr", "add", &format!("{ROUTER}/24"), "dev", ROUTER_DEVICE])?;
        self.router.ip(&["route", "add", "198.51.100.0/24", "dev", ROUTER_DEVICE])?;
        self.host.ip(&["addr", "add", &format!("{HOST}/24"), "dev", UPLINK])?;
        self.host.ip(&["route", "add", "default", "via", &ROUTER.to_string()]).map(drop)
    }
}
