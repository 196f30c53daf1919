//! How what keeps tenants apart lies in the kernel's maps.

use super::{MAX_CONNECTORS, MAX_INTERFACES, MAX_RULES, MAX_TENANTS};
use crate::tables::{AccountWord, ConnectorId, Direction, Half, Holder, MeterWord, TenantId};

/// Where a tenant lies in the table of tenants.
#[must_use]
#[inline(always)]
pub const fn tenant_index(half: Half, id: TenantId) -> u32 {
    half.index() * (MAX_TENANTS + 1) + id.0
}

/// Where a line lies in the table of rules.
#[must_use]
#[inline(always)]
pub const fn rule_index(half: Half, index: u32) -> u32 {
    half.index() * MAX_RULES + index
}

/// What one sandbox or tenant holds: see [`AccountWord`].
pub type AccountWords = [u64; AccountWord::COUNT as usize];
/// How many accounts there are: slots first, tenants behind them.
pub const ACCOUNTS: u32 = MAX_INTERFACES + MAX_TENANTS + 1;

/// Where an account lies in the table of accounts.
#[must_use]
#[inline(always)]
pub const fn account_index(holder: Holder) -> u32 {
    match holder {
        Holder::Slot(slot) => slot.0,
        Holder::Tenant(tenant) => MAX_INTERFACES + tenant.0,
    }
}

/// How far a slot's buckets are filled: see [`meter_word`].
pub type MeterWords = [u64; MeterWord::COUNT as usize];

/// Which of a slot's words this is.
#[must_use]
#[inline(always)]
pub const fn meter_word(direction: Direction, which: MeterWord) -> u32 {
    direction as u32 * (MeterWord::COUNT / 2) + which as u32
}

/// How many counters of blocked flows there are.
pub const BLOCKED: u32 = 2 * (MAX_CONNECTORS + 1);

/// The counter of a connector's flows that its security groups blocked.
#[must_use]
#[inline(always)]
pub const fn blocked_index(connector: ConnectorId, direction: Direction) -> u32 {
    2 * connector.0 + direction as u32
}
