//! What keeps tenants apart: who they are, how much each may have, whom they may reach, and how fast.

use super::{ConnectorId, Half};
use crate::addr::{InterfaceId, Ip6};
use crate::flow::Account;
use crate::flow::store::Word;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The number of a tenant; 0 is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct TenantId(pub u32);

impl TenantId {
    /// No tenant: nothing is limited.
    pub const NONE: Self = Self(0);
}

/// How much one sandbox, or one tenant, may have at a time. Zero is no limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Quota {
    /// Flows, half-open ones too.
    pub flows: u32,
    /// Half-open flows.
    pub half_open: u32,
    /// Ports of ENIs, those that rest too.
    pub ports: u32,
    /// New flows a second; as many may come at once.
    pub opened_a_second: u32,
}

/// What a tenant may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tenant {
    /// All its sandboxes together.
    pub all: Quota,
    /// Each of its sandboxes.
    pub each: Quota,
}

/// One word of an account: what is held, and how often more was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum AccountWord {
    /// Flows that are held.
    Flows,
    /// Half-open ones among them.
    HalfOpen,
    /// Ports that are held.
    Ports,
    /// How many flows were opened lately, see [`crate::rate`].
    Opened,
    /// How often a flow was refused because of [`Quota::flows`].
    RefusedFlows,
    /// The same of [`Quota::half_open`].
    RefusedHalfOpen,
    /// The same of [`Quota::ports`].
    RefusedPorts,
    /// The same of [`Quota::opened_a_second`].
    RefusedOpened,
}

impl AccountWord {
    /// How many words an account has: a cache line.
    pub const COUNT: u32 = 8;
}

/// Whose account: a sandbox's, by its slot, or a tenant's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Holder {
    /// The sandbox in this slot.
    Slot(InterfaceId),
    /// A tenant.
    Tenant(TenantId),
}

/// The number of a security group; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SecurityGroupId(pub u16);

impl SecurityGroupId {
    /// No security group.
    pub const NONE: Self = Self(0);
}

/// The most security groups that an ENI, and so a connector, has.
pub const MAX_SECURITY_GROUPS: usize = 5;

/// The security groups of a connector's ENIs; those that are not there are [`SecurityGroupId::NONE`].
pub type SecurityGroups = [SecurityGroupId; MAX_SECURITY_GROUPS];

/// One line of the table of rules: what it allows. A rule of a connector's groups; all of them are judged as one list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Rule {
    /// The far end's address, as far as [`Self::mask`] has ones; an IPv4 address is mapped.
    pub network: Ip6,
    /// Which of its bits count.
    pub mask: Ip6,
    /// The first port, as a number; or ICMP's type times 256, plus the code.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// Where it isn't [`SecurityGroupId::NONE`]: allows the ENIs of this group, whatever their address.
    pub group: SecurityGroupId,
    /// The IP protocol number (RFC 790); 0 for all.
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
}

/// A piece of the table of rules: a connector's, one way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rules {
    /// Where they begin.
    pub first: u32,
    /// How many there are, at most [`crate::layout::MAX_RULES_IN_CONNECTOR`]; none allows nothing.
    pub count: u32,
}

impl Rules {
    /// No security group says anything: everything is allowed.
    pub const OPEN: Self = Self { first: 0, count: u32::MAX };
}

/// Which way a flow is opened, or a packet goes, as the sandbox sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum Direction {
    /// By the sandbox.
    Out,
    /// To the sandbox.
    In,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Out, Self::In];
}

/// How fast a bucket of tokens fills, and how many it holds: in 4096ths of a nanosecond, see [`crate::meter`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rate {
    /// How long one token takes to come; 0 where there is no limit.
    pub price: u64,
    /// How long an empty bucket takes to fill.
    pub burst: u64,
}

/// How fast a slot's sandbox may send and receive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rates {
    /// Bytes, by [`Direction`].
    pub bytes: [Rate; 2],
    /// Packets, by [`Direction`].
    pub packets: [Rate; 2],
}

/// One word of a slot's meters, by direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum MeterWord {
    /// When the bucket of bytes will be full.
    Bytes,
    /// When the bucket of packets will be full.
    Packets,
    /// Bytes that may go besides, once.
    BytesOnce,
    /// Packets that may go besides, once.
    PacketsOnce,
}

impl MeterWord {
    /// How many words a slot has: a cache line.
    pub const COUNT: u32 = 8;
}

/// Chapter six: the guards.
pub trait Guards {
    /// A word that several CPUs change.
    type Cell: Word;

    /// What a tenant may have.
    fn tenant(&self, half: Half, id: TenantId) -> Option<&Tenant>;

    /// A word of an account.
    fn account(&self, holder: Holder, which: AccountWord) -> Option<Self::Cell>;

    /// One line of the table of rules.
    fn rule(&self, half: Half, index: u32) -> Option<&Rule>;

    /// Counts a flow that no rule of a connector's security groups allows.
    fn blocked(&self, connector: ConnectorId, direction: Direction);

    /// How fast a slot's sandbox may send and receive.
    fn rates(&self, slot: InterfaceId) -> Option<&Rates>;

    /// A word of a slot's meters.
    fn meter(&self, slot: InterfaceId, direction: Direction, which: MeterWord) -> Option<Self::Cell>;

    /// Nanoseconds since the machine started (`CLOCK_MONOTONIC`), to the point.
    fn nanoseconds(&self) -> u64;
}

impl Account {
    /// Whose accounts it is.
    #[inline(always)]
    pub fn holders(self) -> [Option<Holder>; 2] {
        [self.slot().map(Holder::Slot), self.tenant().map(Holder::Tenant)]
    }
}

const _: () = {
    assert!(size_of::<Tenant>() == 32 && align_of::<Tenant>() == 4);
    assert!(size_of::<Rule>() == 40 && align_of::<Rule>() == 8);
    assert!(size_of::<Rates>() == 64 && align_of::<Rates>() == 8);
};
