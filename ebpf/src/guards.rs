//! What keeps tenants apart, as BPF maps.

use crate::maps::{Maps, add_per_cpu};
use crate::words::Shared;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use weir_path::addr::InterfaceId;
use weir_path::layout::{self, AccountWords, MeterWords};
use weir_path::tables::{
    AccountWord, ConnectorId, Direction, Guards, Half, Holder, MeterWord, Rates, Rule, Tenant, TenantId,
};

#[map]
static TENANTS: Array<Tenant> = Array::with_max_entries(2 * (layout::MAX_TENANTS + 1), 0);
#[map]
static RULES: Array<Rule> = Array::with_max_entries(2 * layout::MAX_RULES, 0);
/// What sandboxes and tenants hold. Mapped, so that user space reads it without a call.
#[map]
static ACCOUNTS: Array<AccountWords> = Array::with_max_entries(layout::ACCOUNTS, BPF_F_MMAPABLE);
/// Flows that security groups blocked, by connector and direction.
#[map]
static BLOCKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::BLOCKED, 0);
/// How fast slots' sandboxes may send and receive.
#[map]
static RATES: Array<Rates> = Array::with_max_entries(layout::MAX_INTERFACES, 0);
/// How far their buckets are filled; see `weir_path::meter`.
#[map]
static METERS: Array<MeterWords> = Array::with_max_entries(layout::MAX_INTERFACES, 0);

impl Guards for Maps {
    type Cell = Shared;

    #[inline(always)]
    fn tenant(&self, half: Half, id: TenantId) -> Option<&Tenant> {
        TENANTS.get(layout::tenant_index(half, id))
    }

    #[inline(always)]
    fn account(&self, holder: Holder, which: AccountWord) -> Option<Shared> {
        let account = ACCOUNTS.get_ptr_mut(layout::account_index(holder))?;
        // SAFETY: one of the words of a map value.
        let word = unsafe { account.cast::<u64>().add(which as usize) };
        // SAFETY: an aligned word of a map value.
        Some(unsafe { Shared::at(word) })
    }

    #[inline(always)]
    fn rule(&self, half: Half, index: u32) -> Option<&Rule> {
        RULES.get(layout::rule_index(half, index))
    }

    #[inline(always)]
    fn blocked(&self, connector: ConnectorId, direction: Direction) {
        add_per_cpu(&BLOCKED, layout::blocked_index(connector, direction), 1);
    }

    #[inline(always)]
    fn rates(&self, slot: InterfaceId) -> Option<&Rates> {
        RATES.get(slot.0)
    }

    #[inline(always)]
    fn meter(&self, slot: InterfaceId, direction: Direction, which: MeterWord) -> Option<Shared> {
        let meters = METERS.get_ptr_mut(slot.0)?;
        // SAFETY: one of the words of a map value.
        let word = unsafe { meters.cast::<u64>().add(layout::meter_word(direction, which) as usize) };
        // SAFETY: an aligned word of a map value.
        Some(unsafe { Shared::at(word) })
    }

    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_ns() }
    }
}
