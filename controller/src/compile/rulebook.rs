//! Flows that are there, judged again: would the rules that are in force now let them be opened?
//!
//! Packets ask once, when they open a flow. Where a connector says `rejudge`, its sandboxes' flows are asked about again
//! after the rules have changed, with the packet path's own code over the same lists: who was let in under a rule that is gone
//! has to leave.

use crate::config::Config;
use crate::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::Image;
use weir_path::addr::{InterfaceId, Ip6, L4Port, Zone};
use weir_path::flow::{Ends, V4, V6};
use weir_path::rules::Question;
use weir_path::tables::{
    Connector, ConnectorId, Interface, Listener as Heard, MAX_SECURITY_GROUPS, Rule, SecurityGroupId,
    SecurityGroups, Vip,
};
use weir_path::wire::{Icmp, protocol};

/// All that a verdict depends on. Two that are equal judge alike, so nothing has to be judged again.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rulebook {
    /// The connectors that want it.
    pages: BTreeMap<ConnectorId, Page>,
    /// The security groups that the addresses of ENIs are in, where any rule names one.
    groups: BTreeMap<Vip, SecurityGroups>,
    /// In which VPC each connector's sandboxes call.
    vpcs: BTreeMap<ConnectorId, Zone>,
    /// The services of the host's that their sandboxes may call, which no rule is asked about.
    services: BTreeSet<Heard>,
}

/// What one connector's security groups say; nothing where all is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Page {
    zone: Zone,
    out: Option<Vec<Rule>>,
    into: Option<Vec<Rule>>,
}

/// Which connector the slot under a binding has.
pub type Slots = BTreeMap<Zone, ConnectorId>;

/// A flow that is there. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracked {
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
    /// What the original direction's packets look like where they arrive.
    pub original: Ends<Ip6>,
    /// What the reply direction's packets look like where they arrive.
    pub reply: Ends<Ip6>,
    /// The address spaces of both directions.
    pub zones: [Zone; 2],
}

/// Which connectors the slots have that are recorded.
#[must_use]
pub fn slots(records: &[Interface]) -> Slots {
    let connected = records.iter().filter(|it| it.is_slot() && it.connector != ConnectorId::NONE);
    connected.map(|it| (it.zone, it.connector)).collect()
}

impl Rulebook {
    /// What `image` says, as far as the connectors of `config` want flows judged again.
    #[must_use]
    pub fn of(config: &Config, pool: &Pool, image: &Image, records: &[Interface]) -> Self {
        let wanting = config.connectors.iter().filter(|it| it.settings.rejudge);
        let wanting = wanting.filter_map(|it| Some(pool.entry(&it.key)?.id));
        let page = |id: ConnectorId| {
            let compiled = image.connectors.get(&id)?;
            let (out, into) = (compiled.rules_out.clone(), compiled.rules_in.clone());
            Some((id, Page { zone: compiled.connector.zone, out, into }))
        };
        let pages: BTreeMap<_, _> = wanting.filter_map(page).collect();
        let names_groups = |page: &Page| page.rules().any(|rule| rule.group != SecurityGroupId::NONE);
        let groups = if pages.values().any(names_groups) { groups(image, records) } else { BTreeMap::new() };
        let zones: BTreeSet<_> = pages.keys().map(|id| Connector::services(*id)).collect();
        let services = image.listeners.keys().filter(|it| zones.contains(&it.vip.zone)).copied().collect();
        let vpcs = image.connectors.iter().map(|(id, it)| (*id, it.connector.zone)).collect();
        Self { pages, groups, vpcs, services }
    }

    /// Whether there is any flow that it might not allow.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.pages.values().any(|page| page.out.is_some() || page.into.is_some())
    }

    /// Whether a flow might be opened now. So may all whose connector does not want them judged again.
    #[must_use]
    pub fn allows(&self, flow: &Tracked, slots: &Slots) -> bool {
        // What holds a port for flows of UDP is none itself: they are judged.
        if flow.protocol == protocol::MAPPING {
            return true;
        }
        let [opening, serving] = flow.zones;
        let caller = slots.get(&opening).copied();
        self.may_call(flow, caller) && self.may_be_called(flow, slots.get(&serving), caller)
    }

    /// As the path asks when a sandbox opens a flow: by whom it calls, and at which port.
    fn may_call(&self, flow: &Tracked, caller: Option<ConnectorId>) -> bool {
        let page = |id| Some((id, self.pages.get(&id)?));
        let Some((id, page)) = caller.and_then(page) else { return true };
        let Some(rules) = &page.out else { return true };
        let Ends { dst, dport, .. } = flow.original;
        if self.is_service(id, dst, dport, flow.protocol) {
            return true;
        }
        let question = Question {
            remote: dst,
            groups: self.groups_of(Vip { address: dst, zone: page.zone }),
            what: what(flow.protocol, dport),
            protocol: flow.protocol.into(),
        };
        rules.iter().any(|rule| rule.allows(&question))
    }

    /// As the path asks when a flow leads to a sandbox: by who comes, as the sandbox sees it, and by the port that serves.
    /// Who comes by the wire is in no group, whatever address it says.
    fn may_be_called(
        &self,
        flow: &Tracked,
        called: Option<&ConnectorId>,
        caller: Option<ConnectorId>,
    ) -> bool {
        let Some(page) = called.and_then(|id| self.pages.get(id)) else { return true };
        let Some(rules) = &page.into else { return true };
        let Ends { dst: from, sport, .. } = flow.reply;
        let question = Question {
            remote: from,
            groups: caller
                .and_then(|id| self.vpcs.get(&id))
                .map_or([SecurityGroupId::NONE; MAX_SECURITY_GROUPS], |vpc| {
                    self.groups_of(Vip { address: from, zone: *vpc })
                }),
            what: sport.number(),
            protocol: flow.protocol.into(),
        };
        rules.iter().any(|rule| rule.allows(&question))
    }

    fn is_service(&self, id: ConnectorId, address: Ip6, port: L4Port, protocol: u8) -> bool {
        let vip = Vip { address, zone: Connector::services(id) };
        let heard = |port| Heard { vip, port, protocol, zero: 0 };
        self.services.contains(&heard(port)) || self.services.contains(&heard(Heard::ANY_PORT))
    }

    fn groups_of(&self, vip: Vip) -> SecurityGroups {
        self.groups.get(&vip).copied().unwrap_or([SecurityGroupId::NONE; MAX_SECURITY_GROUPS])
    }
}

impl Page {
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.out.iter().chain(&self.into).flatten()
    }
}

/// The groups of each ENI's addresses: those of its connector.
fn groups(image: &Image, records: &[Interface]) -> BTreeMap<Vip, SecurityGroups> {
    let enis = records.iter().filter(|it| it.is_eni());
    let connectors: BTreeMap<InterfaceId, ConnectorId> =
        enis.map(|it| (it.egress.id, it.connector)).collect();
    let of = |id: &ConnectorId| image.connectors.get(id).map(|it| it.connector.groups);
    let owned = image.enis.iter().filter_map(|(vip, owner)| Some((*vip, owner.as_eni()?)));
    owned.filter_map(|(vip, eni)| Some((vip, of(connectors.get(&eni)?)?))).collect()
}

/// What rules have for a port: of an ICMP query its type and code. Of queries there is echo alone.
const fn what(protocol: u8, port: L4Port) -> u16 {
    match protocol {
        <V4 as Icmp>::PROTOCOL => u16::from_be_bytes(<V4 as Icmp>::ECHO_REQUEST),
        <V6 as Icmp>::PROTOCOL => u16::from_be_bytes(<V6 as Icmp>::ECHO_REQUEST),
        _ => port.number(),
    }
}

#[cfg(test)]
mod tests;
