//! What keeps tenants apart, as the file says it: how much each may have, whom they may reach, and how fast.

use super::{At, Prefix, Protocol};
use std::time::Duration;
use weir_path::addr::{Ip6, L4Port, Zone};
use weir_path::tables::Quota;
use weir_path::wire::protocol;

/// `[[tenant]]`: whose sandboxes and connectors they are, and how much they may have.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: At<String>,
    /// What all its sandboxes may have together.
    pub all: Quota,
    /// What each of its sandboxes may have.
    pub each: Quota,
}

/// `[[security_group]]`: whom the sandboxes of connectors that are in it may reach, and who may reach them.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// Its name.
    pub name: At<String>,
    /// The VPC's name.
    pub vpc: String,
    /// The VPC.
    pub zone: Zone,
    /// Whom sandboxes may call.
    pub outbound: Vec<SgRule>,
    /// Who may call sandboxes by a VIP.
    pub inbound: Vec<SgRule>,
}

/// One rule of a security group. It allows; what no rule allows is blocked, so their order says nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SgRule {
    /// The protocol.
    pub protocol: RuleProtocol,
    /// The first port; of ICMP, the first of the numbers that type times 256 plus code make.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// The other end.
    pub far: Far,
}

/// The other end of what a rule allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Far {
    /// These addresses.
    Prefixes(Vec<Prefix>),
    /// The ENIs of a security group, by its place in [`Config::security_groups`](super::Config::security_groups).
    Group(usize),
}

/// Which protocol a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RuleProtocol {
    /// All of them.
    All,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of IPv4.
    Icmp,
    /// ICMP of IPv6.
    Icmpv6,
}

impl RuleProtocol {
    /// All kinds, by their names in the file.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("icmp", Self::Icmp),
        ("icmpv6", Self::Icmpv6),
        ("all", Self::All),
    ];

    /// The name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }

    /// The IP protocol number (RFC 790); 0 for all.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Icmp => protocol::ICMP,
            Self::Icmpv6 => protocol::ICMPV6,
        }
    }
}

/// Who is told when a flow was silent for too long.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OnIdle {
    /// Whoever sends next.
    #[default]
    NextPacket,
    /// Both ends, at once.
    BothEnds,
}

impl OnIdle {
    /// Both, by their names in the file.
    pub const NAMES: [(&'static str, Self); 2] =
        [("next_packet", Self::NextPacket), ("both_ends", Self::BothEnds)];
}

/// `[[connector.service]]`: what of this host the sandboxes of a connector may reach.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// What sandboxes call; an IPv4 address is mapped.
    pub address: At<Ip6>,
    /// The port that they call.
    pub port: L4Port,
    /// What it speaks.
    pub protocol: Protocol,
    /// By whose ENIs it is reached: the place of that connector in [`Config::connectors`](super::Config::connectors).
    pub via: usize,
    /// Where it is there; an IPv4 address is mapped.
    pub to: Ip6,
    /// Its port there.
    pub to_port: L4Port,
}

impl Service {
    /// Whether another one says the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let all = |it: &Self| (it.address.value, it.port, it.protocol, it.via, it.to, it.to_port);
        all(self) == all(other)
    }
}

/// `[slot.rate]`: how fast a slot's sandbox may send and receive.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SlotRates {
    /// From the sandbox.
    pub out: Option<DirectionRate>,
    /// To the sandbox.
    pub into: Option<DirectionRate>,
}

/// How fast it may be in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DirectionRate {
    /// How many bytes.
    pub bytes: Option<Bucket>,
    /// How many packets.
    pub packets: Option<Bucket>,
}

/// A bucket of tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// How many it holds.
    pub size: u64,
    /// How long an empty one takes to fill.
    pub refill: Duration,
    /// How many may go once, besides.
    pub once: u64,
}
