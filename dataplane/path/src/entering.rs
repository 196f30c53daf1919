//! Entering a new flow, as the step before asked for it: where it is an ENI that it leaves by, from which of the connector's
//! addresses, and from which port there.

pub(crate) mod mapping;

use crate::addr::{Address, L4Port, Mac};
use crate::asked::{Asked, Then};
use crate::flow::open::{Draft, Opened, Rival, draft};
use crate::flow::ports::{self, Search, Wanted};
use crate::flow::room::take_back;
use crate::flow::store::{Flows, PortSetRef, RecordCell};
use crate::flow::{Hop, PortUse, Side};
use crate::hash::scale;
use crate::layout::MAX_SOURCES_IN_CONNECTOR;
use crate::outbound::refuse;
use crate::packet::Packet;
use crate::quota::Held;
use crate::reason::{Reason, Verdict};
use crate::steps::{Next, Steps};
use crate::tables::{Half, Source, Sources, Tables};
use crate::verifier::rolled;
use crate::walk::leave;
use crate::way;

/// How often room is made in a full table. Another CPU may be faster to take the record that was given back.
const ROOM_MADE: u32 = 3;
/// How many targets are tried where replies would collide with another flow's.
const TARGETS_TRIED: u32 = 3;

/// The step that enters a flow.
///
/// # Errors
/// The step to go on with: the flow is there, opened by this packet or on another CPU; another address is to be tried, or
/// another target; or the sender is to be told why the flow is not there.
#[inline(always)]
pub fn walk<F: Steps, P: Packet, T: Tables + Flows<F>>(p: &mut P, t: &T) -> Result<Verdict, Next> {
    let mut trial =
        Trial { there: Hop::default(), line: 0, found: Search::TableFull, looked_at: 0, is_from_wire: 0 };
    let walked = t.asked(|asked| open_flow::<F, T>(t, asked, &mut trial)).unwrap_or(Err(Reason::NotReady));
    t.ask(|asked| {
        asked.looked_at = trial.looked_at;
        asked.searched += 1;
        asked.is_unsure |= u32::from(trial.found == Search::NotFound);
        asked.attempt = if walked == Ok(F::OPENING) { asked.attempt + 1 } else { 0 };
    });
    match walked {
        Ok(next) => Err(next),
        Err(why) if trial.is_from_wire != 0 => Ok(leave(p, t, p.segments(), Err(why))),
        Err(why) => refuse::<F, P, T>(p, t, why),
    }
}

#[inline(always)]
fn open_flow<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    asked: &Asked<F::Key, F::Address>,
    trial: &mut Trial,
) -> Result<Next, Reason> {
    trial.is_from_wire = asked.is_from_wire;
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
        Search::Exhausted | Search::NotFound if asked.has_another(trial.looked_at) => Ok(F::ENTER),
        Search::Exhausted | Search::AllExhausted if asked.is_unsure == 0 => Err(Reason::PortsExhausted),
        Search::Exhausted | Search::AllExhausted | Search::NotFound => Err(Reason::PortNotFound),
        Search::NoRoute => Err(Reason::NoRoute),
        Search::Collides if asked.is_from_wire != 0 && asked.attempt + 1 < TARGETS_TRIED => Ok(F::OPENING),
        Search::Collides => Err(Reason::ReplyCollision),
        Search::OverQuota => Err(Reason::QuotaReached),
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
    trial.found = match asked.terms.port {
        PortUse::MAPPED => mapping::on_mapped_port::<F, T>(t, draft, asked),
        PortUse::OWN => on_any_port::<F, T>(t, draft, asked, trial),
        _ => as_it_is::<F, T>(t, draft, asked),
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

/// With the client's own address and port.
#[inline(never)]
fn as_it_is<F: Steps, T: Tables + Flows<F>>(
    t: &T,
    draft: &Draft<T::Record>,
    asked: &Asked<F::Key, F::Address>,
) -> Search {
    draft.record().answer_from(&asked.remote, asked.remote_port, asked.zone);
    let claimed = draft.claim_reply::<F, T>(t, asked.back, Rival::MayBeTheSame);
    if claimed != Opened::Made {
        return claimed.into();
    }
    // Not before: where replies would collide, nobody is pushed out.
    let admitted = draft.admit::<F, T>(t, asked.terms.account, Held::NOTHING);
    if admitted != Search::NotFound {
        t.remove(draft.record(), Side::Reply);
        return admitted;
    }
    draft.complete::<F, T>(t, asked.there).into()
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
    let half = asked.half();
    trial.looked_at = asked.looked_at;
    trial.found = if asked.looked_at == 0 { Search::NoRoute } else { Search::AllExhausted };
    T::repeat(MAX_SOURCES_IN_CONNECTOR, || trial.next::<F, T>(t, half, draft, asked));
    if trial.found != Search::NotFound {
        return trial.found;
    }
    // Not before: where all ports are known to be taken, nobody is pushed out.
    let admitted = draft.admit::<F, T>(t, asked.terms.account, Held::PORT);
    if admitted != Search::NotFound {
        return admitted;
    }
    let Some(source) = t.source(half, trial.line) else { return Search::NoRoute };
    let mut wanted =
        Wanted { source, seed: asked.seed, hops: [trial.there, asked.back], known: PortSetRef::NONE };
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
    /// As [`Asked`] has it.
    is_from_wire: u32,
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
        match leads::<F, T>(t, half, source, asked) {
            Some(there) => self.there = there,
            None => return false,
        }
        draft.record().answer_to(
            [&asked.remote, &F::Address::of_mapped(source.address)],
            asked.remote_port,
            asked.zone,
        );
        let is_full = ports::are_exhausted::<F, T>(t, draft.record(), source);
        self.found = if is_full { Search::AllExhausted } else { Search::NotFound };
        !is_full
    }
}

/// Where packets go that leave from this address of an ENI. `None` where there is no way.
#[inline(always)]
fn leads<F: Steps, T: Tables>(
    t: &T,
    half: Half,
    source: &Source,
    asked: &Asked<F::Key, F::Address>,
) -> Option<Hop> {
    if asked.is_to_slot != 0 {
        return Some(asked.there);
    }
    let (eni, uplink) = (t.interface(source.eni)?, t.interface(source.uplink)?);
    if !eni.is_in_use() {
        return None;
    }
    let there = way::hop::<F, T>(t, half, [eni, uplink], asked.remote, asked.is_from_wire != 0);
    match there {
        // A mapping sends nothing itself.
        None if asked.then == Then::AGAIN => Some(Hop::new(eni.egress.id, Mac::default())),
        there => there,
    }
}
