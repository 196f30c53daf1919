//! What the tables hold, read out as the rules would write it down.

use super::rules::{Both, Flow, Stage};
use super::town::{self, Place, Talk, sandbox};
use crate::world::{FlowImage, FlowTable, Keyed, SideImage, State};
use std::net::IpAddr;
use weir_path::addr::{Address, InterfaceId, Mac};
use weir_path::flow::{Ends, Hop, Key, Phase};

/// Every live flow, by what it is a talk of.
///
/// # Errors
/// A flow that can't be: half of it missing, keys that do not belong together, or a way that leads elsewhere.
pub(super) fn flows(state: &State) -> Result<Vec<Flow>, String> {
    let mut flows = table(&state.flows.v4)?;
    flows.extend(table(&state.flows.v6)?);
    flows.sort_by_key(|flow| flow.talk);
    Ok(flows)
}

fn table<K: Keyed>(table: &FlowTable<K>) -> Result<Vec<Flow>, String> {
    table.values().map(|image| flow(image).ok_or_else(|| format!("no flow can be this: {image:?}"))).collect()
}

fn flow<K: Keyed>(image: &FlowImage<K>) -> Option<Flow> {
    let [original, reply] = image.keys;
    let talk = talk(&original)?;
    let place = place(&talk, &reply)?;
    let [Some(there), Some(back)] = image.sides else { return None };
    let (slot, _) = place;
    let station = back.hop.station().0;
    let is_right = there.hop == hop(1 + slot, station) && back.hop == hop(town::UPLINK, station);
    is_right.then_some(Flow {
        talk,
        place,
        station,
        stage: stage(image.phase)?,
        opened: u64::from(image.opened.0),
        heard: u64::from(image.seen.0),
        done: Both(image.fins),
        expected: image.expected,
        shifts: Both(image.shifts),
        acknowledged: Both([there, back].map(|side: SideImage| side.acknowledged)),
        packets: Both([there, back].map(|side| side.counts.packets)),
        bytes: Both([there, back].map(|side| side.counts.bytes)),
        idle: u64::from(image.idle.0),
        looks_at: Both::default(),
    })
}

/// Whose talk packets with this key belong to.
fn talk<K: Key>(key: &K) -> Option<Talk> {
    let Ends { src, dst, sport, dport } = key.ends();
    let (from, to) = (IpAddr::from(src.mapped()), IpAddr::from(dst.mapped()));
    let client = sport.number().checked_sub(40_000)?;
    let every = (0..town::SERVICES).flat_map(|service| (0..town::VIPS).map(move |vip| (service, vip)));
    let mut talks = every.map(|(service, vip)| Talk { is_v6: from.is_ipv6(), service, vip, client });
    talks.find(|talk| {
        talk.client_end() == (from, sport.number())
            && talk.vip_end() == (to, dport.number())
            && talk.protocol() == key.protocol()
    })
}

/// Where answers with this key come from, if they can be of this talk.
fn place<K: Key>(talk: &Talk, key: &K) -> Option<Place> {
    let Ends { src, dst, sport, dport } = key.ends();
    let is_of_talk = IpAddr::from(src.mapped()) == sandbox(talk.is_v6)
        && (IpAddr::from(dst.mapped()), dport.number()) == talk.client_end()
        && key.protocol() == talk.protocol()
        && key.zone().is_binding();
    let slot = key.zone().number().checked_sub(1)? as usize;
    is_of_talk.then_some((slot, sport.number()))
}

fn hop(port: usize, mac: [u8; 6]) -> Hop {
    Hop::new(InterfaceId(port as u32), Mac(mac))
}

const fn stage(phase: Phase) -> Option<Stage> {
    match phase {
        Phase::New => Some(Stage::New),
        Phase::Answered => Some(Stage::Answered),
        Phase::Established => Some(Stage::Established),
        Phase::Reset => Some(Stage::Reset),
        Phase::Closing => Some(Stage::Closing),
        _ => None,
    }
}
