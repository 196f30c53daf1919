//! What sandboxes reach their VPC by: subnets, connectors, and which slot has which.

use super::{AddressRange, At, OnIdle, Prefix, Service, SlotName, SlotRates};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use weir_path::addr::{Ip6, Zone};
use weir_path::time::Seconds;

/// `[[vpc.route]]`: who takes what is for these addresses.
#[derive(Clone, Copy, Debug)]
pub struct VpcRoute {
    /// The addresses.
    pub destination: At<Prefix>,
    /// The neighbour in one of the VPC's subnets; an IPv4 address is mapped.
    pub via: At<Ip6>,
}

/// `[[subnet]]`: a piece of a VPC on one uplink, whose addresses ENIs are given.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its name.
    pub name: At<String>,
    /// The VPC's name.
    pub vpc: String,
    /// The VPC.
    pub zone: Zone,
    /// The place of its uplink in [`Config::uplinks`](super::Config::uplinks).
    pub uplink: usize,
    /// Its IPv4 addresses.
    pub v4: Option<SubnetPrefix>,
    /// Its IPv6 addresses.
    pub v6: Option<SubnetPrefix>,
    /// What no ENI is given, in order and without overlaps: what the file reserves, the first four addresses of a prefix
    /// and its last one, gateways, routers, uplinks' own addresses and VIPs.
    pub reserved: Vec<AddressRange>,
}

/// One family's addresses of a subnet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubnetPrefix {
    /// The addresses that are on the link.
    pub prefix: Prefix,
    /// Who takes what is for others; an IPv4 address is mapped.
    pub gateway: Option<Ip6>,
    /// What ENIs' addresses are taken from.
    pub pool: AddressRange,
}

impl Subnet {
    /// The prefixes that it has.
    pub fn prefixes(&self) -> impl Iterator<Item = SubnetPrefix> {
        self.v4.into_iter().chain(self.v6)
    }

    /// Its prefix of this family.
    #[must_use]
    pub const fn prefix(&self, family: Family) -> Option<SubnetPrefix> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address; an IPv4 address is mapped.
    #[must_use]
    pub const fn of(address: Ip6) -> Self {
        if address.as_ip4().is_some() { Self::V4 } else { Self::V6 }
    }

    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// `[[connector]]`: how the sandboxes of slots open connections into a VPC.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Its name.
    pub name: At<String>,
    /// What decides which ENIs are its: connectors with the same key share them.
    pub key: ConnectorKey,
    /// The VPC.
    pub zone: Zone,
    /// The places of its security groups in [`Config::security_groups`](super::Config::security_groups), in order;
    /// where there is none, nothing is filtered.
    pub security_groups: Vec<usize>,
    /// What of this host its sandboxes may reach; the same for all connectors of one key.
    pub services: Vec<Service>,
    /// What may differ from key to key, and is the same for all connectors of one.
    pub settings: ConnectorSettings,
}

impl Connector {
    /// Whether its ENIs have addresses of this address's family.
    #[must_use]
    pub fn leads_to(&self, address: Ip6) -> bool {
        self.key.addresses.families().contains(&Family::of(address))
    }
}

/// Whose ENIs they are, and what they look like. Equal keys have the same ENIs, whoever asks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ConnectorKey {
    /// Who it is for.
    pub tenant: String,
    /// The VPC's name.
    pub vpc: String,
    /// The subnets' names, in order, each once.
    pub subnets: Vec<String>,
    /// Which families the ENIs have addresses of.
    pub addresses: Addresses,
    /// Whose addresses they are.
    pub enis: EniKind,
    /// Whose MAC they have.
    pub mac: EniMac,
    /// How UDP ports are chosen.
    pub udp_mapping: UdpMapping,
    /// The security groups' names, in order, each once. State that is older than security groups has none.
    #[serde(default)]
    pub security_groups: Vec<String>,
}

/// How many ENIs a connector has, and how long its flows live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectorSettings {
    /// How many addresses of each family an ENI has.
    pub addresses_per_eni: u32,
    /// The fewest ENIs.
    pub min_enis: u32,
    /// The most ENIs.
    pub max_enis: u32,
    /// How long established TCP may be silent.
    pub tcp_idle: Seconds,
    /// How long answered UDP may be silent.
    pub udp_idle: Seconds,
    /// How long a port rests towards a remote after a flow that did not end cleanly.
    pub rest: Seconds,
    /// How long nobody has a connection before the ENIs are given back.
    pub idle_reclaim: Duration,
    /// Who is told when a flow was silent for too long.
    pub on_idle: OnIdle,
    /// Whether flows end that no rule allows any more.
    pub rejudge: bool,
}

/// Which families a connector's ENIs have addresses of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// IPv4.
    Ipv4,
    /// Both.
    Dualstack,
    /// IPv6.
    Ipv6,
}

impl Addresses {
    /// All of them, by their names in the file.
    pub const NAMES: [(&'static str, Self); 3] =
        [("ipv4", Self::Ipv4), ("dualstack", Self::Dualstack), ("ipv6", Self::Ipv6)];

    /// The families.
    #[must_use]
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::Ipv4 => &[Family::V4],
            Self::Dualstack => &[Family::V4, Family::V6],
            Self::Ipv6 => &[Family::V6],
        }
    }
}

/// Whose addresses ENIs have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EniKind {
    /// Addresses of the subnet that nobody else has.
    #[default]
    Own,
    /// The uplink device's own, which the host uses as well.
    Host,
}

impl EniKind {
    /// All of them, by their names in the file.
    pub const NAMES: [(&'static str, Self); 2] = [("own", Self::Own), ("host", Self::Host)];
}

/// Whose MAC ENIs have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EniMac {
    /// The uplink's.
    #[default]
    Uplink,
    /// Each one its own.
    Own,
}

impl EniMac {
    /// All of them, by their names in the file.
    pub const NAMES: [(&'static str, Self); 2] = [("uplink", Self::Uplink), ("own", Self::Own)];
}

/// How the port is chosen that a sandbox's UDP leaves from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UdpMapping {
    /// Anew towards each remote, so that one port serves many.
    #[default]
    PerRemote,
    /// Once for each port of the sandbox, whatever the remote (RFC 4787 REQ-1).
    EndpointIndependent,
}

impl UdpMapping {
    /// All of them, by their names in the file.
    pub const NAMES: [(&'static str, Self); 2] =
        [("per_remote", Self::PerRemote), ("endpoint_independent", Self::EndpointIndependent)];
}

/// `[[slot]]`: the connector that a slot's sandbox opens connections by, and how fast it may be.
#[derive(Clone, Debug)]
pub struct SlotBinding {
    /// The slot.
    pub slot: At<SlotName>,
    /// The place of the connector in [`Config::connectors`](super::Config::connectors); without one, the sandbox opens
    /// no connections.
    pub connector: Option<usize>,
    /// How fast it may send and receive.
    pub rates: SlotRates,
}
