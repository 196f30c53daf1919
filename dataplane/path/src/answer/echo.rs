//! Echo replies (RFC 792, RFC 1122 section 3.2.2.6, RFC 4443 section 4.2), to echo requests alone.

use super::{Answer, may_be_told, sent, write_macs};
use crate::addr::Mac;
use crate::checksum::Delta;
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::{Interface, Tables};
use crate::walk::Sent;
use crate::wire::{Ethernet, Ip, icmp};

/// The answer to the echo request in `ip`.
#[inline(always)]
pub(crate) fn echo<F: Answer, P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
) -> Result<Sent, Reason> {
    if !may_be_told(frame, ip) {
        return Err(Reason::BadSource);
    }
    if !t.may_answer(here) {
        return Err(Reason::AnswerLimited);
    }
    let made = write::<F, P>(p, here.mac, frame, ip);
    sent(here, Reason::AnsweredEcho, made)
}

#[inline(always)]
fn write<F: Answer, P: Packet>(
    p: &mut P,
    mac: Mac,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
) -> Result<(), Refused> {
    write_macs(p, frame.src, mac)?;
    F::turn_round(p, ip)?;
    p.write(ip.payload_at, F::ECHO_REPLY)?;
    let delta = Delta::default().body2(F::ECHO_REQUEST, F::ECHO_REPLY);
    p.fix_l4(ip.payload_at + icmp::CHECKSUM, delta, false)
}
