//! The plain list of ports: which are in use, which rest, which are free.

use super::talk::{Frame, Says, Talk};
use crate::anatomy::Anatomy;
use crate::executor::Walk;
use crate::model::{Held, Model};
use crate::packets::flag;
use crate::town::{FUNCTIONS, LAB_FN, LABS, TCP, UDP};
use crate::world::{Answers, Change, FlowImage, Rests, World, answers};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::Image;
use weir_path::addr::{InterfaceId, Ip6, L4Port};
use weir_path::flow::{Ends, Phase, V4, V6};
use weir_path::layout::FLOWS_A_PORT_SET;
use weir_path::tables::{Interface, Source};
use weir_path::time::{Now, Seconds};

/// A flow that must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lease {
    talk: Talk,
    reply: Answers,
    by: InterfaceId,
    seen: Seen,
    /// Whether its remote keeps nothing of it once it is over.
    is_clean: bool,
}

/// What the tables say of it that its end depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    phase: Phase,
    heard: Now,
    idle: Seconds,
    rest: Seconds,
    expected: u32,
    acknowledged: [u32; 2],
}

pub(super) struct Ledger {
    pub(super) now: Now,
    pub(super) rested: u64,
    room: u32,
    flows: BTreeMap<Answers, Lease>,
    resting: Rests,
    /// The addresses that take new flows, of each family: prod's, lab's.
    active: BTreeMap<(bool, bool), Vec<Source>>,
}

impl Ledger {
    pub(super) fn new(world: &World) -> Self {
        let (room, now) = (world.sizes.v4.flows, world.now);
        let active = BTreeMap::new();
        Self { now, rested: 0, room, flows: BTreeMap::new(), resting: Rests::new(), active }
    }

    pub(super) fn configure(&mut self, image: &Image) {
        for (id, is_lab) in [(FUNCTIONS, false), (LABS, true)] {
            let connector = image.connectors.get(&id).cloned().unwrap_or_default();
            self.active.insert((is_lab, false), connector.v4);
            self.active.insert((is_lab, true), connector.v6);
        }
    }

    // ---- what there is ----

    pub(super) fn has(&self, talk: &Talk) -> bool {
        self.flows.contains_key(&talk.original())
    }

    /// Whether a SYN would open another flow in the place of this one.
    pub(super) fn is_over(&self, talk: &Talk) -> bool {
        let flow = self.flows.get(&talk.original());
        flow.is_some_and(|it| it.is_overdue(self.now) || talk.protocol == TCP && it.seen.phase.is_over())
    }

    pub(super) fn talks(&self) -> Vec<Talk> {
        self.flows.values().map(|flow| flow.talk).collect()
    }

    pub(super) fn by(&self, eni: Interface) -> Vec<Talk> {
        self.flows.values().filter(|flow| flow.by == eni.egress.id).map(|flow| flow.talk).collect()
    }

    pub(super) fn pick(&self, number: u64) -> Option<Talk> {
        let nth = (number % self.flows.len().max(1) as u64) as usize;
        self.flows.values().nth(nth).map(|flow| flow.talk)
    }

    /// Where the talk's flow leaves.
    pub(super) fn outside(&self, talk: &Talk) -> (Ip6, L4Port) {
        let flow = self.flows.get(&talk.original());
        flow.map(|flow| (flow.reply.0.dst, flow.reply.0.dport)).unwrap_or_default()
    }

    /// How many ports a new flow may have: of active addresses, neither live nor resting towards its remote.
    pub(super) fn free_ports(&self, talk: &Talk) -> usize {
        let taken: BTreeSet<Answers> =
            self.flows.values().map(|flow| flow.reply).chain(self.resting.keys().copied()).collect();
        let is_lab = talk.at() == LAB_FN;
        let sources = self.active.get(&(is_lab, talk.is_v6)).into_iter().flatten();
        let ports = sources.flat_map(|source| ports(source).map(|port| (source.address, port)));
        ports.filter(|at| !taken.contains(&talk.reply(*at))).count()
    }

    /// Ports of the fullest address and remote.
    pub(super) fn fullest(&self) -> usize {
        let mut used = BTreeMap::<Answers, usize>::new();
        for (ends, protocol, zone) in
            self.flows.values().map(|it| it.reply).chain(self.resting.keys().copied())
        {
            let ends = Ends { dport: L4Port::default(), ..ends };
            *used.entry((ends, protocol, zone)).or_default() += 1;
        }
        used.into_values().max().unwrap_or_default()
    }

    /// Whether there are no more sets of ports to be had than are in use.
    pub(super) fn lacks_sets(&self, model: &Model) -> bool {
        let all = (self.room / FLOWS_A_PORT_SET).max(1) as usize;
        model.flows::<V4>().port_bits().len() >= all || model.flows::<V6>().port_bits().len() >= all
    }

    /// How many ports of rests a new flow may have, because a table that is full takes them back first.
    pub(super) fn may_be_taken_back(&self, talk: &Talk) -> usize {
        let is_full = self.records_used(talk) >= self.room as usize;
        if is_full { self.resting_of(talk) + self.over_of(talk) } else { 0 }
    }

    fn resting_of(&self, talk: &Talk) -> usize {
        self.resting.keys().filter(|(ends, ..)| ends.src.as_ip4().is_none() == talk.is_v6).count()
    }

    fn over_of(&self, talk: &Talk) -> usize {
        let over = |flow: &&Lease| flow.seen.phase.is_over() || flow.is_overdue(self.now);
        self.flows.values().filter(|flow| flow.talk.is_v6 == talk.is_v6).filter(over).count()
    }

    fn records_used(&self, talk: &Talk) -> usize {
        self.flows.values().filter(|flow| flow.talk.is_v6 == talk.is_v6).count() + self.resting_of(talk)
    }

    /// Whether nothing more fits, before anything is taken back.
    pub(super) fn is_full(&self, talk: &Talk) -> Result<(), String> {
        let used = self.records_used(talk);
        require(used >= self.room as usize, || format!("no room for {talk:?}, with {used} of {}", self.room))
    }

    // ---- what is said ----

    pub(super) fn frames(&self, talk: &Talk, says: Says) -> Vec<Frame> {
        let Some(flow) = self.flows.get(&talk.original()).filter(|flow| !flow.is_overdue(self.now)) else {
            return Vec::new();
        };
        let (at, seen) = (self.outside(talk), flow.seen);
        let [there, back] = seen.acknowledged;
        let is_up = matches!(seen.phase, Phase::Established | Phase::Reset);
        let inward = |flags, numbers| talk.inward(at, flags, numbers);
        let fin = flag::FIN | flag::ACK;
        let out_fin = || talk.outward(Some(fin), [1_001, 1]);
        match says {
            Says::Answer if seen.phase == Phase::New && talk.protocol == TCP => {
                vec![inward(flag::SYN | flag::ACK, [7_000, seen.expected])]
            }
            Says::Answer => vec![inward(flag::ACK, [7_001, 1_001])],
            Says::Goes => vec![talk.outward(None, [1_001, seen.expected])],
            _ if talk.protocol != TCP || !is_up => Vec::new(),
            Says::ClosesFirst => vec![out_fin(), inward(fin, [7_001, 1_001])],
            Says::IsClosedFirst => vec![inward(fin, [7_001, 1_001]), out_fin()],
            // Within the window of whom it is to reset.
            Says::Resets => vec![talk.outward(Some(flag::RST), [back, 0])],
            Says::IsReset => vec![inward(flag::RST, [there, 0])],
        }
    }

    /// What was said, for when the flow is over.
    pub(super) fn says(&mut self, talk: &Talk, says: Says, was_over: bool) {
        let Some(flow) = self.flows.get_mut(&talk.original()) else { return };
        match says {
            Says::ClosesFirst | Says::IsClosedFirst if flow.seen.phase == Phase::Closing => {
                flow.is_clean = says == Says::ClosesFirst;
            }
            // Of two that reset, the first one is heard.
            Says::Resets | Says::IsReset if flow.seen.phase == Phase::Reset && !was_over => {
                flow.is_clean = says == Says::IsReset;
            }
            _ => {}
        }
    }

    pub(super) fn is_awaited(&self, frame: &Frame) -> bool {
        self.flows.values().any(|flow| Some(flow.reply) == frame.answers)
    }

    pub(super) fn is_overdue(&self, frame: &Frame) -> bool {
        let flow = self.flows.values().find(|flow| Some(flow.reply) == frame.answers);
        flow.is_some_and(|flow| flow.is_overdue(self.now))
    }

    /// What left has the address that its flow leaves by, or came by.
    pub(super) fn is_translated(&self, frame: &Frame, left: &[u8]) -> Result<(), String> {
        let parts = Anatomy::of(left).ok_or("what left is no IP")?;
        let [src, dst] = parts.addresses(left);
        let seen = if frame.walk == Walk::FromSlot { src } else { dst };
        let is_inside =
            |address: &[u8]| address == crate::town::OUT.ip.0 || address == crate::town::OUT_6.ip.0;
        let is_right = is_inside(seen) == (frame.walk == Walk::FromUplink);
        require(is_right, || format!("{frame:?} left as {left:02x?}"))
    }

    pub(super) fn order(&self, talk: &Talk) -> Option<Change> {
        let change = if talk.is_v6 { Change::EndV6(talk.key_6()) } else { Change::EndV4(talk.key_4()) };
        self.has(talk).then_some(change)
    }

    // ---- what came of it ----

    /// A flow opened where nobody was.
    pub(super) fn has_opened(&self, talk: &Talk, free: usize) -> Result<(), String> {
        let flow = self.flows.get(&talk.original()).ok_or_else(|| format!("{talk:?} opened no flow"))?;
        require(free > 0, || format!("{talk:?} opened though no port was free: {flow:?}"))?;
        let sources = self.active.get(&(talk.at() == LAB_FN, talk.is_v6)).into_iter().flatten();
        let (Ends { dst, dport, .. }, ..) = flow.reply;
        let mut of_sources = sources.filter(|source| source.address == dst);
        require(of_sources.any(|source| ports(source).any(|port| port == dport)), || {
            format!("{talk:?} leaves by what takes no new flows: {flow:?}")
        })
    }

    /// Takes over what ended and what opened, if it may have; `ended` by order or by a packet of its own.
    pub(super) fn see(&mut self, model: &Model, ended: Option<&Talk>) -> Result<(), String> {
        let state = model.state();
        require(state.strays == 0, || format!("{} keys are of nobody", state.strays))?;
        let mut there = BTreeMap::new();
        read::<V4>(model, &mut there);
        read::<V6>(model, &mut there);
        let replies: BTreeSet<_> = there.values().map(|(reply, ..)| *reply).collect();
        require(replies.len() == there.len(), || "two flows have one port".into())?;
        require(!state.resting.keys().any(|port| replies.contains(port)), || {
            "a resting port is in use".into()
        })?;
        let gone: Vec<Answers> = self
            .flows
            .iter()
            .filter(|(original, flow)| there.get(*original).is_none_or(|(reply, ..)| *reply != flow.reply))
            .map(|(original, _)| *original)
            .collect();
        for original in gone {
            self.is_gone(&original, ended, &state.resting)?;
        }
        self.rests_pass(&state.resting)?;
        for (original, (reply, by, seen)) in there {
            let talk = ended.filter(|talk| talk.original() == original);
            match (self.flows.get_mut(&original), talk) {
                (Some(flow), _) => {
                    require(flow.by == by, || format!("{flow:?} leaves by {by:?}"))?;
                    let is_back = flow.seen.phase.is_over() && !seen.phase.is_over();
                    (flow.seen, flow.is_clean) = (seen, flow.is_clean && !is_back);
                }
                (None, Some(talk)) => {
                    self.flows.insert(original, Lease { talk: *talk, reply, by, seen, is_clean: false });
                }
                (None, None) => return Err(format!("a flow came from nowhere: {original:?}")),
            }
        }
        Ok(())
    }

    fn is_gone(&mut self, original: &Answers, ended: Option<&Talk>, resting: &Rests) -> Result<(), String> {
        let Some(flow) = self.flows.remove(original) else { return Ok(()) };
        let is_named = ended.is_some_and(|talk| talk.original() == *original);
        let is_over = flow.seen.phase.is_over() && flow.talk.protocol == TCP;
        let count = self.flows.values().filter(|it| it.talk.is_v6 == flow.talk.is_v6).count();
        let is_pressed = is_over && count + 1 + self.resting.len() >= self.room as usize;
        require(is_named || flow.is_overdue(self.now) || is_pressed, || format!("{flow:?} is gone"))?;
        let is_clean = is_over && flow.is_clean;
        match resting.get(&flow.reply) {
            Some(rest) if !is_clean => {
                require(*rest == (self.now, flow.seen.rest), || format!("{flow:?} rests as {rest:?}"))?;
                self.resting.insert(flow.reply, *rest);
                self.rested += 1;
                Ok(())
            }
            None if is_clean => Ok(()),
            // A table that is full takes a port back at once.
            None if count + self.resting.len() + 1 >= self.room as usize => Ok(()),
            rest => Err(format!("clean: {is_clean}, but it rests: {rest:?}, {flow:?}")),
        }
    }

    fn rests_pass(&mut self, there: &Rests) -> Result<(), String> {
        let strange = there.keys().find(|port| !self.resting.contains_key(*port));
        require(strange.is_none(), || format!("a port rests that nobody had: {strange:?}"))?;
        let (now, room) = (self.now, self.room as usize);
        let is_full = self.flows.len() + self.resting.len() >= room;
        let over = |(since, rest): &(Now, Seconds)| now.0.wrapping_sub(since.0) >= 8 * u32::from(rest.0);
        let early = self.resting.iter().find(|(port, rest)| !there.contains_key(*port) && !over(rest));
        require(early.is_none() || is_full, || format!("a port rests no more, too early: {early:?}"))?;
        self.resting.retain(|port, _| there.contains_key(port));
        Ok(())
    }

    /// After all ageing.
    pub(super) fn nothing_is_overdue(&self) -> Result<(), String> {
        let late = self.flows.values().find(|flow| flow.is_overdue(self.now));
        require(late.is_none(), || format!("ageing left {late:?}"))?;
        let now = self.now;
        let late = self.resting.iter().find(|(_, (since, rest))| now.0 - since.0 >= 8 * u32::from(rest.0));
        require(late.is_none(), || format!("ageing left a rest: {late:?}"))
    }
}

impl Lease {
    /// Whether it was silent for longer than it may be.
    fn is_overdue(&self, now: Now) -> bool {
        let Seen { phase, heard, idle, .. } = self.seen;
        let seconds = match phase {
            Phase::Established => u32::from(idle.0) + u32::from(idle.0) / 64 + 1,
            Phase::Reset | Phase::Closing => 10,
            _ if self.talk.protocol == TCP => 30,
            _ if self.talk.protocol == UDP => 25,
            _ => 60,
        };
        now.0.wrapping_sub(heard.0) >= 8 * seconds
    }
}

fn ports(source: &Source) -> impl Iterator<Item = L4Port> + use<> {
    let first = 1_024 + 64 * u32::from(source.first.0);
    (first..first + 64 * u32::from(source.blocks)).map(|number| L4Port::new(number as u16))
}

fn read<F: Held>(model: &Model, there: &mut BTreeMap<Answers, (Answers, InterfaceId, Seen)>) {
    let flows: Vec<FlowImage<F::Key>> = model.flows::<F>().all();
    for flow in flows {
        let [original, reply] = flow.keys;
        let [out, back] = flow.sides;
        let by = out.map(|side| side.hop.interface()).unwrap_or(InterfaceId(u32::MAX));
        let acknowledged = [out, back].map(|side| side.map_or(0, |side| side.acknowledged));
        let FlowImage { phase, seen: heard, idle, rest, expected, .. } = flow;
        let seen = Seen { phase, heard, idle, rest, expected, acknowledged };
        there.insert(answers(&original), (answers(&reply), by, seen));
    }
}

pub(super) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
