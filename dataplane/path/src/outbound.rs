//! A flow that a sandbox opens: from which address of its connector, and from which port.

mod asked;
mod mapping;

pub use asked::Asked;
pub(crate) use asked::Refusal;

use crate::addr::{Address, L4Port, Mac};
use crate::flow::open::{Draft, draft};
use crate::flow::ports::{self, Search, Wanted};
use crate::flow::room::take_back;
use crate::flow::store::{Flows, PortSetRef, RecordCell};
use crate::flow::{Family, Hop, Key, Part, PortUse, V4, V6};
use crate::hash::scale;
use crate::layout::MAX_SOURCES_IN_CONNECTOR;
use crate::packet::Packet;
use crate::query;
use crate::reason::{Reason, Verdict};
use crate::steps::{Next, Steps};
use crate::tables::{Connector, ConnectorId, Half, Interface, Owner, Sources, Tables, Vip};
use crate::verifier::rolled;
use crate::walk::{flow_key, leave};
use crate::way;
use crate::wire::{Ip, Network, Segment, protocol};
use asked::Then;

/// How often room is made in a full table. Another CPU may be faster to take the record that was given back.
const ROOM_MADE: u32 = 3;

/// The addresses of a connector that are of a family.
pub trait Pooled: Family {
    /// Where they lie.
    fn sources(connector: &Connector) -> Sources;
}

impl Pooled for V4 {
    #[inline(always)]
    fn sources(connector: &Connector) -> Sources {
        connector.v4
    }
}

impl Pooled for V6 {
    #[inline(always)]
    fn sources(connector: &Connector) -> Sources {
        connector.v6
    }
}

/// The step of a packet from a sandbox that opens a flow: what it asks for.
///
/// # Errors
/// The step to go on with: a port is to be found; or the sandbox is to be told why not.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    let mut walked = Err(Reason::NotReady);
    t.ask(|asked| walked = ask::<F, P, T>(p, t, t.live(), asked));
    match walked {
        Ok(()) => Err(F::PORT),
        Err(why) => refuse::<F, P, T>(p, t, why),
    }
}

/// Tells the sandbox, where there is something to tell.
#[inline(always)]
fn refuse<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &P, t: &T, why: Reason) -> Result<Verdict, Next> {
    let refusal = match why {
        Reason::TtlExpired => Refusal::NONE,
        Reason::NotAllowedOut => Refusal::NOT_ALLOWED,
        Reason::NoRoute => Refusal::NO_ROUTE,
        Reason::PortsExhausted => Refusal::PORTS_EXHAUSTED,
        Reason::FlowTableFull => Refusal::TABLE_FULL,
        Reason::HalfOpenFull => Refusal::HALF_OPEN_FULL,
        why => return Ok(leave(p, t, p.segments(), Err(why))),
    };
    t.ask(|asked| asked.refusal = refusal);
    Err(F::TELL)
}

/// Reads a first packet. A function of its own: what it has on the stack is gone when the flow is made.
#[inline(never)]
fn ask<F: Steps, P: Packet, T: Tables + Flows<F>>(
    p: &P,
    t: &T,
    half: Half,
    asked: &mut Asked<F::Key, F::Address>,
) -> Result<(), Reason> {
    let Some(here) = t.arrival(p.vlan()) else { return Err(Reason::UnboundSlot) };
    let ip = F::read(p)?;
    let connector = allowed::<F, T>(t, half, here, &ip)?;
    if ip.hop_limit <= 1 {
        return Err(Reason::TtlExpired);
    }
    let is_query = ip.protocol == F::PROTOCOL;
    let segment = if is_query { query::read::<F, P>(p, &ip)? } else { Segment::read(p, &ip)? };
    let expected =
        segment.tcp.and_then(|_| segment.sequence(p)).map_or(0, |sequence| sequence.wrapping_add(1));
    asked.key = flow_key::<F>(here, &ip, &segment);
    asked.zone = connector.zone;
    asked.sources = F::sources(connector);
    asked.slot = here.egress.id;
    (asked.looked_at, asked.searched, asked.is_unsure) = (0, 0, 0);
    asked.then = if is_query { Then::QUERY } else { Then::READY };
    let idle = match ip.protocol {
        protocol::TCP => connector.tcp_idle,
        protocol::UDP => connector.udp_idle,
        _ => t.times(half).icmp_query,
    };
    asked.terms.idle = idle;
    asked.terms.expected = expected;
    asked.terms.shift = segment.window_shift(p);
    asked.terms.port = PortUse::OWN;
    asked.terms.rest = connector.rest;
    if ip.protocol == protocol::UDP && connector.maps_udp != 0 {
        mapping::map::<F, T>(t, half, asked);
    }
    // Nobody who doesn't know the key can foresee the port (RFC 6056 section 3.3.4, with one counter for all), and
    // the same flow opened again begins elsewhere.
    let hash = asked.key.hash(Part::Flow, t.hash_key(half));
    asked.seed = hash.wrapping_add(u64::from(t.next_number()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Ok(())
}

/// The connector by which a packet from a slot may open a flow.
///
/// # Errors
/// [`Reason::NotAllowedOut`]: the slot has none, or none for the family; or nobody may be reached at the destination: it
/// is nobody's that is beyond the link, a sandbox's, or one of Weir's own.
#[inline(always)]
fn allowed<'t, F: Network + Pooled, T: Tables>(
    t: &'t T,
    half: Half,
    here: &Interface,
    ip: &Ip<F::Address>,
) -> Result<&'t Connector, Reason> {
    let connector = match here.connector {
        ConnectorId::NONE => None,
        id => t.connector(half, id),
    };
    let Some(connector) = connector.filter(|it| F::sources(it).count != 0) else {
        return Err(Reason::NotAllowedOut);
    };
    let vip = Vip { address: ip.dst.mapped(), zone: connector.zone };
    let is_beyond = ip.dst.may_be_source() && !ip.dst.is_links_own() && ip.dst != ip.src;
    if !is_beyond || F::is_local(here, ip.dst) || t.owner(half, &vip) != Owner::NONE {
        return Err(Reason::NotAllowedOut);
    }
    Ok(connector)
}

/// The step that finds the port: what was asked for is noted.
///
/// # Errors
/// The step to go on with: the flow is there, opened by this packet or on another CPU; another address is to be tried; or
/// the sandbox is to be told why the flow is not there.
#[inline(always)]
pub fn find_port<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    let mut trial = Trial { there: Hop::default(), line: 0, found: Search::TableFull, looked_at: 0 };
    let walked = t.asked(|asked| open_flow::<F, T>(t, asked, &mut trial)).unwrap_or(Err(Reason::NotReady));
    match walked {
        Ok(next) if next == F::PORT => {
            t.ask(|asked| {
                asked.looked_at = trial.looked_at;
                asked.searched += 1;
                asked.is_unsure |= u32::from(trial.found == Search::NotFound);
            });
            Err(F::PORT)
        }
        Ok(next) => Err(next),
        Err(why) => refuse::<F, P, T>(p, t, why),
    }
}

#[inline(always)]
fn open_flow<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    asked: &Asked<F::Key, F::Address>,
    trial: &mut Trial,
) -> Result<Next, Reason> {
    let mut drafted = Err(Reason::FlowTableFull);
    for _ in rolled(1 + ROOM_MADE) {
        drafted = draft::<F, T>(t, &asked.key, &asked.terms);
        if !matches!(drafted, Err(Reason::FlowTableFull)) || !take_back::<F, T>(t) {
            break;
        }
    }
    // Not copied: there is no room for it.
    match &drafted {
        Ok(draft) => place::<F, T>(t, draft, asked, trial),
        Err(why) => return Err(*why),
    }
    match trial.found {
        Search::Made | Search::Joined => Ok(asked.then.step::<F>()),
        Search::Exhausted | Search::NotFound if asked.has_another(trial.looked_at) => Ok(F::PORT),
        Search::Exhausted | Search::AllExhausted if asked.is_unsure == 0 => Err(Reason::PortsExhausted),
        Search::Exhausted | Search::AllExhausted | Search::NotFound => Err(Reason::PortNotFound),
        Search::NoRoute => Err(Reason::NoRoute),
        Search::Collides => Err(Reason::ReplyCollision),
        Search::HalfOpenFull => Err(Reason::HalfOpenFull),
        Search::TableFull => Err(Reason::FlowTableFull),
    }
}

/// Places a drafted flow on an address and a port. Unless it is made, the draft is gone.
#[inline(never)]
fn place<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
    trial: &mut Trial,
) {
    trial.found = if asked.terms.port == PortUse::MAPPED {
        mapping::on_mapped_port::<F, T>(t, draft, asked)
    } else {
        on_any_port::<F, T>(t, draft, asked, trial)
    };
    if trial.found == Search::Made {
        return;
    }
    let is_refused = match trial.found {
        Search::AllExhausted => true,
        Search::Exhausted | Search::NotFound => !asked.has_another(trial.looked_at),
        _ => false,
    };
    if is_refused {
        draft.record().set_port(L4Port::new(0));
        t.refused(draft.record());
    }
    draft.abandon::<F, T>(t);
}

/// At a random address of the connector first, or the next one that may have a port left: nothing is refused while one of
/// them has.
#[inline(always)]
fn on_any_port<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
    trial: &mut Trial,
) -> Search {
    let half = t.live();
    trial.looked_at = asked.looked_at;
    trial.found = if asked.looked_at == 0 { Search::NoRoute } else { Search::AllExhausted };
    T::repeat(MAX_SOURCES_IN_CONNECTOR, || trial.next::<F, T>(t, half, draft, asked));
    if trial.found != Search::NotFound {
        return trial.found;
    }
    // Not before: where all ports are known to be taken, nobody is pushed out.
    if !draft.take_place::<F, T>(t) {
        return Search::HalfOpenFull;
    }
    let Some(source) = t.source(half, trial.line) else { return Search::NoRoute };
    let back = Hop::new(asked.slot, Mac::default());
    let mut wanted = Wanted { source, seed: asked.seed, hops: [trial.there, back], known: PortSetRef::NONE };
    ports::enter::<F, T>(t, draft, &mut wanted)
}

/// Which address is tried. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[repr(C)]
struct Trial {
    /// Where packets go that leave from it.
    there: Hop,
    /// Its line in the table of sources.
    line: u32,
    /// What came of it; before it is searched, [`Search::NotFound`] where it may have a port.
    found: Search,
    /// How many addresses were looked at.
    looked_at: u32,
}

impl Trial {
    /// Looks at the next address. Returns whether the search is over.
    #[inline(always)]
    fn next<F: Steps, T: Tables + Flows<F>>(
        &mut self,
        t: &T,
        half: Half,
        draft: &Draft<T::Record>,
        asked: &Asked<F::Key, F::Address>,
    ) -> bool {
        let Sources { first, count } = asked.sources;
        if self.looked_at >= count {
            return true;
        }
        let nth = scale(asked.seed as u32, count) + self.looked_at;
        self.looked_at += 1;
        self.line = first.wrapping_add(if nth < count { nth } else { nth - count });
        let Some(source) = t.source(half, self.line) else { return true };
        let (Some(eni), Some(uplink)) = (t.interface(source.eni), t.interface(source.uplink)) else {
            return true;
        };
        if !eni.is_in_use() {
            return false;
        }
        let there = way::hop::<F, T>(t, half, [eni, uplink], asked.key.ends().dst);
        self.there = match there {
            Some(there) => there,
            // A mapping sends nothing itself.
            None if asked.then == Then::AGAIN => Hop::new(eni.egress.id, Mac::default()),
            None => return false,
        };
        draft.record().answer_to(F::Address::of_mapped(source.address), asked.zone);
        let is_full = ports::are_exhausted::<F, T>(t, draft.record(), source);
        self.found = if is_full { Search::AllExhausted } else { Search::NotFound };
        !is_full
    }
}
