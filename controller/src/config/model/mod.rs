//! A valid configuration. What people may have to be shown again remembers where it was written.

mod connectors;
mod guards;
mod listeners;
mod prefix;

pub use connectors::{
    Addresses, Connector, ConnectorKey, ConnectorSettings, EniKind, EniMac, Family, SlotBinding, Subnet,
    SubnetPrefix, UdpMapping, VpcRoute,
};
pub use guards::{
    Bucket, DirectionRate, Far, OnIdle, RuleProtocol, SecurityGroup, Service, SgRule, SlotRates, Tenant,
};
pub use listeners::{Listener, Place, Protocol, Share, Stickiness, Target, TargetGroup, Transport};
pub use prefix::{AddressRange, Prefix};
pub(crate) use prefix::{MAPPED_BITS, address, number};

use miette::SourceSpan;
use std::fmt;
use std::path::PathBuf;
use weir_dataplane::Sizes;
use weir_path::addr::{Ip4, Ip6, Mac, Zone};
use weir_path::hash::HashKey;
use weir_path::packet::VlanTag;
use weir_path::time::{Seconds, Times};

/// A value, and where it was written.
#[derive(Clone, Copy, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The place in the file.
    pub at: SourceSpan,
}

impl<T> At<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), at: self.at }
    }
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the daemon keeps its things, and how large the flow tables are.
    pub dataplane: DataplaneSection,
    /// How long flows may be silent.
    pub timeouts: Timeouts,
    /// How much Weir says itself.
    pub answers: Answers,
    /// How every slot looks from inside.
    pub sandbox: Sandbox,
    /// Those that say how much they may have.
    pub tenants: Vec<Tenant>,
    /// The address spaces.
    pub vpcs: Vec<Vpc>,
    /// The ways to the VPCs.
    pub uplinks: Vec<Uplink>,
    /// The target groups, in the order of the file.
    pub groups: Vec<TargetGroup>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The pieces of VPCs that ENIs are given addresses of.
    pub subnets: Vec<Subnet>,
    /// Whom sandboxes may reach, and who may reach them, in the order of the file.
    pub security_groups: Vec<SecurityGroup>,
    /// How sandboxes open connections.
    pub connectors: Vec<Connector>,
    /// Which slot has which connector, and how fast it may be.
    pub slots: Vec<SlotBinding>,
}

impl Config {
    /// The places of connectors that target groups and services are reached by, each as often as it is named.
    pub fn leading(&self) -> impl Iterator<Item = usize> {
        let services = self.connectors.iter().flat_map(|connector| &connector.services);
        let groups = self.groups.iter().filter_map(|group| group.connector);
        groups.chain(services.map(|service| service.via))
    }

    /// The places of connectors that are used by anything: by slots, too. Each as often as it is named.
    pub fn uses(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().filter_map(|slot| slot.connector).chain(self.leading())
    }
}

/// `[dataplane]`: what can't change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataplaneSection {
    /// A folder on a bpffs.
    pub pin_dir: PathBuf,
    /// The daemon's files.
    pub state_dir: PathBuf,
    /// How large the flow tables are.
    pub sizes: Sizes,
    /// The secret of the hash that places flows; made at random and kept in `state_dir` where absent.
    pub hash_key: Option<HashKey>,
}

/// `[timeouts]`: how long flows may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of flows that are not established, or over.
    pub times: Times,
    /// Of established TCP, where the listener doesn't say.
    pub tcp_idle: Seconds,
    /// Of answered UDP, where the listener doesn't say.
    pub udp_idle: Seconds,
}

impl Timeouts {
    /// Of established flows of this transport, where the listener doesn't say.
    #[must_use]
    pub const fn idle(&self, transport: Transport) -> Seconds {
        match transport {
            Transport::Tcp => self.tcp_idle,
            Transport::Udp => self.udp_idle,
        }
    }
}

/// `[answers]`: how much Weir says itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answers {
    /// How many answers a second are made to what comes in by one interface, but for ARP and Neighbour Discovery.
    pub per_second: u32,
}

/// `[sandbox]`: how every slot looks from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The sandbox's address.
    pub address: Ip4,
    /// The sandbox's MAC.
    pub mac: Mac,
    /// Its gateway, which Weir answers for.
    pub gateway: Ip4,
    /// The MAC that the gateway answers with.
    pub gateway_mac: Mac,
    /// The same for IPv6, where sandboxes have it.
    pub v6: Option<Sandbox6>,
}

/// How every slot looks from inside by IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandbox6 {
    /// The sandbox's address.
    pub address: Ip6,
    /// Its gateway, which Weir answers for.
    pub gateway: Ip6,
}

/// `[[vpc]]`.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// Its name.
    pub name: At<String>,
    /// Its number, made from the name.
    pub zone: Zone,
    /// The tenant whose it is; where absent, connectors of all tenants may be in it.
    pub tenant: Option<At<String>>,
    /// Who takes what is for addresses elsewhere.
    pub routes: Vec<VpcRoute>,
}

/// Where an uplink's program runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum UplinkHook {
    /// XDP in the driver.
    Xdp,
    /// XDP after the driver.
    XdpGeneric,
    /// TC.
    Tc,
}

impl UplinkHook {
    /// All of them, by their names in the file.
    pub const NAMES: [(&'static str, Self); 3] =
        [("xdp", Self::Xdp), ("xdp-generic", Self::XdpGeneric), ("tc", Self::Tc)];

    /// The name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        }
    }
}

/// `[[uplink]]`.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// The device.
    pub interface: At<String>,
    /// The VPC it leads to.
    pub zone: Zone,
    /// The hook, as any uplink of the device says it; where absent the device decides.
    pub hook: Option<At<UplinkHook>>,
    /// Whether whatever sends to this device completes its checksums, as any uplink of the device says.
    pub senders_complete_checksums: bool,
    /// The tag of its frames.
    pub vlan: VlanTag,
    /// The longest IP packet that may leave, where that is shorter than what the device takes.
    pub mtu: Option<u32>,
    /// Weir's own IPv4 address there.
    pub own: Option<At<OwnAddress<Ip4>>>,
    /// Weir's own IPv6 address there.
    pub own6: Option<At<OwnAddress<Ip6>>>,
}

/// An address of Weir's own on an uplink: it asks neighbours with it, and reports errors from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnAddress<A> {
    /// The address.
    pub address: A,
    /// How many bits of it all addresses on the link share.
    pub prefix_len: u8,
    /// Who takes what is for addresses that are not on the link.
    pub gateway: Option<A>,
}

/// How a slot is called in the file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SlotName {
    /// The namespace that `interface` is in; the daemon's own where absent.
    pub netns: Option<PathBuf>,
    /// The device: the sandbox's end of a veth with `netns`, else the host's end, or a TAP.
    pub interface: String,
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(netns) = &self.netns else { return f.write_str(&self.interface) };
        let name = netns.strip_prefix(NETNS_DIR).unwrap_or(netns);
        write!(f, "{}:{}", name.display(), self.interface)
    }
}

/// Where namespaces have names (ip-netns(8)).
pub const NETNS_DIR: &str = "/run/netns";
