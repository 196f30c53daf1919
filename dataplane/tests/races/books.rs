//! The books of the flow tables, closed while nothing runs: every key, record and place is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::counters::Counters;
use weir_dataplane::flows::{Flow, FlowState};
use weir_dataplane::test_run::Runner;
use weir_dataplane::{Held, Tables};
use weir_path::flow::{Key, Life, Phase, RecordId, Side, Stamp, V4, V6};
use weir_path::tables::Holder;
use weir_path::{Reason, flow::end::End};

/// Ways out that a race may lead to. There is no other.
const EXPECTED: [Reason; 12] = [
    Reason::ToSlot,
    Reason::ToWire,
    Reason::Opened,
    Reason::AnsweredReset,
    Reason::ResetWithoutFlow,
    Reason::FlowTableFull,
    Reason::HalfOpenFull,
    Reason::ReplyCollision,
    Reason::RaceLost,
    Reason::AnsweredNotAllowedOut,
    // Where two CPUs take the last answers from each other.
    Reason::NotAllowedOut,
    Reason::AnswerLimited,
];

/// How the flows came and went, in all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Account {
    /// Flows that are there.
    pub(crate) live: u64,
    /// Flows that ended, for any reason.
    pub(crate) ended: u64,
    /// Drafts that were given up: another CPU was first, replies would have collided, or there was no room.
    pub(crate) given_up: u64,
}

impl Account {
    /// Flows that there ever were.
    pub(crate) const fn made(&self) -> u64 {
        self.live + self.ended
    }
}

/// One family's part of the account.
#[derive(Clone, Copy, Default, Debug)]
struct Drafts {
    live: u64,
    begun: u64,
}

/// Checks that both families' tables are in order. Returns how many drafts were begun, and how many flows are
/// there.
pub(crate) fn in_order(runner: &Runner) -> Result<[u64; 2], String> {
    sweep(runner)?;
    let tables = runner.tables();
    let v4 = family::<V4>(tables).map_err(|what| format!("IPv4: {what}"))?;
    let v6 = family::<V6>(tables).map_err(|what| format!("IPv6: {what}"))?;
    accounts(tables)?;
    Ok([v4.begun + v6.begun, v4.live + v6.live])
}

/// Checks that every sandbox is charged with exactly the flows that are there.
fn accounts(tables: &Tables) -> Result<(), String> {
    let mut due = BTreeMap::<Holder, [u64; 2]>::new();
    let v4 = tables.flow_states::<V4>().unwrap().into_iter().map(|flow| (flow.meta, flow.life));
    let v6 = tables.flow_states::<V6>().unwrap().into_iter().map(|flow| (flow.meta, flow.life));
    for (meta, life) in v4.chain(v6) {
        for holder in meta.account.holders().into_iter().flatten() {
            let [flows, half_open] = due.entry(holder).or_default();
            *flows += 1;
            *half_open += u64::from(life.phase().is_half_open());
        }
    }
    let slots = tables.interfaces().unwrap().into_iter().map(|it| Holder::Slot(it.egress.id));
    let mut wrong = slots.filter_map(|holder| {
        let account = tables.account(holder);
        let (is, should) =
            ([account.flows, account.half_open], due.get(&holder).copied().unwrap_or_default());
        (is != should).then(|| format!("{holder:?} is charged with {is:?}, not {should:?}"))
    });
    wrong.next().map_or(Ok(()), Err)
}

/// The same, and what went through the tables.
pub(crate) fn close(runner: &Runner) -> Result<Account, String> {
    let [begun, live] = in_order(runner)?;
    let counters = runner.tables().counters().unwrap();
    let ended = counters.ended.values().sum();
    require(counters.opened == live + ended, || {
        format!("{} flows were opened; {live} live, {ended} ended", counters.opened)
    })?;
    let given_up = begun.checked_sub(live + ended);
    let given_up = given_up.ok_or_else(|| format!("{begun} drafts, {live} flows, {ended} ended"))?;
    Ok(Account { live, ended, given_up })
}

/// Checks that the packets are accounted for: each came in once and left once, for an expected reason.
pub(crate) fn packets(counters: &Counters, runs: u64) -> Result<BTreeMap<Reason, u64>, String> {
    let entered: u64 = counters.hooks.values().map(|hook| hook.entered).sum();
    let left: u64 = counters.hooks.values().map(|hook| hook.left()).sum();
    require(entered == runs && left == runs, || format!("{runs} runs: {entered} entered, {left} left"))?;
    let of = |why: &Reason| counters.hooks.values().map(|hook| hook.of(*why)).sum::<u64>();
    let by_reason: BTreeMap<_, _> = Reason::ALL.iter().map(|why| (*why, of(why))).collect();
    let strange = by_reason.iter().find(|(why, count)| **count > 0 && !EXPECTED.contains(why));
    require(strange.is_none(), || format!("packets left for {strange:?}"))?;
    Ok(by_reason)
}

/// Lets the ageing walk give back records whose list was too busy to take them.
fn sweep(runner: &Runner) -> Result<(), String> {
    let is_lost = |lives: Vec<Life>| lives.iter().any(|life| life.phase() == Phase::Lost);
    let lost = || {
        let tables = runner.tables();
        let [v4, v6] = [tables.around_flows::<V4>(), tables.around_flows::<V6>()];
        is_lost(v4.unwrap().records) || is_lost(v6.unwrap().records)
    };
    // A walk goes on from where it stands, so two reach every record.
    for _ in 0..2 {
        if !lost() {
            return Ok(());
        }
        runner.age_step().unwrap();
    }
    require(!lost(), || "the ageing walk left a lost record".into())
}

fn family<F: Held>(tables: &Tables) -> Result<Drafts, String> {
    let around = tables.around_flows::<F>().unwrap();
    let flows = tables.flow_states::<F>().unwrap();
    let keys = tables.flow_keys::<F>().unwrap();
    whole(&flows, &keys)?;
    let live: BTreeMap<RecordId, &FlowState<F::Key>> = flows.iter().map(|flow| (flow.record, flow)).collect();
    records(&around.records, &around.free, &live)?;
    places(&around.places, &live)?;
    let begun = around.records.iter().map(|life| {
        let over = u64::from(life.incarnation().max(1)) - 1;
        over + u64::from(life.phase().is_live())
    });
    Ok(Drafts { live: live.len() as u64, begun: begun.sum() })
}

/// Both or neither, and no key twice: the table holds the flows' keys and no others, each stamped as its flow's.
fn whole<K: Key + Ord>(flows: &[FlowState<K>], keys: &[K]) -> Result<(), String> {
    let of_flows: BTreeSet<K> = flows.iter().flat_map(|flow| flow.keys).collect();
    require(of_flows.len() == 2 * flows.len(), || format!("two flows share a key: {flows:?}"))?;
    let in_table: BTreeSet<K> = keys.iter().copied().collect();
    require(in_table.len() == keys.len(), || "a key is in the table twice".into())?;
    require(in_table == of_flows, || {
        let alone: Vec<_> = in_table.symmetric_difference(&of_flows).collect();
        format!("keys without a flow, or flows without a key: {alone:?}")
    })?;
    for flow in flows {
        for (side, state) in [Side::Original, Side::Reply].into_iter().zip(&flow.sides) {
            let due = Stamp::new(flow.record, flow.life.incarnation(), side, flow.life.seen());
            require(state.stamp.is_of_the_same(due), || {
                format!("{side:?} is not stamped as its own: {flow:?}")
            })?;
        }
    }
    Ok(())
}

/// Every record that was ever taken is a flow's, or free and in one list, once.
fn records<K>(
    lives: &[Life],
    lists: &[Vec<RecordId>],
    live: &BTreeMap<RecordId, &FlowState<K>>,
) -> Result<(), String> {
    let stuck =
        lives.iter().enumerate().find(|(_, life)| !life.phase().is_live() && life.phase() != Phase::Free);
    require(stuck.is_none(), || format!("a record is stuck: {stuck:?}"))?;
    let mut listed = BTreeSet::new();
    for id in lists.iter().flatten() {
        require(listed.insert(*id), || format!("{id:?} is in the lists of free records twice"))?;
        require(!live.contains_key(id), || format!("{id:?} is a flow's, and in a list of free records"))?;
    }
    require(listed.len() + live.len() == lives.len(), || {
        format!("{} records were taken: {} are free, {} are flows'", lives.len(), listed.len(), live.len())
    })
}

/// Every half-open place is nobody's, or a live half-open flow's that knows of it.
fn places<K>(places: &[u64], live: &BTreeMap<RecordId, &FlowState<K>>) -> Result<(), String> {
    for (number, place) in places.iter().enumerate().filter(|(_, place)| **place != 0) {
        let id = RecordId((place >> 32) as u32 - 1);
        let flow = live.get(&id).filter(|flow| flow.life.incarnation() == (place >> 16) as u16);
        let is_its = flow
            .is_some_and(|flow| flow.life.phase().is_half_open() && flow.meta.place as usize == number + 1);
        let phase = flow.map(|flow| flow.life.phase());
        require(is_its, || format!("place {number} is held for record {id:?}, whose flow is {phase:?}"))?;
    }
    Ok(())
}

/// Constancy: each of these flows is there, established, in the record it had, with the keys it had.
pub(crate) fn kept(tables: &Tables, flows: &[Flow]) -> Result<(), String> {
    let now: BTreeMap<_, _> = tables.flows().into_iter().map(|flow| (flow.id, flow)).collect();
    for flow in flows {
        let is_kept = now.get(&flow.id).is_some_and(|now| {
            now.phase == Phase::Established && (now.original, now.reply) == (flow.original, flow.reply)
        });
        require(is_kept, || format!("{flow:?} became {:?}", now.get(&flow.id)))?;
    }
    Ok(())
}

/// Which ends happened, in words.
pub(crate) fn ends(counters: &Counters) -> String {
    let told = |(why, flows): (&End, &u64)| format!("{} {flows}", why.name());
    counters.ended.iter().map(told).collect::<Vec<_>>().join(", ")
}

pub(crate) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
