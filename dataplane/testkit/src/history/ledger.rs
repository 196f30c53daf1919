//! The oracle: a plain list of flows, and what each step of a history must have done to it.
//!
//! Where the design leaves something open, the path's choice is taken over if it is an allowed one: which target a
//! new flow goes to (the same one again while nothing changed), which half-open flow makes way (one that had its
//! grace), which flow that is over is taken back (only where the table is full). All else must agree exactly.

use super::frame::{ACK, FIN, Frame, RST, SYN, Sent, UDP};
use super::rules::{Both, Flow, SECOND, Says, Stage, Way};
use super::town::{Config, POTS, Place, Talk, UPLINK, device};
use super::{places_of, seen};
use crate::world::State;
use std::collections::BTreeMap;
use weir_dataplane::FamilySizes;
use weir_path::Reason;
use weir_path::addr::IfIndex;
use weir_path::flow::end::End;

/// For how many eighths of a second a half-open flow's place is its own, whatever comes.
const GRACE: u64 = 2;
/// How many places of its own ring a new flow looks at.
const OWN_PLACES: u32 = 4;
/// How many records are looked at for one to take back.
const LOOKS: u32 = 8;

/// What the path did with a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Left {
    pub(super) why: Reason,
    pub(super) sent: Option<(IfIndex, Sent)>,
}

/// The flows there must be.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) flows: Vec<Flow>,
    pub(super) config: Config,
    pub(super) now: u64,
    pub(super) ended: BTreeMap<End, u64>,
    room: FamilySizes,
    opened: u64,
    packets: u64,
    /// Where a talk's flow went while no target was taken.
    choices: BTreeMap<Talk, Place>,
}

impl Ledger {
    pub(super) fn new(config: Config, room: FamilySizes, now: u64) -> Self {
        Self {
            flows: Vec::new(),
            config,
            now,
            ended: BTreeMap::new(),
            room,
            opened: 0,
            packets: 0,
            choices: BTreeMap::new(),
        }
    }

    /// Another configuration: flows keep what they have.
    pub(super) fn configure(&mut self, config: Config) {
        self.config = config;
        self.choices.clear();
    }

    /// The tables were written down and loaded into new ones: an established flow is looked at a second later.
    pub(super) fn adopt(&mut self) {
        let second = self.now / SECOND;
        for flow in &mut self.flows {
            let wait = u64::from(flow.stage == Stage::Established);
            flow.looks_at = Both([second + wait; 2]);
        }
    }

    /// Every flow that was silent for too long ends.
    pub(super) fn age(&mut self) {
        let (times, now) = (self.config.times, self.now);
        let (over, live): (Vec<_>, Vec<_>) =
            self.flows.drain(..).partition(|flow| flow.is_expired(times, now));
        self.flows = live;
        over.iter().for_each(|flow| self.count_end(time_is_up(flow)));
    }

    /// The flow of a talk ends by order, if it is there.
    pub(super) fn order(&mut self, talk: &Talk) {
        if let Some(at) = self.flows.iter().position(|flow| flow.talk == *talk) {
            self.end(at, End::Removed);
        }
    }

    fn end(&mut self, at: usize, why: End) {
        self.flows.swap_remove(at);
        self.count_end(why);
    }

    fn count_end(&mut self, why: End) {
        *self.ended.entry(why).or_default() += 1;
    }

    /// A packet came in by this port, left as it did, and the tables are as they are.
    ///
    /// # Errors
    /// What should have been.
    pub(super) fn packet(
        &mut self,
        (talk, port): (&Talk, usize),
        frame: &Frame,
        left: &Left,
        state: &State,
    ) -> Result<(), String> {
        self.packets += 1;
        let (times, now) = (self.config.times, self.now);
        let way = if port == UPLINK { Way::In } else { Way::Out };
        let place = (port.wrapping_sub(1), frame.from.1);
        let is_its = |flow: &Flow| match way {
            Way::In => flow.talk == *talk,
            Way::Out => is_answered_from(flow, talk, place),
        };
        if let Some(at) = self.flows.iter().position(is_its) {
            let flow = &mut self.flows[at];
            match flow.hear(way, frame, times, now) {
                Says::GoesOn => return left.is_of(flow, way, frame),
                Says::Expired => {
                    let why = time_is_up(flow);
                    self.end(at, why);
                }
                Says::Replaced => self.end(at, End::Replaced),
            }
        }
        let opens = frame.protocol == UDP || frame.flags & (SYN | ACK | RST | FIN) == SYN;
        match way {
            Way::In if !self.config.listens[talk.service] => left.is(Reason::NoListener, None),
            Way::In if opens => self.opening(talk, frame, left, state),
            Way::Out if opens => {
                left.is(Reason::AnsweredNotAllowedOut, Some((device(port), frame.refused(false))))
            }
            _ if frame.flags & RST != 0 => left.is(Reason::ResetWithoutFlow, None),
            _ => left.is(Reason::AnsweredReset, Some((device(port), Sent::Frame(frame.reset())))),
        }
    }

    /// A packet that opens a flow, if there is room and a target.
    fn opening(&mut self, talk: &Talk, frame: &Frame, left: &Left, state: &State) -> Result<(), String> {
        let is_full = self.count(talk.is_v6) == self.room.flows as usize;
        let is_any_over =
            self.flows.iter().any(|flow| flow.talk.is_v6 == talk.is_v6 && self.may_be_taken(flow));
        let young =
            self.flows.iter().filter(|flow| flow.talk.is_v6 == talk.is_v6 && self.is_young(flow)).count();
        let gone = self.make_room(talk, is_full, state)?;
        let targets = self.config.targets[talk.service].clone();
        let is_taken = |place: &Place| self.flows.iter().any(|flow| is_answered_from(flow, talk, *place));
        let free: Vec<Place> = targets.iter().copied().filter(|place| !is_taken(place)).collect();
        match left.why {
            Reason::Opened => self.placed(talk, frame, left, &targets, &free),
            Reason::AnsweredNoTarget if targets.is_empty() => {
                left.is(Reason::AnsweredNoTarget, Some((device(UPLINK), frame.refused(true))))
            }
            Reason::ReplyCollision if free.len() < targets.len() => left.is(Reason::ReplyCollision, None),
            Reason::FlowTableFull if is_full && gone.is_empty() => {
                let must_find = is_any_over && self.room.flows <= LOOKS;
                require(!must_find, || "a flow that is over was not taken back".into())?;
                left.is(Reason::FlowTableFull, None)
            }
            Reason::HalfOpenFull if !gone.contains(&End::MadeWay) => {
                let looked_at = OWN_PLACES.min(places_of(self.room)) + POTS - 1;
                require(young >= looked_at as usize, || {
                    format!("refused, with only {young} half-open flows in their grace")
                })?;
                left.is(Reason::HalfOpenFull, None)
            }
            why => Err(format!(
                "{why:?} with {} flows, targets {targets:?}, of which {free:?} are free, and {gone:?}",
                self.flows.len()
            )),
        }
    }

    /// Takes over which flows made room for a new one: at most one half-open flow that had its grace, and, where
    /// the table is full, at most one that is over or expired. Returns why they ended.
    fn make_room(&mut self, talk: &Talk, is_full: bool, state: &State) -> Result<Vec<End>, String> {
        let there = seen::flows(state)?;
        let is_gone = |flow: &&Flow| !there.iter().any(|other| other.talk == flow.talk);
        let gone: Vec<Flow> = self.flows.iter().filter(is_gone).copied().collect();
        let mut told = Vec::new();
        for (why, count) in &state.ended {
            let before = self.ended.get(why).copied().unwrap_or_default();
            told.extend((before..*count).map(|_| *why));
        }
        let made_way = |flow: &Flow| flow.stage.is_half_open() && !self.is_young(flow);
        let taken = |flow: &Flow, why: End| is_full && self.may_be_taken(flow) && why == time_is_up(flow);
        let may_be = |flow: &Flow, why: End| match why {
            End::MadeWay => made_way(flow),
            why => taken(flow, why),
        };
        let is_allowed = gone.iter().all(|flow| flow.talk.is_v6 == talk.is_v6)
            && match (gone.as_slice(), told.as_slice()) {
                ([], []) => true,
                ([flow], [why]) => may_be(flow, *why),
                ([one, other], [first, second]) => {
                    (*first == End::MadeWay) != (*second == End::MadeWay)
                        && (may_be(one, *first) && may_be(other, *second)
                            || may_be(one, *second) && may_be(other, *first))
                }
                _ => false,
            };
        require(is_allowed, || format!("these flows ended as {told:?}, full: {is_full}: {gone:#?}"))?;
        self.flows.retain(|flow| !gone.iter().any(|gone| gone.talk == flow.talk));
        told.iter().for_each(|why| self.count_end(*why));
        Ok(told)
    }

    /// Takes over where a new flow was placed: any target of its group whose replies are no other flow's.
    fn placed(
        &mut self,
        talk: &Talk,
        frame: &Frame,
        left: &Left,
        targets: &[Place],
        free: &[Place],
    ) -> Result<(), String> {
        require(self.count(talk.is_v6) < self.room.flows as usize, || "opened in a full table".into())?;
        let leads_to = |place: &&Place| {
            let (slot, _) = place;
            left.sent == Some((device(1 + slot), Sent::Frame(talk.translated_inward(frame, **place))))
        };
        let place =
            free.iter().find(leads_to).ok_or_else(|| format!("sent to none of {free:?}: {left:?}"))?;
        let before = self.choices.get(talk).filter(|before| free.contains(before));
        require(before.is_none_or(|before| before == place), || format!("{before:?} before, now {place:?}"))?;
        if free.len() == targets.len() {
            self.choices.insert(*talk, *place);
        }
        let idle = u64::from(self.config.idle[talk.service]);
        self.flows.push(Flow::open(*talk, *place, frame, idle, self.now));
        self.opened += 1;
        Ok(())
    }

    fn count(&self, is_v6: bool) -> usize {
        self.flows.iter().filter(|flow| flow.talk.is_v6 == is_v6).count()
    }

    fn is_young(&self, flow: &Flow) -> bool {
        flow.stage.is_half_open() && self.now - flow.opened < GRACE
    }

    fn may_be_taken(&self, flow: &Flow) -> bool {
        flow.stage.is_over() || flow.is_expired(self.config.times, self.now)
    }

    /// Compares everything there is.
    ///
    /// # Errors
    /// What differs.
    pub(super) fn compare(&mut self, state: &State) -> Result<(), String> {
        self.flows.sort_by_key(|flow| flow.talk);
        let there = seen::flows(state)?;
        require(there.len() == self.flows.len(), || {
            format!("{} flows, but there should be {}", there.len(), self.flows.len())
        })?;
        for (there, due) in there.iter().zip(&self.flows) {
            let due = Flow { looks_at: Both::default(), expected: expected(due, there), ..*due };
            require(*there == due, || format!("the flow is\n  {there:?}, but should be\n  {due:?}"))?;
        }
        require(state.strays == 0, || format!("{} keys are of no flow", state.strays))?;
        require(state.ended == self.ended, || format!("ended {:?}, not {:?}", state.ended, self.ended))?;
        let ended: u64 = self.ended.values().sum();
        require(self.opened == there.len() as u64 + ended, || {
            format!("{} flows were opened, {} are there, {ended} ended", self.opened, there.len())
        })?;
        let entered: u64 = state.walks.values().map(|walk| walk.entered).sum();
        let left: u64 = state.walks.values().flat_map(|walk| walk.left.values()).sum();
        require(entered == self.packets && left == self.packets, || {
            format!("{} packets: {entered} came in, {left} left", self.packets)
        })
    }

    /// New tables have counted nothing.
    pub(super) fn forget_counts(&mut self) {
        (self.packets, self.opened) = (0, self.flows.len() as u64);
        self.ended.clear();
    }
}

/// A datagram's flow waits for no number.
const fn expected(due: &Flow, there: &Flow) -> u32 {
    if due.talk.protocol() == UDP { there.expected } else { due.expected }
}

/// Whether this flow's answers look like answers from this place in this talk.
fn is_answered_from(flow: &Flow, talk: &Talk, place: Place) -> bool {
    let of = |talk: &Talk| (talk.is_v6, talk.client, talk.protocol());
    flow.place == place && of(&flow.talk) == of(talk)
}

/// Why a flow ends whose time is up.
const fn time_is_up(flow: &Flow) -> End {
    match flow.stage {
        Stage::New | Stage::Answered => End::Unanswered,
        Stage::Established => End::Idle,
        Stage::Reset => End::Reset,
        Stage::Closing => End::Closed,
    }
}

impl Left {
    fn is(&self, why: Reason, sent: Option<(IfIndex, Sent)>) -> Result<(), String> {
        let right = Self { why, sent };
        require(*self == right, || format!("it left as\n  {self:?}, but should have as\n  {right:?}"))
    }

    /// Whether it left as the flow says.
    fn is_of(&self, flow: &Flow, way: Way, frame: &Frame) -> Result<(), String> {
        let (slot, _) = flow.place;
        match way {
            Way::In => {
                let sent = flow.talk.translated_inward(frame, flow.place);
                self.is(Reason::ToSlot, Some((device(1 + slot), Sent::Frame(sent))))
            }
            Way::Out => {
                let sent = flow.talk.translated_outward(frame, flow.station);
                self.is(Reason::ToWire, Some((device(UPLINK), Sent::Frame(sent))))
            }
        }
    }
}

pub(super) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
