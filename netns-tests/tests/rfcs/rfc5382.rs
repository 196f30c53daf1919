//! RFC 5382, TCP.

use std::time::Duration;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::packet::{protocol, tcp};
use weir_netns_tests::nat::{Family, Nat, Packet, Place, Side, Trouble};
use weir_netns_tests::rfcs::Seen;

use crate::mapping::{self, Protocol, two_alike};
use crate::measured::{
    self, a_connection_ends_in_time, at_least, closed, established, half_open, transitory,
};
use crate::vector::{Clock, LAG, LONG_LAG, Observed, Vector, of_both, vectors, wanted};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc5382_req_1_the_mapping_is_endpoint_independent
        rfc5382_req_2_every_orderly_connection_goes_through
        rfc5382_req_3_others_than_the_remote_are_let_in
        rfc5382_req_6_no_gateway_of_an_application_changes_what_is_said
        rfc5382_req_7_no_two_hosts_share_a_port_towards_a_remote
        rfc5382_req_8_one_host_reaches_another_by_its_outer_address
        rfc5382_req_9_destination_unreachable_reaches_the_sender
        rfc5382_req_10_no_icmp_message_ends_a_connection;
    AtOnce: rfc5382_req_2a_both_sides_may_open_at_once
        rfc5382_req_4_an_uninvited_syn_is_not_answered_at_once
        rfc5382_req_4a_an_uninvited_syn_is_dropped_silently
        rfc5382_req_5_a_silent_connection_lives_for_two_hours
        rfc5382_req_5_transitory_a_beginning_or_end_lives_for_four_minutes
        rfc5382_req_5a_the_times_of_connections_can_be_set;
};

fn rfc5382_req_1_the_mapping_is_endpoint_independent(nat: &Nat) -> Observed {
    of_both(|family| mapping::is_endpoint_independent(nat, Protocol::Tcp, 1, family))
}

fn rfc5382_req_2_every_orderly_connection_goes_through(nat: &Nat) -> Observed {
    let (fin, ack) = (tcp::FIN | tcp::ACK, tcp::ACK);
    of_both(|family| {
        for [first, second] in [[Side::Sandbox, Side::Remote], [Side::Remote, Side::Sandbox]] {
            let mut it = established(nat, family)?;
            // The one is done, and the other one goes on for a while.
            let is_well = it.say(nat, first, fin, b"")?
                && it.speaks(nat, second)?
                && it.say(nat, second, fin, b"the end")?
                && it.say(nat, first, ack, b"")?;
            if !is_well {
                return Ok(Seen::Otherwise(format!("not where {first:?} ends first")));
            }
        }
        Ok(Seen::Met)
    })
}

fn rfc5382_req_2a_both_sides_may_open_at_once(nat: &Nat) -> Observed {
    of_both(|family| {
        let remote = nat.remote(Place::Beyond(0), family);
        let mut it = wanted(nat.begun(nat.inside(1, family), remote)?, "a SYN")?;
        let is_heard = it.say(nat, Side::Remote, tcp::SYN, b"")?;
        // Each says its SYN again, and acknowledges the other one.
        let [sandbox, remote] = it.next();
        let both = tcp::SYN | tcp::ACK;
        let mut again = |side, [mine, theirs]: [u32; 2]| {
            it.heard_with(nat, side, both, [mine.wrapping_sub(1), theirs], b"").map(|it| it.is_some())
        };
        let is_open =
            is_heard && again(Side::Sandbox, [sandbox, remote])? && again(Side::Remote, [remote, sandbox])?;
        let is_heard = is_open && it.speaks(nat, Side::Sandbox)? && it.speaks(nat, Side::Remote)?;
        if !is_heard {
            return Ok(Seen::Otherwise("the remote's SYN does not come in".to_owned()));
        }
        nat.pass(nat.times.half_open.here + LAG);
        Ok(Seen::met_or(it.speaks(nat, Side::Remote)?, "it is never more than half-open"))
    })
}

fn rfc5382_req_3_others_than_the_remote_are_let_in(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut it = established(nat, family)?;
        let own = it.remote;
        let is_in = |from| -> Result<bool, Failure> {
            let packet = Packet::tcp([from, it.external()], tcp::SYN, [7, 0], b"");
            nat.say_outside(&packet.bytes(), [from.ip(), it.external().ip()])?;
            Ok(nat.hear_inside(1, |heard| heard.from == from).is_some())
        };
        let is_port_in = is_in(nat.remote_at(Place::Beyond(4), family, own.port() + 1))?;
        let is_other_in = is_in(nat.remote(Place::Beyond(1), family))?;
        assert!(it.speaks(nat, Side::Remote)?, "the remote itself is let in");
        assert!(!is_other_in || is_port_in, "whoever lets strangers in lets the remote in");
        Ok(Seen::met_or(is_port_in, "only the remote's own address and port"))
    })
}

/// What is said within a time to whoever sends a SYN that nobody waits for.
fn said_to_a_stranger(nat: &Nat, within: Duration) -> Observed {
    of_both(|family| {
        let from = nat.remote(Place::Beyond(0), family);
        let to = std::net::SocketAddr::new(nat.address(family), nat.fresh_port());
        let clock = Clock::begin();
        let packet = Packet::tcp([from, to], tcp::SYN, [7, 0], b"");
        nat.say_outside(&packet.bytes(), [from.ip(), to.ip()])?;
        clock.wait(nat, within);
        let is_about = |it: &weir_netns_tests::nat::Heard| it.quoted().is_some_and(|it| it.from == from);
        let said = nat.all_outside(|it| it.to == from || is_about(it));
        let is_reset = said.iter().any(|it| it.protocol == protocol::TCP && it.flags() & tcp::RST != 0);
        let otherwise = if is_reset { "answered at once with a RST" } else { "answered at once" };
        Ok(Seen::met_or(said.is_empty(), otherwise))
    })
}

fn rfc5382_req_4_an_uninvited_syn_is_not_answered_at_once(nat: &Nat) -> Observed {
    said_to_a_stranger(nat, Duration::from_millis(6_500))
}

fn rfc5382_req_4a_an_uninvited_syn_is_dropped_silently(nat: &Nat) -> Observed {
    said_to_a_stranger(nat, Duration::from_secs(12))
}

fn rfc5382_req_5_a_silent_connection_lives_for_two_hours(nat: &Nat) -> Observed {
    let time = nat.times.established;
    a_connection_ends_in_time(nat, [time.here, LONG_LAG], |nat| established(nat, Family::V4), tcp::ACK)?;
    Ok(at_least(7_440, &[(time.default, "")]))
}

fn rfc5382_req_5_transitory_a_beginning_or_end_lives_for_four_minutes(nat: &Nat) -> Observed {
    let [begins, ends] = [nat.times.half_open.here, nat.times.closing.here];
    a_connection_ends_in_time(nat, [begins, LAG], half_open, tcp::SYN | tcp::ACK)?;
    a_connection_ends_in_time(nat, [ends, LAG], closed, tcp::ACK)?;
    transitory(nat)
}

fn rfc5382_req_5a_the_times_of_connections_can_be_set(nat: &Nat) -> Observed {
    let times = nat.times;
    a_connection_ends_in_time(nat, [times.half_open.here, LAG], half_open, tcp::SYN | tcp::ACK)?;
    a_connection_ends_in_time(nat, [times.reset.here, LAG], measured::reset, tcp::RST | tcp::ACK)?;
    let all = [times.half_open, times.reset];
    Ok(Seen::met_or(all.iter().all(|it| it.here != it.default), "they are as ever"))
}

fn rfc5382_req_6_no_gateway_of_an_application_changes_what_is_said(nat: &Nat) -> Observed {
    const FTP: u16 = 21;
    let inside = nat.inside(1, Family::V4);
    let remote = nat.remote_at(Place::Beyond(6), Family::V4, FTP);
    let mut it = wanted(nat.connected(inside, remote)?, "a connection")?;
    let words = format!("PORT {},{},7\r\n", inside.at.ip().to_string().replace('.', ","), 200);
    let is_heard = it.say(nat, Side::Sandbox, tcp::ACK, words.as_bytes())?;
    Ok(Seen::met_or(is_heard, "the words are changed"))
}

fn rfc5382_req_7_no_two_hosts_share_a_port_towards_a_remote(nat: &Nat) -> Observed {
    of_both(|family| {
        let (_, [one, other], _) = two_alike(nat, Protocol::Tcp, family)?;
        Ok(Seen::met_or(one != other, "one port for both"))
    })
}

fn rfc5382_req_8_one_host_reaches_another_by_its_outer_address(nat: &Nat) -> Observed {
    of_both(|family| {
        let remote = nat.remote(Place::Beyond(0), family);
        let host = wanted(nat.connected(nat.inside(2, family), remote)?, "a connection")?;
        let (inside, external) = (nat.inside(1, family), host.external());
        let packet = Packet::tcp([inside.at, external], tcp::SYN, [7, 0], b"");
        nat.say_inside(1, &packet.bytes(), external.ip())?;
        let is_reset = nat.told(inside, external).is_some_and(|it| it.flags() & tcp::RST != 0);
        let is_to_host =
            |it: &weir_netns_tests::nat::Heard| it.to == host.inside.at && it.numbers() == [7, 0];
        let is_reached = nat.hear_inside(2, is_to_host).is_some();
        Ok(Seen::met_or(is_reached, if is_reset { "refused with a RST" } else { "dropped" }))
    })
}

fn rfc5382_req_9_destination_unreachable_reaches_the_sender(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut it = established(nat, family)?;
        let about = wanted(it.heard(nat, Side::Sandbox, tcp::ACK, b"what of it")?, "a segment")?;
        let heard = nat.error_inwards(it.remote.ip(), Trouble::Host, &about, it.inside)?;
        let quoted = heard.and_then(|it| it.quoted());
        let is_of_sender = quoted.is_some_and(|quoted| (quoted.from, quoted.to) == (it.inside.at, it.remote));
        Ok(Seen::met_or(is_of_sender, "it does not"))
    })
}

fn rfc5382_req_10_no_icmp_message_ends_a_connection(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut it = established(nat, family)?;
        let about = wanted(it.heard(nat, Side::Sandbox, tcp::ACK, b"what of it")?, "a segment")?;
        for what in [Trouble::Port, Trouble::Host, Trouble::Prohibited, Trouble::Expired] {
            nat.error_inwards(it.remote.ip(), what, &about, it.inside)?;
        }
        let lives = it.speaks(nat, Side::Remote)? && it.speaks(nat, Side::Sandbox)?;
        Ok(Seen::met_or(lives, "the connection is gone"))
    })
}
