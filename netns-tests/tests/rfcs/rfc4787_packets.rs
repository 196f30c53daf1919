//! RFC 4787, UDP: what is in the packets, errors about them, and pieces of them.

use std::net::SocketAddr;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::{Family, Heard, Inside, MTU, Nat, Packet, Place, Trouble};
use weir_netns_tests::rfcs::Seen;

use crate::mapping::Protocol;
use crate::vector::{Observed, Vector, of_both, vectors, wanted};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc4787_req_10_no_gateway_of_an_application_changes_what_is_said
        rfc4787_req_12_no_icmp_message_ends_a_mapping
        rfc4787_req_12a_icmp_messages_come_from_anywhere
        rfc4787_req_12b_destination_unreachable_reaches_the_sender
        rfc4787_req_13_whoever_sends_too_much_in_one_piece_is_told
        rfc4787_req_13a_what_is_too_long_is_cut
        rfc4787_req_14_fragments_come_in_any_order
        rfc4787_req_14a_a_flood_of_fragments_disturbs_nobody;
};

/// What is heard of a datagram of a new flow.
fn opened(nat: &Nat, family: Family) -> Result<(Inside, SocketAddr, Heard), Failure> {
    let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
    let heard = wanted(nat.datagram_heard(inside, remote)?, "a datagram")?;
    Ok((inside, remote, heard))
}

fn rfc4787_req_10_no_gateway_of_an_application_changes_what_is_said(nat: &Nat) -> Observed {
    const SIP: u16 = 5060;
    let (inside, remote) =
        (nat.inside_at(1, Family::V4, SIP), nat.remote_at(Place::Beyond(6), Family::V4, SIP));
    let at = inside.at;
    let words = format!(
        "INVITE sip:bob@{remote} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@{at}>;tag=1\r\nTo: <sip:bob@{remote}>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{at}>\r\nContent-Length: 0\r\n\r\n"
    );
    nat.say_inside(1, &Packet::udp([at, remote], words.as_bytes()).bytes(), remote.ip())?;
    let heard = wanted(nat.hear_outside(|it| it.to == remote), "the invitation")?;
    Ok(Seen::met_or(heard.words() == words.as_bytes(), "the words are changed"))
}

fn rfc4787_req_12_no_icmp_message_ends_a_mapping(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote, about) = opened(nat, family)?;
        for what in [Trouble::Port, Trouble::Host, Trouble::Prohibited, Trouble::Expired] {
            let heard = nat.error_inwards(remote.ip(), what, &about, inside)?;
            assert!(heard.is_some(), "{what:?} reaches the sandbox");
        }
        let is_same = nat.datagram(inside, remote)? == Some(about.from);
        let lives = is_same && nat.is_answered(remote, about.from, inside)?;
        Ok(Seen::met_or(lives, "the mapping is gone"))
    })
}

fn rfc4787_req_12a_icmp_messages_come_from_anywhere(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, _, about) = opened(nat, family)?;
        let router = nat.remote(Place::Beyond(5), family).ip();
        let heard = nat.error_inwards(router, Trouble::Host, &about, inside)?;
        Ok(Seen::met_or(heard.is_some_and(|it| it.from.ip() == router), "only those of the remote come in"))
    })
}

fn rfc4787_req_12b_destination_unreachable_reaches_the_sender(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote, about) = opened(nat, family)?;
        let heard = nat.error_inwards(remote.ip(), Trouble::Port, &about, inside)?;
        let quoted = heard.and_then(|it| it.quoted());
        let is_of_sender = quoted.is_some_and(|it| (it.from, it.to) == (inside.at, remote) && it.is_sound());
        Ok(Seen::met_or(is_of_sender, "it does not"))
    })
}

fn rfc4787_req_13_whoever_sends_too_much_in_one_piece_is_told(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
        let packet = Packet { is_whole: true, ..Packet::udp([inside.at, remote], &[7; MTU]) };
        nat.say_inside(1, &packet.bytes(), remote.ip())?;
        let told = nat.told(inside, remote);
        let kind = Trouble::TooBig.kind(family == Family::V4);
        let says = |it: &Heard| it.l4.get(6..8) == Some(&(MTU as u16).to_be_bytes());
        let is_met = told.as_ref().is_some_and(|it| it.kind() == Some(kind) && says(it));
        Ok(Seen::met_or(is_met, format!("told is {:?}", told.and_then(|it| it.kind()))))
    })
}

fn rfc4787_req_13a_what_is_too_long_is_cut(nat: &Nat) -> Observed {
    let (inside, remote) = (nat.inside(1, Family::V4), nat.remote(Place::Beyond(0), Family::V4));
    let packet = Packet { identification: inside.at.port(), ..Packet::udp([inside.at, remote], &[7; MTU]) };
    nat.say_inside(1, &packet.bytes(), remote.ip())?;
    let of_it = |it: &Heard| it.to.ip() == remote.ip() && it.identification() == inside.at.port();
    let first = nat.hear_outside(|it| of_it(it) && it.fragment == (0, true));
    let last = nat.hear_outside(|it| of_it(it) && it.fragment.0 > 0 && !it.fragment.1);
    if first.is_some() && last.is_some() {
        let order: Vec<_> = nat.all_outside(of_it).iter().map(|it| it.fragment.0).collect();
        return Ok(Seen::met_or(order.is_sorted(), "cut, and sent in another order"));
    }
    let told = nat.told(inside, remote).and_then(|it| it.kind());
    let is_told = told == Some(Trouble::TooBig.kind(true));
    Ok(Seen::Otherwise(
        if is_told { "told that it is too long, as if it were not to be cut" } else { "dropped" }.to_owned(),
    ))
}

/// How long a piece is, behind the IP header.
const PIECE: usize = 32;

/// A datagram of three pieces, each with words of its own.
fn in_pieces(nat: &Nat, ends: [SocketAddr; 2]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let words: Vec<_> = (0..3).map(|_| nat.fresh_words()).collect();
    // The first piece has the header.
    let padded = |(n, words): (usize, &Vec<u8>)| {
        let mut padded = words.clone();
        padded.resize(if n == 0 { PIECE - 8 } else { PIECE }, b' ');
        padded
    };
    let payload: Vec<u8> = words.iter().enumerate().flat_map(padded).collect();
    let packet = Packet { identification: nat.fresh_port(), ..Packet::udp(ends, &payload) };
    (packet.fragments(PIECE), words)
}

fn has(it: &Heard, words: &[u8]) -> bool {
    it.l4.windows(words.len()).any(|window| window == words)
}

/// Whether a datagram in pieces arrives whole, that is sent in this order: out, and back.
fn arrive(nat: &Nat, order: [usize; 3]) -> Result<bool, Failure> {
    let (inside, remote, about) = opened(nat, Family::V4)?;
    let (pieces, words) = in_pieces(nat, [inside.at, remote]);
    for piece in order.iter().filter_map(|n| pieces.get(*n)) {
        nat.say_inside(1, piece, remote.ip())?;
    }
    let external = about.from.ip();
    let is_from = |it: &Heard| it.from.ip() == external && it.to.ip() == remote.ip();
    let is_out = words.iter().all(|it| nat.hear_outside(|heard| is_from(heard) && has(heard, it)).is_some());
    let (pieces, words) = in_pieces(nat, [remote, about.from]);
    for piece in order.iter().filter_map(|n| pieces.get(*n)) {
        nat.say_outside(piece, [remote.ip(), external])?;
    }
    let is_to = |it: &Heard| it.from.ip() == remote.ip() && it.to.ip() == inside.at.ip();
    let is_in = words.iter().all(|it| nat.hear_inside(1, |heard| is_to(heard) && has(heard, it)).is_some());
    assert_eq!(is_out, is_in, "out, and back");
    Ok(is_out)
}

fn rfc4787_req_14_fragments_come_in_any_order(nat: &Nat) -> Observed {
    assert!(arrive(nat, [0, 1, 2])?, "one after the other");
    assert!(arrive(nat, [0, 2, 1])?, "the first one first");
    Ok(Seen::met_or(arrive(nat, [1, 2, 0])?, "those that overtake the first one are dropped"))
}

fn rfc4787_req_14a_a_flood_of_fragments_disturbs_nobody(nat: &Nat) -> Observed {
    const FLOOD: u16 = 2_000;
    let (inside, remote, about) = opened(nat, Family::V4)?;
    let packet = Packet::udp([remote, about.from], &[7; 2 * PIECE]);
    for identification in 1..=FLOOD {
        let lone = Packet { identification, ..packet.clone() }.fragments(PIECE);
        let last = lone.last().map(Vec::as_slice).unwrap_or_default();
        nat.say_outside(last, [remote.ip(), about.from.ip()])?;
    }
    let goes_on = nat.is_answered(remote, about.from, inside)? && arrive(nat, [0, 1, 2])?;
    let opens = Protocol::Udp.open(nat, nat.inside(1, Family::V4), remote).is_ok();
    Ok(Seen::met_or(goes_on && opens, "others are lost"))
}
