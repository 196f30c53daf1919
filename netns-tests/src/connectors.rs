//! Connectors, as a value that a test can vary: which sandboxes open connections, by which ENIs; and what is told of them.
//!
//! The uplink's link is a subnet, whose gateway is the router. A remote in the client's namespace is beyond it; one on the
//! router is on the link, and the gateway is one of them.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::config::{Config, Hook};
use crate::error::Error;
use crate::ipv6::{self, CLIENT6, ROUTER6};
use crate::servers::{ECHO_PORT, Echo};
use crate::topology::{CLIENT, ROUTER, ROUTER_DEVICE, Testbed};
use crate::waiting::{PATIENCE, until};
use crate::weir::Weir;

/// The first address that ENIs are given.
pub const ENI: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The second one.
pub const SECOND_ENI: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
/// The first one of IPv6.
pub const ENI6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x100);
/// A neighbour on the link, where [`stand_on_the_link`] gives it to the router.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// The same of IPv6.
pub const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x77);

/// The addresses of both families.
pub const BOTH: Families = Families { v4: true, v6: true };
/// IPv4 alone.
pub const V4: Families = Families { v4: true, v6: false };

/// What of a subnet there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// The server beyond the gateway, by each of its addresses.
    #[must_use]
    pub fn servers(self) -> Vec<IpAddr> {
        let v4 = self.v4.then_some(IpAddr::V4(CLIENT));
        v4.into_iter().chain(self.v6.then_some(IpAddr::V6(CLIENT6))).collect()
    }
}

/// A connector with a subnet of its own, and the slots that have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connector {
    /// The name of the connector and of the subnet.
    pub name: &'static str,
    /// The VPC.
    pub vpc: &'static str,
    /// Which families.
    pub families: Families,
    /// Keys of the subnet, where they are not what the topology has.
    pub subnet: Vec<(&'static str, String)>,
    /// Keys of the connector.
    pub keys: Vec<(&'static str, String)>,
    /// The sandboxes that have it, counted from 1.
    pub sandboxes: RangeInclusive<usize>,
}

impl Connector {
    /// Of these sandboxes, with all else as it is where nothing is said.
    #[must_use]
    pub fn of(sandboxes: RangeInclusive<usize>, families: Families) -> Self {
        Self { name: "out", vpc: "prod", families, subnet: Vec::new(), keys: Vec::new(), sandboxes }
    }

    /// With another key.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Display) -> Self {
        self.keys.push((key, value.to_string()));
        self
    }

    /// With the addresses of the host's own device, and with so few ports that they are soon all in use.
    #[must_use]
    pub fn of_the_host(self) -> Self {
        self.with("enis", "\"host\"")
    }

    /// With another key of the subnet.
    #[must_use]
    pub fn with_subnet(mut self, key: &'static str, value: impl Display) -> Self {
        self.subnet.push((key, value.to_string()));
        self
    }

    pub(crate) fn toml(&self, bed: &Testbed) -> String {
        let Self { name, vpc, .. } = self;
        let mut text = format!("\n[[subnet]]\nname = \"{name}\"\nvpc = \"{vpc}\"\n");
        let v4 = [
            ("prefix", "192.0.2.0/24".to_owned()),
            ("gateway", ROUTER.to_string()),
            ("pool", format!("{ENI}-192.0.2.131")),
        ];
        let v6 = [
            ("prefix6", "2001:db8:2::/64".to_owned()),
            ("gateway6", ROUTER6.to_string()),
            ("pool6", format!("{ENI6}-2001:db8:2::1ff")),
        ];
        let there = v4.iter().filter(|_| self.families.v4).chain(v6.iter().filter(|_| self.families.v6));
        for (key, value) in there {
            if self.subnet.iter().all(|(own, _)| own != key) {
                line(&mut text, key, &format!("\"{value}\""));
            }
        }
        self.subnet.iter().for_each(|(key, value)| line(&mut text, key, value));
        text += &format!("\n[[connector]]\nname = \"{name}\"\ntenant = \"acme\"\nsubnets = [\"{name}\"]\n");
        self.keys.iter().for_each(|(key, value)| line(&mut text, key, value));
        for sandbox in bed.sandboxes.iter().take(*self.sandboxes.end()).skip(self.sandboxes.start() - 1) {
            text += &format!(
                "\n[[slot]]\nnetns = \"{}\"\ninterface = \"eth0\"\nconnector = \"{name}\"\n",
                sandbox.netns.name()
            );
        }
        text
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    let _: std::fmt::Result = writeln!(text, "{key} = {value}");
}

/// A configuration of one connector, and no listener.
#[must_use]
pub fn outwards(hook: Hook, connector: Connector) -> Config {
    Config { connectors: vec![connector], ..Config::new(hook, []) }
}

/// Gives the router another address on the link, of each family: a neighbour that is not the gateway.
pub fn stand_on_the_link(bed: &Testbed, families: Families) -> Result<(), Error> {
    if families.v4 {
        bed.router.ip(&["addr", "add", &format!("{NEIGHBOUR}/24"), "dev", ROUTER_DEVICE])?;
    }
    if families.v6 {
        // Not to be taken for what the router itself sends.
        let address = format!("{NEIGHBOUR6}/64");
        bed.router.ip(&["addr", "add", &address, "dev", ROUTER_DEVICE, "preferred_lft", "0", "nodad"])?;
    }
    Ok(())
}

/// An ENI, as `weir get enis` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eni {
    /// Its name.
    pub id: String,
    /// Its addresses that take new flows.
    pub addresses: Vec<IpAddr>,
    /// Those that drain.
    pub draining: Vec<IpAddr>,
    /// Its MAC, where it is in force.
    pub mac: String,
    /// Its state.
    pub state: String,
    /// Its VPC.
    pub vpc: String,
}

impl Eni {
    fn read(shown: &Value) -> Option<Self> {
        let text = |field: &str| Some(shown.get(field)?.as_str().unwrap_or_default().to_owned());
        let addresses = |field: &str| {
            let listed = shown.get(field)?.as_array()?;
            listed.iter().map(|it| it.as_str()?.parse().ok()).collect::<Option<Vec<_>>>()
        };
        Some(Self {
            id: text("id")?,
            addresses: addresses("addresses")?,
            draining: addresses("draining_addresses")?,
            mac: text("mac")?,
            state: text("state")?,
            vpc: text("vpc")?,
        })
    }
}

/// `weir get enis`, which works beside a dead daemon as well.
pub fn enis(weir: &Weir) -> Result<Vec<Eni>, Error> {
    let shown = weir.shown(&["get", "enis"])?;
    let read = shown.as_array().and_then(|all| all.iter().map(Eni::read).collect::<Option<Vec<_>>>());
    read.ok_or_else(|| Error::Output {
        command: "weir get enis -o json".into(),
        why: "not the fields that ENIs have".into(),
        output: shown.to_string(),
    })
}

/// Waits until every connector is active, and returns its ENIs.
pub fn active(weir: &Weir) -> Result<Vec<Eni>, Error> {
    let shown = || weir.shown(&["get", "connectors"]);
    let evidence = || format!("{:#}\n{}", shown().unwrap_or_default(), weir.log());
    until("active connectors", PATIENCE, evidence, || {
        let connectors = shown()?;
        let mut all = connectors.as_array().into_iter().flatten();
        Ok(all.all(|it| it.get("state").is_some_and(|state| state == "Active")).then_some(()))
    })?;
    enis(weir)
}

/// Every address of an ENI's.
#[must_use]
pub fn addresses(enis: &[Eni]) -> BTreeSet<IpAddr> {
    enis.iter().flat_map(|eni| eni.addresses.iter().copied()).collect()
}

/// What of ENIs stays the same, whatever becomes of the daemon: names, addresses and MACs.
#[must_use]
pub fn identities(enis: &[Eni]) -> Vec<(&str, &[IpAddr], &str)> {
    enis.iter().map(|eni| (eni.id.as_str(), eni.addresses.as_slice(), eni.mac.as_str())).collect()
}

/// How often a port was asked for in vain, and how many are in use, by `weir get ports`: summed up over all addresses.
pub fn ports(weir: &Weir) -> Result<[u64; 3], Error> {
    let shown = weir.shown(&["get", "ports"])?;
    let sum =
        |field: &str| shown.as_array().into_iter().flatten().filter_map(|it| it.get(field)?.as_u64()).sum();
    Ok(["live", "resting", "refused"].map(sum))
}

/// Starts the echo servers of [`SERVERS`].
pub fn serve_echo(bed: &mut Testbed) -> Result<(), Error> {
    // A server by UDP that is on any address answers from the one that the kernel likes best.
    for to in SERVERS {
        let netns =
            if [NEIGHBOUR.into(), NEIGHBOUR6.into()].contains(&to.ip()) { &bed.router } else { &bed.client };
        let (tcp, udp) = (Echo::tcp_at(netns, to)?, Echo::udp_at(netns, to)?);
        bed.keep(tcp);
        bed.keep(udp);
    }
    Ok(())
}

/// A testbed of both families with echo servers beyond the gateway and on the link, and a daemon whose connectors are
/// active.
pub fn connected(
    name: &'static str,
    sandboxes: usize,
    config: &Config,
) -> Result<(Testbed, Weir, Vec<Eni>), Error> {
    let mut bed = ipv6::dual(name, sandboxes)?;
    stand_on_the_link(&bed, BOTH)?;
    serve_echo(&mut bed)?;
    let weir = bed.weir(config)?;
    let enis = active(&weir)?;
    Ok((bed, weir, enis))
}

/// The echo servers of [`connected`]: beyond the gateway and on the link, by each family.
pub const SERVERS: [SocketAddr; 4] = [
    SocketAddr::new(IpAddr::V4(CLIENT), ECHO_PORT),
    SocketAddr::new(IpAddr::V6(CLIENT6), ECHO_PORT),
    SocketAddr::new(IpAddr::V4(NEIGHBOUR), ECHO_PORT),
    SocketAddr::new(IpAddr::V6(NEIGHBOUR6), ECHO_PORT),
];
