//! Which gateways are asked for, and as whom.

use super::frames::Station;
use std::collections::BTreeMap;
use weir_path::addr::{Address, IfIndex, InterfaceId, Ip4, Ip6, Mac};
use weir_path::tables::{Interface, NextHopId};

/// A gateway of an uplink or an ENI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gateway {
    pub(super) device: IfIndex,
    /// Who asks for it.
    pub(super) station: Station,
    /// By which address.
    pub(super) own: Ip6,
    pub(super) address: Ip6,
    /// Who it was when it was last looked up.
    pub(super) known: Option<Mac>,
    /// Whether it was asked for, so that silence means something.
    pub(super) was_asked: bool,
    /// Whether it was said that it does not answer.
    pub(super) is_missed: bool,
}

impl Gateway {
    /// Whether nothing has changed in how it is asked for.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let Self { device, station, own, address, .. } = *other;
        (self.device, self.station, self.own, self.address) == (device, station, own, address)
    }
}

/// One family's addresses of an interface.
struct Addresses {
    own: Option<Ip6>,
    gateway: Option<Ip6>,
}

fn v4(link: &Interface) -> Addresses {
    let address = |it: Ip4| (it != Ip4::default()).then(|| it.mapped());
    Addresses { own: address(link.local), gateway: address(link.gateway) }
}

fn v6(link: &Interface) -> Addresses {
    let address = |it: Ip6| (it != Ip6::default()).then_some(it);
    Addresses { own: address(link.local6), gateway: address(link.gateway6) }
}

/// The gateways of these uplinks and ENIs.
pub(super) fn gateways(links: &[Interface]) -> BTreeMap<NextHopId, Gateway> {
    let of = |addresses: fn(&Interface) -> Addresses, id: fn(InterfaceId) -> NextHopId| {
        links.iter().filter_map(move |it| Some((id(it.egress.id), gateway(it, links, addresses)?)))
    };
    of(v4, NextHopId::gateway).chain(of(v6, NextHopId::gateway6)).collect()
}

/// An ENI that has its uplink's gateway goes by what is known of that one. An uplink without an address of its own asks
/// as one of its ENIs.
fn gateway(link: &Interface, links: &[Interface], of: impl Fn(&Interface) -> Addresses) -> Option<Gateway> {
    let address = of(link).gateway?;
    let is_beside = |it: &Interface| (it.egress.ifindex, it.vlan) == (link.egress.ifindex, link.vlan);
    let sharing = || links.iter().filter(|it| is_beside(it) && of(it).gateway == Some(address));
    if link.is_eni() && sharing().any(|it| !it.is_eni()) {
        return None;
    }
    let mut askers = std::iter::once(link).chain(sharing());
    let (mac, own) = askers.find_map(|it| Some((it.mac, of(it).own?)))?;
    let station = Station { mac, vlan: link.vlan };
    let device = link.egress.ifindex;
    Some(Gateway { device, station, own, address, known: None, was_asked: false, is_missed: false })
}
