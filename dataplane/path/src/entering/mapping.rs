//! Endpoint-independent mapping (RFC 4787 REQ-1): all that leaves from one UDP port of a sandbox leaves from one port.
//!
//! That port is held by a flow of its own, the *mapping*, whose remote is zero, under a protocol number that no packet has. It
//! hears what its flows hear, and ends as they do.

use crate::addr::{Address, Mac};
use crate::asked::{Asked, Then};
use crate::flow::end::End;
use crate::flow::follow::{find, give_up, hold};
use crate::flow::open::{Draft, Rival};
use crate::flow::ports::Search;
use crate::flow::store::{Flows, RecordCell};
use crate::flow::{Hop, Key, PortUse};
use crate::layout::MAX_SOURCES_IN_CONNECTOR;
use crate::quota::Held;
use crate::steps::Steps;
use crate::tables::{Connector, Half, Sources, Tables};
use crate::time::Seconds;
use crate::way;

/// Looks for the mapping of the packet's port, and notes it. Where there is none, it is asked for first. One whose
/// address takes no new flows any more is given up, and its flows go on.
#[inline(always)]
pub(crate) fn map<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    connector: &Connector,
    asked: &mut Asked<F::Key, F::Address>,
) {
    let mapping = asked.key.mapping();
    if let Some(found) = find::<F, T>(t, &mapping) {
        let way = found.way::<F>();
        if is_source::<F, T>(t, half, asked.sources, way.to.src) {
            hold::<F, T>(t, &found, false);
            if asked.is_to_slot == 0 {
                asked.there = way.hop;
            }
            asked.address = way.to.src;
            asked.port = way.to.sport;
            asked.terms.port = PortUse::MAPPED;
            asked.terms.rest = Seconds(0);
            return;
        }
        give_up::<F, T>(t, &found, End::Removed);
    }
    asked.key = mapping;
    asked.then = Then::AGAIN;
    (asked.remote, asked.remote_port) = (mapping.ends().dst, mapping.ends().dport);
    asked.zone = connector.zone;
    asked.is_to_slot = 0;
    asked.terms.idle = connector.udp_idle;
    asked.terms.tells_idle = 0;
}

/// Whether new flows may leave from this address.
#[inline(always)]
fn is_source<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    sources: Sources,
    address: F::Address,
) -> bool {
    let address = address.mapped();
    let (mut nth, mut is_one) = (0, false);
    T::repeat(MAX_SOURCES_IN_CONNECTOR, || {
        let source = t.source(half, sources.first.wrapping_add(nth));
        is_one = nth < sources.count && source.is_some_and(|source| source.address == address);
        nth += 1;
        is_one || nth >= sources.count
    });
    is_one
}

/// At the port that is mapped for the sandbox's, and nowhere else.
#[inline(never)]
pub(crate) fn on_mapped_port<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
) -> Search {
    let Some(there) = leads::<F, T>(t, asked) else { return Search::NoRoute };
    draft.record().answer_to([&asked.remote, &asked.address], asked.remote_port, asked.zone);
    draft.record().set_port(asked.port);
    let admitted = draft.admit::<F, T>(t, asked.terms.account, Held::NOTHING);
    if admitted != Search::NotFound {
        return admitted;
    }
    draft.enter::<F, T>(t, [there, asked.back], Rival::MayBeTheSame).into()
}

/// Where the flow's packets go that leave from the mapped port.
#[inline(always)]
fn leads<F: Steps, T: Tables>(t: &T, asked: &Asked<F::Key, F::Address>) -> Option<Hop> {
    if asked.is_to_slot != 0 {
        return Some(asked.there);
    }
    let eni = t.interface(asked.there.interface()).filter(|eni| eni.is_in_use())?;
    match way::neighbour::<F, T>(t, asked.half(), eni, asked.remote) {
        Some(_) => Some(Hop::new(eni.egress.id, Mac::default())),
        None => asked.there.next_hop().map(|_| asked.there),
    }
}
