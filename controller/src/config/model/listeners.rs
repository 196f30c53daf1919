//! What serves, and what is listened for: target groups and listeners.

use super::{At, OnIdle, SlotName, Timeouts};
use miette::SourceSpan;
use std::fmt;
use weir_path::addr::{Ip6, L4Port, Zone};
use weir_path::time::Seconds;

/// `[[target_group]]`.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Its name.
    pub name: At<String>,
    /// Whether a client stays with its target.
    pub stickiness: Stickiness,
    /// By whose ENIs targets that are addresses are reached: the place of that connector in [`Config::connectors`](super::Config::connectors).
    pub connector: Option<usize>,
    /// Its targets, all of one kind; addresses all of one family.
    pub targets: Vec<Target>,
}

/// Whether a client's flows all go to one target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Stickiness {
    /// Each flow is placed by itself.
    #[default]
    None,
    /// Those from one source address go to one target.
    SourceIp,
}

impl Stickiness {
    /// All kinds, by their names in the file.
    pub const NAMES: [(&'static str, Self); 2] = [("source_ip", Self::SourceIp), ("none", Self::None)];

    /// The name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SourceIp => "source_ip",
        }
    }
}

/// `[[target_group.target]]`.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name, of which the Maglev table is made.
    pub name: At<String>,
    /// Where it is.
    pub place: Place,
    /// The port it serves on; `None` for the one that the client asked for.
    pub port: Option<L4Port>,
}

/// Where a target is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the sandbox of a slot.
    Slot(At<SlotName>),
    /// At an address in a VPC; an IPv4 address is mapped.
    Address(At<Ip6>),
}

impl Place {
    /// The slot, if it is one.
    #[must_use]
    pub const fn slot(&self) -> Option<&At<SlotName>> {
        match self {
            Self::Slot(slot) => Some(slot),
            Self::Address(_) => None,
        }
    }

    /// Where it was written.
    #[must_use]
    pub const fn at(&self) -> SourceSpan {
        match self {
            Self::Slot(slot) => slot.at,
            Self::Address(address) => address.at,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(slot) => slot.value.fmt(f),
            Self::Address(address) => address.value.fmt(f),
        }
    }
}

/// What a listener listens for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both, on one port.
    TcpUdp,
}

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// All of them, by their names in the file.
    pub const NAMES: [(&'static str, Self); 3] =
        [("tcp", Self::Tcp), ("udp", Self::Udp), ("tcp_udp", Self::TcpUdp)];

    /// The name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TcpUdp => "tcp_udp",
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::TcpUdp => &[Transport::Tcp, Transport::Udp],
        }
    }
}

impl Transport {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The IP protocol number (RFC 790).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => weir_path::wire::protocol::TCP,
            Self::Udp => weir_path::wire::protocol::UDP,
        }
    }
}

/// `[[listener]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub name: At<String>,
    /// The VPC's name.
    pub vpc: String,
    /// The VPC.
    pub zone: Zone,
    /// The virtual address; an IPv4 address is mapped.
    pub address: At<Ip6>,
    /// The port; `None` for all that no other listener of the address has.
    pub port: Option<L4Port>,
    /// What it listens for.
    pub protocol: Protocol,
    /// The target groups that new flows are spread over.
    pub shares: Vec<Share>,
    /// How long its established flows may be silent, where it says so itself.
    pub idle: Option<Seconds>,
    /// Who is told when one was.
    pub on_idle: OnIdle,
}

/// A target group's share of a listener's new flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The place of the group in [`Config::groups`](super::Config::groups).
    pub group: usize,
    /// Its share, beside those of the listener's other groups.
    pub weight: u32,
}

impl Listener {
    /// How long its established flows may be silent.
    #[must_use]
    pub fn idle(&self, transport: Transport, timeouts: &Timeouts) -> Seconds {
        self.idle.unwrap_or_else(|| timeouts.idle(transport))
    }
}
