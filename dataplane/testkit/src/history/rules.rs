//! What becomes of one flow, by the rules and nothing else: this shares no code with the path.
//!
//! The rules, in short. TCP: a SYN opens; a SYN-ACK that acknowledges it answers; an acknowledgement of the SYN-ACK
//! establishes; both FINs close; a RST in the receiver's window resets, and traffic restores. UDP: an answer
//! establishes. Silence ends: so many seconds in each stage. An established flow's record is looked at by a
//! direction's packets once in a sixty-fourth of its timeout and a second; SYN, FIN and RST look always, and so does what
//! comes from another station than before, which answers go to from then on.

use super::frame::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use super::town::{Place, Talk};

/// Eighths of a second in a second.
pub(super) const SECOND: u64 = 8;
/// How far an acknowledgement may lie behind what a handshake waits for: data sent early.
const EARLY: u32 = 16_384;

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    New,
    Answered,
    Established,
    Reset,
    Closing,
}

impl Stage {
    pub(super) const fn is_half_open(self) -> bool {
        matches!(self, Self::New | Self::Answered)
    }

    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Reset | Self::Closing)
    }
}

/// Which direction, as an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From the client.
    In,
    /// From the target.
    Out,
}

impl Way {
    const fn other(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// Something kept for each direction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Both<T>(pub(super) [T; 2]);

impl<T: Copy> Both<T> {
    pub(super) const fn of(&self, way: Way) -> T {
        let Self([inward, outward]) = self;
        match way {
            Way::In => *inward,
            Way::Out => *outward,
        }
    }

    const fn of_mut(&mut self, way: Way) -> &mut T {
        let Self([inward, outward]) = self;
        match way {
            Way::In => inward,
            Way::Out => outward,
        }
    }
}

/// A flow, as the rules see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flow {
    pub(super) talk: Talk,
    pub(super) place: Place,
    /// Who its packets from the wire come from, and go to.
    pub(super) station: [u8; 6],
    pub(super) stage: Stage,
    pub(super) opened: u64,
    pub(super) heard: u64,
    pub(super) done: Both<bool>,
    /// What the handshake waits for.
    pub(super) expected: u32,
    pub(super) shifts: Both<u8>,
    pub(super) acknowledged: Both<u32>,
    pub(super) packets: Both<u64>,
    pub(super) bytes: Both<u64>,
    /// Seconds.
    pub(super) idle: u64,
    /// From which second on a direction's packets look at the flow again.
    pub(super) looks_at: Both<u64>,
}

/// What a flow says to a packet of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Says {
    GoesOn,
    Expired,
    Replaced,
}

impl Flow {
    /// A flow that this packet opens at this place.
    pub(super) fn open(talk: Talk, place: Place, frame: &Frame, idle: u64, now: u64) -> Self {
        let mut flow = Self {
            talk,
            place,
            station: frame.macs[1],
            stage: Stage::New,
            opened: now,
            heard: now,
            done: Both::default(),
            expected: frame.seq.wrapping_add(1),
            shifts: Both([frame.shift.unwrap_or(0), 0]),
            acknowledged: Both::default(),
            packets: Both::default(),
            bytes: Both::default(),
            idle,
            looks_at: Both([now / SECOND; 2]),
        };
        flow.count(Way::In, frame);
        flow
    }

    /// How many eighths of a second it may be silent.
    fn may_be_silent(&self, [half_open, closing, unanswered]: [u16; 3]) -> u64 {
        let seconds = match self.stage {
            Stage::Established => self.idle + self.lag(),
            Stage::Reset | Stage::Closing => u64::from(closing),
            Stage::New | Stage::Answered if self.talk.protocol() == TCP => u64::from(half_open),
            Stage::New | Stage::Answered => u64::from(unanswered),
        };
        seconds * SECOND
    }

    /// How many seconds the note of when it was heard may lag behind.
    pub(super) const fn lag(&self) -> u64 {
        self.idle / 64 + 1
    }

    pub(super) fn is_expired(&self, times: [u16; 3], now: u64) -> bool {
        now - self.heard >= self.may_be_silent(times)
    }

    /// The flow hears a packet of its own.
    pub(super) fn hear(&mut self, way: Way, frame: &Frame, times: [u16; 3], now: u64) -> Says {
        let is_control = frame.protocol == TCP && frame.flags & (SYN | FIN | RST) != 0;
        let is_from_another = way == Way::In && frame.macs[1] != self.station;
        if is_control || is_from_another || now / SECOND >= self.looks_at.of(way) {
            if self.is_expired(times, now) {
                return Says::Expired;
            }
            if frame.protocol == UDP {
                self.datagram(way, now);
            } else if frame.flags & RST != 0 {
                self.reset(way, frame, now);
            } else if frame.flags & SYN != 0 {
                if way == Way::In && frame.flags & ACK == 0 && self.stage.is_over() {
                    return Says::Replaced;
                }
                self.synchronise(way, frame, now);
            } else {
                self.segment(way, frame, now);
            }
        }
        if is_from_another {
            self.station = frame.macs[1];
        }
        self.count(way, frame);
        Says::GoesOn
    }

    fn datagram(&mut self, way: Way, now: u64) {
        self.heard = now;
        if self.stage != Stage::New || way == Way::Out {
            self.establish(way, now);
        }
    }

    fn establish(&mut self, way: Way, now: u64) {
        self.stage = Stage::Established;
        *self.looks_at.of_mut(way) = now / SECOND + self.lag();
    }

    /// Whether the packet acknowledges what the handshake waits for.
    const fn answers(&self, frame: &Frame) -> bool {
        frame.ack.wrapping_sub(self.expected) < EARLY
    }

    fn reset(&mut self, way: Way, frame: &Frame, now: u64) {
        let receiver = way.other();
        let window = 0xffff_u32 << self.shifts.of(receiver).min(14);
        let in_window = frame.seq.wrapping_sub(self.acknowledged.of(receiver)) <= window;
        let is_believed = match self.stage {
            Stage::New => way == Way::Out && self.answers(frame),
            Stage::Answered | Stage::Established => in_window,
            Stage::Reset | Stage::Closing => false,
        };
        if is_believed {
            self.stage = Stage::Reset;
            self.heard = now;
            self.looks_at = Both([now / SECOND; 2]);
        }
    }

    fn synchronise(&mut self, way: Way, frame: &Frame, now: u64) {
        let note = match (way, frame.flags & ACK != 0) {
            // Begun anew: the handshake starts over, its time does not.
            (Way::In, false) if self.stage.is_half_open() => {
                self.stage = Stage::New;
                true
            }
            (Way::Out, true) if self.stage == Stage::New && self.answers(frame) => {
                self.stage = Stage::Answered;
                self.heard = now;
                true
            }
            _ => false,
        };
        if note {
            self.expected = frame.seq.wrapping_add(1);
            *self.shifts.of_mut(way) = frame.shift.unwrap_or(0);
        }
    }

    fn segment(&mut self, way: Way, frame: &Frame, now: u64) {
        let ends_handshake = way == Way::In && frame.flags & ACK != 0 && self.answers(frame);
        let counts = match self.stage {
            Stage::Answered => ends_handshake,
            Stage::Established | Stage::Reset => true,
            Stage::New | Stage::Closing => false,
        };
        if !counts {
            return;
        }
        self.heard = now;
        if frame.flags & FIN != 0 {
            *self.done.of_mut(way) = true;
        }
        if self.done == Both([true; 2]) {
            self.stage = Stage::Closing;
        } else {
            self.establish(way, now);
        }
    }

    fn count(&mut self, way: Way, frame: &Frame) {
        *self.packets.of_mut(way) += 1;
        *self.bytes.of_mut(way) += frame.bytes().len() as u64 - 14;
        if frame.protocol == TCP && frame.flags & (ACK | RST) == ACK {
            *self.acknowledged.of_mut(way) = frame.ack;
        }
    }
}
