//! RFC 6056: which ports are chosen.

use std::collections::BTreeSet;

use weir_netns_tests::nat::{Family, Nat, Place};
use weir_netns_tests::rfcs::{ITS_OWN, Seen};

use crate::mapping::{Protocol, is_hard_to_guess, ports_of_many};
use crate::vector::{Clock, LAG, Observed, Vector, of_both, vectors};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc6056_3_1_ports_are_hard_to_guess
        rfc6056_3_2_ports_come_from_the_whole_range
        rfc6056_4_a_nat_chooses_as_a_host_should;
    AtOnce: rfc6056_3_3_the_same_conversation_begins_at_another_port;
};

fn rfc6056_3_1_ports_are_hard_to_guess(nat: &Nat) -> Observed {
    of_both(|family| is_hard_to_guess(nat, Protocol::Udp, family))
}

fn rfc6056_3_2_ports_come_from_the_whole_range(nat: &Nat) -> Observed {
    const FLOWS: usize = 256;
    /// Of 64,512 ports.
    const PARTS: u16 = 8;
    let ports = ports_of_many(nat, Protocol::Udp, Family::V4, FLOWS)?;
    if ports.iter().all(|[inside, external]| inside == external) {
        return Ok(Seen::Otherwise(ITS_OWN.to_owned()));
    }
    let part = |port: &u16| port.checked_sub(1024).map(|it| it / (64_512 / PARTS));
    let parts: BTreeSet<_> = ports.iter().map(|[_, external]| part(external)).collect();
    let is_met = parts.len() == usize::from(PARTS) && !parts.contains(&None);
    Ok(Seen::met_or(is_met, format!("{} parts of {PARTS}", parts.len())))
}

fn rfc6056_3_3_the_same_conversation_begins_at_another_port(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
        let first = Protocol::Udp.open(nat, inside, remote)?;
        Clock::begin().wait(nat, nat.times.udp_unanswered.here + LAG);
        let second = Protocol::Udp.open(nat, inside, remote)?;
        Ok(Seen::met_or(first != second, "at the same one"))
    })
}

fn rfc6056_4_a_nat_chooses_as_a_host_should(nat: &Nat) -> Observed {
    of_both(|family| is_hard_to_guess(nat, Protocol::Tcp, family))
}
