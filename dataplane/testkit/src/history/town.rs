//! Where histories take place: one uplink, three slots, two VIPs of each family that share their services. Every
//! target has a sandbox MAC of its own and every client one for each VIP, so that a wrong way shows.

use super::frame::{End, Frame, TCP, UDP};
use crate::world::{Flows, World};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weir_dataplane::image::{GroupImage, Image};
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::addr::{IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac, Zone};
use weir_path::hash::HashKey;
use weir_path::tables::{Delivery, Egress, Forward, GroupId, Interface, Listener, Target, Vip};
use weir_path::time::{Now, Seconds, Times};

/// How many slots there are.
pub(super) const SLOTS: usize = 3;
/// How many services there are.
pub(super) const SERVICES: usize = 4;
/// How many VIPs of each family there are.
pub(super) const VIPS: u8 = 2;
/// Port and protocol of each service.
const PORTS: [(u16, u8); SERVICES] = [(80, TCP), (81, TCP), (53, UDP), (54, UDP)];
/// The device of the uplink; the slots' follow.
pub(super) const UPLINK: usize = 0;
const FIRST_DEVICE: u32 = 2;
const UPLINK_MAC: [u8; 6] = [2, 0xee, 0, 0, 0, 1];

/// A slot and a port in it.
pub(super) type Place = (usize, u16);

/// What is served, and how: what a configuration changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Config {
    /// The targets of each service.
    pub(super) targets: [Vec<Place>; SERVICES],
    /// How long each service's established flows may be silent, in seconds.
    pub(super) idle: [u16; SERVICES],
    /// Which services are listened for.
    pub(super) listens: [bool; SERVICES],
    /// Seconds: TCP half-open, TCP closing, UDP without an answer.
    pub(super) times: [u16; 3],
}

/// A client and what it talks to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Talk {
    pub(super) is_v6: bool,
    pub(super) service: usize,
    pub(super) vip: u8,
    pub(super) client: u16,
}

impl Talk {
    pub(super) const fn protocol(&self) -> u8 {
        PORTS[self.service].1
    }

    pub(super) fn client_end(&self) -> End {
        let [high, low] = self.client.to_be_bytes();
        let address = if self.is_v6 {
            IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, high, low])
        } else {
            IpAddr::from([10, 1, high, low])
        };
        (address, 40_000 + self.client)
    }

    pub(super) fn vip_end(&self) -> End {
        (vip(self.is_v6, self.vip), PORTS[self.service].0)
    }

    pub(super) const fn client_mac(&self) -> [u8; 6] {
        let [high, low] = self.client.to_be_bytes();
        [2, 0xc1, self.is_v6 as u8, self.vip, high, low]
    }

    /// The client's other router.
    pub(super) const fn other_mac(&self) -> [u8; 6] {
        let [_, _, rest @ ..] = self.client_mac();
        let [a, b, c, d] = rest;
        [2, 0xc2, a, b, c, d]
    }

    /// A segment or a datagram to the VIP.
    pub(super) fn inward(&self, flags: u8, numbers: [u32; 2], shift: Option<u8>) -> Frame {
        let macs = [UPLINK_MAC, self.client_mac()];
        self.frame(macs, self.client_end(), self.vip_end(), flags, numbers, shift)
    }

    /// A segment or a datagram from this place to the client.
    pub(super) fn outward(
        &self,
        (slot, port): Place,
        flags: u8,
        numbers: [u32; 2],
        shift: Option<u8>,
    ) -> Frame {
        let macs = [slot_mac(slot), sandbox_mac(slot)];
        self.frame(macs, (sandbox(self.is_v6), port), self.client_end(), flags, numbers, shift)
    }

    fn frame(
        &self,
        macs: [[u8; 6]; 2],
        from: End,
        to: End,
        flags: u8,
        numbers: [u32; 2],
        shift: Option<u8>,
    ) -> Frame {
        if self.protocol() == UDP {
            return Frame::udp(macs, from, to);
        }
        Frame { shift, ..Frame::tcp(macs, from, to, flags, numbers) }
    }

    /// What an inward frame becomes at this place.
    pub(super) fn translated_inward(&self, frame: &Frame, (slot, port): Place) -> Frame {
        let macs = [sandbox_mac(slot), slot_mac(slot)];
        frame.translated(macs, self.client_end(), (sandbox(self.is_v6), port))
    }

    /// What an outward frame becomes, to the station that the client was last heard from.
    pub(super) fn translated_outward(&self, frame: &Frame, station: [u8; 6]) -> Frame {
        frame.translated([station, UPLINK_MAC], self.vip_end(), self.client_end())
    }
}

const fn slot_mac(slot: usize) -> [u8; 6] {
    [2, 0x57, 0, 0, 1, slot as u8]
}

pub(super) const fn sandbox_mac(slot: usize) -> [u8; 6] {
    [2, 0x57, 0, 0, 2, slot as u8]
}

fn vip(is_v6: bool, vip: u8) -> IpAddr {
    match is_v6 {
        true => IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10 + vip]),
        false => IpAddr::from([198, 51, 100, 10 + vip]),
    }
}

/// The address that all sandboxes have.
pub(super) fn sandbox(is_v6: bool) -> IpAddr {
    match is_v6 {
        true => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
        false => IpAddr::from([169, 254, 100, 2]),
    }
}

/// The device of the uplink, or of a slot: [`UPLINK`], or one more than the slot's number.
pub(super) const fn device(port: usize) -> IfIndex {
    IfIndex(FIRST_DEVICE + port as u32)
}

impl Config {
    /// What a history begins with.
    pub(super) fn first() -> Self {
        Self {
            targets: [
                vec![(0, 8_080), (1, 8_081), (2, 8_082)],
                vec![(0, 9_090)],
                vec![(1, 5_353)],
                vec![(1, 5_454), (2, 5_454)],
            ],
            idle: [350, 60, 120, 6_000],
            listens: [true; SERVICES],
            times: [30, 10, 30],
        }
    }

    /// The configuration as the tables hold it.
    pub(super) fn image(&self) -> Image {
        let [tcp_half_open, tcp_closing, udp_unanswered] = self.times.map(Seconds);
        let mut image = Image {
            hash_key: HashKey([3; 16]),
            times: Times { tcp_half_open, tcp_closing, udp_unanswered, icmp_query: Seconds(60) },
            vips: BTreeSet::new(),
            listeners: BTreeMap::new(),
            groups: self.targets.iter().map(|targets| group(targets)).collect(),
            ..Image::default()
        };
        for (is_v6, number) in [false, true].into_iter().flat_map(|is_v6| (0..VIPS).map(move |n| (is_v6, n)))
        {
            let vip = Vip { address: vip(is_v6, number).into(), zone: vpc() };
            image.vips.insert(vip);
            for (service, (port, protocol)) in PORTS.into_iter().enumerate().filter(|(n, _)| self.listens[*n])
            {
                let listener = Listener { vip, port: L4Port::new(port), protocol, zero: 0 };
                let group = GroupId(service as u32);
                let idle = Seconds(self.idle[service]);
                image.listeners.insert(listener, Forward::to(group, idle));
            }
        }
        image
    }
}

fn group(targets: &[Place]) -> GroupImage {
    let target = |&(slot, port): &Place| Target::in_slot(id(1 + slot), L4Port::new(port));
    let cells = if targets.is_empty() { 0 } else { 101 };
    GroupImage {
        targets: targets.iter().map(target).collect(),
        cells: (0..cells).map(|cell| (cell % targets.len()) as u16).collect(),
    }
}

const fn id(port: usize) -> InterfaceId {
    InterfaceId(port as u32)
}

pub(super) fn vpc() -> Zone {
    Zone::of_vpc(1).expect("a small number")
}

/// The town at this moment, with this much room in each family.
pub(super) fn world(config: &Config, room: FamilySizes, now: u32) -> World {
    let mut interfaces = vec![interface(UPLINK, UPLINK_MAC, vpc())];
    for slot in 0..SLOTS {
        let zone = Zone::of_binding(1 + slot as u32).expect("a small number");
        let (IpAddr::V4(address), IpAddr::V6(address6)) = (sandbox(false), sandbox(true)) else { continue };
        interfaces.push(Interface {
            peer_mac: Mac(sandbox_mac(slot)),
            address: Ip4(address.octets()),
            address6: Ip6(address6.octets()),
            ..interface(1 + slot, slot_mac(slot), zone)
        });
    }
    World {
        interfaces,
        image: config.image(),
        next_hops: BTreeMap::new(),
        rates: BTreeMap::new(),
        flows: Flows::default(),
        sizes: Sizes { v4: room, v6: room },
        pots: POTS,
        now: Now(now),
    }
}

/// CPUs that packets come in on in turn.
pub(super) const POTS: u32 = 2;

fn interface(port: usize, mac: [u8; 6], zone: Zone) -> Interface {
    let egress = Egress { ifindex: device(port), id: id(port), delivery: Delivery::TRANSMIT };
    Interface { egress, mac: Mac(mac), zone, mtu: 1_500, answers: u32::MAX / 8, ..Interface::default() }
}
