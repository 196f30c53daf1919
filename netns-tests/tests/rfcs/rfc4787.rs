//! RFC 4787, UDP: which port a flow has, how long, and who is let in by it.

use std::collections::BTreeSet;

use weir_netns_tests::nat::{Family, Inside, Nat, Place};
use weir_netns_tests::rfcs::{ITS_OWN, Seen};

use crate::mapping::{self, Protocol, two_alike};
use crate::measured::{self, at_least};
use crate::vector::{Clock, Observed, Vector, of_both, vectors, wanted};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc4787_req_1_the_mapping_is_endpoint_independent
        rfc4787_req_1_as_set_the_mapping_is_endpoint_independent
        rfc4787_req_2_a_host_has_one_address_of_several
        rfc4787_req_3_no_two_hosts_share_a_port_towards_a_remote
        rfc4787_req_3a_a_port_stays_in_its_range
        rfc4787_req_4_an_even_port_stays_even
        rfc4787_req_8_others_than_the_remote_are_let_in
        rfc4787_req_9_one_host_reaches_another_by_its_outer_address
        rfc4787_req_11_the_mapping_is_always_made_alike;
    AtOnce: rfc4787_req_5_a_mapping_lives_for_two_minutes
        rfc4787_req_5b_the_time_of_a_mapping_can_be_set
        rfc4787_req_5c_a_mapping_lives_for_five_minutes
        rfc4787_req_6_what_goes_out_keeps_a_mapping_alive
        rfc4787_req_6a_what_comes_in_keeps_a_mapping_alive;
};

fn rfc4787_req_1_the_mapping_is_endpoint_independent(nat: &Nat) -> Observed {
    of_both(|family| mapping::is_endpoint_independent(nat, Protocol::Udp, 1, family))
}

fn rfc4787_req_1_as_set_the_mapping_is_endpoint_independent(nat: &Nat) -> Observed {
    of_both(|family| mapping::is_endpoint_independent(nat, Protocol::Udp, 3, family))
}

fn rfc4787_req_2_a_host_has_one_address_of_several(nat: &Nat) -> Observed {
    // Several times to each address beyond.
    let several = (0..8).map(|n| {
        let one = |_| {
            let remote = nat.remote(Place::Beyond(n), Family::V4);
            wanted(nat.datagram(nat.inside(4, Family::V4), remote)?, "a datagram").map(|it| it.ip())
        };
        (0..4).map(one).collect::<Result<BTreeSet<_>, _>>()
    });
    let by_remote = several.collect::<Result<Vec<_>, _>>()?;
    if by_remote.iter().flatten().collect::<BTreeSet<_>>().len() == 1 {
        return Ok(Seen::Met);
    }
    let is_of_remotes = by_remote.iter().all(|it| it.len() == 1);
    let each =
        if is_of_remotes { "one of them for each remote's address" } else { "any of them for each flow" };
    Ok(Seen::Otherwise(each.to_owned()))
}

fn rfc4787_req_3_no_two_hosts_share_a_port_towards_a_remote(nat: &Nat) -> Observed {
    of_both(|family| {
        let (hosts, externals, remote) = two_alike(nat, Protocol::Udp, family)?;
        let [one, other] = externals;
        let mut is_met = one != other;
        for (host, external) in hosts.into_iter().zip(externals) {
            is_met &= nat.is_answered(remote, external, host)?;
        }
        Ok(Seen::met_or(is_met, "one port for both"))
    })
}

fn rfc4787_req_3a_a_port_stays_in_its_range(nat: &Nat) -> Observed {
    let external = Protocol::Udp.open(
        nat,
        nat.inside_at(1, Family::V4, 700),
        nat.remote(Place::Beyond(0), Family::V4),
    )?;
    Ok(Seen::met_or(external.port() < 1024, "a port from 1024 on, whatever the sender's"))
}

fn rfc4787_req_4_an_even_port_stays_even(nat: &Nat) -> Observed {
    /// Enough that chance does not keep all of them.
    const PAIRS: usize = 24;
    let is_kept = |host: Inside, external: u16| host.at.port() % 2 == external % 2;
    let mut kept = [0, 0];
    for _ in 0..PAIRS {
        let (hosts, externals, _) = two_alike(nat, Protocol::Udp, Family::V4)?;
        for ((kept, host), external) in kept.iter_mut().zip(hosts).zip(externals) {
            *kept += usize::from(is_kept(host, external.port()));
        }
    }
    Ok(match kept {
        [PAIRS, PAIRS] => Seen::Met,
        [PAIRS, _] => Seen::Otherwise(ITS_OWN.to_owned()),
        _ => Seen::Otherwise("even or odd, whatever the sender's".to_owned()),
    })
}

fn rfc4787_req_5_a_mapping_lives_for_two_minutes(nat: &Nat) -> Observed {
    measured::unanswered_udp_ends_in_time(nat)?;
    let [before, after] = [nat.times.udp_unanswered.default, nat.times.udp_answered.default];
    Ok(at_least(120, &[(before, "before an answer"), (after, "after one")]))
}

fn rfc4787_req_5b_the_time_of_a_mapping_can_be_set(nat: &Nat) -> Observed {
    measured::unanswered_udp_ends_in_time(nat)?;
    let time = nat.times.udp_unanswered;
    Ok(Seen::met_or(time.here != time.default, "it is as ever"))
}

fn rfc4787_req_5c_a_mapping_lives_for_five_minutes(nat: &Nat) -> Observed {
    measured::answered_udp_ends_in_time(nat)?;
    let [before, after] = [nat.times.udp_unanswered.default, nat.times.udp_answered.default];
    Ok(at_least(300, &[(before, "before an answer"), (after, "after one")]))
}

fn rfc4787_req_6_what_goes_out_keeps_a_mapping_alive(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
        let external = Protocol::Udp.open(nat, inside, remote)?;
        let (clock, time) = (Clock::begin(), nat.times.udp_unanswered.here);
        clock.wait(nat, time.mul_f32(0.6));
        assert_eq!(Protocol::Udp.open(nat, inside, remote)?, external);
        clock.wait(nat, time.mul_f32(1.3));
        Ok(Seen::met_or(nat.is_answered(remote, external, inside)?, "it ends all the same"))
    })
}

fn rfc4787_req_6a_what_comes_in_keeps_a_mapping_alive(nat: &Nat) -> Observed {
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let external = measured::answered_udp(nat, inside, remote)?;
    let (clock, time) = (Clock::begin(), nat.times.udp_answered.here);
    clock.wait(nat, time.mul_f32(0.6));
    assert!(nat.is_answered(remote, external, inside)?, "it lives");
    clock.wait(nat, time.mul_f32(1.3));
    Ok(Seen::met_or(nat.is_answered(remote, external, inside)?, "it ends all the same"))
}

fn rfc4787_req_8_others_than_the_remote_are_let_in(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
        let external = Protocol::Udp.open(nat, inside, remote)?;
        let another_port = nat.remote(Place::Beyond(0), family);
        let another = nat.remote(Place::Beyond(1), family);
        let is_port_in = nat.is_answered(another_port, external, inside)?;
        let is_other_in = nat.is_answered(another, external, inside)?;
        assert!(nat.is_answered(remote, external, inside)?, "the remote itself is let in");
        assert!(!is_other_in || is_port_in, "whoever lets strangers in lets the remote in");
        Ok(Seen::met_or(is_port_in, "only the remote's own address and port"))
    })
}

fn rfc4787_req_9_one_host_reaches_another_by_its_outer_address(nat: &Nat) -> Observed {
    of_both(|family| {
        let (host, remote) = (nat.inside(2, family), nat.remote(Place::Beyond(0), family));
        let external = Protocol::Udp.open(nat, host, remote)?;
        let (inside, words) = (nat.inside(1, family), nat.fresh_words());
        let packet = weir_netns_tests::nat::Packet::udp([inside.at, external], &words);
        nat.say_inside(1, &packet.bytes(), external.ip())?;
        let is_told = nat.told(inside, external).is_some();
        let is_reached = nat.hear_inside(2, |it| it.words() == words).is_some();
        let otherwise = if is_told { "refused with an ICMP error" } else { "dropped" };
        Ok(Seen::met_or(is_reached, otherwise))
    })
}

fn rfc4787_req_11_the_mapping_is_always_made_alike(nat: &Nat) -> Observed {
    of_both(|family| mapping::is_always_alike(nat, Protocol::Udp, family))
}
