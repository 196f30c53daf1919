//! The frames that the harness makes its packets from.
//!
//! Checksums are left out: the programs only mend them, and whether they do is tested elsewhere.

use crate::town::{CLIENT_MAC, GATEWAY_MAC, SANDBOX_MAC, SANDBOX_PORT, Town, UPLINK_MAC, VIP_PORT};
use std::mem::size_of_val;

/// As long as the harness's frames are.
pub const FRAME: usize = 80;
/// A frame, and where the client's address and port go: as the harness takes it.
pub type Shot = [u8; FRAME + 8];

/// The packets of a connection. Numbers fit each other, as both ends would choose them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// The client opens.
    Syn,
    /// The sandbox answers.
    SynAck,
    /// The client's acknowledgement, that ends the handshake; or of data.
    Ack,
    /// The sandbox's acknowledgement.
    AckBack,
    /// The client is done.
    Fin,
    /// The sandbox is done.
    FinBack,
    /// The sandbox refuses.
    Refusal,
}

impl Segment {
    /// Whether it comes from the sandbox.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::SynAck | Self::AckBack | Self::FinBack | Self::Refusal)
    }

    /// Sequence and acknowledgement number, and control bits.
    const fn says(self) -> (u32, u32, u8) {
        match self {
            Self::Syn => (1_000, 0, 0x02),
            Self::SynAck => (5_000, 1_001, 0x12),
            Self::Ack => (1_001, 5_001, 0x10),
            Self::AckBack => (5_001, 1_001, 0x10),
            Self::Fin => (1_001, 5_001, 0x11),
            Self::FinBack => (5_001, 1_002, 0x11),
            Self::Refusal => (0, 1_001, 0x14),
        }
    }

    /// The frame of this segment.
    #[must_use]
    pub fn shot<T: Town>(self) -> Shot {
        let client = T::client(0);
        let (macs, source, destination, ports) = if self.is_reply() {
            let ports = [SANDBOX_PORT, CLIENT_PORT];
            ([GATEWAY_MAC, SANDBOX_MAC], T::SANDBOX, client, ports)
        } else {
            ([UPLINK_MAC, CLIENT_MAC], client, T::VIP, [CLIENT_PORT, VIP_PORT])
        };
        let mut frame: Vec<u8> = macs.iter().flat_map(|mac| mac.0).collect();
        frame.extend(T::header());
        frame.extend(T::bytes(source));
        frame.extend(T::bytes(destination));
        let l4 = frame.len();
        let (sequence, acknowledgement, flags) = self.says();
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend(sequence.to_be_bytes());
        frame.extend(acknowledgement.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let behind_client = if self.is_reply() { l4 } else { l4 - size_of_val(&client) };
        let port_at = if self.is_reply() { l4 + 2 } else { l4 };
        finish(&frame, behind_client - 4, port_at)
    }
}

/// What the harness puts the client's port in the place of.
const CLIENT_PORT: u16 = 0;

fn finish(frame: &[u8], address_at: usize, port_at: usize) -> Shot {
    let mut shot = [0; FRAME + 8];
    let (place, places) = shot.split_at_mut(FRAME);
    place.iter_mut().zip(frame).for_each(|(place, byte)| *place = *byte);
    let words = [address_at as u32, port_at as u32];
    places
        .iter_mut()
        .zip(words.iter().flat_map(|word| word.to_ne_bytes()))
        .for_each(|(place, byte)| *place = byte);
    shot
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_path::flow::{V4, V6};

    fn places(shot: Shot) -> [u32; 2] {
        [FRAME, FRAME + 4].map(|at| u32::from_ne_bytes(shot[at..at + 4].try_into().unwrap()))
    }

    #[test]
    fn the_clients_address_and_port_are_where_the_headers_have_them() {
        assert_eq!(places(Segment::Syn.shot::<V4>()), [26, 34]);
        assert_eq!(places(Segment::SynAck.shot::<V4>()), [30, 36]);
        assert_eq!(places(Segment::Syn.shot::<V6>()), [34, 54]);
        assert_eq!(places(Segment::SynAck.shot::<V6>()), [50, 56]);
    }
}
