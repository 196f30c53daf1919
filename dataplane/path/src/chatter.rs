//! What IPv6 says to find its neighbours: Neighbour Discovery is ICMP, where IPv4 has ARP beside it.

use crate::addr::{Address, Ip6};
use crate::answer;
use crate::flow::{V4, V6};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::tables::{Interface, NextHopId, Tables, Vip};
use crate::unknown::{home, learn};
use crate::walk::Sent;
use crate::wire::ndp::Neighbour;
use crate::wire::{Ethernet, Network, protocol};

/// What a family says by IP to find its neighbours.
pub trait Chatter: Network {
    /// Learns from it, and answers; `None` for everything else.
    fn neighbour_on_uplink<P: Packet, T: Tables>(
        p: &mut P,
        t: &T,
        here: &Interface,
        frame: &Ethernet,
    ) -> Option<Result<Sent, Reason>>;

    /// Answers what a sandbox says; `None` for everything else.
    fn chatter_on_slot<P: Packet>(
        p: &mut P,
        here: &Interface,
        frame: &Ethernet,
    ) -> Option<Result<Sent, Reason>>;
}

impl Chatter for V4 {
    #[inline(always)]
    fn neighbour_on_uplink<P: Packet, T: Tables>(
        _: &mut P,
        _: &T,
        _: &Interface,
        _: &Ethernet,
    ) -> Option<Result<Sent, Reason>> {
        None
    }

    #[inline(always)]
    fn chatter_on_slot<P: Packet>(_: &mut P, _: &Interface, _: &Ethernet) -> Option<Result<Sent, Reason>> {
        None
    }
}

impl Chatter for V6 {
    #[inline(always)]
    fn neighbour_on_uplink<P: Packet, T: Tables>(
        p: &mut P,
        t: &T,
        here: &Interface,
        frame: &Ethernet,
    ) -> Option<Result<Sent, Reason>> {
        let Ok(ip) = Self::glance(p) else { return None };
        let said = Neighbour::read(p, &ip)?;
        let speaker = if said.is_told { said.target } else { ip.src };
        if said.has_mac && speaker == here.gateway6 && speaker != Ip6::default() {
            learn(t, NextHopId::gateway6(here.egress.id), said.mac);
        }
        // To one of us, or to all: what asks for a VIP goes to its solicited-node address (RFC 4291 section 2.7.1).
        let is_for_us = frame.dst == here.mac || !frame.dst.is_unicast() || Ethernet::may_be_for_an_eni(p);
        // What is told is told to whoever asked.
        let ours = if said.is_told { ip.dst } else { said.target };
        let vip = Vip { address: ours.mapped(), zone: here.zone };
        let Some(home) = home(t, here, &vip).filter(|_| is_for_us) else {
            return Some(Err(Reason::OtherAddress));
        };
        if home.is_eni() && said.has_mac && speaker == home.gateway6 {
            learn(t, NextHopId::gateway6(home.egress.id), said.mac);
        }
        if said.is_told {
            // A host that forwards would do so with what is for an address that it hasn't, and report that it can't.
            return Some(Err(Reason::IcmpIgnored));
        }
        if !frame.src.is_unicast() {
            return Some(Err(Reason::OtherAddress));
        }
        Some(answer::ndp::advertise(p, home, frame, &ip, &said))
    }

    #[inline(always)]
    fn chatter_on_slot<P: Packet>(
        p: &mut P,
        here: &Interface,
        frame: &Ethernet,
    ) -> Option<Result<Sent, Reason>> {
        let Ok(ip) = Self::glance(p) else { return None };
        let is_own = ip.src == here.address6;
        // What a kernel says unasked, before it has an address and about groups: nothing that it may not say.
        let is_link_local = matches!(ip.src.0, [0xfe, 0x80..=0xbf, ..]) || ip.src == Ip6::default();
        let said = match Neighbour::read(p, &ip) {
            Some(said) if !said.is_told && (is_own || is_link_local) => said,
            Some(_) if is_own || is_link_local => return Some(Err(Reason::SlotNdp)),
            _ if is_link_local && matches!(ip.protocol, protocol::ICMPV6 | protocol::HOP_BY_HOP) => {
                return Some(Err(Reason::IcmpIgnored));
            }
            _ => return None,
        };
        let knows_itself = ip.src != Ip6::default();
        if !knows_itself || !Self::is_local(here, said.target) {
            return Some(Err(Reason::SlotNdp));
        }
        Some(answer::ndp::advertise(p, here, frame, &ip, &said))
    }
}
