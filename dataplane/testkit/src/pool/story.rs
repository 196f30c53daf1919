//! What happens in a history of ports.

use super::ledger::Ledger;
use super::talk::{Frame, REMOTES, SLOTS, Says, Talk};
use crate::random::Random;
use crate::town::{self, ENI_1, ENI_2, FUNCTIONS, ICMP, LABS, SECONDARY, SECONDARY_6, TCP, UDP};
use crate::world::World;
use weir_dataplane::image::Image;
use weir_path::addr::{Address, L4Port};
use weir_path::tables::{Interface, PortBlock};
use weir_path::time::Seconds;

/// Room for flows of each family, and how often flows are opened rather than ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// How many flows fit; one set of ports in 4,096.
    pub flows: u32,
    /// Of how many deeds one opens a flow, in a hundred.
    pub opens: usize,
}

/// Which of prod's three addresses take new flows, and how many blocks of ports each has, lab's as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    /// Bits: the first ENI's address, its second one, the second ENI's.
    active: u8,
    blocks: u16,
}

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    Opens(Talk),
    Says(Talk, Says),
    Probes(Frame),
    Ends(Talk),
    Waits(u32, bool),
    Shares(Shares),
    Loses(Interface),
}

/// So many that the ring of half-open flows never comes round, and nobody makes way.
const HALF_OPEN: u32 = 1 << 18;
/// How long ports rest here: short, so that much of it happens.
const REST: Seconds = Seconds(20);
/// The first block of ports that are used.
const FIRST: PortBlock = PortBlock(100);

const FIRST_TALK: Talk = Talk { is_v6: false, protocol: TCP, slot: 0, port: 40_000, remote: 0 };

pub(super) const fn first_shares() -> Shares {
    Shares { active: 1, blocks: 1 }
}

/// The town, where nobody runs out of answers.
pub(super) fn world(room: Room) -> World {
    let mut world = town::world().with_half_open_room_for(room.flows, HALF_OPEN);
    world.interfaces.iter_mut().for_each(|it| it.answers = 1 << 20);
    world.image = image(first_shares());
    world
}

pub(super) fn image(shares: Shares) -> Image {
    let mut image = town::image();
    let second = [SECONDARY.ip.mapped(), SECONDARY_6.ip];
    for id in [FUNCTIONS, LABS] {
        let Some(connector) = image.connectors.get_mut(&id) else { continue };
        connector.connector.rest = REST;
        for sources in [&mut connector.v4, &mut connector.v6] {
            for source in sources.iter_mut() {
                (source.first, source.blocks) = (FIRST, shares.blocks);
            }
            sources.retain(|source| {
                let bit = match source.eni {
                    _ if id == LABS => return true,
                    _ if second.contains(&source.address) => 2,
                    eni if eni == ENI_1.egress.id => 1,
                    _ => 4,
                };
                shares.active & bit != 0
            });
        }
    }
    image
}

pub(super) struct Story {
    random: Random,
    opens: usize,
    shares: Shares,
    /// Talks like this one are favoured for a while, so that the ports for them run out.
    favourite: Talk,
}

impl Story {
    pub(super) fn new(seed: u64, room: Room) -> Self {
        let Room { opens, .. } = room;
        Self { random: Random::new(seed), opens, shares: first_shares(), favourite: FIRST_TALK }
    }

    pub(super) fn next(&mut self, ledger: &Ledger) -> Deed {
        let turn = self.random.below(100);
        if turn < self.opens {
            return Deed::Opens(self.anybody());
        }
        if turn >= 97 {
            return self.rarely();
        }
        let Some(talk) = ledger.pick(self.random.bits()) else { return Deed::Opens(self.anybody()) };
        match turn - self.opens {
            0..6 => self.probe(ledger, talk),
            6..9 => Deed::Ends(talk),
            9..12 => Deed::Opens(talk),
            12..14 => Deed::Waits(1 + self.random.below(12) as u32, self.random.once_in(2)),
            _ => Deed::Says(talk, self.speech()),
        }
    }

    fn speech(&mut self) -> Says {
        match self.random.below(12) {
            0..4 => Says::Answer,
            4..7 => Says::Goes,
            7 => Says::ClosesFirst,
            8 => Says::IsClosedFirst,
            9 => Says::Resets,
            _ => Says::IsReset,
        }
    }

    fn rarely(&mut self) -> Deed {
        match self.random.below(12) {
            0..4 => Deed::Waits(8 * (1 + self.random.below(12)) as u32, self.random.once_in(2)),
            4 if self.random.once_in(8) => Deed::Waits(8 * 400, true),
            6 => {
                self.favourite = self.other();
                Deed::Waits(1, true)
            }
            7 if self.random.once_in(4) => Deed::Loses(if self.random.once_in(2) { ENI_1 } else { ENI_2 }),
            _ => {
                let active = 1 + self.random.below(7) as u8;
                // Others than before now and then, as a host's own address gets them.
                let blocks =
                    if self.random.once_in(6) { 1 + self.random.below(2) as u16 } else { self.shares.blocks };
                self.shares = Shares { active, blocks };
                Deed::Shares(self.shares)
            }
        }
    }

    /// The shares without an ENI's addresses; the other one's take over.
    pub(super) fn without(&mut self, eni: Interface) -> Shares {
        let active = if eni == ENI_1 { 4 } else { 3 };
        self.shares = Shares { active, ..self.shares };
        self.shares
    }

    fn other(&mut self) -> Talk {
        Talk {
            is_v6: self.random.once_in(3),
            protocol: *self.random.pick(&[TCP, TCP, UDP, ICMP]),
            slot: self.random.below(SLOTS.len()),
            port: 40_000 + self.random.below(400) as u16,
            remote: self.random.below(REMOTES.into()) as u8,
        }
    }

    fn anybody(&mut self) -> Talk {
        let any = self.other();
        if self.random.once_in(5) {
            return any;
        }
        let Talk { is_v6, protocol, remote, .. } = self.favourite;
        let slot = if self.favourite.slot == 2 { 2 } else { any.slot % 2 };
        Talk { is_v6, protocol, remote, slot, ..any }
    }

    /// A packet to a port near those that are in use, perhaps to one.
    fn probe(&mut self, ledger: &Ledger, talk: Talk) -> Deed {
        let at = ledger.outside(&talk);
        let mut asked = talk;
        match self.random.below(5) {
            0 => asked.remote = (asked.remote + 1) % REMOTES,
            1 => asked.slot = (asked.slot + 2) % SLOTS.len(),
            2 => asked.protocol = if asked.protocol == TCP { UDP } else { TCP },
            _ => {}
        }
        let port = match self.random.below(3) {
            0 => at.1,
            _ => FIRST.port(self.random.below(64) as u32),
        };
        Deed::Probes(asked.inward((at.0, L4Port::new(port.number())), 0x10, [7, 7]))
    }
}
