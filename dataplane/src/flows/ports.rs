//! Ports of ENIs: which rest, towards whom there were none.

use super::{FlowTable, Stored};
use crate::error::Error;
use weir_path::addr::{Ip6, Zone};
use weir_path::flow::{Ends, Key, Life, Meta, Phase};
use weir_path::layout::{PORT_SET_WORDS, SHARED_POT};
use weir_path::time::{Now, Seconds};

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

impl<F: Stored> FlowTable<F> {
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
