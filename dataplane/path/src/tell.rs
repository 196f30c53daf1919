//! A packet that can't go on: its sender is told why, if that may be (RFC 1122 section 3.2.2, RFC 4443 section 2.4).

use crate::answer;
use crate::answer::error::Message;
use crate::flow::follow::Way;
use crate::flow::store::Flows;
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::tables::{Interface, Tables};
use crate::walk::{From, Known, Sent, Steps, exit, known, leave};
use crate::wire::{Ethernet, Icmp, Ip, Segment};

/// The step of a TCP or UDP packet that can't go on.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Verdict {
    let packets = p.segments();
    let walked = tell::<F, P, T>(p, t, from);
    leave(p, t, packets, walked)
}

/// Why a packet can't go on.
#[derive(Clone, Copy)]
enum Obstacle {
    TtlExpired,
    /// The longest packet that can.
    TooBig(u32),
    NoTarget,
    NotAllowedOut,
}

impl Obstacle {
    /// Why the packet leaves where its sender is told, and where not.
    #[inline(always)]
    const fn reasons(self) -> [Reason; 2] {
        match self {
            Self::TtlExpired => [Reason::AnsweredTtlExpired, Reason::TtlExpired],
            Self::TooBig(_) => [Reason::AnsweredTooBig, Reason::TooBig],
            Self::NoTarget => [Reason::AnsweredNoTarget, Reason::NoTarget],
            Self::NotAllowedOut => [Reason::AnsweredNotAllowedOut, Reason::NotAllowedOut],
        }
    }

    /// What its sender is told.
    #[inline(always)]
    fn message<F: Icmp>(self) -> Message {
        match self {
            Self::TtlExpired => Message { kind: F::TTL_EXPIRED, word: [0; 4] },
            Self::TooBig(mtu) => Message { kind: F::TOO_BIG, word: F::size_word(mtu) },
            Self::NoTarget => Message { kind: F::PORT_UNREACHABLE, word: [0; 4] },
            Self::NotAllowedOut => Message { kind: F::PROHIBITED, word: [0; 4] },
        }
    }
}

#[inline(always)]
fn tell<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Result<Sent, Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::RaceLost) };
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::BadHeader) };
    let ip = F::read(p)?;
    let segment = Segment::read(p, &ip)?;
    let obstacle = obstacle::<F, P, T>(p, t, here, &ip, from)?;
    let [told, untold] = obstacle.reasons();
    if !answer::may_be_told(&frame, ip.src) || !t.may_answer(here) {
        return Err(untold);
    }
    // Who opens a connection understands a RST better than any error.
    let is_refused = matches!(obstacle, Obstacle::NoTarget | Obstacle::NotAllowedOut);
    if is_refused && segment.tcp.is_some() {
        return answer::reset::<F, P>(p, here, &frame, &ip, &segment, told);
    }
    answer::error::<F, P>(p, here, &frame, &ip, &segment, obstacle.message::<F>(), told)
}

/// What stands in the packet's way. Found again, because steps tell each other nothing.
#[inline(always)]
fn obstacle<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    here: &Interface,
    ip: &Ip<F::Address>,
    from: From,
) -> Result<Obstacle, Reason> {
    if ip.hop_limit <= 1 {
        return Ok(Obstacle::TtlExpired);
    }
    let Some(Known { found, .. }) = known::<F, P, T>(p, t, here, ip, from) else {
        return Ok(match from {
            From::Uplink => Obstacle::NoTarget,
            From::Slot => Obstacle::NotAllowedOut,
        });
    };
    let way: Way<F::Address> = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Reason::RaceLost);
    }
    Ok(Obstacle::TooBig(exit::<F, T>(t, &way)?.mtu))
}
