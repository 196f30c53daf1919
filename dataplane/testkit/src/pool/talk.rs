//! Who talks to whom, and in which frames.

use crate::executor::Walk;
use crate::packets::{
    Party, echo_reply, echo_reply6, echo_request, echo_request6, flag, tcp, tcp6, udp, udp6,
};
use crate::town::{
    FN_1, FN_2, GATEWAY, ICMP, ICMPV6, InTown, LAB, LAB_FN, OUT, OUT_6, PROD, SERVER, SERVER_6, TCP, UDP,
};
use crate::world::Answers;
use weir_path::addr::{Address, IfIndex, Ip4, Ip6, L4Port, Zone};
use weir_path::flow::{Ends, Key, Key4, Key6};
use weir_path::tables::Interface;

/// The slots that talk: two of one VPC, one of another.
pub(super) const SLOTS: [Interface; 3] = [FN_1, FN_2, LAB_FN];
/// Whom they talk to.
pub(super) const REMOTES: u8 = 3;

/// What a sandbox opens: everything that its flow is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Talk {
    pub(super) is_v6: bool,
    pub(super) protocol: u8,
    /// Which of the slots.
    pub(super) slot: usize,
    pub(super) port: u16,
    pub(super) remote: u8,
}

/// A packet, and where it comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) walk: Walk,
    pub(super) arrival: IfIndex,
    pub(super) bytes: Vec<u8>,
    /// What it is an answer to, where it comes from the wire.
    pub(super) answers: Option<Answers>,
}

/// What an end of a flow says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Says {
    /// SYN and ACK, an answering datagram, an echo reply; and what follows.
    Answer,
    /// The handshake's end, or another packet.
    Goes,
    /// The sandbox closes first, then the remote.
    ClosesFirst,
    /// The remote closes first, then the sandbox.
    IsClosedFirst,
    /// The sandbox resets.
    Resets,
    /// The remote resets.
    IsReset,
}

impl Talk {
    pub(super) fn at(&self) -> Interface {
        SLOTS.get(self.slot).copied().expect("a slot of the town's")
    }

    /// The uplink that it leaves by.
    pub(super) fn uplink(&self) -> Interface {
        if self.at() == LAB_FN { LAB } else { PROD }
    }

    pub(super) fn zone(&self) -> Zone {
        self.uplink().zone
    }

    /// The number that packets have.
    pub(super) const fn number(&self) -> u8 {
        if self.protocol == ICMP && self.is_v6 { ICMPV6 } else { self.protocol }
    }

    fn remote(&self) -> Party {
        let remote = match self.remote {
            0 => SERVER,
            1 => SERVER.port(444),
            _ => SERVER.ip(203, 0, 113, 90),
        };
        if self.protocol == ICMP { remote.port(0) } else { remote }
    }

    fn remote_6(&self) -> Party<Ip6> {
        let remote = match self.remote {
            0 => SERVER_6,
            1 => SERVER_6.port(444),
            _ => Party { ip: crate::town::ip6(0x2001_0db8_0000_0113, 90), ..SERVER_6 },
        };
        if self.protocol == ICMP { remote.port(0) } else { remote }
    }

    /// The first key, for those who ask for a flow by it.
    pub(super) fn key_4(&self) -> Key4 {
        original(OUT.port(self.port), self.remote(), self.number(), self.at())
    }

    pub(super) fn key_6(&self) -> Key6 {
        original(OUT_6.port(self.port), self.remote_6(), self.number(), self.at())
    }

    /// The same for both families.
    pub(super) fn original(&self) -> Answers {
        if self.is_v6 { crate::world::answers(&self.key_6()) } else { crate::world::answers(&self.key_4()) }
    }

    /// What its answers look like, without the address and the port that they come to.
    pub(super) fn towards(&self) -> (Ip6, L4Port) {
        if self.is_v6 {
            (self.remote_6().ip, self.remote_6().l4())
        } else {
            (self.remote().ip.mapped(), self.remote().l4())
        }
    }

    pub(super) fn first(&self) -> Frame {
        self.outward(Some(flag::SYN), [1_000, 0])
    }

    /// A packet of the sandbox's: TCP's with these flags and numbers.
    pub(super) fn outward(&self, flags: Option<u8>, [seq, ack]: [u32; 2]) -> Frame {
        let flags = flags.unwrap_or(flag::ACK);
        let bytes = if self.is_v6 {
            let (from, to) = (OUT_6.port(self.port), self.remote_6().mac(GATEWAY.mac));
            match self.protocol {
                TCP => tcp6(from, to).flags(flags).numbers(seq, ack).bytes(),
                UDP => udp6(from, to).bytes(),
                _ => echo_request6(from, to).identifier(self.port).bytes(),
            }
        } else {
            let (from, to) = (OUT.port(self.port), self.remote().mac(GATEWAY.mac));
            match self.protocol {
                TCP => tcp(from, to).flags(flags).numbers(seq, ack).bytes(),
                UDP => udp(from, to).bytes(),
                _ => echo_request(from, to).identifier(self.port).bytes(),
            }
        };
        Frame { walk: Walk::FromSlot, arrival: self.at().egress.ifindex, bytes, answers: None }
    }

    /// A packet from its remote to this address and port of an ENI's.
    pub(super) fn inward(&self, (address, port): (Ip6, L4Port), flags: u8, [seq, ack]: [u32; 2]) -> Frame {
        let number = port.number();
        let bytes = if self.is_v6 {
            let to = Party { mac: self.uplink().mac, ip: address, port: number };
            match self.protocol {
                TCP => tcp6(self.remote_6(), to).flags(flags).numbers(seq, ack).bytes(),
                UDP => udp6(self.remote_6(), to).bytes(),
                _ => echo_reply6(self.remote_6(), to).identifier(number).bytes(),
            }
        } else {
            let to = Party { mac: self.uplink().mac, ip: Ip4::of_mapped(address), port: number };
            match self.protocol {
                TCP => tcp(self.remote(), to).flags(flags).numbers(seq, ack).bytes(),
                UDP => udp(self.remote(), to).bytes(),
                _ => echo_reply(self.remote(), to).identifier(number).bytes(),
            }
        };
        let answers = Some(self.reply((address, port)));
        Frame { walk: Walk::FromUplink, arrival: self.uplink().egress.ifindex, bytes, answers }
    }

    /// What its answers look like that come to this address and port.
    pub(super) fn reply(&self, (address, port): (Ip6, L4Port)) -> Answers {
        let (src, sport) = self.towards();
        (Ends { src, dst: address, sport, dport: port }, self.number(), self.zone())
    }
}

fn original<A: InTown>(from: Party<A>, to: Party<A>, protocol: u8, at: Interface) -> A::Key {
    A::Key::new(Ends { src: from.ip, dst: to.ip, sport: from.l4(), dport: to.l4() }, protocol, at.zone)
}
