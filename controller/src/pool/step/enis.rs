//! ENIs made, drained, revived and released; and their addresses.

use super::Stepping;
use crate::config::{Connector, ConnectorKey, EniKind, Family, Subnet};
use crate::pool::{Eni, EniAddress, EniId, EniState, Entry, Note, Reason, ReasonCode};
use std::cmp::Reverse;
use weir_path::addr::Ip6;

impl<'a> Stepping<'a> {
    /// Takes what has drained away, and finds out what every ENI is doing.
    pub(super) fn refresh(&mut self, entry: &mut Entry, subnets: &[&'a Subnet]) {
        let key = &entry.key;
        entry.enis.retain_mut(|eni| {
            if !self.seen.is_counted {
                return true;
            }
            let is_done = |it: &EniAddress| self.ports(key, it.address).used() == 0;
            if eni.state == EniState::Detaching {
                let is_released = eni.addresses.iter().all(is_done);
                if is_released {
                    self.release(eni, key);
                }
                return !is_released;
            }
            let (done, left) = eni.addresses.iter().copied().partition(|it| it.draining && is_done(it));
            eni.addresses = left;
            self.give_back(&done, key);
            if eni.state != EniState::Pending {
                let is_in_use = self.is_in_use(eni, key);
                eni.state = if is_in_use { EniState::InUse } else { EniState::Available };
            }
            true
        });
        for eni in &mut entry.enis {
            let subnet = subnets.iter().find(|subnet| subnet.name.value == eni.subnet);
            for it in &mut eni.addresses {
                it.draining |= subnet.is_none_or(|subnet| !self.allows(&entry.key, subnet, it.address));
            }
        }
    }

    fn allows(&self, key: &ConnectorKey, subnet: &Subnet, address: Ip6) -> bool {
        match key.enis {
            EniKind::Own => self.addresses.allows(subnet, address),
            EniKind::Host => self.hosts(subnet, Family::of(address)) == Some(address),
        }
    }

    /// The host's own address in a subnet, where it leaves ports of it alone.
    fn hosts(&self, subnet: &Subnet, family: Family) -> Option<Ip6> {
        let prefix = subnet.prefix(family)?.prefix;
        let facts = self.seen.facts.uplinks.get(subnet.uplink)?;
        let leaves_ports = facts.ports.blocks > 0;
        let mut lasting = facts.addresses.iter().filter(|it| !facts.passing.contains(it)).copied();
        lasting.find(|address| leaves_ports && prefix.contains(*address))
    }

    /// One ENI more: the youngest that drains, else a new one.
    pub(super) fn grow(
        &mut self,
        entry: &mut Entry,
        connector: &Connector,
        subnets: &[&'a Subnet],
        why: &'static str,
    ) -> Result<(), Reason> {
        let there: Vec<&Subnet> = subnets.iter().copied().filter(|subnet| self.is_there(subnet)).collect();
        let subnet_of = |eni: &Eni| there.iter().copied().find(|subnet| subnet.name.value == eni.subnet);
        let can_be_revived = |eni: &&mut Eni| {
            let mut addresses = eni.addresses.iter();
            eni.state == EniState::Detaching
                && subnet_of(eni)
                    .is_some_and(|it| addresses.any(|at| self.allows(&entry.key, it, at.address)))
        };
        if let Some(eni) = entry.enis.iter_mut().rev().find(can_be_revived) {
            self.revive(eni);
            let subnet = subnet_of(eni);
            return subnet.map_or(Ok(()), |subnet| self.readdress_one(connector, eni, subnet));
        }
        let eni = self.make(entry, connector, &there)?;
        let addresses = eni.addresses.iter().map(|it| it.address).collect();
        self.notes.push(Note::Made { eni: eni.id, subnet: eni.subnet.clone(), addresses, why });
        entry.enis.push(eni);
        Ok(())
    }

    pub(super) fn is_there(&self, subnet: &Subnet) -> bool {
        self.seen.facts.uplinks.get(subnet.uplink).is_some_and(|uplink| uplink.is_there)
    }

    fn make(&mut self, entry: &Entry, connector: &Connector, there: &[&'a Subnet]) -> Result<Eni, Reason> {
        if there.is_empty() {
            return Err(nowhere(&entry.key));
        }
        let families = entry.key.addresses.families();
        let needed = families.len() * connector.settings.addresses_per_eni as usize;
        if self.enis_left == 0 || self.addresses_left < needed {
            return Err(machine_full());
        }
        let found = match entry.key.enis {
            EniKind::Own => self.take_own(entry, connector, there),
            EniKind::Host => self.find_hosts(entry, there),
        };
        let (subnet, addresses) = found?;
        self.enis_left -= 1;
        self.addresses_left -= addresses.len().min(self.addresses_left);
        let addresses = addresses.into_iter().map(|address| EniAddress { address, draining: false });
        Ok(Eni {
            id: self.name(),
            subnet: subnet.name.value.clone(),
            state: EniState::Pending,
            made: self.seen.now,
            addresses: addresses.collect(),
        })
    }

    /// Addresses of the subnet that has the fewest of the entry's ENIs; of several, the most room.
    fn take_own(
        &mut self,
        entry: &Entry,
        connector: &Connector,
        there: &[&'a Subnet],
    ) -> Result<(&'a Subnet, Vec<Ip6>), Reason> {
        let families = entry.key.addresses.families();
        let enis = |subnet: &Subnet| {
            let here = entry.enis.iter().filter(|eni| eni.subnet == subnet.name.value);
            here.filter(|eni| eni.state != EniState::Detaching).count()
        };
        let left = |subnet: &Subnet| {
            families.iter().map(|family| self.addresses.room(subnet, *family).left()).min().unwrap_or(0)
        };
        let mut candidates: Vec<_> = there.iter().map(|it| (enis(it), Reverse(left(it)), *it)).collect();
        candidates.sort_by_key(|(enis, left, subnet)| (*enis, *left, &subnet.name.value));
        let needed = u128::from(connector.settings.addresses_per_eni);
        for (_, Reverse(left), subnet) in candidates {
            if left < needed {
                continue;
            }
            let wanted = families.iter().flat_map(|family| (0..needed).map(|_| *family));
            let taken: Vec<_> = wanted.map_while(|family| self.addresses.take(subnet, family)).collect();
            if taken.len() as u128 == needed * families.len() as u128 {
                return Ok((subnet, taken));
            }
            // Flows that were left behind still have some of them.
            taken.into_iter().for_each(|address| self.addresses.give_back(subnet.zone, address));
        }
        Err(self.addresses.exhausted(there, families))
    }

    /// The host's addresses on an uplink that the entry has no ENI on.
    fn find_hosts(&self, entry: &Entry, there: &[&'a Subnet]) -> Result<(&'a Subnet, Vec<Ip6>), Reason> {
        let is_on = |eni: &Eni, subnet: &Subnet| {
            let on = there.iter().find(|it| it.name.value == eni.subnet);
            on.is_some_and(|on| on.uplink == subnet.uplink)
        };
        let free = there.iter().filter(|subnet| !entry.enis.iter().any(|eni| is_on(eni, subnet)));
        let families = entry.key.addresses.families();
        let mut found = free.filter_map(|subnet| {
            let addresses = families.iter().map(|family| self.hosts(subnet, *family));
            Some((*subnet, addresses.collect::<Option<Vec<_>>>()?))
        });
        found.next().ok_or_else(|| hostless(&entry.key))
    }

    /// A name that no ENI has, also not the number that its MAC is made of.
    fn name(&mut self) -> EniId {
        loop {
            self.made += 1;
            let id = EniId(mixed(self.seed.wrapping_add(self.made)));
            if self.numbers.insert(id.number()) {
                return id;
            }
        }
    }

    /// Gives every ENI as many addresses as it is to have.
    pub(super) fn readdress(
        &mut self,
        entry: &mut Entry,
        connector: &Connector,
        subnets: &[&'a Subnet],
    ) -> Result<(), Reason> {
        let mut done = Ok(());
        for eni in entry.enis.iter_mut().filter(|eni| eni.state != EniState::Detaching) {
            if let Some(subnet) = subnets.iter().find(|subnet| subnet.name.value == eni.subnet) {
                // One that lacks an address is not in the way of the next one.
                done = done.and(self.readdress_one(connector, eni, subnet));
            }
        }
        done
    }

    fn readdress_one(&mut self, connector: &Connector, eni: &mut Eni, subnet: &Subnet) -> Result<(), Reason> {
        let wanted = match connector.key.enis {
            EniKind::Own => connector.settings.addresses_per_eni as usize,
            EniKind::Host => 1,
        };
        for family in connector.key.addresses.families() {
            let sources = eni.sources(*family).count();
            (wanted..sources).for_each(|_| drain_address(eni, *family));
            for _ in sources..wanted {
                self.further(&connector.key, eni, subnet, *family)?;
            }
        }
        Ok(())
    }

    /// One address more: one that drains, else a new one.
    fn further(
        &mut self,
        key: &ConnectorKey,
        eni: &mut Eni,
        subnet: &Subnet,
        family: Family,
    ) -> Result<(), Reason> {
        let can_be_revived = |it: &&mut EniAddress| {
            it.draining && Family::of(it.address) == family && self.allows(key, subnet, it.address)
        };
        if let Some(address) = eni.addresses.iter_mut().find(can_be_revived) {
            address.draining = false;
            return Ok(());
        }
        let address = match key.enis {
            EniKind::Host => self.hosts(subnet, family).ok_or_else(|| hostless(key))?,
            EniKind::Own if self.addresses_left == 0 => return Err(machine_full()),
            EniKind::Own => match self.addresses.take(subnet, family) {
                Some(address) => address,
                None => return Err(self.addresses.exhausted(&[subnet], &[family])),
            },
        };
        self.addresses_left = self.addresses_left.saturating_sub(1);
        eni.addresses.push(EniAddress { address, draining: false });
        Ok(())
    }

    pub(super) fn drain_youngest(&mut self, entry: &mut Entry, why: &'static str) {
        if let Some(eni) = entry.enis.iter_mut().rev().find(|eni| eni.state != EniState::Detaching) {
            self.drain(eni, why);
        }
    }

    pub(super) fn drain(&mut self, eni: &mut Eni, why: &'static str) {
        if eni.state != EniState::Detaching {
            eni.state = EniState::Detaching;
            self.notes.push(Note::Draining { eni: eni.id, why });
        }
    }

    fn revive(&mut self, eni: &mut Eni) {
        // It never left the tables; `refresh` says whether it has flows.
        eni.state = EniState::Available;
        self.notes.push(Note::Revived { eni: eni.id });
    }

    pub(super) fn revive_all(&mut self, entry: &mut Entry) {
        entry.enis.iter_mut().for_each(|eni| self.revive(eni));
    }

    pub(super) fn release_all(&mut self, entry: &mut Entry) {
        for eni in std::mem::take(&mut entry.enis) {
            self.release(&eni, &entry.key);
        }
    }

    fn release(&mut self, eni: &Eni, key: &ConnectorKey) {
        self.give_back(&eni.addresses, key);
        self.enis_left += 1;
        self.notes.push(Note::Released { eni: eni.id });
    }

    fn give_back(&mut self, addresses: &[EniAddress], key: &ConnectorKey) {
        self.addresses_left += addresses.len();
        let Some(zone) = self.zone(key).filter(|_| key.enis == EniKind::Own) else { return };
        addresses.iter().for_each(|it| self.addresses.give_back(zone, it.address));
    }
}

/// The last address of a family takes no new flows from here on.
fn drain_address(eni: &mut Eni, family: Family) {
    let is_source = |it: &&mut EniAddress| !it.draining && Family::of(it.address) == family;
    if let Some(last) = eni.addresses.iter_mut().rev().find(is_source) {
        last.draining = true;
    }
}

/// A number that looks like chance (splitmix64; Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
const fn mixed(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) fn nowhere(key: &ConnectorKey) -> Reason {
    let text = format!(
        "no uplink of its subnets ({}) is on this host at present; it is tried again when a device comes",
        key.subnets.join(", ")
    );
    Reason { code: ReasonCode::InvalidSubnet, text }
}

fn hostless(key: &ConnectorKey) -> Reason {
    let text = format!(
        "the host has no address in {} on the uplink's device, or uses all of its ports; give it one (`ip address add`), \
         narrow net.ipv4.ip_local_port_range, or write enis = \"own\"",
        key.subnets.join(", ")
    );
    Reason { code: ReasonCode::InvalidSubnet, text }
}

fn machine_full() -> Reason {
    let text = "this machine has as many ENIs, or addresses of ENIs, as fit the dataplane's tables; use fewer ENIs, slots \
                or listeners here"
        .to_owned();
    Reason { code: ReasonCode::EniLimitExceeded, text }
}
