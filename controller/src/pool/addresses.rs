//! Which addresses of subnets are given, which can be, and how many are left.

use super::{Facts, Pool, Reason, ReasonCode, Usage};
use crate::config::{AddressRange, Config, EniKind, Family, Subnet, SubnetPrefix, address, number};
use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{Ip6, Zone};
use weir_path::tables::Vip;

/// The addresses of all subnets.
pub(super) struct Addresses<'a> {
    facts: &'a Facts,
    usage: &'a Usage,
    config: &'a Config,
    /// What ENIs have, by VPC.
    given: BTreeMap<Zone, BTreeSet<Ip6>>,
    /// Below these nothing is free.
    lowest: BTreeMap<(Zone, Ip6), Ip6>,
}

/// How many of a subnet's addresses of one family are for ENIs, and how many of those are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    given: u128,
    all: u128,
}

impl Room {
    pub(super) const fn left(self) -> u128 {
        self.all.saturating_sub(self.given)
    }
}

impl<'a> Addresses<'a> {
    pub(super) fn new(pool: &Pool, config: &'a Config, facts: &'a Facts, usage: &'a Usage) -> Self {
        let zones: BTreeMap<&str, Zone> =
            config.vpcs.iter().map(|vpc| (vpc.name.value.as_str(), vpc.zone)).collect();
        let mut given: BTreeMap<Zone, BTreeSet<Ip6>> = BTreeMap::new();
        // The host's are nobody's to give.
        for (entry, eni) in pool.enis().filter(|(entry, _)| entry.key.enis == EniKind::Own) {
            let Some(zone) = zones.get(entry.key.vpc.as_str()) else { continue };
            given.entry(*zone).or_default().extend(eni.addresses.iter().map(|it| it.address));
        }
        Self { facts, usage, config, given, lowest: BTreeMap::new() }
    }

    /// Gives the lowest address that is free.
    pub(super) fn take(&mut self, subnet: &Subnet, family: Family) -> Option<Ip6> {
        let SubnetPrefix { pool, .. } = subnet.prefix(family)?;
        let key = (subnet.zone, pool.first);
        let mut next = self.lowest.get(&key).copied().unwrap_or(pool.first);
        while next <= pool.last {
            let reserved = subnet.reserved.iter().find(|range| range.contains(next));
            if reserved.is_none() && self.is_free(subnet.zone, next) {
                self.given.entry(subnet.zone).or_default().insert(next);
                self.lowest.insert(key, next);
                return Some(next);
            }
            let last = reserved.map_or(next, |range| range.last);
            next = address(number(last).checked_add(1)?);
        }
        None
    }

    /// Takes an address back.
    pub(super) fn give_back(&mut self, zone: Zone, address: Ip6) {
        self.given.entry(zone).or_default().remove(&address);
        self.lowest.retain(|(of, _), lowest| *of != zone || *lowest < address);
    }

    /// Nobody has it: no ENI, not the host, and no flow that an ENI has left behind.
    fn is_free(&self, zone: Zone, address: Ip6) -> bool {
        let is_given = self.given.get(&zone).is_some_and(|given| given.contains(&address));
        let has_flows = || self.usage.of(Vip { address, zone }).live > 0;
        !is_given && !self.is_hosts(zone, address) && !has_flows()
    }

    fn hosts(&self, zone: Zone) -> impl Iterator<Item = Ip6> {
        let uplinks = self.config.uplinks.iter().zip(&self.facts.uplinks);
        uplinks.filter(move |(uplink, _)| uplink.zone == zone).flat_map(|(_, facts)| facts.addresses.clone())
    }

    fn is_hosts(&self, zone: Zone, address: Ip6) -> bool {
        self.hosts(zone).any(|it| it == address)
    }

    /// Whether an ENI may have this address, as the configuration and the host are now.
    pub(super) fn allows(&self, subnet: &Subnet, address: Ip6) -> bool {
        let is_in = subnet.prefix(Family::of(address)).is_some_and(|prefix| prefix.pool.contains(address));
        let is_reserved = subnet.reserved.iter().any(|range| range.contains(address));
        is_in && !is_reserved && !self.is_hosts(subnet.zone, address)
    }

    /// How much room a subnet has.
    pub(super) fn room(&self, subnet: &Subnet, family: Family) -> Room {
        let Some(SubnetPrefix { pool, .. }) = subnet.prefix(family) else { return Room { given: 0, all: 0 } };
        let reserved = subnet.reserved.iter().filter(|range| range.overlaps(&pool));
        let inside = |range: &AddressRange| AddressRange {
            first: range.first.max(pool.first),
            last: range.last.min(pool.last),
        };
        let is_for_enis =
            |it: &Ip6| pool.contains(*it) && !subnet.reserved.iter().any(|range| range.contains(*it));
        let hosts: BTreeSet<Ip6> = self.hosts(subnet.zone).filter(is_for_enis).collect();
        let taken = reserved.map(|range| inside(range).count()).sum::<u128>() + hosts.len() as u128;
        let given = self.given.get(&subnet.zone).into_iter().flat_map(|it| it.range(pool.first..=pool.last));
        let given = given.filter(|it| is_for_enis(it)).count() as u128;
        Room { given, all: pool.count().saturating_sub(taken) }
    }

    /// The complaint about subnets that have no address left.
    pub(super) fn exhausted(&self, subnets: &[&Subnet], families: &[Family]) -> Reason {
        let each = subnets.iter().flat_map(|subnet| families.iter().map(move |family| (*subnet, *family)));
        let counts = each.map(|(subnet, family)| {
            let Room { given, all } = self.room(subnet, family);
            format!("{} has given {given} of {all} {} addresses", subnet.name.value, family.name())
        });
        let text = format!(
            "{}; add a subnet to the connector, widen the prefix, reserve less, or use fewer ENIs",
            counts.collect::<Vec<_>>().join(", ")
        );
        Reason { code: ReasonCode::SubnetOutOfIPAddresses, text }
    }
}
