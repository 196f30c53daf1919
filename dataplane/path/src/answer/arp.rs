//! "The address you ask for is here" (RFC 826).

use super::{sent, write_macs};
use crate::addr::Mac;
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::Interface;
use crate::walk::Sent;
use crate::wire::Arp;

/// The answer to a request.
#[inline(always)]
pub(crate) fn reply<P: Packet>(p: &mut P, here: &Interface, request: &Arp) -> Result<Sent, Reason> {
    let made = write(p, here.mac, request);
    sent(here, Reason::AnsweredArp, made)
}

#[inline(always)]
fn write<P: Packet>(p: &mut P, mac: Mac, request: &Arp) -> Result<(), Refused> {
    write_macs(p, request.sender_mac, mac)?;
    p.write(Arp::OPERATION, Arp::REPLY)?;
    p.write(Arp::OPERATION + 2, mac.0)?;
    p.write(Arp::OPERATION + 8, request.target.0)?;
    p.write(Arp::OPERATION + 12, request.sender_mac.0)?;
    p.write(Arp::OPERATION + 18, request.sender.0)
}
