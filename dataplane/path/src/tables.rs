//! What the path needs to know, by chapter: interfaces, listeners, connectors, the time, counters, guards. The flows' chapter is
//! [`crate::flow::store`], once for each family.
//!
//! Implementors: the BPF maps (in `ebpf/`), and a model of plain maps for tests. Records cross the kernel
//! boundary as they are, so they hold no enum, bool or Option and have no padding.

mod connectors;
mod guards;
mod interfaces;
mod listeners;

pub use connectors::{Connector, ConnectorId, Connectors, PortBlock, Source, Sources};
pub use guards::{
    AccountWord, Direction, Guards, Holder, MAX_SECURITY_GROUPS, MeterWord, Quota, Rate, Rates, Rule, Rules,
    SecurityGroupId, SecurityGroups, Tenant, TenantId,
};
pub use interfaces::{Delivery, Egress, Interface, Interfaces, NextHop, NextHopId};
pub use listeners::{
    Forward, Group, GroupId, Half, Listener, Listeners, MAX_SHARES, Owner, Share, Target, Vip,
};

use crate::addr::InterfaceId;
use crate::reason::Reason;
use crate::time::Now;

/// Everything together, but for the flows.
pub trait Tables: Interfaces + Listeners + Connectors + Clock + Counters + Guards {}
impl<T: Interfaces + Listeners + Connectors + Clock + Counters + Guards> Tables for T {}

/// Chapter four: the time.
pub trait Clock {
    /// Now, as of the last tick.
    fn now(&self) -> Now;
}

/// What became of an attempt to enter a key into the flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is in, and this attempt put it there.
    Made,
    /// It was in already.
    Taken,
    /// It is not in: the table is full.
    NoRoom,
}

/// Chapter five: the counters.
pub trait Counters {
    /// `packets` came in at this hook.
    fn entered(&self, packets: u32);

    /// `packets` left the path for this reason.
    fn left(&self, why: Reason, packets: u32);

    /// `packets` were sent out of this interface.
    fn sent(&self, to: InterfaceId, packets: u32);
}
