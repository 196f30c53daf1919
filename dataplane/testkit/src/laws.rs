//! What must hold whatever the packet: checked on every random packet, and on whatever a fuzzer finds.
//!
//! Each law says in an error what it saw, so that a failing packet explains itself.

mod answers;
mod translation;

use crate::anatomy::Anatomy;
use crate::executor::{End, Ran, Walk};
use crate::world::{Books, FlowImage, FlowTable, Keyed, State, World};
use weir_path::Reason;
use weir_path::reason::Class;
use weir_path::tables::{AccountWord, Interface};

/// The laws about one packet: what went in, what came out, and why.
///
/// # Errors
/// The law that it breaks.
pub fn packet(packet: &[u8], ran: &Ran, why: Reason) -> Result<(), String> {
    let expected = match why.class() {
        Class::Forwarded | Class::Answered => End::Send,
        Class::Passed => End::Pass,
        Class::Dropped => End::Drop,
    };
    require(ran.end == expected, || format!("{why:?} must end as {expected:?}, not as {:?}", ran.end))?;
    match why.class() {
        Class::Passed => untouched(packet, ran, why),
        // A refused change may come in the middle of others; where a packet goes is seen when its headers are written.
        Class::Dropped if matches!(why, Reason::Unchangeable | Reason::NextHopUnresolved) => Ok(()),
        Class::Dropped => untouched(packet, ran, why),
        Class::Forwarded => translation::forwarded(packet, &ran.bytes, why),
        Class::Answered => answers::answered(packet, &ran.bytes, why),
    }
}

/// Fail closed: what leaves a sandbox leaves with an address of Weir's, never with its own.
///
/// # Errors
/// Where a sandbox's own address shows.
pub fn no_leak(why: Reason, bytes: &[u8], sandbox: Interface) -> Result<(), String> {
    let src = Anatomy::of(bytes).map(|parts| parts.addresses(bytes)).map_or(&[][..], |[src, _]| src);
    let own = src == sandbox.address.0 || src == sandbox.address6.0;
    let is_outward = matches!(why, Reason::ToWire | Reason::ErrorToWire | Reason::Opened);
    require(!is_outward || !own, || "a packet left with its sandbox's own address".to_owned())
}

/// Both or neither: each flow has exactly two entries whose stamps name its record, and no entry is nobody's.
///
/// # Errors
/// The first flow that has one direction or none, or how many entries are no flow's.
pub fn both_or_neither(state: &State) -> Result<(), String> {
    whole(&state.flows.v4)?;
    whole(&state.flows.v6)?;
    require(state.strays == 0, || format!("{} entries are no flow's", state.strays))
}

/// The books close: everybody is charged with exactly what is there. Ports may rest besides.
///
/// # Errors
/// The accounts, and what they should be.
pub fn books_close(state: &State) -> Result<(), String> {
    let due = Books::of(&state.flows);
    let resting = state.resting.len() as u64;
    for holder in state.books.holders().chain(due.holders()) {
        let [is, should] = [&state.books, &due].map(|books| {
            [AccountWord::Flows, AccountWord::HalfOpen, AccountWord::Ports]
                .map(|word| books.word(holder, word))
        });
        let ([flows, half_open, ports], [due_flows, due_half_open, due_ports]) = (is, should);
        let is_closed = flows == due_flows && half_open == due_half_open;
        let has_ports = (due_ports..=due_ports + resting).contains(&ports);
        require(is_closed && has_ports, || format!("{holder:?} holds {is:?}, and should {should:?}"))?;
    }
    Ok(())
}

fn whole<K: Keyed>(flows: &FlowTable<K>) -> Result<(), String> {
    let half = flows.values().find(|flow| flow.sides.contains(&None));
    half.map_or(Ok(()), |flow| Err(format!("half a flow: {flow:?}")))
}

/// The laws about the tables around one packet: exact conservation of packets and of flows; what was there leads
/// where it led, unless it ended.
///
/// # Errors
/// The law that is broken.
pub fn tables(before: &State, after: &State, walk: Walk, why: Reason) -> Result<(), String> {
    both_or_neither(after)?;
    books_close(after)?;
    let mut expected = before.walks.clone();
    let counters = expected.entry(walk).or_default();
    counters.entered += 1;
    *counters.left.entry(why).or_default() += 1;
    require(after.walks == expected, || format!("counters are {:02x?}, not {expected:02x?}", after.walks))?;

    let sent = |state: &State| state.sent.values().sum::<u64>();
    let left = u64::from(matches!(why.class(), Class::Forwarded | Class::Answered));
    require(sent(after) == sent(before) + left, || format!("{why:?} must send {left} packets"))?;

    let opened = after.opened - before.opened;
    // A first packet that can't leave where its flow leads opens it, and the next one that can is sent as the first.
    let is_opener = why == Reason::Opened || CANNOT_LEAVE.contains(&why);
    let is_due = why == Reason::Opened && !(waits(&before.flows.v4) || waits(&before.flows.v6));
    // Where ports are mapped, what holds the port is a flow besides, and may be there without the packet's own.
    let mapped = mapped(&before.flows.v4, &after.flows.v4) + mapped(&before.flows.v6, &after.flows.v6);
    let may_open = u64::from(is_due)..=u64::from(is_opener);
    require(opened >= mapped && may_open.contains(&(opened - mapped)), || {
        format!("{why:?} opened {opened} flows, {mapped} of which hold ports")
    })?;
    let [was, is] = [before, after].map(|state| state.flows.count() as u64);
    let ended = after.all_ended() - before.all_ended();
    require(is + ended == was + opened, || {
        format!("{why:?} must open {opened} flows; there were {was}, there are {is}, and {ended} ended")
    })?;
    let moved = moved(&before.flows.v4, &after.flows.v4) + moved(&before.flows.v6, &after.flows.v6);
    require(moved <= ended, || format!("{moved} flows moved or are gone, and only {ended} ended"))
}

/// Why a packet may be stuck that opened its flow.
const CANNOT_LEAVE: [Reason; 4] =
    [Reason::AnsweredTooBig, Reason::TooBig, Reason::NextHopUnresolved, Reason::NoInterface];

/// Whether a flow was opened by a packet that it could not send on.
fn waits<K: Keyed>(flows: &FlowTable<K>) -> bool {
    let has_sent_nothing =
        |flow: &FlowImage<K>| matches!(flow.sides, [Some(there), _] if there.counts.packets == 0);
    flows.iter().any(|(key, flow)| !is_mapping(key) && has_sent_nothing(flow))
}

/// How many flows there are now, and were not before, that hold a port for others.
fn mapped<K: Keyed>(before: &FlowTable<K>, after: &FlowTable<K>) -> u64 {
    after.keys().filter(|key| is_mapping(*key) && !before.contains_key(key)).count() as u64
}

/// Whether the flow that has this key first holds a port for all that leave from it, and carries nothing.
#[must_use]
pub fn is_mapping<K: Keyed>(original: &K) -> bool {
    original.mapping() == *original
}

/// How many of the flows that were there are gone, or lead elsewhere.
fn moved<K: Keyed>(before: &FlowTable<K>, after: &FlowTable<K>) -> u64 {
    let stays = |(key, flow): &(&K, &FlowImage<K>)| after.get(key).is_some_and(|is| is.way() == flow.way());
    before.iter().filter(|flow| !stays(flow)).count() as u64
}

/// Conservation of flows at rest: those that opened are those that are there and those that ended.
///
/// # Errors
/// The numbers that differ.
pub fn every_flow_is_accounted_for(world: &World, state: &State) -> Result<(), String> {
    let opened = state.opened + world.flows.count() as u64;
    let (live, ended) = (state.flows.count() as u64, state.all_ended());
    require(opened == live + ended, || format!("{opened} flows opened, {live} are there, {ended} ended"))?;
    let first = state.left(Reason::Opened);
    let stuck: u64 = CANNOT_LEAVE.iter().map(|why| state.left(*why)).sum();
    // Each port that is mapped is held by a flow, which no packet is the first of.
    let is_any_mapped = world.image.connectors.values().any(|it| it.connector.maps_udp != 0);
    let most = first + stuck + if is_any_mapped { state.opened / 2 } else { 0 };
    require((first..=most).contains(&state.opened), || {
        format!(
            "{} flows opened, by {first} first packets and {stuck} that could not leave: {:?}",
            state.opened, state.walks
        )
    })
}

/// Conservation at rest: what came in at each walk is what left it, and what was sent is what was to be sent.
///
/// # Errors
/// The numbers that differ.
pub fn conservation(state: &State) -> Result<(), String> {
    for (walk, counters) in &state.walks {
        let left: u64 = counters.left.values().sum();
        require(left == counters.entered, || format!("{walk:?}: {} came in, {left} left", counters.entered))?;
    }
    let to_send: u64 = (state.walks.values().flat_map(|walk| &walk.left))
        .filter(|(why, _)| matches!(why.class(), Class::Forwarded | Class::Answered))
        .map(|(_, packets)| packets)
        .sum();
    let sent: u64 = state.sent.values().sum();
    require(to_send == sent, || format!("{to_send} packets were to be sent, {sent} were"))
}

fn untouched(packet: &[u8], ran: &Ran, why: Reason) -> Result<(), String> {
    require(packet == ran.bytes, || format!("{why:?} must leave the packet as it was"))
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
