//! A packet that can't go on: its sender is told why, if that may be (RFC 1122 section 3.2.2, RFC 4443 section 2.4).

use crate::answer;
use crate::answer::error::Message;
use crate::asked::Refusal;
use crate::flow::follow::{Way, find};
use crate::flow::store::Flows;
use crate::packet::Packet;
use crate::query;
use crate::reason::{Reason, Verdict};
use crate::steps::Steps;
use crate::tables::{Interface, Tables};
use crate::verifier::{forgotten, noise};
use crate::walk::{From, Sent, exit, fits, flow_key, leave};
use crate::wire::{Ethernet, Icmp, Ip, Segment};

/// The step of a packet that can't go on.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Verdict {
    let packets = p.segments();
    let walked = tell::<F, P, T>(p, t, from);
    leave(p, t, packets, walked)
}

/// Why a packet can't go on.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Obstacle {
    TtlExpired,
    TooBig,
    NoTarget,
    NotAllowedOut,
    NoRoute,
    PortsExhausted,
    TableFull,
    HalfOpenFull,
    Blocked,
    OverQuota,
}

impl Obstacle {
    /// Why the packet leaves where its sender is told, and where not.
    #[inline(always)]
    const fn reasons(self) -> [Reason; 2] {
        match self {
            Self::TtlExpired => [Reason::AnsweredTtlExpired, Reason::TtlExpired],
            Self::TooBig => [Reason::AnsweredTooBig, Reason::TooBig],
            Self::NoTarget => [Reason::AnsweredNoTarget, Reason::NoTarget],
            Self::NotAllowedOut => [Reason::AnsweredNotAllowedOut, Reason::NotAllowedOut],
            Self::NoRoute => [Reason::AnsweredNoRoute, Reason::NoRoute],
            Self::PortsExhausted => [Reason::AnsweredPortsExhausted, Reason::PortsExhausted],
            Self::TableFull => [Reason::AnsweredNoRoom, Reason::FlowTableFull],
            Self::HalfOpenFull => [Reason::AnsweredNoRoom, Reason::HalfOpenFull],
            Self::Blocked => [Reason::AnsweredBlockedOut, Reason::BlockedOut],
            Self::OverQuota => [Reason::AnsweredQuota, Reason::QuotaReached],
        }
    }

    /// Type and code of what its sender is told.
    #[inline(always)]
    const fn kind<F: Icmp>(self) -> [u8; 2] {
        match self {
            Self::TtlExpired => F::TTL_EXPIRED,
            Self::TooBig => F::TOO_BIG,
            Self::NoTarget => F::PORT_UNREACHABLE,
            Self::NotAllowedOut | Self::Blocked => F::PROHIBITED,
            Self::NoRoute => F::NO_ROUTE,
            Self::PortsExhausted | Self::TableFull | Self::HalfOpenFull | Self::OverQuota => {
                F::HOST_UNREACHABLE
            }
        }
    }

    /// The same, as [`forgotten`].
    #[inline(always)]
    fn forgotten<P: Packet>(self, noise: usize) -> Self {
        match forgotten::<P>(self as usize, noise) {
            0 => Self::TtlExpired,
            1 => Self::TooBig,
            2 => Self::NoTarget,
            3 => Self::NotAllowedOut,
            4 => Self::NoRoute,
            5 => Self::PortsExhausted,
            6 => Self::TableFull,
            7 => Self::HalfOpenFull,
            8 => Self::Blocked,
            _ => Self::OverQuota,
        }
    }
}

#[inline(always)]
fn tell<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T, from: From) -> Result<Sent, Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::RaceLost) };
    let Some(frame) = Ethernet::read(p) else { return Err(Reason::BadHeader) };
    let ip = F::read(p)?;
    let is_query = ip.protocol == F::PROTOCOL;
    let segment = if is_query { query::read::<F, P>(p, &ip)? } else { Segment::read(p, &ip)? };
    let (obstacle, mtu) = obstacle::<F, P, T>(p, t, here, &ip, &segment, from)?;
    if !answer::may_be_told(&frame, &ip) || !t.may_answer(here) {
        let [_, untold] = obstacle.reasons();
        return Err(untold);
    }
    // Who opens a connection understands a RST better than any error.
    let is_refused = !matches!(obstacle, Obstacle::TtlExpired | Obstacle::TooBig);
    if is_refused && segment.tcp.is_some() {
        let [told, _] = obstacle.reasons();
        return answer::reset::<F, P>(p, here, &frame, &ip, &segment, told);
    }
    let noise = noise(p);
    let message = Message {
        kind: (forgotten::<P>(u16::from_ne_bytes(obstacle.kind::<F>()).into(), noise) as u16).to_ne_bytes(),
        word: F::size_word(forgotten::<P>(mtu as usize, noise) as u32),
    };
    answer::error::<F, P>(p, here, &frame, &ip, &segment, message)?;
    let [told, _] = obstacle.forgotten::<P>(noise).reasons();
    Ok(Sent { why: told, to: here.egress })
}

/// What stands in the packet's way, and the longest packet that could go on where it is too long. Found again, because
/// steps tell each other nothing.
///
/// # Errors
/// [`Reason::RaceLost`]: nothing any more.
#[inline(always)]
fn obstacle<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    here: &Interface,
    ip: &Ip<F::Address>,
    segment: &Segment,
    from: From,
) -> Result<(Obstacle, u32), Reason> {
    if ip.hop_limit <= 1 {
        return Ok((Obstacle::TtlExpired, 0));
    }
    if from == From::Slot && ip.src != F::address(here) {
        return Err(Reason::SpoofedSource);
    }
    let Some(found) = find::<F, T>(t, &flow_key::<F>(here, ip, segment)) else {
        if !segment.opens() {
            return Err(Reason::RaceLost);
        }
        return Ok((refused::<F, T>(t)?, 0));
    };
    let way: Way<F::Address> = found.way::<F>();
    if !found.is_still_its_flows::<F>() {
        return Err(Reason::RaceLost);
    }
    let out = exit::<F, T>(t, &way)?;
    if fits(p, ip, segment, out) {
        return Err(Reason::RaceLost);
    }
    Ok((Obstacle::TooBig, out.mtu))
}

/// Why a flow was not opened, as the step before noted it.
///
/// # Errors
/// [`Reason::RaceLost`]: it was, and ended meanwhile.
#[inline(always)]
fn refused<F: Steps, T: Tables + Flows<F>>(t: &T) -> Result<Obstacle, Reason> {
    let refusal = t.asked(|asked| asked.refusal()).unwrap_or(Refusal::NONE);
    t.ask(|asked| asked.forget_refusal());
    Ok(match refusal {
        Refusal::NOT_ALLOWED => Obstacle::NotAllowedOut,
        Refusal::NO_ROUTE => Obstacle::NoRoute,
        Refusal::PORTS_EXHAUSTED => Obstacle::PortsExhausted,
        Refusal::TABLE_FULL => Obstacle::TableFull,
        Refusal::HALF_OPEN_FULL => Obstacle::HalfOpenFull,
        Refusal::NO_TARGET => Obstacle::NoTarget,
        Refusal::BLOCKED => Obstacle::Blocked,
        Refusal::OVER_QUOTA => Obstacle::OverQuota,
        _ => return Err(Reason::RaceLost),
    })
}
