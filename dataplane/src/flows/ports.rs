//! Ports of ENIs: which rest, towards whom there were none.

use super::{FlowTable, Stored};
use crate::error::Error;
use weir_path::addr::{Ip6, Zone};
use weir_path::flow::{Ends, Key, Life, Meta, Phase};
use weir_path::layout::{PORT_SET_KEY, PORT_SET_LIFE, PORT_SET_USED, PORT_SET_WORDS, PortSet, SHARED_POT};
use weir_path::time::{Now, Seconds};
use zerocopy::{FromBytes, IntoBytes};

/// A port of an ENI that is not to be used yet towards a remote. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resting {
    /// Whether it is of an IPv6 flow.
    pub is_v6: bool,
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
    /// The VPC.
    pub zone: Zone,
    /// What the flow's answers looked like: from the remote, to the ENI.
    pub reply: Ends<Ip6>,
    /// Since when it rests.
    pub since: Now,
    /// For how long.
    pub rest: Seconds,
}

/// How often new flows were refused towards a remote, because no port was free. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// From the remote, to the ENI; without a port there.
    pub towards: Ends<Ip6>,
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
    /// The VPC.
    pub zone: Zone,
    /// How often.
    pub count: u64,
}

/// A remote that a set is kept for of the ports in use: many are. IPv4 addresses are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crowded {
    /// From the remote, to the ENI; without a port there.
    pub towards: Ends<Ip6>,
    /// The IP protocol number (RFC 790).
    pub protocol: u8,
    /// The VPC.
    pub zone: Zone,
    /// How many ports are in use, those that rest among them, as far as the set knows: one that was made late learns.
    pub used: u32,
}

/// In a set's life: set while it is somebody's.
const SET_IN_USE: u64 = 1 << 32;

impl<F: Stored> FlowTable<F> {
    /// Every remote that a set is kept for.
    pub(crate) fn crowded(&self) -> Vec<Crowded> {
        let shared = self.pots.get(&SHARED_POT).ok().flatten();
        let all = self.port_sets.len();
        // Behind these none was ever made. All, where that can't be read.
        let fresh = shared.map_or(all, |[_, _, fresh, ..]| fresh.min(all.into()) as u32);
        (0..fresh).filter_map(|number| crowd::<F>(&self.port_sets.get(number)?)).collect()
    }

    /// Every port that rests.
    pub(crate) fn resting(&self) -> Vec<Resting> {
        let read = |number| F::record(&self.records.get(number)?).into();
        let records = (0..self.used()).filter_map(read);
        let resting = records.filter(|(life, ..): &(Life, [F::Key; 2], Meta)| life.phase() == Phase::Resting);
        resting
            .map(|(life, [_, reply], meta)| Resting {
                is_v6: F::IS_V6,
                protocol: reply.protocol(),
                zone: reply.zone(),
                reply: reply.ends().mapped(),
                since: life.seen(),
                rest: meta.rest,
            })
            .collect()
    }

    /// How often each remote was refused a port.
    pub(crate) fn refused(&self) -> Result<Vec<Refused>, Error> {
        let refused = self.refused.read_all()?.into_iter();
        let to_refused = |(key, count): (F::Key, u64)| Refused {
            towards: key.ends().mapped(),
            protocol: key.protocol(),
            zone: key.zone(),
            count,
        };
        Ok(refused.map(to_refused).collect())
    }

    /// Takes what is known of crowded remotes away, as if it had never been: for tests. Only where no program runs.
    pub(crate) fn forget_ports(&self) -> Result<(), Error> {
        let ports: Vec<_> = self.ports.read_all()?.into_iter().map(|(key, _)| key).collect();
        self.ports.remove_all(&ports)?;
        for number in 0..self.port_sets.len() {
            self.port_sets.set(number, &[0; PORT_SET_WORDS as usize]);
        }
        let mut shared = self.pots.get(&SHARED_POT)?.unwrap_or_default();
        let [_, _, fresh, free, ..] = &mut shared;
        (*fresh, *free) = (0, 0);
        self.pots.set(&SHARED_POT, &shared)
    }
}

/// What a set says, if it is somebody's.
fn crowd<F: Stored>(set: &PortSet) -> Option<Crowded> {
    let word = |place: u32| set.get(place as usize).copied();
    word(PORT_SET_LIFE).filter(|life| life & SET_IN_USE != 0)?;
    let (key, _) = F::Key::read_from_prefix(set.get(PORT_SET_KEY as usize..)?.as_bytes()).ok()?;
    // It may be below zero for a moment: whoever gives a port back is not always behind whoever took it.
    let used = word(PORT_SET_USED)?.cast_signed().clamp(0, i64::from(u32::MAX)) as u32;
    Some(Crowded { towards: key.ends().mapped(), protocol: key.protocol(), zone: key.zone(), used })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_path::addr::{Ip4, L4Port};
    use weir_path::flow::{Key4, V4};

    #[test]
    fn a_set_says_whose_it_is_and_how_many_ports_it_knows_of_while_it_is_somebodys() {
        let zone = Zone::of_vpc(9).unwrap_or_default();
        let [remote, eni] = [[192, 0, 2, 1], [10, 0, 1, 7]].map(Ip4);
        let ends = Ends { src: remote, dst: eni, sport: L4Port::new(443), dport: L4Port::new(0) };
        let mut set = [0; PORT_SET_WORDS as usize];
        let key = Key4::new(ends, 6, zone);
        let place = PORT_SET_KEY as usize;
        let bytes = set[place..].as_mut_bytes();
        bytes[..size_of::<Key4>()].copy_from_slice(key.as_bytes());
        set[PORT_SET_USED as usize] = 40_000;
        assert_eq!(crowd::<V4>(&set), None);
        set[PORT_SET_LIFE as usize] = 3 << 32;
        let expected = Crowded { towards: ends.mapped(), protocol: 6, zone, used: 40_000 };
        assert_eq!(crowd::<V4>(&set), Some(expected));
        set[PORT_SET_USED as usize] = u64::MAX;
        assert_eq!(crowd::<V4>(&set), Some(Crowded { used: 0, ..expected }));
    }
}
