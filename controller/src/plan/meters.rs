//! How fast slots may be: what the tables have for a slot's rate, and the steps that bring it there.

use super::{Observed, Step};
use crate::config::{Bucket, DirectionRate, SlotRates};
use weir_path::tables::{Direction, Interface, Rate, Rates};

/// How fast a slot's sandbox may send and receive.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Meters {
    /// How fast buckets fill, and how much they hold.
    pub rates: Rates,
    /// What may go once besides.
    pub once: Burst,
}

/// Tokens that may go once, beside what buckets hold, by [`Direction`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Burst {
    /// Bytes.
    pub bytes: [u64; 2],
    /// Packets.
    pub packets: [u64; 2],
}

impl From<&SlotRates> for Meters {
    fn from(rates: &SlotRates) -> Self {
        // In the order of Direction.
        let ways = [rates.out, rates.into].map(Option::unwrap_or_default);
        let (bytes, packets) = (ways.map(|way: DirectionRate| way.bytes), ways.map(|way| way.packets));
        Self {
            rates: Rates { bytes: bytes.map(rate), packets: packets.map(rate) },
            once: Burst { bytes: bytes.map(once), packets: packets.map(once) },
        }
    }
}

fn rate(bucket: Option<Bucket>) -> Rate {
    // An hour at most, as the configuration was checked.
    bucket.map_or(Rate::default(), |it| Rate::of(it.size, it.refill.as_nanos() as u64))
}

fn once(bucket: Option<Bucket>) -> u64 {
    bucket.map_or(0, |it| it.once)
}

impl Meters {
    /// Which ways they hold, as a slot's record has it.
    #[must_use]
    pub fn metered(&self) -> u32 {
        let holds = |way: &Direction| {
            let rates = [self.rates.bytes, self.rates.packets].map(|of| of.get(*way as usize).copied());
            rates.into_iter().flatten().any(|rate| rate != Rate::default())
        };
        Direction::ALL.iter().filter(|way| holds(way)).fold(0, |bits, way| bits | 1 << *way as u32)
    }

    /// What brings a slot's rates from what is there to these. Buckets are filled where nobody took from them before: what a
    /// sandbox has used up stays so when its rate is another one, and what may go once goes once.
    pub(super) fn steps(&self, record: &Interface, observed: &Observed) -> impl Iterator<Item = Step> {
        let id = record.egress.id;
        let before = observed.rates.get(&id).copied().unwrap_or_default();
        let set = (before != self.rates).then_some(Step::SetRates(id, self.rates));
        let is_measured = |it: &&Interface| it.zone == record.zone && it.metered != 0;
        let mut measured = observed.interfaces.iter().filter(is_measured);
        let is_there = measured.clone().any(|it| it.egress.id == id);
        let once = if measured.next().is_none() { self.once } else { Burst::default() };
        let fill = (record.metered != 0 && !is_there).then_some(Step::FillBuckets(id, once));
        set.into_iter().chain(fill)
    }
}
