//! `weir get sandboxes`: each slot's sandbox, whose it is, what it holds, and how fast it may be.

use super::held::HeldView;
use super::table::table;
use super::tenants::{quotas, tenant_of};
use crate::config::{Config, SlotBinding};
use crate::store::SlotRecord;
use serde::Serialize;
use std::collections::BTreeMap;
use weir_dataplane::AccountState;
use weir_path::addr::InterfaceId;
use weir_path::tables::{Direction, Holder, Interface, Rate, Rates};

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SandboxView {
    /// Its slot, as the configuration names it.
    pub slot: String,
    /// Weir's number of the slot; none while its device is missing.
    pub interface: Option<u32>,
    /// The number of its binding.
    pub binding: Option<u32>,
    /// Whose it is; none where it has no connector.
    pub tenant: Option<String>,
    /// By what it opens connections.
    pub connector: Option<String>,
    /// How fast it may send.
    pub rate_out: RateView,
    /// How fast it may receive.
    pub rate_in: RateView,
    /// What it holds.
    #[serde(flatten)]
    pub held: HeldView,
}

/// How fast a sandbox may be in one direction, as it is in force. None is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct RateView {
    /// Bytes, from the Ethernet header on.
    pub bytes_per_second: Option<u64>,
    /// Packets; a GSO packet counts its segments.
    pub packets_per_second: Option<u64>,
}

/// What the tables say of slots.
pub(super) struct Known<'a> {
    pub(super) slots: &'a [SlotRecord],
    pub(super) interfaces: &'a [Interface],
    pub(super) rates: &'a BTreeMap<InterfaceId, Rates>,
}

/// Every slot that is bound or serves.
pub(super) fn sandboxes(
    config: &Config,
    known: &Known<'_>,
    account: impl Fn(Holder) -> AccountState,
) -> Vec<SandboxView> {
    let targets = config.groups.iter().flat_map(|group| &group.targets);
    let serving = targets.filter_map(|it| Some((it.place.slot()?.value.to_string(), None)));
    let bound = config.slots.iter().map(|it| (it.slot.value.to_string(), Some(it)));
    // A slot that serves and is bound is there once.
    let slots: BTreeMap<String, Option<&SlotBinding>> = serving.chain(bound).collect();
    slots.into_iter().map(|(slot, binding)| view(slot, binding, config, known, &account)).collect()
}

fn view(
    slot: String,
    bound: Option<&SlotBinding>,
    config: &Config,
    known: &Known<'_>,
    account: impl Fn(Holder) -> AccountState,
) -> SandboxView {
    let record = known.slots.iter().find(|it| it.slot == slot).map(|it| InterfaceId(it.interface));
    let interface = known.interfaces.iter().find(|it| Some(it.egress.id) == record && it.is_slot());
    let id = interface.map(|it| it.egress.id);
    let connector = bound.and_then(|it| it.connector);
    let tenant = tenant_of(config, connector);
    let each = tenant.map(|tenant| quotas(config, tenant).each).unwrap_or_default();
    let held = id.map(|id| account(Holder::Slot(id))).unwrap_or_default();
    let rate = |direction| {
        let rates =
            interface.filter(|it| it.is_metered(direction)).and_then(|it| known.rates.get(&it.egress.id));
        rates.map(|rates| RateView::new(rates, direction)).unwrap_or_default()
    };
    SandboxView {
        slot,
        interface: id.map(|id| id.0),
        binding: interface.map(|it| it.zone.number()),
        tenant: tenant.map(str::to_owned),
        connector: connector.and_then(|place| config.connectors.get(place)).map(|it| it.name.value.clone()),
        rate_out: rate(Direction::Out),
        rate_in: rate(Direction::In),
        held: HeldView::new(&held, &each),
    }
}

impl RateView {
    fn new(rates: &Rates, direction: Direction) -> Self {
        let of = |[out, into]: [Rate; 2]| match direction {
            Direction::Out => a_second(out),
            Direction::In => a_second(into),
        };
        Self { bytes_per_second: of(rates.bytes), packets_per_second: of(rates.packets) }
    }

    fn cell(&self) -> String {
        let said = |number: Option<u64>, of: &str| number.map(|number| format!("{number} {of}/s"));
        let said = [said(self.bytes_per_second, "B"), said(self.packets_per_second, "p")];
        super::table::joined(said.into_iter().flatten())
    }
}

/// How many tokens come in a second. A price is in 4096ths of a nanosecond.
fn a_second(rate: Rate) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000 << 12;
    (SECOND + rate.price / 2).checked_div(rate.price)
}

pub(super) fn as_table(views: &[SandboxView]) -> String {
    let header = ["SLOT", "NUMBER", "BINDING", "TENANT", "CONNECTOR"];
    let header = header.into_iter().chain(HeldView::HEADER).chain(["RATE OUT", "RATE IN"]);
    let none = || "-".to_owned();
    table(
        &header.collect::<Vec<_>>(),
        views.iter().map(|it| {
            let number = |number: Option<u32>| number.map_or_else(none, |number| number.to_string());
            let head = [
                it.slot.clone(),
                number(it.interface),
                number(it.binding),
                it.tenant.clone().unwrap_or_else(none),
                it.connector.clone().unwrap_or_else(none),
            ];
            head.into_iter().chain(it.held.cells()).chain([it.rate_out.cell(), it.rate_in.cell()]).collect()
        }),
    )
}
