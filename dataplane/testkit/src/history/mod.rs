//! Histories of flows: a seed tells what happens, step by step, to the path over the model's tables, and a plain
//! list of flows that shares no code with it says what must come of every step.
//!
//! ```text
//!   story (seed) ──step──► path over the model ──what left, all tables──► ledger: is that right?
//! ```
#![expect(clippy::indexing_slicing, reason = "test code: what does not fit stops the test")]

pub mod frame;

mod ledger;
mod rules;
mod seen;
mod story;
mod town;

use crate::executor::{Walk, run_packet};
use crate::model::Model;
use crate::world::{Change, State, World};
use frame::{Frame, Sent};
use ledger::{Ledger, Left, require};
use std::collections::BTreeMap;
use story::{Step, Story};
use town::{Config, POTS, Talk, UPLINK, device};
pub use weir_dataplane::FamilySizes;
use weir_path::flow::end::End;
use weir_path::flow::{Key, Key4, Key6, V4, V6};
use weir_path::frame::Frame as OnWire;
use weir_path::time::Now;
use weir_path::{Reason, Verdict};

/// When histories begin: close to where sixteen bits of seconds wrap.
const BEGINS: u32 = 8 * 65_000;

/// Room for the headers of an error in front of what it quotes.
const ROOM: usize = 64;

/// Steps of ageing that go once round every table here, whatever there is to end.
const AGE_STEPS: usize = 8;

/// What a history went through.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Chronicle {
    /// Packets by the reason that they left for.
    pub left: BTreeMap<Reason, u64>,
    /// Flows that ended, by why.
    pub ended: BTreeMap<End, u64>,
    /// Most flows of both families at one time.
    pub most_flows: usize,
    /// How often all tables were written down and loaded into new ones.
    pub adoptions: u64,
    /// How often another configuration became live.
    pub configurations: u64,
}

/// Tells the history of this seed, with room for `room` flows of each family, and compares after every step.
///
/// # Errors
/// The first step that came to something else than it must, and how to tell it again.
pub fn tell(seed: u64, steps: usize, room: FamilySizes) -> Result<Chronicle, String> {
    let mut told = Telling::new(seed, room);
    for nth in 0..steps {
        let step = told.story.next(&told.ledger);
        told.take(&step).map_err(|what| {
            format!(
                "seed {seed}, {room:?}, step {nth}, {step:?}:\n{what}\n\
                 again: WEIR_SEED={seed} WEIR_LONG=1 cargo test -p weir-path --test histories"
            )
        })?;
    }
    told.chronicle.gather(&told.model.state());
    Ok(told.chronicle)
}

struct Telling {
    story: Story,
    ledger: Ledger,
    model: Model,
    world: World,
    cpu: u32,
    chronicle: Chronicle,
}

impl Telling {
    fn new(seed: u64, room: FamilySizes) -> Self {
        let config = Config::first();
        let world = town::world(&config, room, BEGINS);
        Self {
            story: Story::new(seed),
            ledger: Ledger::new(config, room, u64::from(BEGINS)),
            model: Model::new(&world),
            world,
            cpu: 0,
            chronicle: Chronicle::default(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Packet(talk, port, frame) => self.packet(talk, *port, frame)?,
            Step::Tick(time) => {
                self.ledger.now += time;
                self.world.now = Now(self.ledger.now as u32);
                self.model.change(&Change::SetNow(self.world.now));
            }
            Step::Age => {
                // A step ends only so many flows, so one is not once round.
                (0..AGE_STEPS).for_each(|_| self.model.change(&Change::AgeStep));
                self.ledger.age();
            }
            Step::Order(talk) => {
                self.model.change(&end_of(talk));
                self.ledger.order(talk);
            }
            Step::Configure(config) => {
                self.chronicle.configurations += 1;
                self.world.image = config.image();
                self.model.change(&Change::Apply(self.world.image.clone()));
                self.ledger.configure(config.clone());
            }
            Step::Adopt => self.adopt()?,
        }
        let state = self.model.state();
        self.chronicle.most_flows = self.chronicle.most_flows.max(self.ledger.flows.len());
        self.ledger.compare(&state)?;
        self.account()
    }

    fn packet(&mut self, talk: &Talk, port: usize, frame: &Frame) -> Result<(), String> {
        self.cpu = (self.cpu + 1) % POTS;
        let walk = if port == UPLINK { Walk::FromUplink } else { Walk::FromSlot };
        let tables = self.model.seen_from(walk, device(port)).on_cpu(self.cpu);
        let mut bytes = frame.bytes();
        let len = bytes.len();
        bytes.resize(len + ROOM, 0);
        let mut on_wire = OnWire::new(&mut bytes, len).expect("a buffer longer than the packet");
        let verdict = run_packet(&tables, &mut on_wire);
        let why = tables.last_reason().ok_or("the packet left for no reason")?;
        let sent = match verdict {
            Verdict::Send(egress) => Some((egress.ifindex, Sent::read(on_wire.bytes())?)),
            Verdict::Drop | Verdict::Pass => None,
        };
        self.ledger.packet((talk, port), frame, &Left { why, sent }, &self.model.state())
    }

    /// All tables are written down, and loaded into new ones: not one flow changes.
    fn adopt(&mut self) -> Result<(), String> {
        let before = self.model.state();
        self.chronicle.gather(&before);
        self.chronicle.adoptions += 1;
        self.world.flows = before.flows.clone();
        self.model = Model::new(&self.world);
        let after = self.model.state();
        require(after.flows == before.flows, || "the tables hold other flows than before".into())?;
        self.ledger.adopt();
        self.ledger.forget_counts();
        Ok(())
    }

    /// Records and half-open places are accounted for.
    fn account(&self) -> Result<(), String> {
        let leaked = self.model.flows::<V4>().leaked() + self.model.flows::<V6>().leaked();
        require(leaked == 0, || format!("{leaked} records are lost"))?;
        let places = [self.model.flows::<V4>().places_taken(), self.model.flows::<V6>().places_taken()];
        for (is_v6, places) in [false, true].into_iter().zip(places) {
            let flows = self.ledger.flows.iter().filter(|flow| flow.talk.is_v6 == is_v6);
            let half_open = flows.filter(|flow| flow.stage.is_half_open()).count();
            require(places <= half_open, || format!("{places} places for {half_open} half-open flows"))?;
        }
        Ok(())
    }
}

impl Chronicle {
    /// Adds what these tables counted.
    fn gather(&mut self, state: &State) {
        for (why, packets) in state.walks.values().flat_map(|walk| &walk.left) {
            *self.left.entry(*why).or_default() += packets;
        }
        for (why, flows) in &state.ended {
            *self.ended.entry(*why).or_default() += flows;
        }
    }
}

/// How many half-open places there are in a pot.
const fn places_of(room: FamilySizes) -> u32 {
    let places = room.half_open / POTS;
    if places == 0 { 1 } else { places }
}

fn end_of(talk: &Talk) -> Change {
    use std::net::IpAddr;
    use weir_path::addr::{Ip4, Ip6, L4Port};
    use weir_path::flow::Ends;
    let ((client, sport), (vip, dport)) = (talk.client_end(), talk.vip_end());
    let (sport, dport) = (L4Port::new(sport), L4Port::new(dport));
    match (client, vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let ends = Ends { src: Ip4::from(client), dst: Ip4::from(vip), sport, dport };
            Change::EndV4(Key4::new(ends, talk.protocol(), town::vpc()))
        }
        _ => {
            let ends = Ends { src: Ip6::from(client), dst: Ip6::from(vip), sport, dport };
            Change::EndV6(Key6::new(ends, talk.protocol(), town::vpc()))
        }
    }
}
