//! Rates of slots: written before the record that says that they hold, and changed in place.

use super::*;
use crate::config::{Bucket, DirectionRate, SlotRates};
use core::time::Duration;
use weir_path::tables::Rate;

/// So many bytes and packets a tenth of a second from the sandbox, and one packet of each kind besides.
fn meters(size: u64) -> Meters {
    let bucket = |size| Some(Bucket { size, refill: Duration::from_millis(100), once: 1 });
    let out = DirectionRate { bytes: bucket(size), packets: bucket(1_000) };
    Meters::from(&SlotRates { out: Some(out), into: None })
}

fn metered_slot(ifindex: u32, meters: Meters) -> WantedSlot {
    WantedSlot { meters, ..slot(ifindex) }
}

fn recorded(meters: Meters, id: u32, binding: u32) -> Interface {
    numbered(slot_record(&metered_slot(5, meters), &SANDBOX, ANSWERS, Zone::of_binding(binding).unwrap()), id)
}

fn wanted_with(meters: Meters) -> Wanted {
    Wanted { slots: vec![metered_slot(5, meters)], ..wanted(&[]) }
}

/// The slot on device 5 in force with these meters.
fn in_force_with(meters: Meters) -> Observed {
    let mut observed = in_force();
    observed.interfaces[1] = recorded(meters, 1, 1);
    observed.rates.insert(InterfaceId(1), meters.rates);
    observed
}

/// The steps of a plan that are about records and meters.
fn written(wanted: &Wanted, observed: &Observed) -> Vec<Step> {
    let is_written = |step: &Step| {
        matches!(step, Step::Record(it) if it.is_slot())
            || matches!(step, Step::SetRates(..) | Step::FillBuckets(..))
    };
    planned(wanted, observed).before.into_iter().filter(is_written).collect()
}

#[test]
fn a_rate_is_what_the_path_makes_of_size_and_refill_and_holds_one_way() {
    let Meters { rates, once } = meters(65_536);
    assert_eq!(rates.bytes, [Rate::of(65_536, 100_000_000), Rate::default()]);
    assert_eq!(rates.packets, [Rate::of(1_000, 100_000_000), Rate::default()]);
    assert_eq!((once.bytes, once.packets), ([1, 0], [1, 0]));
    assert_eq!((meters(65_536).metered(), Meters::default().metered()), (0b01, 0));
}

#[test]
fn a_new_slots_rates_and_buckets_are_there_before_its_record() {
    let meters = meters(65_536);
    let steps = written(&wanted_with(meters), &Observed::default());
    let id = InterfaceId(1);
    assert_eq!(
        steps,
        [
            Step::SetRates(id, meters.rates),
            Step::FillBuckets(id, meters.once),
            Step::Record(recorded(meters, 1, 1))
        ]
    );
}

#[test]
fn rates_that_are_there_are_left_alone_and_others_change_in_place_without_a_full_bucket() {
    let observed = in_force_with(meters(65_536));
    assert_eq!(written(&wanted_with(meters(65_536)), &observed), []);
    let faster = meters(1 << 20);
    assert_eq!(written(&wanted_with(faster), &observed), [Step::SetRates(InterfaceId(1), faster.rates)]);
}

#[test]
fn a_slot_that_is_given_a_rate_or_loses_it_keeps_its_number_and_its_flows() {
    let meters = meters(65_536);
    let id = InterfaceId(1);
    let given = [
        Step::SetRates(id, meters.rates),
        Step::FillBuckets(id, meters.once),
        Step::Record(recorded(meters, 1, 1)),
    ];
    assert_eq!(written(&wanted_with(meters), &in_force()), given);
    let lost = [Step::SetRates(id, Rates::default()), Step::Record(recorded_slot(5, 1, 1))];
    assert_eq!(written(&wanted(&[5]), &in_force_with(meters)), lost);
}

#[test]
fn what_may_go_once_goes_once_though_the_slots_record_has_another_number_by_now() {
    let meters = meters(65_536);
    let mut changed = wanted_with(meters);
    changed.slots[0].connector = ConnectorId(3);
    let steps = written(&changed, &in_force_with(meters));
    let fill = Step::FillBuckets(InterfaceId(2), Burst::default());
    assert_eq!(steps[..2], [Step::SetRates(InterfaceId(2), meters.rates), fill]);
    // Bound anew it is another sandbox.
    let mut observed = in_force_with(meters);
    observed.interfaces[1].connector = ConnectorId(7);
    observed.opened.insert(1);
    let steps = written(&changed, &observed);
    assert_eq!(steps[1], Step::FillBuckets(InterfaceId(2), meters.once));
}

#[test]
fn rates_are_undone_to_what_they_were() {
    let before = meters(65_536);
    let undo = |observed: &Observed| Step::SetRates(InterfaceId(1), meters(1 << 20).rates).undo(observed);
    assert_eq!(undo(&in_force_with(before)), Some(Step::SetRates(InterfaceId(1), before.rates)));
    assert_eq!(undo(&in_force()), Some(Step::SetRates(InterfaceId(1), Rates::default())));
    assert_eq!(Step::FillBuckets(InterfaceId(1), before.once).undo(&in_force()), None);
}
