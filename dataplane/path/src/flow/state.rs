//! When a flow moves from phase to phase, and how long it may be silent in each.
//!
//! TCP is followed in both directions (RFC 9293, RFC 5382, RFC 7857). What would let a stranger move a flow
//! is checked against what both ends said: the handshake ends with the acknowledgement of a number that only
//! the receiver of the SYN-ACK knows, and a RST counts only within the receiver's window.

use super::{Life, Meta, Phase, PortUse, Side};
use crate::time::{Now, Seconds, Times};
use crate::wire::{protocol, tcp};

/// What a packet says that may move its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The direction it was heard in.
    pub side: Side,
    /// TCP's control bits; `None` for any other protocol.
    pub flags: Option<u8>,
    /// TCP: whether it acknowledges what the handshake waits for.
    pub answers: bool,
    /// TCP: whether its sequence number lies in the receiver's window. Only asked of a RST.
    pub in_window: bool,
}

/// What becomes of a flow that hears a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Nothing changes, the time included.
    Stay,
    /// It goes on as this, heard now.
    To(Life),
    /// It ends, and the packet opens another one under the same keys.
    Replace,
}

/// What becomes of a live flow that hears this.
#[must_use]
#[inline(always)]
pub fn next(life: Life, heard: &Heard, now: Now) -> Move {
    match heard.flags {
        None => datagram(life, heard.side, now),
        Some(flags) if flags & tcp::RST != 0 => reset(life, heard, now),
        Some(flags) if flags & tcp::SYN != 0 => synchronise(life, heard, flags, now),
        Some(flags) => segment(life, heard, flags, now),
    }
}

/// UDP and ICMP queries: an answer establishes, everything keeps alive (RFC 4787 REQ-6).
#[inline(always)]
fn datagram(life: Life, side: Side, now: Now) -> Move {
    let phase = if life.phase().is_half_open() && matches!(side, Side::Original) {
        Phase::New
    } else {
        Phase::Established
    };
    Move::To(life.in_phase(phase).seen_at(now))
}

#[inline(always)]
fn reset(life: Life, heard: &Heard, now: Now) -> Move {
    let is_believed = match life.phase() {
        // The answer to a SYN that is refused has no number of its own to be in a window with.
        Phase::New => matches!(heard.side, Side::Reply) && heard.answers,
        Phase::Answered | Phase::Established => heard.in_window,
        _ => false,
    };
    if is_believed {
        Move::To(life.in_phase(Phase::Reset).with_reset(heard.side).seen_at(now))
    } else {
        Move::Stay
    }
}

#[inline(always)]
fn synchronise(life: Life, heard: &Heard, flags: u8, now: Now) -> Move {
    let phase = life.phase();
    match (heard.side, flags & tcp::ACK != 0) {
        (Side::Original, false) if phase.is_over() => Move::Replace,
        // Sent again, or begun anew with another number: the handshake starts over, its time does not.
        (Side::Original, false) if matches!(phase, Phase::Answered) => Move::To(life.in_phase(Phase::New)),
        (Side::Reply, true) if matches!(phase, Phase::New) && heard.answers => {
            Move::To(life.in_phase(Phase::Answered).seen_at(now))
        }
        _ => Move::Stay,
    }
}

/// Neither SYN nor RST.
#[inline(always)]
fn segment(life: Life, heard: &Heard, flags: u8, now: Now) -> Move {
    let ends_handshake = matches!(heard.side, Side::Original) && flags & tcp::ACK != 0 && heard.answers;
    match life.phase() {
        Phase::Answered if ends_handshake => {}
        Phase::Established | Phase::Reset => {}
        // Before the handshake ends nothing else counts; after both FINs nothing keeps alive.
        _ => return Move::Stay,
    }
    let life = if flags & tcp::FIN != 0 { life.with_fin(heard.side) } else { life };
    let both = life.has_fin(Side::Original) && life.has_fin(Side::Reply);
    let phase = if both { Phase::Closing } else { Phase::Established };
    Move::To(life.in_phase(phase).seen_at(now))
}

/// A part of the timeout: how far the note of when a flow was last heard may lag behind.
///
/// Writing it down at every packet would cost each of them a second cold access. So it is written once in a
/// sixty-fourth of the timeout, and the flow is given that much longer: never ended early.
#[must_use]
#[inline(always)]
pub const fn lag(idle: Seconds) -> u16 {
    idle.0 / 64 + 1
}

/// How long a flow in this phase may be silent, lag included; in eighths of a second.
#[must_use]
#[inline(always)]
pub fn limit(phase: Phase, protocol: u8, idle: Seconds, times: &Times) -> u32 {
    let seconds = match (phase, protocol) {
        (Phase::Established, _) => return idle.in_eighths() + Seconds(lag(idle)).in_eighths(),
        (Phase::Reset | Phase::Closing, _) => times.tcp_closing,
        (_, protocol::TCP) => times.tcp_half_open,
        (_, protocol::UDP | protocol::MAPPING) => times.udp_unanswered,
        _ => times.icmp_query,
    };
    seconds.in_eighths()
}

/// Whether the flow was silent for longer than it may be.
#[must_use]
#[inline(always)]
pub fn is_expired(life: Life, protocol: u8, meta: &Meta, times: &Times, now: Now) -> bool {
    life.phase().is_live() && now.since(life.seen()) >= limit(life.phase(), protocol, meta.idle, times)
}

/// How long the port of a flow rests that ends in this phase: not at all where the remote keeps nothing of it, or where
/// the port was taken for more than this flow.
#[must_use]
#[inline(always)]
pub fn rest(life: Life, meta: &Meta) -> Seconds {
    if meta.port == PortUse::OWN && !life.is_forgotten_there() { meta.rest } else { Seconds(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now(800);

    fn life(phase: Phase) -> Life {
        Life::new(phase, 1, Now(400))
    }

    fn heard(side: Side, flags: u8) -> Heard {
        Heard { side, flags: Some(flags), answers: true, in_window: true }
    }

    fn phase_after(before: Phase, heard: Heard) -> Option<Phase> {
        match next(life(before), &heard, NOW) {
            Move::To(life) => Some(life.phase()),
            Move::Stay => Some(before),
            Move::Replace => None,
        }
    }

    #[test]
    fn a_handshake_goes_from_new_over_answered_to_established() {
        assert_eq!(phase_after(Phase::New, heard(Side::Reply, tcp::SYN | tcp::ACK)), Some(Phase::Answered));
        assert_eq!(phase_after(Phase::Answered, heard(Side::Original, tcp::ACK)), Some(Phase::Established));
    }

    #[test]
    fn who_does_not_know_the_numbers_cannot_end_a_handshake() {
        let blind = |side, flags| Heard { answers: false, ..heard(side, flags) };
        assert_eq!(phase_after(Phase::New, blind(Side::Reply, tcp::SYN | tcp::ACK)), Some(Phase::New));
        assert_eq!(phase_after(Phase::Answered, blind(Side::Original, tcp::ACK)), Some(Phase::Answered));
        assert_eq!(phase_after(Phase::New, heard(Side::Original, tcp::ACK)), Some(Phase::New));
        assert_eq!(phase_after(Phase::Answered, heard(Side::Reply, tcp::ACK)), Some(Phase::Answered));
    }

    #[test]
    fn a_syn_that_is_sent_again_starts_the_handshake_over_but_not_its_time() {
        let moved = next(life(Phase::Answered), &heard(Side::Original, tcp::SYN), NOW);
        assert_eq!(moved, Move::To(life(Phase::New)));
        assert_eq!(next(life(Phase::New), &heard(Side::Original, tcp::SYN), NOW), Move::Stay);
    }

    #[test]
    fn a_flow_is_closing_once_both_sides_said_fin() {
        let Move::To(half) = next(life(Phase::Established), &heard(Side::Original, tcp::FIN | tcp::ACK), NOW)
        else {
            panic!("a FIN is heard");
        };
        assert_eq!(half.phase(), Phase::Established, "the other side may go on for as long as it likes");
        let Move::To(both) = next(half, &heard(Side::Reply, tcp::FIN | tcp::ACK), NOW) else {
            panic!("a FIN is heard");
        };
        assert_eq!(both.phase(), Phase::Closing);
        assert_eq!(next(both, &heard(Side::Original, tcp::ACK), NOW), Move::Stay, "stragglers add no time");
    }

    #[test]
    fn a_rst_in_the_window_shortens_and_traffic_restores() {
        assert_eq!(phase_after(Phase::Established, heard(Side::Reply, tcp::RST)), Some(Phase::Reset));
        assert_eq!(phase_after(Phase::Reset, heard(Side::Original, tcp::ACK)), Some(Phase::Established));
        assert_eq!(phase_after(Phase::Reset, heard(Side::Original, tcp::RST)), Some(Phase::Reset));
        let outside = Heard { in_window: false, ..heard(Side::Reply, tcp::RST) };
        assert_eq!(next(life(Phase::Established), &outside, NOW), Move::Stay);
    }

    #[test]
    fn a_refused_connection_is_over_at_once() {
        assert_eq!(phase_after(Phase::New, heard(Side::Reply, tcp::RST | tcp::ACK)), Some(Phase::Reset));
        assert_eq!(phase_after(Phase::New, heard(Side::Original, tcp::RST)), Some(Phase::New));
    }

    #[test]
    fn a_syn_replaces_a_flow_that_is_over_and_no_other() {
        for phase in [Phase::Closing, Phase::Reset] {
            assert_eq!(phase_after(phase, heard(Side::Original, tcp::SYN)), None);
            assert_eq!(phase_after(phase, heard(Side::Reply, tcp::SYN)), Some(phase));
        }
        assert_eq!(
            phase_after(Phase::Established, heard(Side::Original, tcp::SYN)),
            Some(Phase::Established)
        );
    }

    #[test]
    fn an_answer_establishes_a_conversation() {
        let datagram = |side| Heard { side, flags: None, answers: false, in_window: false };
        assert_eq!(phase_after(Phase::New, datagram(Side::Original)), Some(Phase::New));
        assert_eq!(phase_after(Phase::New, datagram(Side::Reply)), Some(Phase::Established));
        assert_eq!(phase_after(Phase::Established, datagram(Side::Original)), Some(Phase::Established));
    }

    #[test]
    fn each_phase_may_be_silent_for_as_long_as_its_time_says_and_never_shorter() {
        let times = Times {
            tcp_half_open: Seconds(30),
            tcp_closing: Seconds(10),
            udp_unanswered: Seconds(31),
            icmp_query: Seconds(60),
        };
        let meta = Meta { idle: Seconds(350), ..Meta::default() };
        for (phase, protocol, eighths) in [
            (Phase::New, protocol::TCP, 240_u32),
            (Phase::Answered, protocol::TCP, 240),
            (Phase::New, protocol::UDP, 248),
            (Phase::New, protocol::ICMP, 480),
            (Phase::Established, protocol::TCP, (350 + 6) * 8),
            (Phase::Reset, protocol::TCP, 80),
            (Phase::Closing, protocol::TCP, 80),
        ] {
            let at = |passed| is_expired(life(phase), protocol, &meta, &times, Now(400 + passed));
            assert!(!at(eighths - 1) && at(eighths), "{phase:?} {protocol}");
        }
        for phase in [Phase::Free, Phase::Opening, Phase::Ending, Phase::Lost] {
            assert!(!is_expired(life(phase), protocol::TCP, &meta, &times, Now(u32::MAX / 3)), "{phase:?}");
        }
    }
}
