//! How much a sandbox and its tenant hold, and whether they may have more.
//!
//! A flow is charged to both before it is entered, and what it held is given back by the run that ends it: so the counts
//! are exact, whatever becomes of the daemon. One that may not be charged is refused; nobody else notices.

use crate::flow::Account;
use crate::flow::store::Word;
use crate::rate;
use crate::tables::{AccountWord, Clock, Guards, Holder, Quota, Tables, TenantId};

/// What a flow holds, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held(u32);

impl Held {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// A flow.
    pub const FLOW: Self = Self(1);
    /// A half-open flow's place.
    pub const HALF_OPEN: Self = Self(2);
    /// A port of an ENI.
    pub const PORT: Self = Self(4);

    /// Both.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The same where it is so, else nothing.
    #[must_use]
    #[inline(always)]
    pub const fn only_if(self, is_so: bool) -> Self {
        if is_so { self } else { Self::NOTHING }
    }

    #[inline(always)]
    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Charges a new flow, which is half-open: with a port, or without. `false` where the sandbox or the tenant has as much as
/// it may; then nothing is charged.
#[inline(never)]
pub(crate) fn charge<T: Tables>(t: &T, account: Account, port: Held) -> bool {
    let held = Held::FLOW.and(Held::HALF_OPEN).and(port);
    let Some(tenant) = t.tenant(t.live(), account.tenant().unwrap_or(TenantId::NONE)) else { return false };
    let [slot, of_tenant] = account.holders();
    if let Some(slot) = slot
        && !charge_one(t, slot, &tenant.each, held)
    {
        return false;
    }
    let is_charged = of_tenant.is_none_or(|holder| charge_one(t, holder, &tenant.all, held));
    if !is_charged && let Some(slot) = slot {
        give_back(t, slot, held);
    }
    is_charged
}

#[inline(always)]
fn charge_one<T: Clock + Guards>(t: &T, holder: Holder, quota: &Quota, held: Held) -> bool {
    use AccountWord::{
        Flows, HalfOpen, Opened, Ports, RefusedFlows, RefusedHalfOpen, RefusedOpened, RefusedPorts,
    };
    if !hold(t, holder, [Flows, RefusedFlows], quota.flows) {
        return false;
    }
    if !hold(t, holder, [HalfOpen, RefusedHalfOpen], quota.half_open) {
        give_back(t, holder, Held::FLOW);
        return false;
    }
    if held.has(Held::PORT) && !hold(t, holder, [Ports, RefusedPorts], quota.ports) {
        give_back(t, holder, Held::FLOW.and(Held::HALF_OPEN));
        return false;
    }
    let is_in_time = quota.opened_a_second == 0
        || t.account(holder, Opened).is_some_and(|word| rate::take(word, t.now(), quota.opened_a_second));
    if !is_in_time {
        give_back(t, holder, held);
        add(t, holder, RefusedOpened, 1);
    }
    is_in_time
}

/// Holds one more, where that is no more than `most`; zero is no limit.
#[inline(always)]
fn hold<T: Guards>(t: &T, holder: Holder, [what, refused]: [AccountWord; 2], most: u32) -> bool {
    let Some(word) = t.account(holder, what) else { return false };
    // Added first, looked at afterwards: two CPUs never both get the last one.
    if word.add(1) < u64::from(most) || most == 0 {
        return true;
    }
    word.add(ONE_LESS);
    add(t, holder, refused, 1);
    false
}

const ONE_LESS: u64 = u64::MAX;

/// Gives back what a flow held.
#[inline(never)]
pub(crate) fn discharge<T: Guards>(t: &T, account: Account, held: Held) {
    let [slot, tenant] = account.holders();
    if let Some(slot) = slot {
        give_back(t, slot, held);
    }
    if let Some(tenant) = tenant {
        give_back(t, tenant, held);
    }
}

#[inline(always)]
fn give_back<T: Guards>(t: &T, holder: Holder, held: Held) {
    if held.has(Held::FLOW) {
        add(t, holder, AccountWord::Flows, ONE_LESS);
    }
    if held.has(Held::HALF_OPEN) {
        add(t, holder, AccountWord::HalfOpen, ONE_LESS);
    }
    if held.has(Held::PORT) {
        add(t, holder, AccountWord::Ports, ONE_LESS);
    }
}

#[inline(always)]
fn add<T: Guards>(t: &T, holder: Holder, what: AccountWord, number: u64) {
    if let Some(word) = t.account(holder, what) {
        word.add(number);
    }
}
