//! What is said when, on a wire that only notes it.

use super::*;
use crate::config::OwnAddress;
use crate::config::tests::{SMALL, config};
use crate::host::Filter;
use crate::plan::{Point, Wanted, WantedUplink};
use crate::pool::Pool;
use std::cell::{Cell, RefCell};
use weir_path::addr::{Address, InterfaceId, Ip4, Ip6};
use weir_path::tables::{ConnectorId, Egress};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
const OWN: Ip4 = Ip4([10, 0, 0, 5]);
const GATEWAY: Ip4 = Ip4([10, 0, 0, 1]);

/// Notes every frame; may be cut, and knows gateways once they are said to have answered.
#[derive(Default)]
struct Wire {
    heard: RefCell<Vec<(IfIndex, Vec<u8>)>>,
    is_cut: Cell<bool>,
    answered: Cell<Option<Mac>>,
}

impl Wire {
    /// How many frames came since this was last asked.
    fn count(&self) -> usize {
        self.heard.take().len()
    }
}

impl Voice for Wire {
    fn transmit(&self, device: IfIndex, frame: &[u8]) -> Result<(), Error> {
        if self.is_cut.get() {
            return Err(Error::NoDevice { ifindex: device });
        }
        self.heard.borrow_mut().push((device, frame.to_vec()));
        Ok(())
    }

    fn next_hop(&self, _: NextHopId) -> Result<Option<Mac>, Error> {
        Ok(self.answered.get())
    }
}

/// Uplinks on these devices, all in the VPC of [`SMALL`]'s listener.
fn wanted(devices: &[u32]) -> Wanted {
    let zone = config(SMALL).vpcs[0].zone;
    let uplink = |device: &u32| WantedUplink {
        place: 0,
        ifindex: IfIndex(*device),
        mac: MAC,
        zone,
        point: Point::Tc,
        vlan: VlanTag::NONE,
        mtu: 1_500,
        own: None,
        own6: None,
        gateway: None,
        gateway6: None,
    };
    Wanted { uplinks: devices.iter().map(uplink).collect(), slots: vec![], enis: vec![] }
}

fn claimed(devices: &[u32]) -> BTreeSet<Claim> {
    claims(&config(SMALL), &wanted(devices), &Pool::default())
}

fn with_gateway() -> Interface {
    Interface {
        egress: Egress { ifindex: IfIndex(2), id: InterfaceId(3), ..Egress::default() },
        mac: MAC,
        local: OWN,
        gateway: GATEWAY,
        ..Interface::default()
    }
}

#[test]
fn an_address_is_announced_on_every_uplink_of_its_vpc_and_once() {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    neighbours.renew(&claimed(&[2, 3]), &[], &wire);
    let station = Station { mac: MAC, vlan: VlanTag::NONE };
    let frame = station.announce(Ip4([198, 51, 100, 10]).mapped());
    assert_eq!(wire.heard.take(), [(IfIndex(2), frame.clone()), (IfIndex(3), frame)]);
    assert!(!neighbours.have_to_speak());

    neighbours.renew(&claimed(&[2, 3, 4]), &[], &wire);
    assert_eq!(wire.heard.take().iter().map(|(device, _)| device.0).collect::<Vec<_>>(), [4]);
    neighbours.renew(&claimed(&[4]), &[], &wire);
    neighbours.renew(&claimed(&[2, 4]), &[], &wire);
    assert_eq!(wire.count(), 1, "what was taken away and came back is new");
}

#[test]
fn an_own_address_is_announced_on_its_uplink_alone() {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    let mut wanted = wanted(&[2, 3]);
    wanted.uplinks[0].own = Some(OwnAddress { address: OWN, prefix_len: 24, gateway: None });
    neighbours.renew(&claims(&config(SMALL), &wanted, &Pool::default()), &[], &wire);
    let devices: Vec<_> = wire.heard.take().into_iter().map(|(device, _)| device.0).collect();
    assert_eq!(devices, [2, 2, 3]);
}

#[test]
fn what_could_not_be_said_is_said_later() {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    wire.is_cut.set(true);
    neighbours.renew(&claimed(&[2]), &[], &wire);
    neighbours.next_round(&wire);
    assert!(neighbours.have_to_speak() && wire.count() == 0);
    wire.is_cut.set(false);
    neighbours.next_round(&wire);
    assert_eq!((wire.count(), neighbours.have_to_speak()), (1, false));
}

#[test]
fn a_gateway_is_asked_for_at_once_then_each_round_until_it_answers_and_every_tenth_afterwards() {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    neighbours.renew(&BTreeSet::new(), &[with_gateway()], &wire);
    let station = Station { mac: MAC, vlan: VlanTag::NONE };
    let question = station.ask(OWN.mapped(), GATEWAY.mapped());
    assert_eq!(wire.heard.take(), [(IfIndex(2), question)]);
    for _ in 0..3 {
        neighbours.next_round(&wire);
        assert_eq!(wire.count(), 1);
    }
    wire.answered.set(Some(Mac([2; 6])));
    let asked: Vec<_> = (4..=30)
        .filter(|_| {
            neighbours.next_round(&wire);
            wire.count() == 1
        })
        .collect();
    assert_eq!(asked, [10, 20, 30]);
}

#[test]
fn a_gateway_that_stays_is_not_asked_for_again_at_a_reload_and_one_that_changes_is() {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    let mut renew = |uplink: Interface| {
        neighbours.renew(&BTreeSet::new(), &[uplink], &wire);
        wire.count()
    };
    assert_eq!(renew(with_gateway()), 1);
    assert_eq!(renew(Interface { mtu: 1_400, ..with_gateway() }), 0);
    assert_eq!(renew(Interface { gateway: Ip4([10, 0, 0, 2]), ..with_gateway() }), 1);
    let gateway6 = Ip6([0xfe; 16]);
    let v6_alone = Interface { gateway: Ip4::default(), local6: Ip6([0xfd; 16]), gateway6, ..with_gateway() };
    assert_eq!(renew(v6_alone), 1);
}

/// An ENI beside [`with_gateway`].
fn eni(id: u32, gateway: Ip4) -> Interface {
    let mac = Mac::of_eni(id);
    let egress = Egress { id: InterfaceId(id), ..with_gateway().egress };
    let local = Ip4([10, 0, 0, id as u8]);
    Interface { egress, mac, local, gateway, connector: ConnectorId(1), ..with_gateway() }
}

/// Who is asked for, in the order of the next hops, and as whom.
fn asked(links: &[Interface]) -> Vec<(NextHopId, Mac, Ip6)> {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    neighbours.renew(&BTreeSet::new(), links, &wire);
    assert_eq!(wire.count(), neighbours.gateways.len());
    neighbours.gateways.iter().map(|(id, it)| (*id, it.station.mac, it.own)).collect()
}

#[test]
fn an_eni_asks_for_its_gateway_where_its_uplink_has_another() {
    let gateway = |id| NextHopId::gateway(InterfaceId(id));
    let uplink = (gateway(3), MAC, OWN.mapped());
    assert_eq!(asked(&[with_gateway(), eni(8, GATEWAY)]), [uplink]);
    let other = (gateway(8), Mac::of_eni(8), Ip4([10, 0, 0, 8]).mapped());
    assert_eq!(asked(&[with_gateway(), eni(8, Ip4([10, 0, 0, 2]))]), [uplink, other]);
}

#[test]
fn an_uplink_without_an_address_asks_as_one_of_its_enis() {
    let without = Interface { local: Ip4::default(), ..with_gateway() };
    assert_eq!(asked(&[without]), []);
    let by_eni = (NextHopId::gateway(InterfaceId(3)), Mac::of_eni(8), Ip4([10, 0, 0, 8]).mapped());
    assert_eq!(asked(&[without, eni(8, GATEWAY), eni(9, GATEWAY)]), [by_eni]);
}

#[test]
fn an_address_that_moves_to_another_uplink_is_announced_there() {
    let (mut neighbours, wire) = (Neighbours::default(), Wire::default());
    let on = |device, mac| {
        let station = Station { mac, vlan: VlanTag::NONE };
        BTreeSet::from([Claim { device: IfIndex(device), station, address: OWN.mapped() }])
    };
    for (claims, announced) in
        [(on(2, MAC), 1), (on(2, MAC), 0), (on(3, MAC), 1), (on(3, Mac::of_eni(1)), 1), (on(2, MAC), 1)]
    {
        neighbours.renew(&claims, &[], &wire);
        assert_eq!(wire.count(), announced);
    }
}

#[test]
fn devices_let_in_macs_that_are_not_theirs_and_the_groups_of_ipv6_addresses() {
    let v6 = Ip6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    let claim = |mac, address| {
        let station = Station { mac, vlan: VlanTag::NONE };
        Claim { device: IfIndex(2), station, address }
    };
    let claims = [claim(MAC, OWN.mapped()), claim(Mac::of_eni(7), OWN.mapped()), claim(MAC, v6)];
    let let_in: Vec<_> = filters(&claims.into(), &wanted(&[2])).into_iter().collect();
    let filter = |mac| Filter { device: IfIndex(2), mac };
    assert_eq!(let_in, [filter(Mac::of_eni(7)), filter(Mac([0x33, 0x33, 0xff, 1, 2, 3]))]);
}
