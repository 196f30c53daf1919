//! `[[slot]]`: read, which connector each has, and how fast it may be.

use super::check::unknown;
use super::draft::Draft;
use super::model::{At, Bucket, Connector, DirectionRate, Family, SlotBinding, SlotName, SlotRates};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::values;
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

/// A plain packet.
const LEAST_BYTES: u32 = 1_500;
const LEAST_PACKETS: u32 = 1;
/// The longest that a token may take to come.
const DEAREST_MS: u32 = 1_000;
/// An hour.
const MOST_REFILL_MS: u32 = 3_600_000;

pub(crate) struct SlotDraft {
    pub(crate) netns: Option<At<PathBuf>>,
    pub(crate) interface: Option<At<String>>,
    connector: Option<At<String>>,
    /// Whether a connector is named, right or wrong.
    has_connector: bool,
    rates: SlotRates,
}

// ---- each by itself ----

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> SlotDraft {
    let at = section.at();
    let netns = section.optional(problems, "netns", values::netns);
    let interface = section.required(problems, "interface", "\"eth0\"", values::interface);
    let connector = section.optional(problems, "connector", values::name);
    let has_connector = section.has("connector");
    let has_rate = section.has("rate");
    let rate = section.section(problems, "rate", "[slot.rate]");
    section.finish(problems);
    if !has_connector && !has_rate {
        problems.add(Problem::new(
            at,
            "[[slot]] has neither `connector` nor `rate`",
            "says nothing of this slot",
            "add a line like `connector = \"web-fn\"`, by which its sandbox opens connections, or a `[slot.rate.out]` \
             section; or remove this one: a target needs no [[slot]]",
        ));
    }
    let rates = rate.map(|it| read_rates(it, problems)).unwrap_or_default();
    SlotDraft { netns, interface, connector, has_connector, rates }
}

fn read_rates(mut section: Section<'_>, problems: &mut Problems) -> SlotRates {
    check_any(&mut section, ["out", "in"], "add a `[slot.rate.out]` or a `[slot.rate.in]` section", problems);
    let out = section.section(problems, "out", "[slot.rate.out]");
    let into = section.section(problems, "in", "[slot.rate.in]");
    section.finish(problems);
    SlotRates {
        out: out.map(|it| read_direction(it, problems)),
        into: into.map(|it| read_direction(it, problems)),
    }
}

fn read_direction(mut section: Section<'_>, problems: &mut Problems) -> DirectionRate {
    let help = "add a line like `bytes = { size = 12500000, refill_ms = 100 }`, or remove the section";
    check_any(&mut section, ["bytes", "packets"], help, problems);
    let bytes = section.section(problems, "bytes", "bytes");
    let packets = section.section(problems, "packets", "packets");
    section.finish(problems);
    DirectionRate {
        bytes: bytes.and_then(|it| read_bucket(it, LEAST_BYTES, problems)),
        packets: packets.and_then(|it| read_bucket(it, LEAST_PACKETS, problems)),
    }
}

fn read_bucket(mut section: Section<'_>, least: u32, problems: &mut Problems) -> Option<Bucket> {
    let size = section.required(problems, "size", "12500000", |it| values::number(it, least, u32::MAX));
    let refill = section.required(problems, "refill_ms", "100", |it| {
        values::number_of(it, "milliseconds", 1, MOST_REFILL_MS)
    });
    let once = section.optional(problems, "one_time_burst", |it| values::number(it, 0, u32::MAX));
    section.finish(problems);
    let (size, refill) = (size?, refill?);
    if u64::from(refill.value) > u64::from(size.value) * u64::from(DEAREST_MS) {
        problems.add(Problem::new(
            refill.at,
            format!("a bucket of {} is to take {} ms to fill", size.value, refill.value),
            "slower than one a second",
            format!("write at most {}, or a larger `size`", u64::from(size.value) * u64::from(DEAREST_MS)),
        ));
        return None;
    }
    Some(Bucket {
        size: size.value.into(),
        refill: Duration::from_millis(refill.value.into()),
        once: once.map_or(0, |it| it.value.into()),
    })
}

/// Complains of a section that has neither of two keys.
fn check_any(section: &mut Section<'_>, keys: [&'static str; 2], help: &str, problems: &mut Problems) {
    let [one, other] = keys;
    if !section.has(one) && !section.has(other) {
        let message = format!("{} has neither `{one}` nor `{other}`", section.title());
        problems.add(Problem::new(section.at(), message, "limits nothing", help));
    }
}

// ---- together ----

/// The slots' bindings, as far as each is right by itself.
pub(super) fn check(
    draft: &Draft,
    connectors: &[Option<Connector>],
    problems: &mut Problems,
) -> Vec<Option<SlotBinding>> {
    let places = draft.connector_places();
    let mut seen: BTreeMap<SlotName, SourceSpan> = BTreeMap::new();
    let mut bindings = Vec::new();
    for slot in &draft.slots {
        let SlotDraft { connector: name, rates, .. } = slot;
        let is_whole = name.is_some() || !slot.has_connector;
        let Some(interface) = slot.interface.as_ref().filter(|_| is_whole) else {
            bindings.push(None);
            continue;
        };
        let netns = slot.netns.as_ref().map(|netns| netns.value.clone());
        let slot = interface.clone().map(|interface| SlotName { netns, interface });
        match seen.entry(slot.value.clone()) {
            Entry::Vacant(free) => drop(free.insert(slot.at)),
            Entry::Occupied(first) => problems.add(twice(&slot, *first.get())),
        }
        let place = name.as_ref().and_then(|name| places.get(name.value.as_str()).copied());
        if let Some(name) = name.as_ref().filter(|_| place.is_none()) {
            problems.add(unknown(name, "connector", "[[connector]]", &places.keys().copied().collect()));
            bindings.push(None);
            continue;
        }
        let connector = place.and_then(|place| connectors.get(place)?.as_ref());
        problems.extend(connector.zip(name.as_ref()).and_then(|(it, name)| without_v6(name, it, draft)));
        bindings.push(Some(SlotBinding { slot, connector: place, rates: *rates }));
    }
    bindings
}

fn twice(slot: &At<SlotName>, first: SourceSpan) -> Problem {
    Problem::new(
        slot.at,
        format!("slot {} has two [[slot]] sections", slot.value),
        "the second one",
        "remove one of the two: a slot has one connector, and one rate",
    )
    .and_at(first, "the first one")
}

/// The complaint about a connector by IPv6 for sandboxes that have none.
fn without_v6(name: &At<String>, connector: &Connector, draft: &Draft) -> Option<Problem> {
    let wants_v6 = connector.key.addresses.families().contains(&Family::V6);
    if !wants_v6 || draft.sandbox.address6.is_some() || draft.sandbox.has_bad_v6 {
        return None;
    }
    Some(Problem::new(
        name.at,
        format!("connector \"{}\" has IPv6 addresses, but sandboxes have none", name.value),
        "nobody could use them",
        "add `address6` and `gateway6` to [sandbox], or write `addresses = \"ipv4\"` in the connector",
    ))
}
