//! Which addresses are Weir's on which link, and what a device must let in for them.

use super::frames::{Station, multicast_mac, solicited_nodes};
use crate::config::{Config, EniKind};
use crate::host::Filter;
use crate::plan::{Wanted, WantedUplink};
use crate::pool::{EniId, Pool};
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{Address, IfIndex, Ip6, Mac};

/// An address of Weir's on an uplink.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Claim {
    /// The uplink's device.
    pub(crate) device: IfIndex,
    /// Who has the address there.
    pub(crate) station: Station,
    /// The address; an IPv4 address is mapped.
    pub(crate) address: Ip6,
}

/// Each VIP on every uplink of its VPC, each uplink's own addresses there, and those of the ENIs on it.
pub(crate) fn claims(config: &Config, wanted: &Wanted, pool: &Pool) -> BTreeSet<Claim> {
    let mut claims = BTreeSet::new();
    for uplink in &wanted.uplinks {
        let vips = config.listeners.iter().filter(|it| it.zone == uplink.zone).map(|it| it.address.value);
        let own = uplink.own.map(|own| own.address.mapped());
        let own6 = uplink.own6.map(|own| own.address);
        let station = Station { mac: uplink.mac, vlan: uplink.vlan };
        let device = uplink.ifindex;
        claims.extend(vips.chain(own).chain(own6).map(|address| Claim { device, station, address }));
        for (station, addresses) in enis(uplink, wanted, pool) {
            claims.extend(addresses.map(|address| Claim { device, station, address }));
        }
    }
    claims
}

/// Who the ENIs on an uplink are, and their addresses. The host speaks for its own.
fn enis(
    uplink: &WantedUplink,
    wanted: &Wanted,
    pool: &Pool,
) -> impl Iterator<Item = (Station, impl Iterator<Item = Ip6>)> {
    let here: BTreeSet<EniId> =
        wanted.enis.iter().filter(|it| it.uplink == uplink.place).map(|it| it.id).collect();
    let own =
        pool.enis().filter(move |(entry, eni)| entry.key.enis == EniKind::Own && here.contains(&eni.id));
    own.map(|(entry, eni)| {
        let station = Station { mac: eni.mac(&entry.key).unwrap_or(uplink.mac), vlan: uplink.vlan };
        (station, eni.addresses.iter().map(|it| it.address))
    })
}

/// What uplinks' devices must let in besides their own MACs: the stations that Weir is there, and the groups that
/// neighbours ask for its IPv6 addresses.
pub(crate) fn filters(claims: &BTreeSet<Claim>, wanted: &Wanted) -> BTreeSet<Filter> {
    let own: BTreeMap<IfIndex, Mac> = wanted.uplinks.iter().map(|it| (it.ifindex, it.mac)).collect();
    let mut filters = BTreeSet::new();
    for Claim { device, station, address } in claims {
        let mac = Some(station.mac).filter(|mac| own.get(device) != Some(mac));
        let group = address.as_ip4().is_none().then(|| multicast_mac(solicited_nodes(*address)));
        filters.extend(mac.into_iter().chain(group).map(|mac| Filter { device: *device, mac }));
    }
    filters
}
