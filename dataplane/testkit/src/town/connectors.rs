//! The town's ways outwards: connectors, their ENIs, the slots that are bound to them, and whom they reach.
//!
//! ```text
//!   server ── exit ─┐                 ┌ eni 1 (.101, .102), eni 2 (.103, a MAC of its own) ── functions (8), (9)
//!   neighbour ──────┼─ prod uplink ───┼ the host's address (.2) ──────────────────────────── lodger (11)
//!   branch ── back ─┘      (2)        ├ mapped (.104): one port for all remotes ──────────── callers (12), (13)
//!                                     └ few 1 (.105), few 2 (.106): 64 ports each ────────── crowd (14)
//!   server ── exit ──── lab uplink (3) ── lab's eni (.101, a MAC of its own) ─────────────── lab's function (10)
//!   colleague ── door ── office (3.100) ── office's eni, by the gateway alone ────────────── clerk (15)
//!                                          a connector without any ENI ───────────────────── hermit (16)
//! ```

use super::{
    BYSTANDER, DOOR, InTown, LAB, NOW, OFFICE, PROD, SANDBOX, SANDBOX_6, TCP, TIMES, UDP, ip6, slot,
};
use crate::packets::Party;
use crate::world::{FlowImage, SideImage};
use std::collections::BTreeMap;
use weir_dataplane::image::{ConnectorImage, Image, Route};
use weir_path::addr::{Address, InterfaceId, Ip4, Ip6, Mac};
use weir_path::flow::{Account, Counts, Ends, Hop, Key, Key4, Key6, Phase, PortUse};
use weir_path::tables::{
    Connector, ConnectorId, Delivery, Egress, Interface, NextHopId, Owner, PortBlock, Source, Vip,
};
use weir_path::time::{Now, Seconds};

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// By the uplink's MAC, two addresses of each family.
pub const ENI_1: Interface = eni(10, PROD, FUNCTIONS, 101);
/// By a MAC of its own.
pub const ENI_2: Interface = Interface { mac: Mac::of_eni(2), ..eni(11, PROD, FUNCTIONS, 103) };
/// In the other VPC, with the first one's address.
pub const LAB_ENI: Interface = Interface { mac: Mac::of_eni(3), ..eni(12, LAB, LABS, 101) };
/// The host's own address. It has no IPv6 one.
pub const HOST_ENI: Interface =
    Interface { local6: Ip6([0; 16]), on_link6: 0, gateway6: Ip6([0; 16]), ..eni(13, PROD, HOSTS, 2) };
/// Where one UDP port of a sandbox leaves from one port, whatever the remote.
pub const MAPPED_ENI: Interface = eni(14, PROD, MAPPED, 104);
/// With a block of ports.
pub const FEW_1: Interface = eni(15, PROD, FEW, 105);
/// With another block of ports.
pub const FEW_2: Interface = eni(16, PROD, FEW, 106);
/// On a tagged uplink, whose gateway is the uplink's.
pub const OFFICE_ENI: Interface = Interface {
    local: Ip4([192, 0, 2, 101]),
    on_link: 0,
    gateway: OFFICE.gateway,
    local6: ip6(0x2001_0db8_0000_0f1c, 101),
    on_link6: 0,
    gateway6: OFFICE.gateway6,
    ..eni(17, OFFICE, OFFICES, 101)
};
/// All of them.
pub const ENIS: [Interface; 8] = [ENI_1, ENI_2, LAB_ENI, HOST_ENI, MAPPED_ENI, FEW_1, FEW_2, OFFICE_ENI];

/// The connector with two ENIs, one of them with two addresses.
pub const FUNCTIONS: ConnectorId = ConnectorId(1);
/// The one of the other VPC.
pub const LABS: ConnectorId = ConnectorId(2);
/// The one by the host's address.
pub const HOSTS: ConnectorId = ConnectorId(3);
/// The one that maps UDP's ports.
pub const MAPPED: ConnectorId = ConnectorId(4);
/// The one with few ports.
pub const FEW: ConnectorId = ConnectorId(5);
/// The one of the tagged uplink.
pub const OFFICES: ConnectorId = ConnectorId(6);
/// The one without an ENI.
pub const NONE_YET: ConnectorId = ConnectorId(7);

/// A slot with the connector "functions".
pub const FN_1: Interface = bound(20, 8, 4, Delivery::VETH_PEER, FUNCTIONS);
/// Another one, a TAP.
pub const FN_2: Interface = bound(21, 9, 5, Delivery::TRANSMIT, FUNCTIONS);
/// A slot that reaches the other VPC.
pub const LAB_FN: Interface = bound(22, 10, 6, Delivery::VETH_PEER, LABS);
/// A slot that goes out by the host's address.
pub const LODGER: Interface = bound(23, 11, 7, Delivery::VETH_PEER, HOSTS);
/// A slot whose UDP ports are mapped.
pub const CALLER: Interface = bound(24, 12, 8, Delivery::VETH_PEER, MAPPED);
/// Another one.
pub const CALLER_2: Interface = bound(25, 13, 9, Delivery::VETH_PEER, MAPPED);
/// A slot with few ports.
pub const CROWD: Interface = bound(26, 14, 10, Delivery::VETH_PEER, FEW);
/// A slot in the office.
pub const CLERK: Interface = bound(27, 15, 11, Delivery::VETH_PEER, OFFICES);
/// A slot whose connector has no ENI.
pub const HERMIT: Interface = bound(28, 16, 12, Delivery::VETH_PEER, NONE_YET);
/// All of them.
pub const BOUND: [Interface; 9] = [FN_1, FN_2, LAB_FN, LODGER, CALLER, CALLER_2, CROWD, CLERK, HERMIT];

/// The gateway of prod's and lab's ENIs.
pub const EXIT: Party = Party { mac: DOOR, ip: Ip4([198, 51, 100, 254]), port: 0 };
/// Its IPv6 side.
pub const EXIT_6: Party<Ip6> = Party { mac: DOOR, ip: ip6(LINK_6, 254), port: 0 };
/// The router that leads to [`BRANCH`].
pub const BACK: Party = Party { mac: BYSTANDER, ip: Ip4([198, 51, 100, 253]), port: 0 };
/// Its IPv6 side.
pub const BACK_6: Party<Ip6> = Party { mac: BYSTANDER, ip: ip6(LINK_6, 253), port: 0 };

/// A server behind the gateway, as it is on the wire.
pub const SERVER: Party = Party { mac: DOOR, ip: Ip4([203, 0, 113, 80]), port: 443 };
/// A server on the link.
pub const NEIGHBOUR: Party =
    Party { mac: Mac([0x02, 0xcc, 0, 0, 0, 7]), ip: Ip4([198, 51, 100, 77]), port: 443 };
/// A server that a route leads to.
pub const BRANCH: Party = Party { mac: BYSTANDER, ip: Ip4([10, 9, 3, 7]), port: 443 };
/// A server behind the office's gateway.
pub const COLLEAGUE: Party = SERVER;
/// As [`SERVER`].
pub const SERVER_6: Party<Ip6> = Party { mac: DOOR, ip: ip6(0x2001_0db8_0000_0113, 80), port: 443 };
/// As [`NEIGHBOUR`].
pub const NEIGHBOUR_6: Party<Ip6> = Party { mac: NEIGHBOUR.mac, ip: ip6(LINK_6, 77), port: 443 };
/// As [`BRANCH`].
pub const BRANCH_6: Party<Ip6> = Party { mac: BYSTANDER, ip: ip6(0x2001_0db8_0009_0000, 7), port: 443 };

/// A sandbox's end of a flow outwards.
pub const OUT: Party = SANDBOX.port(50_000);
/// The same over IPv6.
pub const OUT_6: Party<Ip6> = SANDBOX_6.port(50_000);
/// The first ENI, as it is on the wire, at a port of its own.
pub const OUTSIDE: Party = Party { mac: ENI_1.mac, ip: ENI_1.local, port: 20_000 };
/// The same over IPv6.
pub const OUTSIDE_6: Party<Ip6> = Party { mac: ENI_1.mac, ip: ENI_1.local6, port: 20_000 };
/// The first ENI's second address.
pub const SECONDARY: Party = OUTSIDE.ip(198, 51, 100, 102);
/// The same over IPv6.
pub const SECONDARY_6: Party<Ip6> = Party { ip: ip6(LINK_6, 102), ..OUTSIDE_6 };

/// How long a port of the connectors rests, but for those of [`FEW`].
pub const REST: Seconds = Seconds(60);
/// How long a port of [`FEW`] rests.
pub const FEW_REST: Seconds = Seconds(20);
/// How long TCP outwards may be silent.
pub const OUT_TCP_IDLE: Seconds = Seconds(300);
/// How long UDP outwards may be silent.
pub const OUT_UDP_IDLE: Seconds = Seconds(90);
/// The block of ports of [`FEW_1`]; [`FEW_2`] has the next one.
pub const FEW_BLOCK: PortBlock = PortBlock(300);

const LINK_6: u64 = 0x2001_0db8_0000_0051;
/// Blocks below the ports that the kernel gives the host's own connections, from 32768 on.
const HOSTS_PORTS: u16 = 496;

const fn eni(id: u32, uplink: Interface, connector: ConnectorId, host: u8) -> Interface {
    Interface {
        egress: Egress { id: InterfaceId(id), ..uplink.egress },
        local: Ip4([198, 51, 100, host]),
        on_link: 24,
        gateway: EXIT.ip,
        local6: ip6(LINK_6, host as u64),
        on_link6: 64,
        gateway6: EXIT_6.ip,
        connector,
        ..uplink
    }
}

const fn bound(id: u32, ifindex: u32, binding: u32, delivery: Delivery, connector: ConnectorId) -> Interface {
    Interface { connector, ..slot(id, ifindex, binding, delivery) }
}

/// Which uplink an ENI is on.
#[must_use]
pub fn uplink_of(eni: Interface) -> Interface {
    let is_its = |uplink: &Interface| uplink.zone == eni.zone;
    [PROD, LAB, OFFICE].into_iter().find(is_its).expect("an ENI is on an uplink")
}

/// Fills in what leads outwards.
pub(super) fn connect(image: &mut Image) {
    image.enis = enis();
    image.connectors = BTreeMap::from([
        (FUNCTIONS, of(PROD, &[(ENI_1, ENI_1.local), (ENI_1, SECONDARY.ip), (ENI_2, ENI_2.local)], WHOLE)),
        (LABS, of(LAB, &[(LAB_ENI, LAB_ENI.local)], WHOLE)),
        (HOSTS, of(PROD, &[(HOST_ENI, HOST_ENI.local)], (PortBlock(0), HOSTS_PORTS))),
        (MAPPED, of(PROD, &[(MAPPED_ENI, MAPPED_ENI.local)], WHOLE)),
        (FEW, of(PROD, &[(FEW_1, FEW_1.local), (FEW_2, FEW_2.local)], (FEW_BLOCK, 1))),
        (OFFICES, of(OFFICE, &[(OFFICE_ENI, OFFICE_ENI.local)], WHOLE)),
        (NONE_YET, of(PROD, &[], WHOLE)),
    ]);
    let connector = |image: &mut Image, id, change: fn(&mut ConnectorImage)| {
        image.connectors.get_mut(&id).into_iter().for_each(change);
    };
    connector(image, MAPPED, |it| it.connector.maps_udp = 1);
    connector(image, HOSTS, |it| it.v6.clear());
    connector(image, FEW, |it| {
        it.connector.rest = FEW_REST;
        let PortBlock(first) = FEW_BLOCK;
        for source in it.v4.iter_mut().skip(1).chain(it.v6.iter_mut().skip(1)) {
            source.first = PortBlock(first + 1);
        }
    });
    let [v4, v6] = [(Ip4([10, 9, 0, 0]).mapped(), 96 + 16), (ip6(0x2001_0db8_0009_0000, 0), 48)];
    for ((destination, bits), via) in [(v4, BACK.ip.mapped()), (v6, BACK_6.ip)] {
        image.routes.insert(Route { zone: PROD.zone, destination, bits }, via);
    }
}

const WHOLE: (PortBlock, u16) = (PortBlock(0), PortBlock::COUNT);

fn of(uplink: Interface, enis: &[(Interface, Ip4)], (first, blocks): (PortBlock, u16)) -> ConnectorImage {
    let source = |eni: Interface, address| Source {
        address,
        eni: eni.egress.id,
        uplink: uplink.egress.id,
        first,
        blocks,
    };
    let connector = Connector {
        zone: uplink.zone,
        tcp_idle: OUT_TCP_IDLE,
        udp_idle: OUT_UDP_IDLE,
        rest: REST,
        ..Connector::default()
    };
    let v4 = enis.iter().map(|(eni, address)| source(*eni, address.mapped())).collect();
    let v6 = enis.iter().map(|(eni, address)| source(*eni, sister(*eni, *address))).collect();
    ConnectorImage { connector, v4, v6, ..ConnectorImage::default() }
}

/// The IPv6 address beside an IPv4 one.
fn sister(eni: Interface, address: Ip4) -> Ip6 {
    if address == eni.local { eni.local6 } else { SECONDARY_6.ip }
}

fn enis() -> BTreeMap<Vip, Owner> {
    let mut owners = BTreeMap::new();
    for eni in ENIS {
        let owner = if eni == HOST_ENI { Owner::HOST } else { Owner::eni(eni.egress.id) };
        let mut own = |address| owners.insert(Vip { address, zone: eni.zone }, owner);
        own(eni.local.mapped());
        if eni.local6 != Ip6::default() {
            own(eni.local6);
        }
        if eni == ENI_1 {
            own(SECONDARY.ip.mapped());
            own(SECONDARY_6.ip);
        }
    }
    owners
}

/// Which stations the ENIs' gateways are.
pub(super) fn next_hops() -> BTreeMap<NextHopId, Mac> {
    let known = ENIS.into_iter().filter(|eni| *eni != OFFICE_ENI);
    let gateways = known.flat_map(|eni| {
        let has_v6 = eni.gateway6 != Ip6::default();
        let gateway6 = has_v6.then(|| NextHopId::gateway6(eni.egress.id));
        gateway6.into_iter().chain([NextHopId::gateway(eni.egress.id)])
    });
    gateways.map(|id| (id, DOOR)).collect()
}

/// How long a flow of a connector's may be silent.
#[must_use]
pub const fn out_idle(protocol: u8) -> Seconds {
    match protocol {
        TCP => OUT_TCP_IDLE,
        UDP => OUT_UDP_IDLE,
        _ => TIMES.icmp_query,
    }
}

/// An established flow of the sandbox in `slot` to `remote`, which leaves by `eni` as `outside`: heard a moment ago, and
/// with some packets in both directions. Its packets go to `station`.
#[must_use]
pub fn out_flow<A: InTown>(
    protocol: u8,
    (slot, inside, remote): (Interface, Party<A>, Party<A>),
    (eni, outside): (Interface, Party<A>),
    to: Hop,
) -> FlowImage<A::Key> {
    let there = Ends { src: inside.ip, dst: remote.ip, sport: inside.l4(), dport: remote.l4() };
    let back = Ends { src: remote.ip, dst: outside.ip, sport: remote.l4(), dport: outside.l4() };
    let carried = |packets, bytes| Counts { packets, bytes };
    let side = |hop, counts| Some(SideImage { hop, counts, acknowledged: 0 });
    let from = Hop::new(slot.egress.id, remote.mac);
    FlowImage {
        keys: [A::Key::new(there, protocol, slot.zone), A::Key::new(back, protocol, eni.zone)],
        sides: [side(to, carried(3, 180)), side(from, carried(2, 120))],
        phase: Phase::Established,
        fins: [false; 2],
        seen: Now(NOW.0 - 8),
        opened: Now(NOW.0 - 80),
        idle: out_idle(protocol),
        expected: 0,
        shifts: [0; 2],
        port: PortUse::OWN,
        rest: REST,
        account: Account::NOBODYS,
        tells_idle: 0,
    }
}

/// By an ENI to its own gateway.
#[must_use]
pub const fn by_gateway(eni: Interface) -> Hop {
    Hop::to_next_hop(eni.egress.id, NextHopId::gateway(eni.egress.id))
}

/// The same over IPv6.
#[must_use]
pub const fn by_gateway6(eni: Interface) -> Hop {
    Hop::to_next_hop(eni.egress.id, NextHopId::gateway6(eni.egress.id))
}

/// The flow of [`OUT`] to [`SERVER`], over any protocol with ports.
#[must_use]
pub fn server_flow(protocol: u8) -> FlowImage<Key4> {
    out_flow(protocol, (FN_1, OUT, SERVER), (ENI_1, OUTSIDE), by_gateway(ENI_1))
}

/// The flow of [`OUT_6`] to [`SERVER_6`].
#[must_use]
pub fn server_flow_6(protocol: u8) -> FlowImage<Key6> {
    out_flow(protocol, (FN_1, OUT_6, SERVER_6), (ENI_1, OUTSIDE_6), by_gateway6(ENI_1))
}

/// The flow of [`OUT`]'s echo requests to [`SERVER`], whose identifier is its port.
#[must_use]
pub fn echo_flow() -> FlowImage<Key4> {
    out_flow(ICMP, (FN_1, OUT, SERVER.port(0)), (ENI_1, OUTSIDE), by_gateway(ENI_1))
}

/// The same over IPv6.
#[must_use]
pub fn echo_flow_6() -> FlowImage<Key6> {
    out_flow(ICMPV6, (FN_1, OUT_6, SERVER_6.port(0)), (ENI_1, OUTSIDE_6), by_gateway6(ENI_1))
}
