//! Whether a connector has too few ENIs, or one too many.

use super::{Eni, EniState, Entry, FreePorts, Moment, Remote, Seen};
use crate::config::{EniKind, Family, Subnet};
use std::collections::BTreeMap;
use weir_path::addr::{Ip6, Zone};
use weir_path::tables::Vip;

/// From here on, towards one remote, an address counts as full: one ENI more is made.
pub(super) const FULL_PERCENT: u32 = 50;
/// Below this it no longer does, where there can't be one more: so that the complaint doesn't come and go.
pub(super) const RELIEVED_PERCENT: u32 = 40;
/// A set of ports that was made late may not know of so many of them.
const UNKNOWN_PERCENT: u32 = 10;
/// So long ahead the present slope is looked along, in seconds.
const AHEAD: u64 = 10;
/// What would be no fuller than this with one ENI less has one too many.
const ROOMY_PERCENT: u32 = 25;

/// One entry, and where its addresses are.
pub(super) struct Sizing<'a> {
    pub(super) entry: &'a Entry,
    pub(super) zone: Zone,
    pub(super) subnets: &'a [&'a Subnet],
    pub(super) seen: Seen<'a>,
}

impl Sizing<'_> {
    /// Whether one more ENI is needed: every address of some family is full to so many hundredths towards some remote, or
    /// soon will be.
    pub(super) fn is_pressed(&self, percent: u32) -> bool {
        self.entry.key.addresses.families().iter().any(|family| {
            let mut sources = self.sources(*family).peekable();
            sources.peek().is_some() && sources.all(|(eni, address)| self.is_full(eni, address, percent))
        })
    }

    fn sources(&self, family: Family) -> impl Iterator<Item = (&Eni, Ip6)> {
        self.entry.enis.iter().flat_map(move |eni| eni.sources(family).map(move |address| (eni, address)))
    }

    fn is_full(&self, eni: &Eni, address: Ip6, percent: u32) -> bool {
        let vip = Vip { address, zone: self.zone };
        let most = self.ports(eni);
        let Seen { usage, before, is_counted, crowd, crowd_before, .. } = self.seen;
        let crowds = |(remote, ports): (Remote, super::Ports)| {
            let used = ports.used();
            // One that is new was not empty before.
            let known = crowd_before.map(|before| (before.at, before.towards(vip, remote).used()));
            let known = known.filter(|(_, used)| *used > 0);
            is_percent(used, most, percent - UNKNOWN_PERCENT) || soon(used, crowd.at, known) >= most
        };
        let is_full = |(remote, ports): (Remote, super::Ports)| {
            let used = ports.used();
            let known = before.map(|before| (before.at, before.towards(vip, remote).used()));
            is_percent(used, most, percent) || soon(used, usage.at, known) >= most
        };
        let is_counted_full = || is_counted && usage.remotes(vip).any(is_full);
        crowd.refused.contains(&vip) || crowd.remotes(vip).any(crowds) || is_counted_full()
    }

    /// How many ports an ENI's addresses have towards each remote.
    fn ports(&self, eni: &Eni) -> u32 {
        if self.entry.key.enis == EniKind::Own {
            return FreePorts::ALL.ports();
        }
        let subnet = self.subnets.iter().find(|subnet| subnet.name.value == eni.subnet);
        let facts = subnet.and_then(|subnet| self.seen.facts.uplinks.get(subnet.uplink));
        facts.map_or(0, |facts| facts.ports.ports())
    }

    /// Whether everything would fit into one ENI less, the youngest.
    pub(super) fn is_roomy(&self) -> bool {
        let Some(youngest) = self.youngest() else { return false };
        self.entry.key.addresses.families().iter().all(|family| {
            let others = self.sources(*family).filter(|(eni, _)| eni.id != youngest.id);
            let most: u32 = others.map(|(eni, _)| self.ports(eni)).sum();
            let mut towards: BTreeMap<Remote, u32> = BTreeMap::new();
            for (_, address) in self.sources(*family) {
                for (remote, ports) in self.seen.usage.remotes(Vip { address, zone: self.zone }) {
                    *towards.entry(remote).or_default() += ports.used();
                }
            }
            towards.values().all(|used| !is_percent(used.saturating_sub(1), most, ROOMY_PERCENT))
        })
    }

    fn youngest(&self) -> Option<&Eni> {
        self.entry.enis.iter().rev().find(|eni| eni.state != EniState::Detaching)
    }
}

/// How many ports will be in use at the present slope: since `before`, when so many were.
fn soon(used: u32, now: Moment, before: Option<(Moment, u32)>) -> u32 {
    let Some((at, before)) = before else { return used };
    let more = u64::from(used.saturating_sub(before));
    let ahead = (more * AHEAD).checked_div(now.since(at)).unwrap_or(0);
    used.saturating_add(u32::try_from(ahead).unwrap_or(u32::MAX))
}

/// Whether `part` is so many hundredths of `all`, or more.
fn is_percent(part: u32, all: u32, percent: u32) -> bool {
    u64::from(part) * 100 >= u64::from(all) * u64::from(percent)
}
