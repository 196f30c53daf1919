//! `[[connector.service]]`: what of this host the sandboxes of a connector may reach.

use super::check::{all, unknown};
use super::draft::Draft;
use super::model::{At, Connector, Family, Protocol, Service, Transport};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::{sandbox, values};
use miette::SourceSpan;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use weir_path::addr::{Ip6, L4Port};

pub(crate) struct ServiceDraft {
    pub(super) at: SourceSpan,
    address: Option<At<Ip6>>,
    port: Option<At<L4Port>>,
    pub(super) protocol: Option<At<Protocol>>,
    via: Option<At<String>>,
    /// `Err` where it is wrong.
    to: Result<Option<At<Ip6>>, Wrong>,
    to_port: Result<Option<At<L4Port>>, Wrong>,
}

/// Something is written there, and it was complained of.
struct Wrong;

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> ServiceDraft {
    let at = section.at();
    let address = section.required(problems, "address", "\"169.254.100.1\"", values::vip);
    let port = section.required(problems, "port", "9001", values::port);
    let protocol = section.required(problems, "protocol", "\"tcp\"", values::protocol);
    let via = section.required(problems, "via", "\"host\"", values::name);
    let to = section.optional(problems, "to", values::vip);
    let to = if to.is_none() && section.has("to") { Err(Wrong) } else { Ok(to) };
    let to_port = section.optional(problems, "to_port", values::port);
    let to_port = if to_port.is_none() && section.has("to_port") { Err(Wrong) } else { Ok(to_port) };
    section.finish(problems);
    ServiceDraft { at, address, port, protocol, via, to, to_port }
}

/// Gives each connector its services, as far as they are right; one that is not becomes none.
pub(super) fn check(draft: &Draft, connectors: &mut [Option<Connector>], problems: &mut Problems) {
    let places = draft.connector_places();
    for (place, asking) in draft.connectors.iter().enumerate() {
        let mut seen = BTreeMap::new();
        let checked = asking.services.iter().map(|service| {
            let checked = check_service(service, draft, &places, connectors, problems)?;
            check_overlap(&checked, &mut seen, problems);
            Some(checked)
        });
        let checked = all(checked.collect());
        if let Some(connector) = connectors.get_mut(place) {
            *connector = connector.take().zip(checked).map(|(it, services)| Connector { services, ..it });
        }
    }
}

fn check_service(
    service: &ServiceDraft,
    draft: &Draft,
    places: &BTreeMap<&str, usize>,
    connectors: &[Option<Connector>],
    problems: &mut Problems,
) -> Option<Service> {
    let name = service.via.as_ref()?;
    let via = places.get(name.value.as_str()).copied();
    if via.is_none() {
        problems.add(unknown(name, "connector", "[[connector]]", &places.keys().copied().collect()));
    }
    let address = service.address?;
    let to = service.to.as_ref().ok()?.unwrap_or(address);
    let wrong = own(address, draft).or_else(|| family(address, to)).or_else(|| {
        let leads = connectors.get(via?)?.as_ref()?;
        (!leads.leads_to(to.value)).then(|| unreached(name, leads, to))
    });
    if let Some(wrong) = wrong {
        problems.add(wrong);
        return None;
    }
    let port = service.port?.value;
    Some(Service {
        address,
        port,
        protocol: service.protocol?.value,
        via: via?,
        to: to.value,
        to_port: service.to_port.as_ref().ok()?.map_or(port, |it| it.value),
    })
}

/// The complaint about an address that no sandbox can call: its own, or one of a family that it hasn't.
fn own(address: At<Ip6>, draft: &Draft) -> Option<Problem> {
    if sandbox::is_own(&draft.sandbox.values, address.value) {
        return Some(Problem::new(
            address.at,
            format!("a service can't be called at {}: it is every sandbox's own address", address.value),
            "a sandbox that calls it calls itself",
            "write another address: the sandboxes' gateway or a link-local one will do, and `to` says where it is",
        ));
    }
    let lacks = Family::of(address.value) == Family::V6 && !draft.sandbox.has_v6();
    lacks.then(|| {
        Problem::new(
            address.at,
            format!("{} is an IPv6 address, but sandboxes have none", address.value),
            "nobody could call it",
            "add `address6` and `gateway6` to [sandbox], or write an IPv4 address",
        )
    })
}

fn family(address: At<Ip6>, to: At<Ip6>) -> Option<Problem> {
    let (called, there) = (Family::of(address.value), Family::of(to.value));
    if called == there {
        return None;
    }
    let message = format!("a service is called at {} and is at {}", address.value, to.value);
    let help = "write two addresses of one family: packets of one are not made into those of the other";
    let problem = Problem::new(to.at, message, format!("an {} address", there.name()), help);
    Some(problem.and_at(address.at, format!("an {} address", called.name())))
}

/// The complaint about a connector whose ENIs have no address of the family.
pub(super) fn unreached(name: &At<String>, connector: &Connector, to: At<Ip6>) -> Problem {
    let family = Family::of(to.value).name();
    Problem::new(
        name.at,
        format!(
            "connector \"{}\" has no {family} addresses, so it doesn't lead to {}",
            connector.name.value, to.value
        ),
        "of the other family",
        format!("name a connector with {family} addresses, or write an address of its family"),
    )
    .and_at(to.at, format!("an {family} address"))
}

fn check_overlap(
    service: &Service,
    seen: &mut BTreeMap<(Ip6, L4Port, Transport), SourceSpan>,
    problems: &mut Problems,
) {
    let Service { address, port, protocol, .. } = service;
    for transport in protocol.transports() {
        match seen.entry((address.value, *port, *transport)) {
            Entry::Vacant(free) => drop(free.insert(address.at)),
            Entry::Occupied(first) => {
                let message = format!(
                    "two services of a connector are called at {} port {}/{}",
                    address.value,
                    port.number(),
                    transport.name()
                );
                let help = "remove one of the two, or give it another address, port or protocol";
                let problem = Problem::new(address.at, message, "the second one", help);
                problems.add(problem.and_at(*first.get(), "the first one"));
                return;
            }
        }
    }
}
