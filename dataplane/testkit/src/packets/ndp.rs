//! Neighbour Discovery (RFC 4861), as etherparse sums it up.

use super::{Party, ethernet};
use etherparse::{EtherType, Icmpv6Header, Icmpv6Type, IpNumber, Ipv6FlowLabel, Ipv6Header};
use weir_path::addr::{Ip6, Mac};

/// A solicitation or an advertisement in its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The frame's source and destination.
    pub macs: [Mac; 2],
    /// The packet's source and destination.
    pub ips: [Ip6; 2],
    /// 255, unless somebody forwarded it.
    pub hop_limit: u8,
    /// Whose address is asked for, or told.
    pub target: Ip6,
    /// Whether it asks.
    pub is_solicitation: bool,
    /// An advertisement's flags.
    pub flags: u8,
    /// The MAC in its option, if it has one.
    pub mac: Option<Mac>,
}

/// The group that asks for an address go to, and its MAC (RFC 4291 section 2.7.1, RFC 2464 section 7).
#[must_use]
pub const fn solicited(address: Ip6) -> (Ip6, Mac) {
    let [.., a, b, c] = address.0;
    (Ip6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]), Mac([0x33, 0x33, 0xff, a, b, c]))
}

impl Neighbour {
    /// "Who has `target`?", from somebody who says its own MAC.
    #[must_use]
    pub const fn asks(asker: Party<Ip6>, target: Ip6) -> Self {
        let (group, group_mac) = solicited(target);
        Self {
            macs: [asker.mac, group_mac],
            ips: [asker.ip, group],
            hop_limit: 255,
            target,
            is_solicitation: true,
            flags: 0,
            mac: Some(asker.mac),
        }
    }

    /// "Does anybody have `target`?", from somebody who would like to (RFC 4862 section 5.4.2).
    #[must_use]
    pub fn probes(asker: Mac, target: Ip6) -> Self {
        let nobody = Party { mac: asker, ip: Ip6::default(), port: 0 };
        Self { mac: None, ..Self::asks(nobody, target) }
    }

    /// "`owner` has it", to the asker.
    #[must_use]
    pub const fn tells(owner: Party<Ip6>, asker: Party<Ip6>, flags: u8) -> Self {
        Self {
            macs: [owner.mac, asker.mac],
            ips: [owner.ip, asker.ip],
            hop_limit: 255,
            target: owner.ip,
            is_solicitation: false,
            flags,
            mac: Some(owner.mac),
        }
    }

    /// Without a MAC.
    #[must_use]
    pub const fn bare(self) -> Self {
        Self { mac: None, ..self }
    }

    /// The frame.
    ///
    /// # Panics
    /// Never: the sizes are Neighbour Discovery's own.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let [src, dst] = self.ips;
        let (type_u8, option) = if self.is_solicitation { (135, 1) } else { (136, 2) };
        let mut payload = self.target.0.to_vec();
        payload.extend(self.mac.iter().flat_map(|mac| [&[option, 1], &mac.0[..]].concat()));
        let message = Icmpv6Type::Unknown { type_u8, code_u8: 0, bytes5to8: [self.flags, 0, 0, 0] };
        let icmp = Icmpv6Header::with_checksum(message, src.0, dst.0, &payload).expect("a short payload");
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: (8 + payload.len()) as u16,
            next_header: IpNumber::IPV6_ICMP,
            hop_limit: self.hop_limit,
            source: src.0,
            destination: dst.0,
        };
        let [from, to] = self.macs;
        let mut bytes = ethernet(to, from, EtherType::IPV6);
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(&icmp.to_bytes());
        bytes.extend(payload);
        bytes
    }
}
