//! RFC 5508, ICMP: queries, and what the NAT itself says.

use std::net::SocketAddr;

use weir_netns_tests::nat::packet::protocol;
use weir_netns_tests::nat::{FEW_PORTS, Family, Heard, MTU, Nat, Packet, Place, Trouble};
use weir_netns_tests::rfcs::Seen;

use crate::mapping::{self, Protocol};
use crate::measured::{self, at_least};
use crate::vector::{Clock, LAG, Observed, Vector, of_both, vectors, wanted};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc5508_req_1_queries_go_out_and_answers_come_in
        rfc5508_req_1a_the_mapping_of_identifiers_is_endpoint_independent
        rfc5508_req_7_one_host_pings_another_by_its_outer_address
        rfc5508_req_8_whoever_finds_no_port_is_told
        rfc5508_req_8_restricted_whoever_may_not_is_told
        rfc5508_req_10a_echo_unreachable_and_time_exceeded_are_there
        rfc5508_req_10b_other_queries_go_through
        rfc5508_req_10c_what_is_obsolete_is_not_there
        rfc5508_req_10e_no_error_is_made_about_errors_and_later_fragments
        rfc5508_req_10f_errors_are_limited_in_number
        rfc5508_req_11_messages_about_nothing_do_not_leave_as_they_are;
    AtOnce: rfc5508_req_2_a_query_may_be_answered_for_a_minute
        rfc5508_req_2a_the_time_of_a_query_can_be_set
        rfc5508_req_6_an_error_neither_ends_a_query_nor_keeps_it_alive;
    AtLast: rfc5508_req_9_the_nat_can_be_kept_from_saying_anything;
};

fn rfc5508_req_1_queries_go_out_and_answers_come_in(nat: &Nat) -> Observed {
    of_both(|family| {
        for place in [Place::Beyond(0), Place::Link] {
            let (inside, remote) = (nat.inside(1, family), nat.remote(place, family));
            let external = Protocol::Query.open(nat, inside, remote)?;
            if !nat.is_echo_answered(remote.ip(), external, inside)? {
                return Ok(Seen::Otherwise(format!("not those of {place:?}")));
            }
        }
        Ok(Seen::Met)
    })
}

fn rfc5508_req_1a_the_mapping_of_identifiers_is_endpoint_independent(nat: &Nat) -> Observed {
    of_both(|family| mapping::is_endpoint_independent(nat, Protocol::Query, 1, family))
}

fn rfc5508_req_2_a_query_may_be_answered_for_a_minute(nat: &Nat) -> Observed {
    measured::a_query_ends_in_time(nat)?;
    Ok(at_least(60, &[(nat.times.query.default, "")]))
}

fn rfc5508_req_2a_the_time_of_a_query_can_be_set(nat: &Nat) -> Observed {
    measured::a_query_ends_in_time(nat)?;
    Ok(Seen::met_or(nat.times.query.here != nat.times.query.default, "it is as ever"))
}

fn rfc5508_req_6_an_error_neither_ends_a_query_nor_keeps_it_alive(nat: &Nat) -> Observed {
    of_both(|family| {
        let remote = nat.remote(Place::Beyond(0), family);
        let to = SocketAddr::new(remote.ip(), 0);
        let query = || -> Result<_, weir_netns_tests::error::Failure> {
            let inside = nat.inside(1, family);
            let external = Protocol::Query.open(nat, inside, remote)?;
            Ok((inside, wanted(nat.hear_outside(|it| it.from == external && it.to == to), "a query")?))
        };
        let ((lives, about_it), (ends, about)) = (query()?, query()?);
        let (clock, time) = (Clock::begin(), nat.times.query.here);
        for (inside, about) in [(lives, &about_it), (ends, &about)] {
            clock.wait(nat, time.mul_f32(0.6));
            let heard = nat.error_inwards(remote.ip(), Trouble::Host, about, inside)?;
            assert!(heard.is_some(), "an error about a query reaches the sandbox");
        }
        let is_there = nat.is_echo_answered(remote.ip(), about_it.from, lives)?;
        clock.wait(nat, time + LAG);
        let is_there_late = nat.is_echo_answered(remote.ip(), about.from, ends)?;
        let otherwise = if is_there { "it keeps it alive" } else { "it ends it" };
        Ok(Seen::met_or(is_there && !is_there_late, otherwise))
    })
}

/// What becomes of a ping to the outer address of another host.
fn hairpinned(nat: &Nat, family: Family) -> Observed {
    let remote = nat.remote(Place::Beyond(0), family);
    let external = Protocol::Query.open(nat, nat.inside(2, family), remote)?;
    let (inside, words) = (nat.inside(1, family), nat.fresh_words());
    let to = SocketAddr::new(external.ip(), 0);
    nat.say_inside(1, &Packet::echo([inside.at, to], true, &words).bytes(), to.ip())?;
    let is_told = nat.told(inside, to).is_some();
    let is_answered = nat.hear_inside(1, |it| it.to == inside.at && it.words() == words).is_some();
    let is_reached = nat.hear_inside(2, |it| it.words() == words).is_some();
    let otherwise = match (is_told, is_answered) {
        (true, _) => "refused with an ICMP error",
        (false, true) => "answered by the host, which has that address itself",
        (false, false) => "dropped",
    };
    Ok(Seen::met_or(is_reached, otherwise))
}

pub(crate) fn rfc5508_req_7_one_host_pings_another_by_its_outer_address(nat: &Nat) -> Observed {
    of_both(|family| hairpinned(nat, family))
}

fn rfc5508_req_8_whoever_finds_no_port_is_told(nat: &Nat) -> Observed {
    let remote = nat.remote(Place::Beyond(7), Family::V4);
    for _ in 0..FEW_PORTS {
        let inside = nat.inside(5, Family::V4);
        nat.say_inside(5, &Packet::udp([inside.at, remote], b"one each").bytes(), remote.ip())?;
    }
    // Of packets that come at the same time some may have been lost, and left a port.
    for _ in 0..FEW_PORTS {
        let inside = nat.inside(5, Family::V4);
        if nat.datagram(inside, remote)?.is_some() {
            continue;
        }
        let told = nat.told(inside, remote).and_then(|it| it.kind());
        let is_met = told == Some(Trouble::Prohibited.kind(true));
        let is_host = told == Some(Trouble::Host.kind(true));
        let otherwise = if is_host { "told with code 1, host unreachable" } else { "dropped silently" };
        return Ok(Seen::met_or(is_met, otherwise));
    }
    Ok(Seen::Otherwise("there is always one more port".to_owned()))
}

fn rfc5508_req_8_restricted_whoever_may_not_is_told(nat: &Nat) -> Observed {
    of_both(|family| {
        let inside = nat.inside(1, family);
        let forbidden = SocketAddr::new(nat.address(family), nat.fresh_port());
        nat.say_inside(1, &Packet::udp([inside.at, forbidden], b"may I?").bytes(), forbidden.ip())?;
        let told = nat.told(inside, forbidden).and_then(|it| it.kind());
        let kind = Trouble::Prohibited.kind(family == Family::V4);
        Ok(Seen::met_or(told == Some(kind), format!("told is {told:?}")))
    })
}

fn rfc5508_req_9_the_nat_can_be_kept_from_saying_anything(nat: &Nat) -> Observed {
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let packet = Packet { is_whole: true, ..Packet::udp([inside.at, remote], &[7; MTU]) };
    nat.say_inside(1, &packet.bytes(), remote.ip())?;
    Ok(Seen::met_or(nat.told(inside, remote).is_none(), "it says so all the same"))
}

fn rfc5508_req_10a_echo_unreachable_and_time_exceeded_are_there(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
        let about = wanted(nat.datagram_heard(inside, remote)?, "a datagram")?;
        let mut is_met = true;
        for what in [Trouble::Host, Trouble::Port, Trouble::Expired] {
            is_met &= nat.error_inwards(remote.ip(), what, &about, inside)?.is_some();
        }
        let far = nat.inside(1, family);
        let packet = Packet { hops: 1, ..Packet::udp([far.at, remote], b"too far") };
        nat.say_inside(1, &packet.bytes(), remote.ip())?;
        let told = nat.told(far, remote).and_then(|it| it.kind());
        is_met &= told == Some(Trouble::Expired.kind(family == Family::V4));
        Ok(Seen::met_or(is_met, "one of them is missing"))
    })
}

fn rfc5508_req_10b_other_queries_go_through(nat: &Nat) -> Observed {
    const TIMESTAMP: [u8; 2] = [13, 0];
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let (ends, words) = ([inside.at, SocketAddr::new(remote.ip(), 0)], nat.fresh_words());
    let packet = Packet::icmp(ends, TIMESTAMP, inside.at.port().to_be_bytes(), [0, 1], &words);
    nat.say_inside(1, &packet.bytes(), remote.ip())?;
    let heard = nat.hear_outside(|it| it.words() == words);
    Ok(Seen::met_or(heard.is_some(), "dropped"))
}

fn rfc5508_req_10c_what_is_obsolete_is_not_there(nat: &Nat) -> Observed {
    const INFORMATION_REQUEST: [u8; 2] = [15, 0];
    const SOURCE_QUENCH: [u8; 2] = [4, 0];
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let (ends, words) = ([inside.at, SocketAddr::new(remote.ip(), 0)], nat.fresh_words());
    let packet = Packet::icmp(ends, INFORMATION_REQUEST, inside.at.port().to_be_bytes(), [0, 1], &words);
    nat.say_inside(1, &packet.bytes(), remote.ip())?;
    let is_asked = nat.hear_outside(|it| it.words() == words).is_some();
    let about = wanted(nat.datagram_heard(inside, remote)?, "a datagram")?;
    let ends = [remote, about.from].map(|it| SocketAddr::new(it.ip(), 0));
    let packet = Packet::icmp(ends, SOURCE_QUENCH, [0; 2], [0; 2], &about.bytes);
    nat.say_outside(&packet.bytes(), [remote.ip(), about.from.ip()])?;
    let is_about = |it: &Heard| it.quoted().is_some_and(|it| it.from == inside.at);
    let is_quenched = nat.hear_inside(1, is_about).is_some();
    Ok(match [is_asked, is_quenched] {
        [false, false] => Seen::Met,
        [true, true] => Seen::Otherwise("both go through".to_owned()),
        [true, false] => Seen::Otherwise("requests for information go through".to_owned()),
        [false, true] => Seen::Otherwise("source quench goes through".to_owned()),
    })
}

fn rfc5508_req_10e_no_error_is_made_about_errors_and_later_fragments(nat: &Nat) -> Observed {
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(6), Family::V4));
    let external = Protocol::Udp.open(nat, inside, remote)?;
    let about = wanted(nat.answer(remote, external, inside)?, "an answer")?;
    let ends = [inside.at, remote].map(|it| SocketAddr::new(it.ip(), 0));
    let error = Packet { hops: 1, ..Packet::error(ends, Trouble::Port, &about.bytes) };
    nat.say_inside(1, &error.bytes(), remote.ip())?;
    let far =
        Packet { hops: 1, identification: inside.at.port(), ..Packet::udp([inside.at, remote], &[7; 64]) };
    for later in far.fragments(32).iter().skip(1) {
        nat.say_inside(1, later, remote.ip())?;
    }
    let is_about = |it: &Heard| it.quoted().is_some_and(|it| it.to.ip() == remote.ip());
    let told = nat.hear_inside(1, |it| it.kind() == Some(Trouble::Expired.kind(true)) && is_about(it));
    Ok(Seen::met_or(told.is_none(), "there is one"))
}

fn rfc5508_req_10f_errors_are_limited_in_number(nat: &Nat) -> Observed {
    const MANY: usize = 3_000;
    let (inside, remote) = (nat.inside(2, Family::V4), nat.remote(Place::Beyond(7), Family::V4));
    let packet = Packet { hops: 1, ..Packet::udp([inside.at, remote], b"too far") }.bytes();
    for _ in 0..MANY {
        nat.say_inside(2, &packet, remote.ip())?;
    }
    wanted(nat.told(inside, remote), "one error at least")?;
    nat.pass(LAG);
    let is_about = |it: &Heard| it.quoted().is_some_and(|it| it.to == remote);
    let told = nat.all_inside(2, is_about).len();
    Ok(Seen::met_or(told < MANY / 2, "there are as many as there are packets"))
}

fn rfc5508_req_11_messages_about_nothing_do_not_leave_as_they_are(nat: &Nat) -> Observed {
    const ROUTER_ADVERTISEMENT: [u8; 2] = [9, 0];
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let ends = [inside.at, remote].map(|it| SocketAddr::new(it.ip(), 0));
    let words = nat.fresh_words();
    let packet = Packet::icmp(ends, ROUTER_ADVERTISEMENT, [0; 2], [0; 2], &words);
    nat.say_inside(1, &packet.bytes(), remote.ip())?;
    let is_it = |it: &Heard| it.protocol == protocol::ICMP && it.words() == words;
    let heard = nat.hear_outside(is_it);
    let is_met = heard.is_none_or(|it| it.from.ip() == nat.address(Family::V4));
    Ok(Seen::met_or(is_met, "sent on from the sandbox's own address"))
}
