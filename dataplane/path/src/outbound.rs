//! A flow that a sandbox opens: from which address of its connector, and from which port.

use crate::addr::{Address, InterfaceId, L4Port, Mac, Zone};
use crate::flow::follow::find;
use crate::flow::open::{Draft, Opened, Rival, Terms, draft};
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
use crate::time::Seconds;
use crate::verifier::rolled;
use crate::walk::{flow_key, leave};
use crate::way;
use crate::wire::{Ip, Network, Segment, protocol};

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
    let mut why = Reason::NotReady;
    t.ask(|asked| why = ask::<F, P, T>(p, t, t.live(), asked).err().unwrap_or(Reason::Opened));
    match why {
        Reason::Opened => Err(F::PORT),
        Reason::TtlExpired | Reason::NotAllowedOut => Err(F::TELL),
        why => Ok(leave(p, t, p.segments(), Err(why))),
    }
}

/// The step that finds the port: what was asked for is noted.
///
/// # Errors
/// The step to go on with: the flow is there, opened by this packet or on another CPU; another address is to be tried; or
/// the sandbox is to be told why the flow is not there.
#[inline(always)]
pub fn find_port<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    match t.asked(|asked| open_flow::<F, T>(t, asked)).unwrap_or(Err(Reason::NotReady)) {
        Ok(next) => {
            if next == F::PORT {
                t.ask(|asked| asked.tried += 1);
            }
            Err(next)
        }
        Err(Reason::PortNotFound) if t.asked(|asked| asked.has_another()).unwrap_or(false) => {
            t.ask(|asked| (asked.tried, asked.is_unsure) = (asked.tried + 1, 1));
            Err(F::PORT)
        }
        Err(Reason::NoRoute | Reason::PortsExhausted) => Err(F::TELL),
        Err(why) => Ok(leave(p, t, p.segments(), Err(why))),
    }
}

#[inline(always)]
fn open_flow<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    asked: &Asked<F::Key, F::Address>,
) -> Result<Next, Reason> {
    let mut drafted = Err(Reason::FlowTableFull);
    for _ in rolled(1 + ROOM_MADE) {
        drafted = draft::<F, T>(t, &asked.key, &asked.terms);
        if !matches!(drafted, Err(Reason::FlowTableFull)) || !take_back::<F, T>(t) {
            break;
        }
    }
    // Not copied: there is no room for it.
    let found = match &drafted {
        Ok(draft) => place::<F, T>(t, draft, asked),
        Err(why) => return Err(*why),
    };
    match found {
        Search::Made | Search::Joined => Ok(asked.then::<F>()),
        Search::Exhausted if asked.has_another() => Ok(F::PORT),
        Search::Exhausted | Search::AllExhausted if asked.is_unsure == 0 => Err(Reason::PortsExhausted),
        Search::Exhausted | Search::AllExhausted | Search::NotFound => Err(Reason::PortNotFound),
        Search::NoRoute => Err(Reason::NoRoute),
        Search::Collides => Err(Reason::ReplyCollision),
        Search::HalfOpenFull => Err(Reason::HalfOpenFull),
        Search::TableFull => Err(Reason::FlowTableFull),
    }
}

/// The packet's flow goes on as TCP and UDP do.
const IS_READY: u32 = 0;
/// It is an ICMP query's.
const IS_A_QUERY: u32 = 1;
/// What was opened is the mapping of its port: the flow itself comes next.
const GOES_AGAIN: u32 = 2;

/// What a first packet asks for: one step notes it, the next one reads it.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Asked<K, A> {
    key: K,
    seed: u64,
    /// Where a mapped port's packets go, and so by which ENI.
    hop: Hop,
    terms: Terms,
    /// The connector's VPC.
    zone: Zone,
    sources: Sources,
    /// The slot, where answers go.
    slot: InterfaceId,
    /// What becomes of the packet then.
    next: u32,
    /// How many of the addresses were tried.
    tried: u32,
    /// 1 where one of those may have a port that was not found; else 0.
    is_unsure: u32,
    /// The address and the port that were mapped before, with [`PortUse::MAPPED`].
    address: A,
    port: L4Port,
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
    (asked.tried, asked.is_unsure) = (0, 0);
    asked.next = if is_query { IS_A_QUERY } else { IS_READY };
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
        map::<F, T>(t, asked);
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
pub(crate) fn allowed<'t, F: Network + Pooled, T: Tables>(
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

/// Endpoint-independent mapping (RFC 4787 REQ-1): what leaves from one UDP port of the sandbox leaves from one port,
/// which another flow holds, whose remote is zero. Where that is not there, it is opened first.
#[inline(always)]
fn map<F: Steps, T: Tables + Flows<F>>(t: &T, asked: &mut Asked<F::Key, F::Address>) {
    let mapping = asked.key.mapping();
    let Some(found) = find::<F, T>(t, &mapping) else {
        asked.key = mapping;
        asked.next = GOES_AGAIN;
        return;
    };
    let way = found.way::<F>();
    asked.hop = way.hop;
    asked.address = way.to.src;
    asked.port = way.to.sport;
    asked.terms.port = PortUse::MAPPED;
    asked.terms.rest = Seconds(0);
}

impl<K, A> Asked<K, A> {
    /// Whether there are addresses that were not tried.
    #[inline(always)]
    const fn has_another(&self) -> bool {
        self.tried + 1 < self.sources.count
    }

    /// The step that follows once the flow is there.
    #[inline(always)]
    const fn then<F: Steps>(&self) -> Next {
        match self.next {
            GOES_AGAIN => F::OUTBOUND,
            IS_A_QUERY => F::QUERY,
            _ => F::READY,
        }
    }
}

/// Places a drafted flow on an address and a port. Unless it is made, the draft is gone.
#[inline(never)]
fn place<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
) -> Search {
    let found = if asked.terms.port == PortUse::MAPPED {
        on_mapped_port::<F, T>(t, draft, asked)
    } else {
        on_any_port::<F, T>(t, draft, asked)
    };
    if found == Search::Made {
        return found;
    }
    if matches!(found, Search::Exhausted | Search::AllExhausted | Search::NotFound) {
        draft.record().set_port(L4Port::new(0));
        t.refused(draft.record());
    }
    draft.abandon::<F, T>(t);
    found
}

/// At a random address of the connector first, or the next one that may have a port left: nothing is refused while one of
/// them has.
#[inline(always)]
fn on_any_port<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
) -> Search {
    let half = t.live();
    let mut at = Trial { there: Hop::default(), line: 0, found: Search::NoRoute, nth: asked.tried };
    T::repeat(MAX_SOURCES_IN_CONNECTOR, || at.next::<F, T>(t, half, draft, asked));
    if at.found != Search::NotFound {
        return at.found;
    }
    // Not before: what is refused must not push anybody out.
    if !draft.take_place::<F, T>(t) {
        return Search::HalfOpenFull;
    }
    let Some(source) = t.source(half, at.line) else { return Search::NoRoute };
    let back = Hop::new(asked.slot, Mac::default());
    let mut wanted = Wanted { source, seed: asked.seed, hops: [at.there, back], known: PortSetRef::NONE };
    ports::enter::<F, T>(t, draft, &mut wanted)
}

/// Which address is tried. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[repr(C)]
struct Trial {
    /// Where packets go that leave from it.
    there: Hop,
    /// Its line in the table of sources.
    line: u32,
    /// [`Search::NotFound`] where it may have a port, else why none has.
    found: Search,
    /// How many addresses were looked at.
    nth: u32,
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
        if self.nth >= count {
            return true;
        }
        let nth = scale(asked.seed as u32, count) + self.nth;
        self.nth += 1;
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
            None if asked.next == GOES_AGAIN => Hop::new(eni.egress.id, Mac::default()),
            None => return false,
        };
        draft.record().answer_to(F::Address::of_mapped(source.address), asked.zone);
        let is_full = ports::are_exhausted::<F, T>(t, draft.record());
        self.found = if is_full { Search::AllExhausted } else { Search::NotFound };
        !is_full
    }
}

/// At the port that is mapped for the sandbox's, and nowhere else.
#[inline(always)]
fn on_mapped_port<F: Steps, T: Tables + Flows<F>>(
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

/// Whether any of a connector's addresses has a way to `dst`.
#[inline(always)]
pub(crate) fn has_route<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    half: Half,
    connector: &Connector,
    dst: F::Address,
) -> bool {
    let Sources { first, count } = F::sources(connector);
    let (mut nth, mut has_route) = (0, false);
    T::repeat(MAX_SOURCES_IN_CONNECTOR, || {
        let source = t.source(half, first.wrapping_add(nth)).filter(|_| nth < count);
        nth += 1;
        let Some(eni) = source.and_then(|source| t.interface(source.eni)) else { return true };
        has_route = way::hop::<F, T>(t, half, [eni, eni], dst).is_some();
        has_route
    });
    has_route
}
