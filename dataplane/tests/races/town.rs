//! Where the races are run: one uplink, two slots, and services that two VIPs share, so that the replies of two
//! clients' flows can collide. Every frame tells whose it is, and so does whatever the path makes of it:
//!
//! - each (client, VIP) has a MAC of its own, which only the rewrite of its own flow's replies holds;
//! - each target has a port and a sandbox MAC of its own, so that a torn rewrite shows.

use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;
use weir_dataplane::Tables;
use weir_dataplane::flows::Flow;
use weir_dataplane::image::{GroupImage, Image};
use weir_path::addr::{IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac, Zone};
use weir_path::flow::Ends;
use weir_path::hash::HashKey;
use weir_path::tables::{Delivery, Egress, Forward, GroupId, Interface, Listener, Target, Vip};
use weir_path::time::{Seconds, Times};
use weir_testkit::history::frame::{ACK, End, FIN, Frame, RST, SYN, TCP, UDP};

/// The device of the uplink.
pub(crate) const UPLINK: IfIndex = IfIndex(2);
const UPLINK_MAC: [u8; 6] = [2, 0xee, 0, 0, 0, 2];
/// The devices of the slots.
pub(crate) const SLOTS: [IfIndex; 2] = [IfIndex(4), IfIndex(5)];

/// How long flows live, as short as seconds allow: an expiry is never more than a few ticks away.
pub(crate) const TIMES: Times = Times {
    tcp_half_open: Seconds(2),
    tcp_closing: Seconds(1),
    udp_unanswered: Seconds(2),
    icmp_query: Seconds(2),
};

/// What is served: port, protocol, how long its flows may be silent, and (slot, port) of each target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Service {
    /// TCP, one target.
    Web,
    /// UDP, one target.
    Dns,
    /// TCP, two targets.
    Fleet,
    /// TCP whose flows live long: nothing may end them.
    Kept,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Web, Self::Dns, Self::Fleet, Self::Kept];

    pub(crate) const fn protocol(self) -> u8 {
        if matches!(self, Self::Dns) { UDP } else { TCP }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Web => 80,
            Self::Dns => 53,
            Self::Fleet => 443,
            Self::Kept => 22,
        }
    }

    const fn idle(self) -> Seconds {
        if matches!(self, Self::Kept) { Seconds(6_000) } else { Seconds(1) }
    }

    pub(crate) const fn targets(self) -> &'static [(usize, u16)] {
        match self {
            Self::Web => &[(0, 8_080)],
            Self::Dns => &[(1, 5_353)],
            Self::Fleet => &[(0, 8_443), (1, 9_443)],
            Self::Kept => &[(0, 2_222)],
        }
    }
}

/// One client that talks to one service at one of its two addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Talk {
    pub(crate) is_v6: bool,
    pub(crate) service: Service,
    pub(crate) client: u8,
    pub(crate) vip: u8,
}

/// What is said in a talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Says {
    Syn,
    SynAck,
    Ack,
    Answer,
    Fin,
    AnswerFin,
    Rst,
    AnswerRst,
}

impl Says {
    pub(crate) const ALL: [Self; 8] = [
        Self::Syn,
        Self::SynAck,
        Self::Ack,
        Self::Answer,
        Self::Fin,
        Self::AnswerFin,
        Self::Rst,
        Self::AnswerRst,
    ];

    /// Whether a target says it.
    pub(crate) const fn is_answer(self) -> bool {
        matches!(self, Self::SynAck | Self::Answer | Self::AnswerFin | Self::AnswerRst)
    }

    /// TCP's control bits and numbers: a handshake from 1,000 and 5,000 on.
    const fn tcp(self) -> (u8, [u32; 2]) {
        match self {
            Self::Syn => (SYN, [1_000, 0]),
            Self::SynAck => (SYN | ACK, [5_000, 1_001]),
            Self::Ack => (ACK, [1_001, 5_001]),
            Self::Answer => (ACK, [5_001, 1_001]),
            Self::Fin => (FIN | ACK, [1_001, 5_001]),
            Self::AnswerFin => (FIN | ACK, [5_001, 1_001]),
            Self::Rst => (RST, [1_001, 0]),
            Self::AnswerRst => (RST | ACK, [5_001, 1_001]),
        }
    }
}

impl Talk {
    pub(crate) fn client_end(&self) -> End {
        let address = if self.is_v6 {
            IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.client + 1])
        } else {
            IpAddr::from([203, 0, 113, self.client + 1])
        };
        (address, 40_000 + u16::from(self.client))
    }

    pub(crate) fn vip_end(&self) -> End {
        (vip_address(self.is_v6, self.vip), self.service.port())
    }

    fn client_mac(&self) -> [u8; 6] {
        [2, 0xc1, u8::from(self.is_v6), self.vip, self.service as u8, self.client]
    }

    pub(crate) fn target_end(&self, nth: usize) -> End {
        (sandbox_address(self.is_v6), self.service.targets()[nth].1)
    }

    /// Whether this is its flow.
    pub(crate) fn is_of(&self, flow: &Flow) -> bool {
        let end = |(address, port): End| (Ip6::from(address), L4Port::new(port));
        let Ends { src, dst, sport, dport } = flow.original;
        end(self.client_end()) == (src, sport) && end(self.vip_end()) == (dst, dport)
    }

    fn slot(&self, nth: usize) -> usize {
        self.service.targets()[nth].0
    }

    /// The device that what is said comes in by.
    pub(crate) fn arrival(&self, says: Says, nth: usize) -> IfIndex {
        if says.is_answer() { SLOTS[self.slot(nth)] } else { UPLINK }
    }

    /// The frame that says it; an answer comes from this of the service's targets.
    pub(crate) fn frame(&self, says: Says, nth: usize) -> Frame {
        let (macs, from, to) = if says.is_answer() {
            let slot = self.slot(nth);
            ([slot_mac(slot), sandbox_mac(slot)], self.target_end(nth), self.client_end())
        } else {
            ([UPLINK_MAC, self.client_mac()], self.client_end(), self.vip_end())
        };
        let (flags, numbers) = says.tcp();
        match self.service.protocol() {
            UDP => Frame::udp(macs, from, to),
            _ => Frame::tcp(macs, from, to, flags, numbers),
        }
    }

    /// Everything that this frame may become if it is sent: which target, or which VIP, and the frame.
    pub(crate) fn translations(&self, says: Says, frame: &Frame) -> Vec<(usize, Frame)> {
        if says.is_answer() {
            let of = |vip: u8| Self { vip, ..*self };
            let back = |vip: u8| {
                let talk = of(vip);
                frame.translated([talk.client_mac(), UPLINK_MAC], talk.vip_end(), talk.client_end())
            };
            return (0..2).map(|vip| (usize::from(vip), back(vip))).collect();
        }
        let there = |nth: usize| {
            let slot = self.slot(nth);
            frame.translated([sandbox_mac(slot), slot_mac(slot)], self.client_end(), self.target_end(nth))
        };
        (0..self.service.targets().len()).map(|nth| (nth, there(nth))).collect()
    }
}

const fn slot_mac(slot: usize) -> [u8; 6] {
    [2, 0x57, 0, 0, 1, slot as u8]
}

const fn sandbox_mac(slot: usize) -> [u8; 6] {
    [2, 0x57, 0, 0, 2, slot as u8]
}

fn vip_address(is_v6: bool, vip: u8) -> IpAddr {
    if is_v6 {
        IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10 + vip])
    } else {
        IpAddr::from([198, 51, 100, 10 + vip])
    }
}

fn sandbox_address(is_v6: bool) -> IpAddr {
    if is_v6 {
        IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2])
    } else {
        IpAddr::from([169, 254, 100, 2])
    }
}

/// Puts this thread, and those it starts, into a network namespace of their own with the town's devices.
pub(crate) fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own: run this as root");
    for index in [2, 4] {
        let [one, other] = [index, index + 1].map(|index| index.to_string());
        let [name, peer] = [&one, &other].map(|index| format!("weir-{index}"));
        let pair = ["link", "add", "name", &name, "index", &one, "type", "veth", "peer", "name", &peer];
        let made = Command::new("ip").args(pair).args(["index", &other]).status();
        assert!(made.is_ok_and(|status| status.success()), "`ip {}` failed", pair.join(" "));
    }
}

/// Writes the town's configuration and devices.
pub(crate) fn build(tables: &Tables) {
    tables.clear().unwrap();
    let uplink = Interface {
        egress: egress(0, UPLINK),
        mac: Mac(UPLINK_MAC),
        zone: Zone::of_vpc(1).unwrap(),
        ..plain()
    };
    tables.set_interface(&uplink).unwrap();
    for (nth, device) in SLOTS.into_iter().enumerate() {
        let [(IpAddr::V4(v4), IpAddr::V6(v6))] = [(sandbox_address(false), sandbox_address(true))] else {
            unreachable!("one address of each family")
        };
        let slot = Interface {
            egress: egress(1 + nth as u32, device),
            mac: Mac(slot_mac(nth)),
            peer_mac: Mac(sandbox_mac(nth)),
            address: Ip4(v4.octets()),
            address6: Ip6(v6.octets()),
            zone: Zone::of_binding(1 + nth as u32).unwrap(),
            ..plain()
        };
        tables.set_interface(&slot).unwrap();
    }
    tables.apply(&image()).unwrap();
}

/// What all interfaces have: room for every packet, and for every answer.
fn plain() -> Interface {
    Interface { mtu: 1_500, answers: u32::MAX / 8, ..Interface::default() }
}

fn egress(id: u32, ifindex: IfIndex) -> Egress {
    Egress { ifindex, id: InterfaceId(id), delivery: Delivery::TRANSMIT }
}

fn image() -> Image {
    let mut listeners = BTreeMap::new();
    let mut vips = BTreeSet::new();
    for (is_v6, vip, service) in [false, true].into_iter().flat_map(|is_v6| {
        (0..2).flat_map(move |vip| Service::ALL.into_iter().map(move |service| (is_v6, vip, service)))
    }) {
        let vip = Vip { address: vip_address(is_v6, vip).into(), zone: Zone::of_vpc(1).unwrap() };
        let (port, protocol) = (L4Port::new(service.port()), service.protocol());
        vips.insert(vip);
        let forward = Forward::to(GroupId(service as u32), service.idle());
        listeners.insert(Listener { vip, port, protocol, zero: 0 }, forward);
    }
    let groups = Service::ALL.map(|service| {
        let target =
            |&(slot, port): &(usize, u16)| Target::in_slot(InterfaceId(1 + slot as u32), L4Port::new(port));
        let targets: Vec<_> = service.targets().iter().map(target).collect();
        let cells = (0..101).map(|cell| (cell % targets.len()) as u16).collect();
        GroupImage { targets, cells }
    });
    Image {
        hash_key: HashKey([7; 16]),
        times: TIMES,
        vips,
        listeners,
        groups: groups.into(),
        ..Image::default()
    }
}
