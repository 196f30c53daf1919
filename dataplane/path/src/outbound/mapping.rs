//! Endpoint-independent mapping (RFC 4787 REQ-1): all that leaves from one UDP port of a sandbox leaves from one port.
//!
//! That port is held by a flow of its own, the *mapping*, whose remote is zero, under a protocol number that no packet has. It
//! hears what its flows hear, and ends as they do.

use super::asked::{Asked, Then};
use crate::addr::{Address, Mac};
use crate::flow::end::End;
use crate::flow::follow::{find, give_up, hold};
use crate::flow::open::{Draft, Opened, Rival};
use crate::flow::ports::Search;
use crate::flow::store::{Flows, RecordCell};
use crate::flow::{Hop, Key, PortUse};
use crate::layout::MAX_SOURCES_IN_CONNECTOR;
use crate::steps::Steps;
use crate::tables::{Half, Sources, Tables};
use crate::time::Seconds;
use crate::way;

/// Looks for the mapping of the packet's port, and notes it. Where there is none, it is asked for first. One whose
/// address takes no new flows any more is given up, and its flows go on.
#[inline(always)]
pub(super) fn map<F: Steps, T: Tables + Flows<F>>(t: &T, half: Half, asked: &mut Asked<F::Key, F::Address>) {
    let mapping = asked.key.mapping();
    if let Some(found) = find::<F, T>(t, &mapping) {
        let way = found.way::<F>();
        if is_source::<F, T>(t, half, asked.sources, way.to.src) {
            hold::<F, T>(t, &found, false);
            asked.hop = way.hop;
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
#[inline(always)]
pub(super) fn on_mapped_port<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
) -> Search {
    let Some(eni) = t.interface(asked.hop.interface()).filter(|eni| eni.is_in_use()) else {
        return Search::NoRoute;
    };
    let there = match way::neighbour::<F, T>(t, t.live(), eni, asked.key.ends().dst) {
        Some(_) => Hop::new(eni.egress.id, Mac::default()),
        None if asked.hop.next_hop().is_some() => asked.hop,
        None => return Search::NoRoute,
    };
    draft.record().answer_to(asked.address, asked.zone);
    draft.record().set_port(asked.port);
    if !draft.take_place::<F, T>(t) {
        return Search::HalfOpenFull;
    }
    let back = Hop::new(asked.slot, Mac::default());
    match draft.enter::<F, T>(t, [there, back], Rival::MayBeTheSame) {
        Opened::Made => Search::Made,
        Opened::Joined => Search::Joined,
        Opened::Collides => Search::Collides,
        Opened::Full => Search::TableFull,
    }
}
