//! ARP (RFC 826), as etherparse writes it.

use super::{Party, ethernet};
use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType};
use weir_path::addr::{Ip4, Mac};

/// An ARP packet (RFC 826) in its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// The frame's destination.
    pub frame_to: Mac,
    /// The frame's source.
    pub frame_from: Mac,
    /// Who asks or answers.
    pub sender: (Mac, Ip4),
    /// Who or what is asked for; the MAC is zero in a request.
    pub target: (Mac, Ip4),
    /// Whether this is a request.
    pub is_request: bool,
}

/// "Who has `address`?", to everyone.
#[must_use]
pub fn who_has(asker: Party, address: Ip4) -> Arp {
    Arp {
        frame_to: Mac::BROADCAST,
        frame_from: asker.mac,
        sender: (asker.mac, asker.ip),
        target: (Mac::default(), address),
        is_request: true,
    }
}

/// "`owner` has it", to the asker.
#[must_use]
pub fn is_at(owner: (Mac, Ip4), asker: Party) -> Arp {
    Arp {
        frame_to: asker.mac,
        frame_from: owner.0,
        sender: owner,
        target: (asker.mac, asker.ip),
        is_request: false,
    }
}

impl Arp {
    /// The frame.
    ///
    /// # Panics
    /// Never: the sizes are ARP's own.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let operation = if self.is_request { ArpOperation::REQUEST } else { ArpOperation::REPLY };
        let arp = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &self.sender.0.0,
            &self.sender.1.0,
            &self.target.0.0,
            &self.target.1.0,
        )
        .expect("ARP for IPv4 over Ethernet");
        let mut bytes = ethernet(self.frame_to, self.frame_from, EtherType::ARP);
        bytes.extend_from_slice(&arp.to_bytes());
        bytes
    }
}
