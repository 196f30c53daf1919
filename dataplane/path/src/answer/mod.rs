//! Answers the path makes: the packet is turned round and sent out where it came in.

pub(crate) mod arp;
pub(crate) mod echo;
pub(crate) mod error;
pub(crate) mod header;
pub(crate) mod ndp;
pub(crate) mod reset;

pub(crate) use echo::echo;
pub(crate) use error::error;
pub use header::Answer;
pub(crate) use reset::{reset, reset_if_allowed};

use crate::addr::{Address, Mac};
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::Interface;
use crate::walk::Sent;
use crate::wire::{Ethernet, Ip, ethernet};

/// The hop limit of what Weir sends itself (RFC 1700, "IP time to live parameter").
pub(crate) const TTL: u8 = 64;

/// Whether whoever seems to have sent a packet may be sent anything: one station, at an address that is one place's,
/// about a packet for one other station and place (RFC 1122 sections 3.2.2 and 4.2.3.10, RFC 4443 section 2.4e).
#[inline(always)]
pub(crate) fn may_be_told<A: Address>(frame: &Ethernet, ip: &Ip<A>) -> bool {
    frame.src.is_unicast()
        && frame.dst.is_unicast()
        && ip.src.may_be_source()
        && ip.dst.may_be_source()
        && ip.src != ip.dst
}

#[inline(always)]
fn sent(here: &Interface, why: Reason, made: Result<(), Refused>) -> Result<Sent, Reason> {
    match made {
        Ok(()) => Ok(Sent { why, to: here.egress }),
        Err(Refused) => Err(Reason::Unchangeable),
    }
}

#[inline(always)]
fn write_macs<P: Packet>(p: &mut P, dst: Mac, src: Mac) -> Result<(), Refused> {
    p.write(ethernet::DST, dst.0)?;
    p.write(ethernet::SRC, src.0)
}
