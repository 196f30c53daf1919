//! What neighbours on the uplinks are told and asked, unasked: programs answer and learn, but never begin to speak.
//!
//! An address that becomes Weir's is announced once on every uplink of its VPC, an ENI's on its own uplink, so that
//! switches and neighbours who knew it elsewhere come here at once. Gateways are asked for until they answer, and now
//! and then afterwards, so that one that moved without a word is found.

mod claims;
mod frames;
mod gateways;

pub(crate) use claims::{Claim, claims, filters};
pub(crate) use frames::Station;

use crate::host::name_of;
use gateways::{Gateway, gateways};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tracing::{debug, info, warn};
use weir_dataplane::{Dataplane, Error};
use weir_path::addr::{IfIndex, Mac};
use weir_path::packet::VlanTag;
use weir_path::tables::{Interface, NextHopId};

/// How often gateways are asked for that have not answered yet.
pub(crate) const ROUND: Duration = Duration::from_secs(3);
/// Those that have are asked once in so many rounds: every thirty seconds.
const ROUNDS_OF_THE_KNOWN: u32 = 10;

/// What is spoken by.
pub(crate) trait Voice {
    /// Sends a frame out of a device.
    fn transmit(&self, device: IfIndex, frame: &[u8]) -> Result<(), Error>;

    /// Which station a next hop is, as far as is known.
    fn next_hop(&self, id: NextHopId) -> Result<Option<Mac>, Error>;
}

impl Voice for Dataplane {
    fn transmit(&self, device: IfIndex, frame: &[u8]) -> Result<(), Error> {
        Self::transmit(self, device, frame)
    }

    fn next_hop(&self, id: NextHopId) -> Result<Option<Mac>, Error> {
        self.tables().next_hop(id)
    }
}

/// What is to be said, and what was.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// Announced already.
    told: BTreeSet<Claim>,
    /// Yet to be announced.
    untold: BTreeSet<Claim>,
    gateways: BTreeMap<NextHopId, Gateway>,
    /// Devices that a frame could not be sent out of, which has been reported.
    mute: BTreeSet<IfIndex>,
    round: u32,
}

impl Neighbours {
    /// Takes over a configuration that is in force now, and says at once what is new in it.
    ///
    /// `links` are the uplinks and ENIs in force.
    pub(crate) fn renew(&mut self, claims: &BTreeSet<Claim>, links: &[Interface], voice: &impl Voice) {
        self.told.retain(|claim| claims.contains(claim));
        self.untold = claims.difference(&self.told).copied().collect();
        let before = std::mem::take(&mut self.gateways);
        for (id, gateway) in gateways(links) {
            let asked = before.get(&id).filter(|before| before.is_same(&gateway));
            self.gateways.insert(id, asked.copied().unwrap_or(gateway));
        }
        self.announce(voice);
        let fresh: Vec<_> = self.gateways.iter().filter(|(_, it)| !it.was_asked).map(|(id, _)| *id).collect();
        fresh.into_iter().for_each(|id| self.ask(id, voice));
    }

    /// Whether rounds are needed at all.
    pub(crate) fn have_to_speak(&self) -> bool {
        !self.untold.is_empty() || !self.gateways.is_empty()
    }

    /// Says what could not be said before, and asks for the gateways whose turn it is.
    pub(crate) fn next_round(&mut self, voice: &impl Voice) {
        self.round = self.round.wrapping_add(1);
        self.announce(voice);
        let is_turn_of_the_known = self.round.is_multiple_of(ROUNDS_OF_THE_KNOWN);
        for id in self.gateways.keys().copied().collect::<Vec<_>>() {
            let is_known = self.look(id, voice);
            if !is_known || is_turn_of_the_known {
                self.ask(id, voice);
            }
        }
    }

    fn announce(&mut self, voice: &impl Voice) {
        for claim in std::mem::take(&mut self.untold) {
            let Claim { device, station, address } = claim;
            if self.say(device, &station.announce(address), voice) {
                debug!(%address, device = link(device, station), "announced");
                self.told.insert(claim);
            } else {
                self.untold.insert(claim);
            }
        }
    }

    fn ask(&mut self, id: NextHopId, voice: &impl Voice) {
        let Some(Gateway { device, station, own, address, .. }) = self.gateways.get(&id).copied() else {
            return;
        };
        let was_asked = self.say(device, &station.ask(own, address), voice);
        if let Some(gateway) = self.gateways.get_mut(&id) {
            gateway.was_asked |= was_asked;
        }
    }

    /// Looks up who a gateway is by now, says so where that is news, and returns whether it is known.
    fn look(&mut self, id: NextHopId, voice: &impl Voice) -> bool {
        let Some(gateway) = self.gateways.get_mut(&id) else { return true };
        let Gateway { device, station: own, address, .. } = *gateway;
        let now = match voice.next_hop(id) {
            Ok(now) => now,
            Err(error) => {
                warn!(%address, "cannot look up who the gateway is: {error}");
                return false;
            }
        };
        match now {
            Some(station) if gateway.known != now => {
                info!(gateway = %address, device = link(device, own), %station, "gateway found")
            }
            None if gateway.was_asked && !gateway.is_missed => {
                gateway.is_missed = true;
                warn!(
                    "gateway {address} does not answer on device {}; asking on. Until it does, replies go to whoever sent a flow's packets",
                    link(device, own)
                );
            }
            _ => {}
        }
        gateway.is_missed &= now.is_none();
        gateway.known = now;
        now.is_some()
    }

    /// Sends a frame. Whether that fails, or works again, is said once.
    fn say(&mut self, device: IfIndex, frame: &[u8], voice: &impl Voice) -> bool {
        match voice.transmit(device, frame) {
            Ok(()) => {
                if self.mute.remove(&device) {
                    info!(device = device_name(device), "neighbours hear from us again");
                }
                true
            }
            Err(error) => {
                if self.mute.insert(device) {
                    warn!(
                        device = device_name(device),
                        "could not speak to neighbours, trying again: {error}"
                    );
                }
                false
            }
        }
    }
}

/// A device with its tag, for people.
fn link(device: IfIndex, station: Station) -> String {
    let name = device_name(device);
    match station.vlan {
        VlanTag::NONE => name,
        VlanTag(vlan) => format!("{name}, VLAN {vlan}"),
    }
}

fn device_name(device: IfIndex) -> String {
    name_of(device).unwrap_or_else(|| device.to_string())
}

#[cfg(test)]
mod tests;
