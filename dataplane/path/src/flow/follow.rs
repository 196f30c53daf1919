//! A known packet: its direction found, and its flow kept up to date.

use super::end::{End, end};
use super::state::{self, Heard, Move};
use super::store::{EntryCell, Flows, RecordCell, Word};
use super::{Ends, Family, Hop, Key, Life, Meta, Phase, PortUse, Side, Stamp, room};
use crate::addr::InterfaceId;
use crate::packet::Packet;
use crate::quota::{self, Held};
use crate::tables::{Guards, Interface, Tables};
use crate::time::Now;
use crate::verifier::rolled;
use crate::wire::{Segment, tcp};

/// How often a life word is tried that other CPUs change at the same moment.
const TRIES: u32 = 3;
/// How far beyond the number that a handshake waits for an acknowledgement may lie: a first window of data that was
/// sent early (RFC 7413, RFC 6928). Who has to guess hits it once in a quarter of a million times.
const EARLY_DATA: u32 = 16_384;
/// The largest window that a header can hold (RFC 9293 section 3.1).
const LARGEST_WINDOW: u32 = 0xffff;

/// What a direction's packets become, and where they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct Way<A> {
    /// The addresses and ports to write.
    pub to: Ends<A>,
    /// Where the packets go.
    pub hop: Hop,
}

/// A direction that was found under a key.
#[derive(Clone, Copy, Debug)]
pub struct Found<E> {
    entry: E,
    stamp: Stamp,
}

/// The direction under this key.
#[inline(always)]
pub fn find<F: Family, T: Flows<F>>(t: &T, key: &F::Key) -> Option<Found<T::Entry>> {
    let entry = t.find(key)?;
    let stamp = Stamp(entry.stamp().load());
    // The element may have been removed, and given to another key, since it was looked up.
    (stamp != Stamp::WIPED && entry.is_under(key)).then_some(Found { entry, stamp })
}

impl<E> Found<E> {
    /// Whether the flow's record has to be looked at before a packet goes on.
    #[inline(always)]
    pub fn is_due(&self, now: Now) -> bool {
        self.stamp.is_due(now)
    }

    /// Whether this is the direction of the packet that opened the flow.
    #[inline(always)]
    pub const fn is_original(&self) -> bool {
        matches!(self.stamp.side(), Side::Original)
    }

    /// Whether no packet of the direction was carried yet.
    #[inline(always)]
    pub fn is_unused<F: Family>(&self) -> bool
    where
        E: EntryCell<F>,
    {
        self.entry.counts().packets == 0
    }

    /// Where the direction leads. To be believed only if it [`Self::is_still_its_flows`] afterwards.
    #[inline(always)]
    pub fn way<F: Family>(&self) -> Way<F::Address>
    where
        E: EntryCell<F>,
    {
        Way { to: self.entry.rewrite(), hop: self.entry.hop() }
    }

    /// Whether what was read until now was the flow's. Else it ended meanwhile, and the element may be another's.
    #[inline(always)]
    pub fn is_still_its_flows<F: Family>(&self) -> bool
    where
        E: EntryCell<F>,
    {
        Stamp(self.entry.stamp().load()).is_of_the_same(self.stamp)
    }

    /// Counts a packet of this direction, and says whether it is the first. A straggler may count into a flow that
    /// has just got the element.
    #[inline(always)]
    pub fn count<F: Family>(&self, packets: u32, bytes: usize, segment: &Segment) -> bool
    where
        E: EntryCell<F>,
    {
        let before = self.entry.count(packets, bytes as u32);
        if let Some(tcp) = &segment.tcp
            && tcp.flags & (tcp::ACK | tcp::RST) == tcp::ACK
        {
            self.entry.set_acknowledged(tcp.acknowledgement);
        }
        before == 0
    }
}

/// Whether a flow goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// It does.
    GoesOn,
    /// It is over, or ended with this packet: the packet is one without a flow.
    IsOver,
}

/// Lets the flow hear a packet that may move its state.
#[inline(always)]
pub fn move_on<F: Family, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    found: &Found<T::Entry>,
    segment: &Segment,
) -> Moved {
    let Some(said) = Said::read(p, segment) else { return Moved::IsOver };
    match touch::<F, T>(t, found.entry, found.stamp, &said, t.now()) {
        Touched::GoesOn => {
            if said.flags.is_none() {
                keep_mapping::<F, T>(t, found.stamp);
            }
            Moved::GoesOn
        }
        Touched::IsOver => Moved::IsOver,
        Touched::Ends(life, why) => {
            end(t, found.stamp.record(), life, why);
            Moved::IsOver
        }
    }
}

/// Lets answers follow a client, or the router before it, to another MAC, or to another uplink of the VPC. Where they
/// go to a gateway they stay there: which station that is, it says itself. What leaves by an ENI goes on leaving by it.
///
/// `from` is where the packet came from. Another CPU may hear another station at the same moment: who moves the word
/// that packets are compared with also moves the other one, or sees that it is not its turn any more.
#[inline(always)]
pub fn answer_to<F: Family, T: Tables + Flows<F>>(t: &T, found: &Found<T::Entry>, from: Hop) {
    let was = found.entry.hop();
    if was.is_from(from.station()) || !from.station().is_unicast() || !leads_to_slot(t, was) {
        return;
    }
    let is = from.by(was.interface());
    let Some(record) = t.record(found.stamp.record()) else { return };
    let Some(back) = t.find_side(record, found.stamp.side().other()) else { return };
    let is_of_the_flow = |stamp: Stamp| {
        stamp.record() == found.stamp.record() && stamp.incarnation() == found.stamp.incarnation()
    };
    if !is_of_the_flow(Stamp(back.stamp().load())) || !found.entry.swap_hop(was, is) {
        return;
    }
    for _ in rolled(TRIES) {
        let was_back = back.hop();
        let is_its_turn = found.entry.hop() == is && is_of_the_flow(Stamp(back.stamp().load()));
        let to = if record.meta().port == PortUse::NONE { from } else { from.by(was_back.interface()) };
        // A station is known on its own link alone.
        let is_on_its_link = to == from || are_on_one_link(t, to.interface(), from.interface());
        if was_back.next_hop().is_some() || !is_its_turn || !is_on_its_link || back.swap_hop(was_back, to) {
            return;
        }
    }
}

/// Whether a direction leads to a slot: then its packets are known by the station that they come from.
#[inline(always)]
pub(crate) fn leads_to_slot<T: Tables>(t: &T, hop: Hop) -> bool {
    t.interface(hop.interface()).is_some_and(Interface::is_slot)
}

/// Whether two interfaces send to the same stations.
#[inline(always)]
fn are_on_one_link<T: Tables>(t: &T, one: InterfaceId, other: InterfaceId) -> bool {
    let (Some(one), Some(other)) = (t.interface(one), t.interface(other)) else { return false };
    one.egress.ifindex == other.egress.ifindex && one.vlan == other.vlan
}

/// What a packet says that its flow may have to know.
#[derive(Clone, Copy, Debug)]
struct Said {
    flags: Option<u8>,
    sequence: u32,
    acknowledgement: u32,
    /// The window's shift; only a SYN has one.
    shift: u8,
}

impl Said {
    #[inline(always)]
    fn read<P: Packet>(p: &P, segment: &Segment) -> Option<Self> {
        let Some(tcp) = &segment.tcp else {
            return Some(Self { flags: None, sequence: 0, acknowledgement: 0, shift: 0 });
        };
        let shift = if tcp.flags & tcp::SYN != 0 { segment.window_shift(p) } else { 0 };
        let (flags, acknowledgement) = (Some(tcp.flags), tcp.acknowledgement);
        Some(Self { flags, sequence: segment.sequence(p)?, acknowledgement, shift })
    }

    #[inline(always)]
    fn has(&self, flag: u8) -> bool {
        self.flags.is_some_and(|flags| flags & flag != 0)
    }
}

/// What a flow's record says to a packet.
enum Touched {
    /// The flow goes on.
    GoesOn,
    /// The flow is over.
    IsOver,
    /// The flow is to be ended, if its life is still this one.
    Ends(Life, End),
}

/// Brings the flow's record up to date.
#[inline(always)]
fn touch<F: Family, T: Tables + Flows<F>>(
    t: &T,
    entry: T::Entry,
    stamp: Stamp,
    said: &Said,
    now: Now,
) -> Touched {
    let Some(record) = t.record(stamp.record()) else { return Touched::IsOver };
    let meta = record.meta();
    let times = t.times(t.live());
    let protocol = record.protocol();
    let heard = hear(t, record, &meta, stamp.side(), said);
    for _ in rolled(TRIES) {
        let life = Life(record.life().load());
        if life.incarnation() != stamp.incarnation() {
            return Touched::IsOver;
        }
        if !life.phase().is_live() {
            return if matches!(life.phase(), Phase::Opening) { Touched::GoesOn } else { Touched::IsOver };
        }
        if state::is_expired(life, protocol, &meta, &times, now) {
            return Touched::Ends(life, End::of_time(life.phase()));
        }
        match state::next(life, &heard, now) {
            Move::Stay => {
                if matches!(heard.side, Side::Original) {
                    renew(record, life, heard.side, said);
                }
                return Touched::GoesOn;
            }
            Move::Replace => return Touched::Ends(life, End::Replaced),
            Move::To(next) => {
                renew(record, next, heard.side, said);
                if record.life().swap(life.0, next.0) {
                    settle(t, entry, stamp, record, &meta, [life, next], now);
                    return Touched::GoesOn;
                }
            }
        }
    }
    Touched::GoesOn
}

/// Keeps the mapping alive that a flow's port is of.
#[inline(never)]
fn keep_mapping<F: Family, T: Tables + Flows<F>>(t: &T, stamp: Stamp) {
    let Some(record) = t.record(stamp.record()) else { return };
    if record.meta().port != PortUse::MAPPED {
        return;
    }
    let is_answered = matches!(Life(record.life().load()).phase(), Phase::Established);
    if let Some(mapping) = find::<F, T>(t, &record.key(Side::Original).mapping()) {
        hold::<F, T>(t, &mapping, is_answered);
    }
}

/// Lets a mapping hear what one of its flows hears: it lives on, and is established once one of them is.
#[inline(always)]
pub(crate) fn hold<F: Family, T: Tables + Flows<F>>(t: &T, mapping: &Found<T::Entry>, is_answered: bool) {
    let id = mapping.stamp.record();
    let Some(record) = t.record(id) else { return };
    // Before the word is looked at: once it has moved on, the record may be another flow's.
    let meta = record.meta();
    for _ in rolled(TRIES) {
        let life = Life(record.life().load());
        if life.incarnation() != mapping.stamp.incarnation() || !life.phase().is_live() {
            return;
        }
        let phase = if is_answered { Phase::Established } else { life.phase() };
        if record.life().swap(life.0, life.in_phase(phase).seen_at(t.now()).0) {
            if life.phase().is_half_open() && is_answered {
                quota::discharge(t, meta.account, Held::HALF_OPEN);
                room::leave_place(t, id, life.incarnation(), &meta);
            }
            return;
        }
    }
}

/// Ends a flow that was found, for this reason.
#[inline(always)]
pub(crate) fn give_up<F: Family, T: Tables + Flows<F>>(t: &T, found: &Found<T::Entry>, why: End) {
    let Some(record) = t.record(found.stamp.record()) else { return };
    let life = Life(record.life().load());
    if life.incarnation() == found.stamp.incarnation() {
        end(t, found.stamp.record(), life, why);
    }
}

/// What the packet says to its flow.
#[inline(always)]
fn hear<F: Family, T: Flows<F>>(t: &T, record: T::Record, meta: &Meta, side: Side, said: &Said) -> Heard {
    let answers = said.acknowledgement.wrapping_sub(meta.expected) < EARLY_DATA;
    let in_window = said.has(tcp::RST)
        && t.find_side(record, side.other()).is_some_and(|receiver| {
            let beyond = said.sequence.wrapping_sub(receiver.acknowledged());
            beyond <= LARGEST_WINDOW << meta.shift(side.other())
        });
    Heard { side, flags: said.flags, answers, in_window }
}

/// Notes what a SYN says: the number that its answer must acknowledge, and the window's shift.
#[inline(always)]
fn renew<F: Family, R: RecordCell<F>>(record: R, life: Life, side: Side, said: &Said) {
    let is_its_turn = match side {
        Side::Original => matches!(life.phase(), Phase::New) && !said.has(tcp::ACK),
        Side::Reply => matches!(life.phase(), Phase::Answered),
    };
    if is_its_turn && said.has(tcp::SYN) && !said.has(tcp::RST) {
        record.expect(said.sequence.wrapping_add(1));
        record.set_shift(side, said.shift);
    }
}

/// After the life word moved: the place among the half-open, and when each direction looks here again.
#[inline(always)]
fn settle<F: Family, T: Guards + Flows<F>>(
    t: &T,
    entry: T::Entry,
    stamp: Stamp,
    record: T::Record,
    meta: &Meta,
    [was, is]: [Life; 2],
    now: Now,
) {
    if was.phase().is_half_open() && !is.phase().is_half_open() {
        quota::discharge(t, meta.account, Held::HALF_OPEN);
        room::leave_place(t, stamp.record(), stamp.incarnation(), meta);
    }
    match is.phase() {
        Phase::Established => {
            entry.stamp().swap(stamp.0, stamp.due_in(now, state::lag(meta.idle)).0);
        }
        // Traffic of either side brings the flow back, so both have to look.
        Phase::Reset => {
            entry.stamp().swap(stamp.0, stamp.due_in(now, 0).0);
            if let Some(other) = t.find_side(record, stamp.side().other()) {
                let mine = stamp;
                let stamp = Stamp(other.stamp().load());
                if stamp.record() == mine.record() {
                    other.stamp().swap(stamp.0, stamp.due_in(now, 0).0);
                }
            }
        }
        _ => {}
    }
}
