//! Histories of ports: a seed tells who opens what, answers, closes, falls silent; how the addresses of connectors come
//! and go; and a plain list of ports says after every step whether that was right.
//!
//! The list shares no code with the path. What must hold:
//! 1. No two flows that live have one address, port, protocol and remote in one VPC; nor has one that rests.
//! 2. A flow is refused for want of a port only where every active address has none, live or resting, towards its remote.
//! 3. A flow stays where it is, whatever becomes of its connector.
//! 4. A port rests exactly after a flow that its remote may still know of, and for as long as its connector said.
//! 5. What is of no flow is let in by nobody.
//! 6. In the end nothing is left: no record, no place, no bit of a set of ports.

mod ledger;
mod story;
mod talk;

use crate::executor::{Walk, run_packet};
use crate::model::Model;
use crate::random::Random;
use crate::world::{Change, World};
use ledger::{Ledger, require};
use std::collections::BTreeMap;
pub use story::Room;
use story::{Deed, Story};
use talk::{Frame, Talk};
use weir_path::Reason;
use weir_path::flow::{V4, V6};
use weir_path::frame::Frame as OnWire;
use weir_path::tables::Interface;
use weir_path::time::Now;

/// Steps of ageing that go round every table here, whatever there is to end.
const AGE_STEPS: usize = 16;
/// How often a port may not be found that is free, in a row, while a set of ports is learning.
const RETRIES: u32 = 1;
/// Room for the headers of an error in front of what it quotes.
const SPARE: usize = 128;

/// What a history went through.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Chronicle {
    /// Packets by the reason that they left for.
    pub left: BTreeMap<Reason, u64>,
    /// Flows that opened, and ports that rested.
    pub opened: u64,
    /// Ports that rested.
    pub rested: u64,
    /// Most ports of one address in use towards one remote.
    pub fullest: usize,
    /// Sets of ports at one time.
    pub most_sets: usize,
    /// Refusals though a port was free, where that could not be known.
    pub not_found: u64,
    /// How often other addresses became active.
    pub configurations: u64,
}

/// Tells the history of this seed, and compares after every step.
///
/// # Errors
/// The first step that came to something else than it must, and how to tell it again.
pub fn tell(seed: u64, steps: usize, room: Room) -> Result<Chronicle, String> {
    let mut teller = Teller::new(seed, room);
    for number in 0..steps {
        let deed = teller.story.next(&teller.ledger);
        teller.does(&deed).map_err(|what| {
            format!("WEIR_SEED={seed} in {room:?}, step {number}: {what}\n after {deed:?}")
        })?;
    }
    teller.ends().map_err(|what| format!("WEIR_SEED={seed} in {room:?}, at the end: {what}"))?;
    Ok(teller.chronicle)
}

struct Teller {
    story: Story,
    ledger: Ledger,
    model: Model,
    chronicle: Chronicle,
    cpus: Random,
}

impl Teller {
    fn new(seed: u64, room: Room) -> Self {
        let world = story::world(room);
        let model = Model::new(&world);
        let (story, ledger) = (Story::new(seed, room), Ledger::new(&world));
        let mut teller =
            Self { story, ledger, model, chronicle: Chronicle::default(), cpus: Random::new(seed ^ 0x5eed) };
        teller.configure(story::first_shares());
        teller
    }

    fn does(&mut self, deed: &Deed) -> Result<(), String> {
        match deed {
            Deed::Opens(talk) => self.opens(talk)?,
            Deed::Says(talk, says) => {
                let was_over = self.ledger.is_over(talk);
                let frames = self.ledger.frames(talk, *says);
                frames.iter().try_for_each(|frame| self.goes_on(frame))?;
                if !frames.is_empty() {
                    self.ledger.says(talk, *says, was_over);
                }
            }
            Deed::Probes(frame) => self.probes(frame)?,
            Deed::Ends(talk) => {
                let change = self.ledger.order(talk);
                change.iter().for_each(|change| self.model.change(change));
                self.compare(Some(talk))?;
            }
            Deed::Waits(eighths, is_aged) => self.waits(*eighths, *is_aged)?,
            Deed::Shares(shares) => self.configure(*shares),
            Deed::Loses(eni) => self.loses(*eni)?,
        }
        self.compare(None)
    }

    fn configure(&mut self, shares: story::Shares) {
        self.chronicle.configurations += 1;
        let image = story::image(shares);
        self.ledger.configure(&image);
        self.model.change(&Change::Apply(image));
    }

    /// An ENI is taken away: its addresses first, then the flows that leave by it, as the daemon does it.
    fn loses(&mut self, eni: Interface) -> Result<(), String> {
        let without = self.story.without(eni);
        self.configure(without);
        for talk in self.ledger.by(eni) {
            self.ledger.order(&talk).iter().for_each(|change| self.model.change(change));
            self.compare(Some(&talk))?;
        }
        Ok(())
    }

    fn waits(&mut self, eighths: u32, is_aged: bool) -> Result<(), String> {
        let now = Now(self.model.now().0.wrapping_add(eighths));
        self.model.change(&Change::SetNow(now));
        self.ledger.now = now;
        if is_aged {
            (0..AGE_STEPS).for_each(|_| self.model.change(&Change::AgeStep));
            self.compare(None)?;
            self.ledger.nothing_is_overdue()?;
        }
        Ok(())
    }

    /// Runs a packet on any CPU, and says why it left.
    fn run(&mut self, frame: &Frame) -> Result<(Reason, Vec<u8>), String> {
        let cpu = self.cpus.below(2) as u32;
        let tables = self.model.seen_from(frame.walk, frame.arrival).on_cpu(cpu);
        let mut bytes = frame.bytes.clone();
        bytes.resize(frame.bytes.len() + SPARE, 0);
        let mut packet = OnWire::new(&mut bytes, frame.bytes.len()).ok_or("a buffer that fits")?;
        run_packet(&tables, &mut packet);
        let why = tables.last_reason().ok_or("a packet left for no reason")?;
        *self.chronicle.left.entry(why).or_default() += 1;
        Ok((why, packet.bytes().to_vec()))
    }

    fn opens(&mut self, talk: &Talk) -> Result<(), String> {
        self.tries_to_open(talk, 0)
    }

    fn tries_to_open(&mut self, talk: &Talk, tried: u32) -> Result<(), String> {
        let is_known = self.ledger.has(talk);
        let is_over = self.ledger.is_over(talk);
        // What is over gives way to what begins, with its port if that needs no rest.
        let free = self.ledger.free_ports(talk);
        let may_have = free + usize::from(is_over) + self.ledger.may_be_taken_back(talk);
        let is_full = self.ledger.is_full(talk);
        let (why, _) = self.run(&talk.first())?;
        self.ledger.see(&self.model, Some(talk))?;
        match why {
            Reason::ToWire if is_known && !is_over => Ok(()),
            Reason::Opened => {
                self.chronicle.opened += 1;
                self.ledger.has_opened(talk, may_have)
            }
            Reason::AnsweredPortsExhausted => {
                require(free == 0, || format!("{talk:?} was refused, but {free} ports are free"))
            }
            // Where there are more crowded remotes than sets of ports, ports are looked for at random.
            Reason::PortNotFound => {
                let is_unlucky = free > 0 && !self.ledger.lacks_sets(&self.model);
                self.chronicle.not_found += u64::from(free > 0);
                require(!is_unlucky || tried < RETRIES, || {
                    format!("{talk:?} found none of {free} free ports, again and again")
                })?;
                // A set that was made late learns what it missed: the next packet goes on from there.
                if is_unlucky { self.tries_to_open(talk, tried + 1) } else { Ok(()) }
            }
            Reason::AnsweredNoRoom => is_full,
            why => Err(format!(
                "{talk:?} left as {why:?}, known: {is_known}, over: {is_over}, {free} ports are free"
            )),
        }
    }

    fn goes_on(&mut self, frame: &Frame) -> Result<(), String> {
        let (why, bytes) = self.run(frame)?;
        let due = if frame.walk == Walk::FromSlot { Reason::ToWire } else { Reason::ToSlot };
        require(why == due, || format!("a packet of a known flow left as {why:?}: {frame:?}"))?;
        self.ledger.is_translated(frame, &bytes)?;
        self.ledger.see(&self.model, None)
    }

    /// A packet from the wire to any port: let in exactly where a flow has it.
    fn probes(&mut self, frame: &Frame) -> Result<(), String> {
        let is_a_flows = self.ledger.is_awaited(frame);
        let (why, _) = self.run(frame)?;
        let is_in = why == Reason::ToSlot;
        // A flow that is overdue may end by the packet.
        let is_right = is_in == is_a_flows || (is_a_flows && self.ledger.is_overdue(frame));
        // Lab has one of prod's addresses alone.
        let is_named = matches!(why, Reason::Uninvited | Reason::OtherAddress);
        require(is_right && (is_in || is_named), || {
            format!("{frame:?} left as {why:?}, of a flow: {is_a_flows}")
        })?;
        self.ledger.see(&self.model, None)
    }

    fn compare(&mut self, ended: Option<&Talk>) -> Result<(), String> {
        self.ledger.see(&self.model, ended)?;
        self.chronicle.rested = self.ledger.rested;
        self.chronicle.fullest = self.chronicle.fullest.max(self.ledger.fullest());
        let sets = self.model.flows::<V4>().port_bits().len() + self.model.flows::<V6>().port_bits().len();
        self.chronicle.most_sets = self.chronicle.most_sets.max(sets);
        Ok(())
    }

    /// All flows end, all rests pass, and nothing is left.
    fn ends(&mut self) -> Result<(), String> {
        for talk in self.ledger.talks() {
            self.does(&Deed::Ends(talk))?;
        }
        self.waits(8 * 10_000, true)?;
        self.waits(8 * 10_000, true)?;
        let state = self.model.state();
        let count = (state.flows.count(), state.resting.len(), state.strays);
        require(count == (0, 0, 0), || format!("flows, rests and strays are left: {count:?}"))?;
        nothing_is_left::<V4>(&self.model)?;
        nothing_is_left::<V6>(&self.model)
    }
}

fn nothing_is_left<F: crate::model::Held>(model: &Model) -> Result<(), String> {
    let flows = model.flows::<F>();
    require(flows.leaked() == 0, || format!("{} records are lost", flows.leaked()))?;
    require(flows.places_taken() == 0, || format!("{} places are taken", flows.places_taken()))?;
    let bits = flows.port_bits();
    require(bits.iter().all(|it| *it == (0, 0)), || format!("sets of ports hold bits for nobody: {bits:?}"))
}

/// The world, so that a test can say what it was.
#[must_use]
pub fn world(room: Room) -> World {
    story::world(room)
}
