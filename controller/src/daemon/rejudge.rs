//! Flows that no rule of a security group allows any more, where their connector wants them judged anew.
//!
//! The packet path asks once, for a flow's first packet. What rules say afterwards is asked here, of every flow, each time
//! that the rules of such a connector are others; what they no longer allow is ended.

use crate::config::Config;
use crate::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use tracing::info;
use weir_dataplane::flows::Flow;
use weir_dataplane::image::{ConnectorImage, Image};
use weir_dataplane::{Dataplane, Error};
use weir_path::addr::{InterfaceId, Ip6, Zone};
use weir_path::flow::end::End;
use weir_path::rules::Question;
use weir_path::tables::{
    Connector, ConnectorId, Interface, Listener, Rule, SecurityGroupId, SecurityGroups, Vip,
};
use weir_path::wire::protocol;

/// An echo request: its type times 256, plus its code (RFC 792, RFC 4443 section 4.1).
const ECHO_REQUEST: u16 = 8 << 8;
const ECHO_REQUEST_V6: u16 = 128 << 8;

/// The rules of a connector, each way.
type Rules = [Option<Vec<Rule>>; 2];

/// The rules that all flows comply with.
#[derive(Default)]
pub(super) struct Judged(BTreeMap<ConnectorId, Rules>);

/// What the rules say, and whom they are asked about.
pub(super) struct Rulings {
    image: Image,
    /// The connectors whose flows are judged anew.
    rejudged: BTreeSet<ConnectorId>,
    /// The connector of each slot, by its binding; of each ENI, by its number.
    slots: BTreeMap<Zone, ConnectorId>,
    enis: BTreeMap<InterfaceId, ConnectorId>,
}

/// The connectors that want their flows judged anew.
pub(super) fn rejudged(config: &Config, pool: &Pool) -> BTreeSet<ConnectorId> {
    let wanting = config.connectors.iter().filter(|connector| connector.settings.rejudge);
    wanting.filter_map(|connector| Some(pool.entry(&connector.key)?.id)).collect()
}

impl Judged {
    /// Ends what the rules do not allow, if they are others than before.
    pub(super) fn judge(&mut self, rulings: Rulings, dataplane: &mut Dataplane) -> Result<(), Error> {
        let rules = rulings.rules();
        let is_new = rules.iter().any(|(id, rules)| self.0.get(id) != Some(rules));
        if is_new {
            let flows = dataplane.end_flows(End::Blocked, |flow| !rulings.allow(flow))?;
            info!(flows, "ended the flows that no rule allows any more");
        }
        self.0 = rules;
        Ok(())
    }
}

impl Rulings {
    /// Those of an image, with the interfaces that are in force.
    pub(super) fn new<'i>(
        image: Image,
        rejudged: BTreeSet<ConnectorId>,
        interfaces: impl Iterator<Item = &'i Interface>,
    ) -> Self {
        let (slots, others): (Vec<&Interface>, Vec<_>) = interfaces.partition(|it| it.is_slot());
        Self {
            image,
            rejudged,
            slots: slots.into_iter().map(|it| (it.zone, it.connector)).collect(),
            enis: others.into_iter().map(|it| (it.egress.id, it.connector)).collect(),
        }
    }

    fn rules(&self) -> BTreeMap<ConnectorId, Rules> {
        let of = |id: &ConnectorId| {
            let connector = self.image.connectors.get(id)?;
            Some((*id, [connector.rules_out.clone(), connector.rules_in.clone()]))
        };
        self.rejudged.iter().filter_map(of).collect()
    }

    /// Whether the caller may call, and whoever is called be called, as far as they want to be asked.
    fn allow(&self, flow: &Flow) -> bool {
        let [from, to] = flow.zones;
        let out = self.judged(from).is_none_or(|(id, connector)| self.lets_out(id, connector, flow));
        out && self.judged(to).is_none_or(|(_, connector)| self.lets_in(connector, flow))
    }

    /// The connector of the slot that has this binding, if its flows are judged anew.
    fn judged(&self, binding: Zone) -> Option<(ConnectorId, &ConnectorImage)> {
        let id = self.slots.get(&binding).filter(|id| self.rejudged.contains(id))?;
        Some((*id, self.image.connectors.get(id)?))
    }

    fn lets_out(&self, id: ConnectorId, connector: &ConnectorImage, flow: &Flow) -> bool {
        let (dst, port) = (flow.original.dst, flow.original.dport);
        let service = Vip { address: dst, zone: Connector::services(id) };
        let heard = Listener { vip: service, port, protocol: flow.protocol, zero: 0 };
        let what = match flow.protocol {
            protocol::ICMP => ECHO_REQUEST,
            protocol::ICMPV6 => ECHO_REQUEST_V6,
            _ => port.number(),
        };
        // What is a service is no matter of rules.
        self.image.listeners.contains_key(&heard)
            || self.one_allows(connector.rules_out.as_deref(), connector, dst, what, flow)
    }

    fn lets_in(&self, connector: &ConnectorImage, flow: &Flow) -> bool {
        let (caller, port) = (flow.reply.dst, flow.reply.sport);
        self.one_allows(connector.rules_in.as_deref(), connector, caller, port.number(), flow)
    }

    fn one_allows(
        &self,
        rules: Option<&[Rule]>,
        connector: &ConnectorImage,
        remote: Ip6,
        what: u16,
        flow: &Flow,
    ) -> bool {
        let Some(rules) = rules else { return true };
        let groups = self.groups(Vip { address: remote, zone: connector.connector.zone });
        let question = Question { remote, groups, what, protocol: flow.protocol.into() };
        rules.iter().any(|rule| rule.allows(&question))
    }

    /// The security groups that an address is in: those of the ENI that owns it.
    fn groups(&self, vip: Vip) -> SecurityGroups {
        let eni = self.image.enis.get(&vip).and_then(|owner| owner.as_eni());
        let connector = eni.and_then(|eni| self.image.connectors.get(self.enis.get(&eni)?));
        connector.map_or([SecurityGroupId::NONE; 5], |it| it.connector.groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_dataplane::flows::FlowId;
    use weir_path::addr::{Address, Ip4, L4Port};
    use weir_path::flow::RecordId;
    use weir_path::flow::{Account, Ends, Phase, PortUse};
    use weir_path::tables::Owner;
    use weir_path::time::{Now, Seconds};

    const ID: ConnectorId = ConnectorId(1);
    const REMOTE: Ip4 = Ip4([10, 0, 0, 7]);

    fn address(address: Ip4) -> Ip6 {
        address.mapped()
    }

    fn tcp(port: u16) -> Rule {
        Rule { first: port, last: port, protocol: protocol::TCP, ..Rule::default() }
    }

    /// One slot with the binding 1, whose connector has these rules.
    fn rulings(out: Option<Vec<Rule>>, into: Option<Vec<Rule>>) -> Rulings {
        let zone = Zone::of_vpc(9).unwrap();
        let connector = Connector { zone, ..Connector::default() };
        let image = ConnectorImage { connector, rules_out: out, rules_in: into, ..ConnectorImage::default() };
        let slot = Interface { zone: Zone::of_binding(1).unwrap(), connector: ID, ..Interface::default() };
        let image = Image { connectors: [(ID, image)].into(), ..Image::default() };
        Rulings::new(image, [ID].into(), [slot].iter())
    }

    /// A flow between these spaces: to port 443 of the remote, or from it to port 8080 of the slot.
    fn flow(zones: [Zone; 2]) -> Flow {
        let (sandbox, remote) = (address(Ip4([169, 254, 100, 2])), address(REMOTE));
        let [caller, here, there] = [40_000, 8_080, 443].map(L4Port::new);
        let (original, reply) = if zones[0].is_binding() {
            (
                Ends { src: sandbox, dst: remote, sport: caller, dport: there },
                Ends { src: remote, dst: sandbox, sport: there, dport: caller },
            )
        } else {
            (
                Ends {
                    src: remote,
                    dst: address(Ip4([198, 51, 100, 10])),
                    sport: caller,
                    dport: L4Port::new(80),
                },
                Ends { src: sandbox, dst: remote, sport: here, dport: caller },
            )
        };
        Flow {
            id: FlowId { is_v6: false, record: RecordId(1), incarnation: 1 },
            protocol: protocol::TCP,
            original,
            reply,
            zones,
            phase: Phase::Established,
            opened: Now(0),
            seen: Now(0),
            idle: Seconds(350),
            port: PortUse::OWN,
            account: Account::default(),
        }
    }

    fn out() -> Flow {
        flow([Zone::of_binding(1).unwrap(), Zone::of_vpc(9).unwrap()])
    }

    fn into() -> Flow {
        flow([Zone::of_vpc(9).unwrap(), Zone::of_binding(1).unwrap()])
    }

    #[test]
    fn each_way_is_judged_by_its_own_rules_and_by_who_is_called() {
        assert!(rulings(Some(vec![tcp(443)]), Some(vec![])).allow(&out()));
        assert!(!rulings(Some(vec![tcp(80)]), None).allow(&out()));
        assert!(rulings(Some(vec![]), Some(vec![tcp(8_080)])).allow(&into()));
        assert!(!rulings(None, Some(vec![tcp(80)])).allow(&into()));
    }

    #[test]
    fn where_nothing_is_said_and_where_nobody_asks_everything_stays() {
        assert!(rulings(None, None).allow(&out()) && rulings(None, None).allow(&into()));
        let mut lazy = rulings(Some(vec![]), Some(vec![]));
        lazy.rejudged.clear();
        assert!(lazy.allow(&out()) && lazy.allow(&into()));
    }

    #[test]
    fn an_enis_groups_are_those_of_its_connector() {
        let group = SecurityGroupId(3);
        let mut rulings = rulings(Some(vec![Rule { group, last: u16::MAX, ..Rule::default() }]), None);
        assert!(!rulings.allow(&out()));
        let (other, eni) = (ConnectorId(2), InterfaceId(8));
        let zone = Zone::of_vpc(9).unwrap();
        let groups = [
            group,
            SecurityGroupId::NONE,
            SecurityGroupId::NONE,
            SecurityGroupId::NONE,
            SecurityGroupId::NONE,
        ];
        let connector = Connector { zone, groups, ..Connector::default() };
        rulings.image.connectors.insert(other, ConnectorImage { connector, ..ConnectorImage::default() });
        rulings.image.enis.insert(Vip { address: address(REMOTE), zone }, Owner::eni(eni));
        rulings.enis.insert(eni, other);
        assert!(rulings.allow(&out()));
    }

    #[test]
    fn a_service_is_no_matter_of_rules() {
        let mut rulings = rulings(Some(vec![]), None);
        assert!(!rulings.allow(&out()));
        let vip = Vip { address: address(REMOTE), zone: Connector::services(ID) };
        let heard = Listener { vip, port: L4Port::new(443), protocol: protocol::TCP, zero: 0 };
        rulings.image.listeners.insert(heard, Default::default());
        assert!(rulings.allow(&out()));
    }
}
