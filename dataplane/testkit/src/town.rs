//! The world that the fixtures and the random packets live in.
//!
//! ```text
//!   client ── router ─────── prod uplink (2) ┐                ┌ slot (4) ─── sandbox 1, veth
//!   tenant ── router ──────── lab uplink (3) ┼──── Weir ──────┼ slot (5) ─── sandbox 2, veth
//!   desk ── gateway ── office uplink (3.100) ┘                └ slot (6) ─── sandbox 3, TAP
//!                                              stranger (7): a device without a record
//! ```
//!
//! The ways outwards are in `town/connectors.rs`.
//!
//! The number in parentheses is the kernel's index of the device, and the VLAN's where frames have a tag. All VPCs use
//! the same addresses, and all sandboxes look the same from inside. Prod has an address of its own, lab has none, and
//! the office has a gateway.

mod connectors;
mod listeners;

pub use connectors::*;
pub use listeners::{image, listener};

use crate::packets::Party;
use crate::world::{FlowImage, Flows, Keyed, SideImage, World};
use std::collections::BTreeMap;
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::addr::{Address, IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac, Zone};
use weir_path::flow::{Account, Counts, Ends, Hop, Key, Key4, Key6, Phase, PortUse};
use weir_path::hash::HashKey;
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Delivery, Egress, Interface};
use weir_path::time::{Now, Seconds, Times};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// The uplink of the VPC "prod".
pub const PROD: Interface = Interface {
    local: Ip4([198, 51, 100, 1]),
    on_link: 24,
    local6: ip6(0x2001_0db8_0000_0051, 1),
    on_link6: 64,
    ..uplink(0, 2, 1)
};
/// The uplink of the VPC "lab".
pub const LAB: Interface = uplink(1, 3, 2);
/// The uplink of the VPC "office": frames with a tag, on lab's device.
pub const OFFICE: Interface = Interface {
    vlan: VlanTag(100),
    local: Ip4([192, 0, 2, 1]),
    on_link: 24,
    gateway: Ip4([192, 0, 2, 254]),
    local6: ip6(0x2001_0db8_0000_0f1c, 1),
    on_link6: 64,
    gateway6: ip6(0x2001_0db8_0000_0f1c, 254),
    ..uplink(5, 3, 3)
};
/// The slot of sandbox 1.
pub const SLOT_1: Interface = slot(2, 4, 1, Delivery::VETH_PEER);
/// The slot of sandbox 2.
pub const SLOT_2: Interface = slot(3, 5, 2, Delivery::VETH_PEER);
/// The slot of sandbox 3.
pub const SLOT_3: Interface = slot(4, 6, 3, Delivery::TRANSMIT);
/// All of them, with those of the connectors.
#[expect(clippy::indexing_slicing, reason = "what is out of range is seen by the compiler")]
pub const INTERFACES: [Interface; 23] = {
    let mut all = [PROD; 23];
    let parts: [&[Interface]; 3] = [&[PROD, LAB, SLOT_1, SLOT_2, SLOT_3, OFFICE], &ENIS, &BOUND];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut nth = 0;
        while nth < parts[part].len() {
            all[at] = parts[part][nth];
            (nth, at) = (nth + 1, at + 1);
        }
        part += 1;
    }
    all
};
/// The longest IP packet on every device.
pub const MTU: u32 = 1_500;
/// A device that Weir knows nothing of.
pub const STRANGER: IfIndex = IfIndex(7);
/// The devices there are, the stranger included.
pub const DEVICES: std::ops::RangeInclusive<u32> = 2..=17;
/// An interface number that no interface has.
pub const NOBODY: InterfaceId = InterfaceId(9);

/// A client on prod's wire, behind the router.
pub const CLIENT: Party = Party { mac: ROUTER, ip: Ip4([203, 0, 113, 7]), port: 40_000 };
/// The MAC of the router on both wires.
pub const ROUTER: Mac = Mac([0x02, 0xaa, 0, 0, 0, 1]);
/// Another station on the wire.
pub const BYSTANDER: Mac = Mac([0x02, 0xbb, 0, 0, 0, 2]);

/// The first VIP, its TCP port with one target: sandbox 1's 8080.
pub const WEB: Party = Party { mac: PROD.mac, ip: Ip4([198, 51, 100, 10]), port: 80 };
/// A port of the first VIP with three targets: 8443 of each sandbox.
pub const FLEET: Party = WEB.port(443);
/// A UDP port of the first VIP: sandbox 2's 5353.
pub const DNS: Party = WEB.port(53);
/// A port of the first VIP, TCP and UDP, whose target group is empty.
pub const EMPTY: Party = WEB.port(81);
/// A port of the first VIP whose only target is on a slot that has no record.
pub const GONE: Party = WEB.port(82);
/// A port of the first VIP that nothing listens on.
pub const CLOSED: Party = WEB.port(9_999);
/// The second VIP: the same target groups as the first one's 80 (TCP) and 53 (UDP).
pub const ALIAS: Party = WEB.ip(198, 51, 100, 11);
/// A VIP that all ports of TCP and UDP are heard at, for the port that the client asks for: of sandbox 1 over TCP, of
/// all sandboxes over UDP, fragments too.
pub const OPEN: Party = WEB.ip(198, 51, 100, 12).port(7_070);
/// A VIP that sends all flows of a client to one target, whatever their ports.
pub const STICKY: Party = WEB.ip(198, 51, 100, 13);
/// A VIP whose groups have weights: 0, 300 and 700 of a thousand.
pub const WEIGHED: Party = WEB.ip(198, 51, 100, 14);
/// A VIP that nobody serves: all weights are zero.
pub const IDLE: Party = WEB.ip(198, 51, 100, 15);
/// The first VIP's address in the office.
pub const OFFICE_WEB: Party = WEB.mac(OFFICE.mac);
/// The office's UDP port, which fragments are heard at as well: sandbox 2's 5353.
pub const OFFICE_DNS: Party = OFFICE_WEB.port(53);
/// A client in the office that is on the link.
pub const DESK: Party = Party { mac: Mac([0x02, 0xde, 0, 0, 0, 7]), ip: Ip4([192, 0, 2, 7]), port: 40_000 };
/// The office's gateway.
pub const DOOR: Mac = Mac([0x02, 0xd0, 0, 0, 0, 1]);
/// The first VIP's address in the other VPC: sandbox 3's 8080.
pub const LAB_WEB: Party = WEB.mac(LAB.mac);
/// A VIP that only the other VPC has.
pub const LAB_ONLY: Party = LAB_WEB.ip(198, 51, 100, 20);
/// The host's own address on prod's wire: not Weir's.
pub const HOST: Party = WEB.ip(198, 51, 100, 1).port(22);

/// A sandbox, as it sees itself.
pub const SANDBOX: Party = Party { mac: SLOT_1.peer_mac, ip: SLOT_1.address, port: 8_080 };
/// Its gateway.
pub const GATEWAY: Party = Party { mac: SLOT_1.mac, ip: SLOT_1.local, port: 0 };
/// The client, as a sandbox sees it.
pub const CLIENT_INSIDE: Party = CLIENT.mac(SLOT_1.mac);

/// A client on prod's wire that speaks IPv6, behind the same router.
pub const CLIENT_6: Party<Ip6> = Party { mac: ROUTER, ip: ip6(0x2001_0db8_0000_0113, 7), port: 40_000 };
/// The first VIP's IPv6 sister, its TCP port with the same target.
pub const WEB_6: Party<Ip6> = Party { mac: PROD.mac, ip: ip6(0x2001_0db8_0000_0051, 10), port: 80 };
/// A port of the IPv6 VIP with three targets.
pub const FLEET_6: Party<Ip6> = WEB_6.port(443);
/// A UDP port of the IPv6 VIP: sandbox 2's 5353.
pub const DNS_6: Party<Ip6> = WEB_6.port(53);
/// As [`OPEN`].
pub const OPEN_6: Party<Ip6> = Party { ip: ip6(0x2001_0db8_0000_0051, 12), port: 7_070, ..WEB_6 };
/// As [`EMPTY`].
pub const EMPTY_6: Party<Ip6> = WEB_6.port(81);
/// As [`STICKY`].
pub const STICKY_6: Party<Ip6> = Party { ip: ip6(0x2001_0db8_0000_0051, 13), ..WEB_6 };
/// As [`OFFICE_WEB`].
pub const OFFICE_WEB_6: Party<Ip6> = WEB_6.mac(OFFICE.mac);
/// As [`DESK`].
pub const DESK_6: Party<Ip6> = Party { mac: DESK.mac, ip: ip6(0x2001_0db8_0000_0f1c, 7), port: 40_000 };
/// The host's own IPv6 address.
pub const HOST_6: Party<Ip6> = Party { mac: PROD.mac, ip: ip6(0x2001_0db8_0000_0051, 1), port: 22 };
/// The sandbox's IPv6 side.
pub const SANDBOX_6: Party<Ip6> = Party { mac: SLOT_1.peer_mac, ip: SLOT_1.address6, port: 8_080 };
/// Its gateway.
pub const GATEWAY_6: Party<Ip6> = Party { mac: SLOT_1.mac, ip: SLOT_1.local6, port: 0 };
/// The IPv6 client, as a sandbox sees it.
pub const CLIENT_6_INSIDE: Party<Ip6> = CLIENT_6.mac(SLOT_1.mac);

/// Tenants have numbers up to this.
pub const TENANTS: u32 = 3;
/// Connectors have numbers below this.
pub const CONNECTORS: u32 = 16;

/// What time it is.
pub const NOW: Now = Now(8 * 1_000);
/// How long TCP may be silent through these listeners.
pub const TCP_IDLE: Seconds = Seconds(350);
/// How long UDP may be silent through these listeners.
pub const UDP_IDLE: Seconds = Seconds(120);
/// How long other flows may be silent: each another time, so that they can't be mixed up.
pub const TIMES: Times = Times {
    tcp_half_open: Seconds(30),
    tcp_closing: Seconds(10),
    udp_unanswered: Seconds(25),
    icmp_query: Seconds(60),
};

/// The hash's secret.
pub const HASH_KEY: HashKey = HashKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
/// How many answers a second each interface makes.
pub const ANSWERS: u32 = 100;
/// Cells of a Maglev table here: small, prime, and more than a line of the arena.
pub const CELLS: usize = 101;

/// Any IPv6 address, by network and host.
#[must_use]
pub const fn ip6(network: u64, host: u64) -> Ip6 {
    Ip6(((network as u128) << 64 | host as u128).to_be_bytes())
}

const fn uplink(id: u32, ifindex: u32, vpc: u32) -> Interface {
    Interface {
        egress: Egress { ifindex: IfIndex(ifindex), id: InterfaceId(id), delivery: Delivery::TRANSMIT },
        mac: Mac([0x02, 0xee, 0, 0, 0, ifindex as u8]),
        peer_mac: Mac([0; 6]),
        zone: Zone::of_vpc(vpc).expect("a small number"),
        mtu: MTU,
        vlan: VlanTag::NONE,
        on_link: 0,
        on_link6: 0,
        answers: ANSWERS,
        address: Ip4([0; 4]),
        local: Ip4([0; 4]),
        gateway: Ip4([0; 4]),
        connector: ConnectorId::NONE,
        metered: 0,
        address6: Ip6([0; 16]),
        local6: Ip6([0; 16]),
        gateway6: Ip6([0; 16]),
    }
}

const fn slot(id: u32, ifindex: u32, binding: u32, delivery: Delivery) -> Interface {
    Interface {
        egress: Egress { ifindex: IfIndex(ifindex), id: InterfaceId(id), delivery },
        mac: Mac([0x02, 0x57, 0x45, 0x49, 0x52, 0x01]),
        peer_mac: Mac([0x02, 0x57, 0x45, 0x49, 0x52, 0x02]),
        zone: Zone::of_binding(binding).expect("a small number"),
        address: Ip4([169, 254, 100, 2]),
        local: Ip4([169, 254, 100, 1]),
        address6: ip6(0xfd57_4549_5200_0000, 2),
        local6: ip6(0xfd57_4549_5200_0000, 1),
        ..uplink(id, ifindex, 0)
    }
}

/// `slot`, bound anew: the same device, the next binding.
#[must_use]
pub fn bound_anew(slot: Interface, binding: u32) -> Interface {
    Interface { zone: Zone::of_binding(binding).expect("a small number"), ..slot }
}

/// The town, without flows.
#[must_use]
pub fn world() -> World {
    // So many that every number of CPUs up to 16 that machines have divides it.
    let family = FamilySizes { flows: 64, half_open: 48 };
    World {
        interfaces: INTERFACES.to_vec(),
        image: image(),
        next_hops: connectors::next_hops(),
        rates: BTreeMap::new(),
        flows: Flows::default(),
        sizes: Sizes { v4: family, v6: family },
        pots: 2,
        now: NOW,
    }
}

/// An address of the town, of either family.
pub trait InTown: Address {
    /// Its family's keys.
    type Key: Keyed + Key<Address = Self>;

    /// The address of a slot's sandbox.
    fn of_sandbox(slot: Interface) -> Self;
}

impl InTown for Ip4 {
    type Key = Key4;

    fn of_sandbox(slot: Interface) -> Self {
        slot.address
    }
}

impl InTown for Ip6 {
    type Key = Key6;

    fn of_sandbox(slot: Interface) -> Self {
        slot.address6
    }
}

/// An established flow of `client` to `vip`, placed at `port` of the sandbox on `slot`: a while old, heard a
/// moment ago, and with some packets in both directions.
#[must_use]
pub fn flow<A: InTown>(
    protocol: u8,
    (uplink, client, vip): (Interface, Party<A>, Party<A>),
    (slot, port): (Interface, u16),
) -> FlowImage<A::Key> {
    let there = Ends { src: client.ip, dst: vip.ip, sport: client.l4(), dport: vip.l4() };
    let sandbox = A::of_sandbox(slot);
    let back = Ends { src: sandbox, dst: client.ip, sport: L4Port::new(port), dport: client.l4() };
    let carried = |packets, bytes| Counts { packets, bytes };
    let side = |to: Interface, mac, counts| {
        Some(SideImage { hop: Hop::new(to.egress.id, mac), counts, acknowledged: 0 })
    };
    FlowImage {
        keys: [A::Key::new(there, protocol, uplink.zone), A::Key::new(back, protocol, slot.zone)],
        sides: [side(slot, client.mac, carried(3, 180)), side(uplink, client.mac, carried(2, 120))],
        phase: Phase::Established,
        fins: [false; 2],
        seen: Now(NOW.0 - 8),
        opened: Now(NOW.0 - 80),
        idle: listeners::idle(protocol),
        expected: 0,
        shifts: [0; 2],
        port: PortUse::NONE,
        rest: Seconds(0),
        account: Account::NOBODYS,
        tells_idle: 0,
    }
}

/// The flow of [`CLIENT`] to [`WEB`].
#[must_use]
pub fn web_flow() -> FlowImage<Key4> {
    flow(TCP, (PROD, CLIENT, WEB), (SLOT_1, 8_080))
}

/// The flow of [`CLIENT`] to [`DNS`].
#[must_use]
pub fn dns_flow() -> FlowImage<Key4> {
    flow(UDP, (PROD, CLIENT, DNS), (SLOT_2, 5_353))
}

/// The flow of [`CLIENT_6`] to [`WEB_6`].
#[must_use]
pub fn web_flow_6() -> FlowImage<Key6> {
    flow(TCP, (PROD, CLIENT_6, WEB_6), (SLOT_1, 8_080))
}

/// The flow of [`CLIENT_6`] to [`DNS_6`].
#[must_use]
pub fn dns_flow_6() -> FlowImage<Key6> {
    flow(UDP, (PROD, CLIENT_6, DNS_6), (SLOT_2, 5_353))
}
