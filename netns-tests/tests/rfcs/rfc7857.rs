//! RFC 7857, which updates the three before.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::packet::tcp;
use weir_netns_tests::nat::{FEW_PORTS, Family, Heard, Nat, Packet, Place, Side, Trouble};
use weir_netns_tests::rfcs::Seen;

use crate::mapping::{self, Protocol, two_alike};
use crate::measured::{self, at_least, closed, established, half_open, reset, transitory};
use crate::rfc5508::rfc5508_req_7_one_host_pings_another_by_its_outer_address as hairpinned;
use crate::vector::{Clock, LAG, LONG_LAG, Observed, Vector, of_both, vectors, wanted};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc7857_2_2_a_reset_goes_through
        rfc7857_3_two_remotes_may_see_one_port
        rfc7857_5_a_mapping_is_of_one_protocol
        rfc7857_6_a_filter_is_of_one_protocol
        rfc7857_9_ports_are_hard_to_guess
        rfc7857_10_identifications_of_two_hosts_are_not_alike
        rfc7857_12_one_host_pings_another_by_its_outer_address;
    AtOnce: rfc7857_2_connections_are_followed
        rfc7857_2_1_a_beginning_and_an_end_have_times_of_their_own
        rfc7857_2_1_default_a_beginning_or_end_lives_for_four_minutes
        rfc7857_2_2_wait_a_reset_connection_is_kept_for_four_minutes
        rfc7857_2_2_restored_what_follows_a_reset_keeps_the_connection
        rfc7857_7_strangers_do_not_keep_a_mapping_alive
        rfc7857_7_1_errors_that_go_out_do_not_keep_a_mapping_alive
        rfc7857_11_a_query_ends_with_its_last_session;
};

fn rfc7857_2_connections_are_followed(nat: &Nat) -> Observed {
    let (mut lives, mut ends) = (established(nat, Family::V4)?, half_open(nat)?);
    let (clock, time) = (Clock::begin(), nat.times.half_open.here);
    clock.wait(nat, time / 2);
    assert!(lives.speaks(nat, Side::Sandbox)?, "a connection that is used lives");
    clock.wait(nat, time + LAG);
    let is_met =
        lives.speaks(nat, Side::Remote)? && !ends.say(nat, Side::Remote, tcp::SYN | tcp::ACK, b"")?;
    Ok(Seen::met_or(is_met, "they are not"))
}

fn rfc7857_2_1_a_beginning_and_an_end_have_times_of_their_own(nat: &Nat) -> Observed {
    let [begins, ends] = [nat.times.half_open.here, nat.times.closing.here];
    assert!(begins > ends + LAG / 2, "they are set apart");
    let (mut begun, mut over) = (half_open(nat)?, closed(nat)?);
    let clock = Clock::begin();
    clock.wait(nat, ends + (begins - ends) / 3);
    let lives = begun.say(nat, Side::Remote, tcp::SYN | tcp::ACK, b"")?;
    let is_over = !over.say(nat, Side::Remote, tcp::ACK, b"")?;
    Ok(Seen::met_or(lives && is_over, "they have one"))
}

fn rfc7857_2_1_default_a_beginning_or_end_lives_for_four_minutes(nat: &Nat) -> Observed {
    transitory(nat)
}

fn rfc7857_2_2_a_reset_goes_through(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut is_met = true;
        for side in [Side::Sandbox, Side::Remote] {
            is_met &= established(nat, family)?.say(nat, side, tcp::RST, b"")?;
        }
        Ok(Seen::met_or(is_met, "it does not"))
    })
}

fn rfc7857_2_2_wait_a_reset_connection_is_kept_for_four_minutes(nat: &Nat) -> Observed {
    let time = nat.times.reset;
    measured::a_connection_ends_in_time(nat, [time.here, LAG], reset, tcp::RST | tcp::ACK)?;
    Ok(at_least(240, &[(time.default, "")]))
}

fn rfc7857_2_2_restored_what_follows_a_reset_keeps_the_connection(nat: &Nat) -> Observed {
    let mut it = reset(nat)?;
    let (clock, time) = (Clock::begin(), nat.times.reset.here);
    clock.wait(nat, time / 4);
    assert!(it.speaks(nat, Side::Remote)?, "what follows at once comes in");
    clock.wait(nat, time + time / 4 + LAG);
    Ok(Seen::met_or(it.speaks(nat, Side::Remote)?, "it ends all the same"))
}

fn rfc7857_3_two_remotes_may_see_one_port(nat: &Nat) -> Observed {
    let remotes = [Place::Beyond(4), Place::Beyond(5)].map(|place| nat.remote(place, Family::V4));
    let mut ports = Vec::new();
    for remote in remotes {
        for _ in 0..FEW_PORTS {
            let inside = nat.inside(5, Family::V4);
            nat.say_inside(5, &Packet::udp([inside.at, remote], b"one each").bytes(), remote.ip())?;
        }
        wanted(nat.hear_outside(|it| it.to == remote), "a datagram")?;
        nat.pass(LAG);
        ports.push(nat.all_outside(|it| it.to == remote).iter().map(|it| it.from.port()).collect());
    }
    let [one, other]: [BTreeSet<u16>; 2] = ports.try_into().unwrap_or_default();
    Ok(Seen::met_or(one.intersection(&other).next().is_some(), "a port is for one remote"))
}

fn rfc7857_5_a_mapping_is_of_one_protocol(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut is_apart = false;
        // Twice: two ports may be alike by chance.
        for _ in 0..2 {
            // The second host's datagrams do not leave from its own port, so there is a difference to see.
            let ([_, host], [_, external], remote) = two_alike(nat, Protocol::Udp, family)?;
            let connection = wanted(nat.connected(host, remote)?, "a connection")?;
            assert!(
                nat.is_answered(remote, external, host)?,
                "the connection does not disturb the datagrams"
            );
            is_apart |= connection.external().port() != external.port();
        }
        Ok(Seen::met_or(is_apart, "one mapping for both"))
    })
}

fn rfc7857_6_a_filter_is_of_one_protocol(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(3, family), nat.remote(Place::Beyond(0), family));
        let external = Protocol::Udp.open(nat, inside, remote)?;
        let packet = Packet::tcp([remote, external], tcp::SYN, [7, 0], b"");
        nat.say_outside(&packet.bytes(), [remote.ip(), external.ip()])?;
        let is_in = nat.hear_inside(3, |it| it.from == remote && it.flags() == tcp::SYN).is_some();
        Ok(Seen::met_or(!is_in, "whoever may send UDP may send TCP"))
    })
}

fn rfc7857_7_strangers_do_not_keep_a_mapping_alive(nat: &Nat) -> Observed {
    let (inside, remote) = (nat.inside(3, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let external = Protocol::Udp.open(nat, inside, remote)?;
    let (clock, time) = (Clock::begin(), nat.times.udp_unanswered.here);
    clock.wait(nat, time.mul_f32(0.6));
    nat.answer(nat.remote(Place::Beyond(1), Family::V4), external, inside)?;
    clock.wait(nat, time + LAG);
    Ok(Seen::met_or(!nat.is_answered(remote, external, inside)?, "they do"))
}

fn rfc7857_7_1_errors_that_go_out_do_not_keep_a_mapping_alive(nat: &Nat) -> Observed {
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let external = measured::answered_udp(nat, inside, remote)?;
    let about = wanted(nat.answer(remote, external, inside)?, "an answer")?;
    let (clock, time) = (Clock::begin(), nat.times.udp_answered.here);
    clock.wait(nat, time.mul_f32(0.6));
    let ends = [inside.at, remote].map(|it| SocketAddr::new(it.ip(), 0));
    nat.say_inside(1, &Packet::error(ends, Trouble::Port, &about.bytes).bytes(), remote.ip())?;
    let is_out = |it: &Heard| it.quoted().is_some_and(|quoted| quoted.from == remote);
    wanted(nat.hear_outside(is_out), "the error on the wire")?;
    clock.wait(nat, time + LONG_LAG);
    Ok(Seen::met_or(!nat.is_answered(remote, external, inside)?, "they do"))
}

fn rfc7857_9_ports_are_hard_to_guess(nat: &Nat) -> Observed {
    mapping::is_hard_to_guess(nat, Protocol::Udp, Family::V4)
}

/// With which identification a datagram in pieces leaves that has this one.
fn identification(
    nat: &Nat,
    sandbox: usize,
    remote: SocketAddr,
    identification: u16,
) -> Result<u16, Failure> {
    const PIECE: usize = 32;
    let (inside, words) = (nat.inside(sandbox, Family::V4), nat.fresh_words());
    let packet = Packet {
        identification,
        ..Packet::udp([inside.at, remote], &[words.clone(), vec![b' '; 40]].concat())
    };
    for piece in packet.fragments(PIECE) {
        nat.say_inside(sandbox, &piece, remote.ip())?;
    }
    let has_words = |it: &Heard| it.l4.windows(words.len()).any(|window| window == words);
    Ok(wanted(nat.hear_outside(|it| it.to.ip() == remote.ip() && has_words(it)), "a piece")?.identification())
}

fn rfc7857_10_identifications_of_two_hosts_are_not_alike(nat: &Nat) -> Observed {
    let remote = nat.remote(Place::Beyond(3), Family::V4);
    let number = nat.fresh_port();
    let [one, other] = [1, 2].map(|sandbox| identification(nat, sandbox, remote, number));
    Ok(Seen::met_or(one? != other?, "both leave with the one that they came with"))
}

fn rfc7857_11_a_query_ends_with_its_last_session(nat: &Nat) -> Observed {
    measured::a_query_ends_in_time(nat)?;
    Ok(Seen::Met)
}

fn rfc7857_12_one_host_pings_another_by_its_outer_address(nat: &Nat) -> Observed {
    hairpinned(nat)
}
