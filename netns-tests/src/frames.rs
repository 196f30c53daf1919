//! What frames on a wire say: who sent them, to whom.

use std::collections::BTreeSet;
use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket};

/// A frame's packet, by its ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ends {
    /// Who sent it.
    pub from: IpAddr,
    /// To whom.
    pub to: IpAddr,
}

/// The packets of frames that are IP, neighbours' talk of IPv6 left out.
#[must_use]
pub fn ends(frames: &[Vec<u8>]) -> Vec<Ends> {
    frames.iter().filter_map(|frame| of_frame(frame)).collect()
}

fn of_frame(frame: &[u8]) -> Option<Ends> {
    // A frame that is cut, or merged, still has its addresses.
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    match packet.net? {
        NetSlice::Ipv4(ip) => {
            Some(Ends { from: ip.header().source_addr().into(), to: ip.header().destination_addr().into() })
        }
        NetSlice::Ipv6(ip) => {
            let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
            let is_of_neighbours = from.is_unspecified() || to.is_multicast() || from.is_unicast_link_local();
            let is_discovery = matches!(
                packet.transport,
                Some(etherparse::TransportSlice::Icmpv6(icmp)) if matches!(icmp.type_u8(), 130..=137 | 143)
            );
            (!is_of_neighbours && !is_discovery).then_some(Ends { from: from.into(), to: to.into() })
        }
        NetSlice::Arp(_) => None,
    }
}

/// Who sent the packets of some frames.
#[must_use]
pub fn senders(frames: &[Vec<u8>]) -> BTreeSet<IpAddr> {
    ends(frames).into_iter().map(|it| it.from).collect()
}

/// The MAC that a frame comes from.
#[must_use]
pub fn station(frame: &[u8]) -> String {
    let mac = frame.get(6..12).unwrap_or_default();
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
