//! The town's sandbox opens flows outwards: its slot, an ENI with a few addresses, and any number of remotes.
//!
//! Flows are numbered: first all that go to remote 0, one from each port of the sandbox, then those to remote 1.

use crate::Outcome;
use crate::frames::{Ports, Shot, Varying, shot};
use crate::harness::Harness;
use crate::town::{
    self, CLIENT_MAC, FAR, GATEWAY_MAC, NOON, Place, SANDBOX_MAC, TCP, Town, UPLINK, UPLINK_MAC,
};
use weir_dataplane::Tables;
use weir_dataplane::flows::{FlowState, SideState};
use weir_dataplane::image::{ConnectorImage, Image};
use weir_path::addr::{Address, InterfaceId, Ip4, Ip6, L4Port};
use weir_path::flow::{Ends, Hop, Key, Life, Meta, Phase, PortUse, RecordId, Side, Stamp, V4, V6};
use weir_path::tables::{
    Connector, ConnectorId, Delivery, Egress, Interface, NextHopId, Owner, PortBlock, Source, Vip,
};
use weir_path::time::{Seconds, Times};

/// How many ports an ENI's address has.
pub const PORTS: u32 = PortBlock::COUNT as u32 * PortBlock::PORTS;
/// Where remotes serve.
const SERVICE: u16 = 443;
const CONNECTOR: ConnectorId = ConnectorId(1);
const UPLINK_ID: InterfaceId = InterfaceId(0);
const ENI_ID: InterfaceId = InterfaceId(2);
const GATEWAY4: Ip4 = Ip4([198, 51, 100, 1]);
const GATEWAY6: Ip6 = Ip6([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// What differs between the pools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How many addresses the ENI has, of each family.
    pub addresses: u8,
    /// How long ports rest.
    pub rest: Seconds,
}

impl Terms {
    /// One address, whose ports don't rest: what is ended leaves the port free at once.
    pub const ONE_ADDRESS: Self = Self { addresses: 1, rest: Seconds(0) };
}

/// Writes interfaces, the connector with its addresses, and who the gateway is.
///
/// # Errors
/// What the kernel refused.
pub fn settle(tables: &Tables, terms: Terms) -> Outcome<()> {
    let gateways = |interface| Interface { gateway: GATEWAY4, gateway6: GATEWAY6, ..interface };
    let slot = Place::BehindItsSlot.slot();
    tables.set_interface(&gateways(town::uplink()))?;
    tables.set_interface(&Interface { connector: CONNECTOR, ..slot })?;
    tables.set_interface(&gateways(Interface {
        egress: Egress { ifindex: UPLINK, id: ENI_ID, delivery: Delivery::TRANSMIT },
        address: Ip4::default(),
        address6: Ip6::default(),
        peer_mac: Default::default(),
        local: V4::eni(0),
        local6: V6::eni(0),
        connector: CONNECTOR,
        ..town::uplink()
    }))?;
    tables.set_next_hop(NextHopId::gateway(UPLINK_ID), CLIENT_MAC)?;
    tables.set_next_hop(NextHopId::gateway6(UPLINK_ID), CLIENT_MAC)?;
    tables.apply(&image(terms))?;
    Ok(())
}

fn image(terms: Terms) -> Image {
    let source = |address| Source {
        address,
        eni: ENI_ID,
        uplink: UPLINK_ID,
        first: PortBlock(0),
        blocks: PortBlock::COUNT,
    };
    let connector = Connector {
        zone: town::uplink().zone,
        tcp_idle: Times::TCP_IDLE,
        udp_idle: Times::UDP_IDLE,
        rest: terms.rest,
        ..Connector::default()
    };
    let v4: Vec<Source> = (0..terms.addresses).map(|nth| source(V4::eni(nth).mapped())).collect();
    let v6: Vec<Source> = (0..terms.addresses).map(|nth| source(V6::eni(nth).mapped())).collect();
    let mut image = Image { times: Times::DEFAULT, ..Image::default() };
    for source in v4.iter().chain(&v6) {
        let vip = Vip { address: source.address, zone: connector.zone };
        image.enis.insert(vip, Owner::eni(ENI_ID));
    }
    image.connectors.insert(CONNECTOR, ConnectorImage { connector, v4, v6, ..ConnectorImage::default() });
    image
}

/// All ports of the sandbox that an ENI's address has as well.
pub const ALL: Ports = Ports { first: PortBlock::FIRST_PORT, count: PORTS, are_listed: false };
/// Ports of the sandbox that are not among [`ALL`]: of flows that come too late.
pub const OTHERS: Ports = Ports { first: 1, count: 1_000, are_listed: false };

/// The packets of a flow that the sandbox opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outward {
    /// The sandbox opens.
    Syn,
    /// The remote refuses.
    Refusal,
    /// The sandbox's acknowledgement.
    Ack,
    /// The remote's.
    AckBack,
}

impl Outward {
    /// Whether it comes from the remote.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::Refusal | Self::AckBack)
    }

    /// Sequence and acknowledgement number, and control bits.
    const fn says(self) -> (u32, u32, u8) {
        match self {
            Self::Syn => (1_000, 0, 0x02),
            Self::Refusal => (0, 1_001, 0x14),
            Self::Ack => (1_001, 5_001, 0x10),
            Self::AckBack => (5_001, 1_001, 0x10),
        }
    }

    /// The frame; `ports` are the sandbox's, or in answers the ENI's.
    #[must_use]
    pub fn shot<T: Town>(self, ports: Ports) -> Shot {
        let remote = remote::<T>(0);
        let (macs, source, destination) = if self.is_reply() {
            ([UPLINK_MAC, CLIENT_MAC], remote, T::eni(0))
        } else {
            ([GATEWAY_MAC, SANDBOX_MAC], T::SANDBOX, remote)
        };
        let mut frame: Vec<u8> = macs.iter().flat_map(|mac| mac.0).collect();
        frame.extend(T::header());
        frame.extend(T::bytes(source));
        let behind_source = frame.len();
        frame.extend(T::bytes(destination));
        let l4 = frame.len();
        let (sequence, acknowledgement, flags) = self.says();
        let numbers = if self.is_reply() { [SERVICE, 0] } else { [0, SERVICE] };
        frame.extend(numbers.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend(sequence.to_be_bytes());
        frame.extend(acknowledgement.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let (behind_remote, port_at) = if self.is_reply() { (behind_source, l4 + 2) } else { (l4, l4) };
        shot(&frame, Varying { address_at: behind_remote - 4, port_at, ports })
    }
}

/// The nth remote.
fn remote<T: Town>(nth: u32) -> T::Address {
    T::client(nth << 14)
}

/// What both directions of flow `n` look like where they arrive, on the port of the ENI's that the sandbox has too.
#[must_use]
pub fn ends<T: Town>(n: u32) -> [Ends<T::Address>; 2] {
    let (remote, port) = (remote::<T>(n / PORTS), L4Port::new(PortBlock::FIRST_PORT + (n % PORTS) as u16));
    let service = L4Port::new(SERVICE);
    [
        Ends { src: T::SANDBOX, dst: remote, sport: port, dport: service },
        Ends { src: remote, dst: T::eni(0), sport: service, dport: port },
    ]
}

/// Flow `n` as the nth record, established. No packet has to look at the record for hours.
#[must_use]
pub fn established<T: Town>(n: u32, record: u32) -> FlowState<T::Key> {
    let record = RecordId(record);
    let [there, back] = ends::<T>(n);
    let slot = Place::BehindItsSlot.slot();
    let gateway = if T::IS_V6 { NextHopId::gateway6(UPLINK_ID) } else { NextHopId::gateway(UPLINK_ID) };
    let side = |side, hop| SideState {
        hop,
        stamp: Stamp::new(record, 1, side, NOON).due_in(NOON, FAR),
        ..SideState::default()
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, 1, NOON),
        keys: [T::Key::new(there, TCP, slot.zone), T::Key::new(back, TCP, town::uplink().zone)],
        meta: Meta { opened: NOON, idle: Times::TCP_IDLE, port: PortUse::OWN, ..Meta::default() },
        sides: [
            side(Side::Original, Hop::to_next_hop(ENI_ID, gateway)),
            side(Side::Reply, Hop::new(slot.egress.id, Default::default())),
        ],
    }
}

/// Tells the harness which port each flow to one remote has.
///
/// # Errors
/// What the kernel refused.
pub fn list_ports<T: Town>(harness: &mut Harness, tables: &Tables, nth_remote: u32) -> Outcome<()> {
    let remote = remote::<T>(nth_remote).mapped();
    let first = u32::from(PortBlock::FIRST_PORT);
    let flows = tables.flows();
    let to_remote = flows.iter().filter(|flow| flow.original.dst == remote);
    harness.list_ports(to_remote.filter_map(|flow| {
        let nth = u32::from(flow.original.sport.number()).checked_sub(first)?;
        Some(((nth_remote * PORTS + nth) % (1 << 16), flow.reply.dport))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FRAME;

    fn places(shot: Shot) -> [u32; 4] {
        [0, 4, 8, 12].map(|at| u32::from_ne_bytes(shot[FRAME + at..FRAME + at + 4].try_into().unwrap()))
    }

    #[test]
    fn what_differs_is_the_remotes_address_and_the_port_towards_it() {
        assert_eq!(places(Outward::Syn.shot::<V4>(ALL)), [30, 34, 1_024, 64_512]);
        assert_eq!(places(Outward::Refusal.shot::<V4>(ALL)), [26, 36, 1_024, 64_512]);
        assert_eq!(places(Outward::Syn.shot::<V6>(ALL)), [50, 54, 1_024, 64_512]);
        assert_eq!(places(Outward::AckBack.shot::<V6>(ALL)), [34, 56, 1_024, 64_512]);
    }

    #[test]
    fn the_flow_behind_the_last_port_goes_to_the_next_remote() {
        let [last, next] = [PORTS - 1, PORTS].map(|n| ends::<V4>(n)[0]);
        assert_eq!((last.sport, last.dst), (L4Port::new(65_535), Ip4([10, 0, 0, 0])));
        assert_eq!((next.sport, next.dst), (L4Port::new(1_024), Ip4([10, 0, 0, 1])));
    }
}
