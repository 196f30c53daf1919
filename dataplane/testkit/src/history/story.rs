//! What happens next in a history: packets that go on with a flow, or don't, time that passes, floods, orders,
//! other configurations. Chosen by a seed, and by what the oracle knows, so that most of it makes sense.

use super::frame::{ACK, FIN, Frame, RST, SYN, TCP};
use super::ledger::Ledger;
use super::rules::{Flow, SECOND, Stage, Way};
use super::town::{Config, SERVICES, SLOTS, Talk, UPLINK, VIPS};
use crate::random::Random;
use std::collections::VecDeque;

/// Clients that come back; those of a flood come after them.
const CLIENTS: usize = 24;
/// As long as nothing ages, time may pass until the sixteen bits of seconds that the path compares would be hard put.
const MOST_UNAGED: u64 = 8 * 3_600 * SECOND;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A packet of this talk comes in by this port.
    Packet(Talk, usize, Frame),
    /// Time passes, in eighths of a second.
    Tick(u64),
    /// The ageing walk goes once round.
    Age,
    /// The flow of this talk is ended by order.
    Order(Talk),
    /// Another configuration.
    Configure(Config),
    /// The tables are written down, and loaded into new ones.
    Adopt,
}

/// The source of steps.
#[derive(Debug)]
pub(super) struct Story {
    random: Random,
    /// What was begun and goes on.
    plan: VecDeque<Planned>,
    unaged: u64,
    next_stranger: u16,
}

/// A step to be, which depends on how things stand when its turn comes.
#[derive(Clone, Copy, Debug)]
enum Planned {
    Tick(u64),
    Says(Talk, Way, u8),
    Flood(bool),
}

impl Story {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), plan: VecDeque::new(), unaged: 0, next_stranger: 0 }
    }

    pub(super) fn next(&mut self, ledger: &Ledger) -> Step {
        let step = match self.plan.pop_front() {
            Some(planned) => self.planned(planned, ledger),
            None => self.anything(ledger),
        };
        match step {
            Step::Tick(time) if self.unaged + time > MOST_UNAGED => {
                self.plan.push_front(Planned::Tick(time));
                self.unaged = 0;
                Step::Age
            }
            Step::Tick(time) => {
                self.unaged += time;
                step
            }
            Step::Age => {
                self.unaged = 0;
                step
            }
            _ => step,
        }
    }

    fn planned(&mut self, planned: Planned, ledger: &Ledger) -> Step {
        match planned {
            Planned::Tick(time) => Step::Tick(time),
            Planned::Says(talk, way, flags) => match ledger.flows.iter().find(|flow| flow.talk == talk) {
                Some(flow) => self.said(flow, way, flags, true),
                None => Step::Packet(talk, UPLINK, talk.inward(flags, [1, 1], None)),
            },
            Planned::Flood(is_v6) => {
                self.next_stranger = (self.next_stranger + 1) % 8_192;
                let client = CLIENTS as u16 + self.next_stranger;
                let talk = Talk { is_v6, client, ..self.talk() };
                Step::Packet(talk, UPLINK, talk.inward(SYN, [self.random.number(), 0], None))
            }
        }
    }

    fn anything(&mut self, ledger: &Ledger) -> Step {
        match self.random.below(2_000) {
            0..1_000 if !ledger.flows.is_empty() => self.goes_on(ledger),
            0..1_450 => self.begins(),
            1_450..1_550 => self.strays(ledger),
            1_550..1_850 => self.passes(ledger),
            1_850..1_940 => Step::Age,
            1_940..1_980 => match ledger.flows.is_empty() {
                false => Step::Order(self.random.pick(&ledger.flows).talk),
                true => Step::Order(self.talk()),
            },
            1_980..1_988 => Step::Configure(self.config()),
            1_988..1_992 => Step::Adopt,
            1_992..1_998 => self.flood(),
            _ => self.one_sided(ledger),
        }
    }

    fn talk(&mut self) -> Talk {
        let random = &mut self.random;
        Talk {
            is_v6: random.once_in(2),
            service: random.below(SERVICES),
            vip: random.below(usize::from(VIPS)) as u8,
            client: random.below(CLIENTS) as u16,
        }
    }

    /// Somebody says something that begins a flow, or would if it weren't there.
    fn begins(&mut self) -> Step {
        let talk = self.talk();
        // Also what should have come later, or never: its answer is a RST.
        let flags = *self.random.pick(&[SYN, SYN, SYN, SYN, SYN, SYN, ACK, FIN | ACK, RST, SYN | FIN]);
        let numbers = [self.random.number(), self.random.number()];
        let shift = self.shift();
        Step::Packet(talk, UPLINK, talk.inward(flags, numbers, shift))
    }

    /// A slot says something that may be nobody's.
    fn strays(&mut self, ledger: &Ledger) -> Step {
        let talk = self.talk();
        let place = match self.random.pick(&ledger.config.targets).first() {
            Some((_, port)) => (self.random.below(SLOTS), *port),
            None => (0, 1),
        };
        let flags = *self.random.pick(&[SYN, SYN | ACK, ACK, RST, FIN | ACK]);
        let numbers = [self.random.number(), self.random.number()];
        let (slot, _) = place;
        Step::Packet(talk, 1 + slot, talk.outward(place, flags, numbers, None))
    }

    /// A flow goes on, most often as it should.
    fn goes_on(&mut self, ledger: &Ledger) -> Step {
        let flow = *self.random.pick(&ledger.flows);
        let (way, flags) = match flow.stage {
            Stage::New => *self.random.pick(&[
                (Way::Out, SYN | ACK),
                (Way::Out, SYN | ACK),
                (Way::Out, SYN | ACK),
                (Way::In, SYN),
                (Way::In, ACK),
                (Way::Out, RST | ACK),
                (Way::In, RST),
            ]),
            Stage::Answered => *self.random.pick(&[
                (Way::In, ACK),
                (Way::In, ACK),
                (Way::In, ACK),
                (Way::In, FIN | ACK),
                (Way::Out, SYN | ACK),
                (Way::In, SYN),
                (Way::Out, ACK),
                (Way::Out, RST),
                (Way::In, RST),
            ]),
            Stage::Established => *self.random.pick(&[
                (Way::In, ACK),
                (Way::In, ACK),
                (Way::Out, ACK),
                (Way::Out, ACK),
                (Way::In, FIN | ACK),
                (Way::In, FIN | ACK),
                (Way::Out, FIN | ACK),
                (Way::Out, FIN | ACK),
                (Way::In, RST),
                (Way::Out, RST | ACK),
                (Way::In, SYN),
                (Way::Out, SYN | ACK),
            ]),
            Stage::Reset | Stage::Closing => *self.random.pick(&[
                (Way::In, ACK),
                (Way::Out, ACK),
                (Way::Out, FIN | ACK),
                (Way::In, FIN | ACK),
                (Way::In, SYN),
                (Way::Out, SYN),
                (Way::In, RST),
            ]),
        };
        let is_right = !self.random.once_in(4);
        self.said(&flow, way, flags, is_right)
    }

    /// A packet of a flow, with the numbers that are waited for or others.
    fn said(&mut self, flow: &Flow, way: Way, flags: u8, is_right: bool) -> Step {
        let early = 16_384;
        let beyond =
            if is_right { 0 } else { *self.random.pick(&[0, 1, early - 1, early, u32::MAX, 77_777]) };
        let receiver = if way == Way::In { Way::Out } else { Way::In };
        let window = 0xffff_u32 << flow.shifts.of(receiver).min(14);
        let off =
            if is_right { 0 } else { *self.random.pick(&[0, window, window.wrapping_add(1), u32::MAX]) };
        let ack = flow.expected.wrapping_add(beyond);
        let seq = match flags & (RST | SYN) {
            SYN => self.random.number(),
            _ => flow.acknowledged.of(receiver).wrapping_add(off),
        };
        let shift = if flags & SYN == 0 { None } else { self.shift() };
        match way {
            Way::In => {
                let mut frame = flow.talk.inward(flags, [seq, ack], shift);
                let [_, station] = &mut frame.macs;
                *station = flow.station;
                if self.random.once_in(10) {
                    *station = *self.random.pick(&[flow.talk.client_mac(), flow.talk.other_mac()]);
                }
                Step::Packet(flow.talk, UPLINK, frame)
            }
            Way::Out => {
                let (slot, _) = flow.place;
                Step::Packet(flow.talk, 1 + slot, flow.talk.outward(flow.place, flags, [seq, ack], shift))
            }
        }
    }

    fn shift(&mut self) -> Option<u8> {
        *self.random.pick(&[None, Some(0), Some(7), Some(14), Some(15)])
    }

    /// Time passes: most often little, seldom a night.
    fn passes(&mut self, ledger: &Ledger) -> Step {
        let idle = u64::from(*self.random.pick(&ledger.config.idle));
        let most = match self.random.below(300) {
            0 => 8 * 3_600 * SECOND,
            1..10 => (idle + idle / 64 + 2) * SECOND,
            10..40 => 40 * SECOND,
            40..120 => 5 * SECOND,
            _ => 4,
        };
        Step::Tick(self.random.below(most as usize) as u64)
    }

    /// More new flows at once than may be half-open.
    fn flood(&mut self) -> Step {
        let is_v6 = self.random.once_in(2);
        self.plan.extend([Planned::Flood(is_v6); 30]);
        self.planned_tick()
    }

    fn planned_tick(&mut self) -> Step {
        Step::Tick(self.random.below(4) as u64)
    }

    /// One side of an established flow is silent for hours, and then the other.
    fn one_sided(&mut self, ledger: &Ledger) -> Step {
        let established: Vec<_> =
            ledger.flows.iter().filter(|flow| flow.stage == Stage::Established).collect();
        if established.is_empty() {
            return self.begins();
        }
        let flow = *self.random.pick(&established);
        let pause = flow.idle * SECOND / 2;
        let first = if self.random.once_in(2) { [Way::In, Way::Out] } else { [Way::Out, Way::In] };
        let flags = if flow.talk.protocol() == TCP { ACK } else { 0 };
        for (way, hours) in first.into_iter().zip([10, 3]) {
            let times = (hours * 3_600 * SECOND / pause.max(1)).min(40);
            for _ in 0..times {
                self.plan.extend([Planned::Tick(pause), Planned::Says(flow.talk, way, flags)]);
            }
        }
        Step::Age
    }

    fn config(&mut self) -> Config {
        let mut config = Config::first();
        let random = &mut self.random;
        for (service, targets) in config.targets.iter_mut().enumerate() {
            targets.retain(|_| !random.once_in(3));
            if random.once_in(3) {
                targets.push((random.below(SLOTS), 7_000 + 10 * service as u16 + random.below(3) as u16));
            }
        }
        config.idle = [60, 350, 120, 6_000]
            .map(|idle| if random.once_in(2) { idle } else { 60 + random.below(5_941) as u16 });
        config.listens = config.listens.map(|_| !random.once_in(12));
        config.times = [[30, 10, 30], [5, 1, 60], [240, 30, 5]][random.below(3)];
        config
    }
}
