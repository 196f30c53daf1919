//! The town that packets are measured in: a VIP with one listener, one sandbox, and any number of clients.

use crate::Outcome;
use weir_dataplane::Tables;
use weir_dataplane::flows::{FlowState, SideState, Stored};
use weir_dataplane::image::{GroupImage, Image};
use weir_path::addr::{Address, IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac, Zone};
use weir_path::flow::{Ends, Hop, Key, Key4, Key6, Life, Meta, Phase, RecordId, Side, Stamp, V4, V6};
use weir_path::tables::{Delivery, Egress, Forward, GroupId, Interface, Listener, Target, Vip};
use weir_path::time::{Now, Seconds, Times};

/// The device that packets of test runs come in by, as the uplink.
pub const UPLINK: IfIndex = IfIndex(1);
/// The device that they come in by as the slot. Nothing is sent: any that is there will do.
pub const SLOT: IfIndex = IfIndex(2);
pub(crate) const UPLINK_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
pub(crate) const SANDBOX_MAC: Mac = Mac([2, 0x57, 0x45, 0x49, 0x52, 2]);
pub(crate) const GATEWAY_MAC: Mac = Mac([2, 0x57, 0x45, 0x49, 0x52, 1]);
pub(crate) const VIP_PORT: u16 = 80;
pub(crate) const SANDBOX_PORT: u16 = 8080;
pub(crate) const TCP: u8 = 6;
/// As many Maglev cells as a group of one target has.
const CELLS: usize = 101;
/// The time, where none needs to pass.
pub const NOON: Now = Now(1 << 20);
/// How far ahead the next look at a record may lie: nearly the most that sixteen bits of seconds can tell.
pub(crate) const FAR: u16 = 30_000;
const SANDBOX4: Ip4 = Ip4([169, 254, 100, 2]);
const SANDBOX6: Ip6 = Ip6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa9, 0xfe, 0x64, 2]);

/// What differs between the families.
pub trait Town: Stored<Address: Address> {
    /// The VIP's address.
    const VIP: Self::Address;
    /// The sandbox's address.
    const SANDBOX: Self::Address;

    /// The client that opens flow `n`, as the harness has it too.
    fn client(n: u32) -> Self::Address;

    /// The nth address of the ENIs.
    fn eni(nth: u8) -> Self::Address;

    /// The bytes of an address.
    fn bytes(address: Self::Address) -> Vec<u8>;

    /// Ethertype and IP header of a TCP segment without data, up to the addresses.
    fn header() -> Vec<u8>;

    /// Enters flows into the tables.
    ///
    /// # Errors
    /// What the kernel refused.
    fn insert(tables: &Tables, flows: &[FlowState<Self::Key>]) -> Outcome<()>;
}

macro_rules! town {
    ($Family:ident, $Address:ident, $Key:ident, $vip:expr, $sandbox:expr, $client:expr, $header:expr) => {
        impl Town for $Family {
            const VIP: $Address = $Address($vip);
            const SANDBOX: $Address = $sandbox;

            fn client(n: u32) -> $Address {
                let mut address = $client;
                let last = address.last_chunk_mut::<4>();
                last.into_iter().for_each(|last| *last = (0x0a00_0000 | (n >> 14)).to_be_bytes());
                $Address(address)
            }

            fn eni(nth: u8) -> $Address {
                let mut address = $vip;
                address.last_mut().into_iter().for_each(|last| *last = 20 + nth);
                $Address(address)
            }

            fn bytes(address: $Address) -> Vec<u8> {
                address.0.to_vec()
            }

            fn header() -> Vec<u8> {
                $header.to_vec()
            }

            fn insert(tables: &Tables, flows: &[FlowState<$Key>]) -> Outcome<()> {
                Ok(tables.insert_flows::<$Family>(flows)?)
            }
        }
    };
}

town!(
    V4,
    Ip4,
    Key4,
    [198, 51, 100, 10],
    SANDBOX4,
    [0; 4],
    [0x08, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0]
);
town!(
    V6,
    Ip6,
    Key6,
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
    SANDBOX6,
    [0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, 64]
);

/// Where the sandbox is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Behind a slot of its own, as in life.
    BehindItsSlot,
    /// Behind the uplink's own device, so that one test run can play both sides.
    BehindTheUplink,
}

impl Place {
    pub(crate) fn slot(self) -> Interface {
        match self {
            Self::BehindItsSlot => Interface {
                egress: Egress { ifindex: SLOT, id: InterfaceId(1), delivery: Delivery::TRANSMIT },
                mac: GATEWAY_MAC,
                zone: Zone::of_binding(1).unwrap_or_default(),
                ..uplink()
            },
            Self::BehindTheUplink => uplink(),
        }
    }
}

/// Writes interfaces, a listener of each family, and the time.
///
/// # Errors
/// What the kernel refused.
pub fn settle(tables: &Tables, place: Place) -> Outcome<()> {
    tables.set_interface(&uplink())?;
    tables.set_interface(&place.slot())?;
    tables.set_now(NOON);
    let slot = place.slot().egress.id;
    let target = Target::in_slot(slot, L4Port::new(SANDBOX_PORT));
    let group = GroupImage { targets: vec![target], cells: vec![0; CELLS] };
    let mut image = Image { groups: vec![group], times: Times::DEFAULT, ..Image::default() };
    for address in [V4::VIP.mapped(), V6::VIP.mapped()] {
        let vip = Vip { address, zone: uplink().zone };
        let forward = Forward::to(GroupId(0), Times::TCP_IDLE);
        image.vips.insert(vip);
        image
            .listeners
            .insert(Listener { vip, port: L4Port::new(VIP_PORT), protocol: TCP, zero: 0 }, forward);
    }
    tables.apply(&image)?;
    Ok(())
}

pub(crate) fn uplink() -> Interface {
    Interface {
        egress: Egress { ifindex: UPLINK, id: InterfaceId(0), delivery: Delivery::TRANSMIT },
        mac: UPLINK_MAC,
        peer_mac: SANDBOX_MAC,
        address: SANDBOX4,
        local: Ip4([169, 254, 100, 1]),
        address6: SANDBOX6,
        zone: Zone::of_vpc(1).unwrap_or_default(),
        mtu: 1500,
        answers: u32::MAX / 8,
        ..Interface::default()
    }
}

/// The client's port in flow `n`, as the harness has it too.
#[must_use]
pub fn client_port(n: u32) -> L4Port {
    L4Port::new(1024 + (n & 0x3fff) as u16)
}

/// Flow `n` as the nth record, established and heard at this time. No packet has to look at the record for hours.
#[must_use]
pub fn established<T: Town>(n: u32, record: u32, heard: Now) -> FlowState<T::Key> {
    let record = RecordId(record);
    let slot = Place::BehindItsSlot.slot();
    let (client, port) = (T::client(n), client_port(n));
    let to_vip = Ends { src: client, dst: T::VIP, sport: port, dport: L4Port::new(VIP_PORT) };
    let answer = Ends { src: T::SANDBOX, dst: client, sport: L4Port::new(SANDBOX_PORT), dport: port };
    let side = |side, hop| SideState {
        hop,
        stamp: Stamp::new(record, 1, side, heard).due_in(NOON, FAR),
        ..SideState::default()
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, 1, heard),
        keys: [T::Key::new(to_vip, TCP, uplink().zone), T::Key::new(answer, TCP, slot.zone)],
        meta: Meta { opened: heard, idle: Seconds(Times::TCP_IDLE.0), ..Meta::default() },
        sides: [
            side(Side::Original, Hop::new(slot.egress.id, CLIENT_MAC)),
            side(Side::Reply, Hop::new(InterfaceId(0), CLIENT_MAC)),
        ],
    }
}

/// The numbers below `count`, in an order of no pattern, the same every time (xorshift, Fisher-Yates).
#[must_use]
pub fn shuffled(count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut random = 0x1234_5678_9abc_def1_u64;
    for last in (1..order.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(last, (random % (last as u64 + 1)) as usize);
    }
    order
}
