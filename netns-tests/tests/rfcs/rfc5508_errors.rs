//! RFC 5508, ICMP: errors that go through.

use std::net::SocketAddr;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::packet::with_options;
use weir_netns_tests::nat::{Family, Heard, Inside, Nat, Packet, Place, Trouble};
use weir_netns_tests::rfcs::Seen;

use crate::vector::{Observed, Vector, of_both, vectors, wanted};

pub(crate) const VECTORS: &[Vector] = vectors! {
    InTurn: rfc5508_req_3_an_error_with_a_wrong_checksum_is_dropped
        rfc5508_req_3a_an_error_about_a_broken_header_is_dropped
        rfc5508_req_3b_options_in_what_is_quoted_are_skipped
        rfc5508_req_3c_a_wrong_checksum_in_what_is_quoted_does_not_matter
        rfc5508_req_3d_extensions_are_not_taken_for_what_is_quoted
        rfc5508_req_4_an_error_about_nothing_is_dropped_silently
        rfc5508_req_4a_what_is_quoted_is_as_it_was_sent
        rfc5508_req_4b_type_and_code_stay
        rfc5508_req_4c_an_error_goes_to_the_sender
        rfc5508_req_5_an_error_about_nothing_does_not_go_out
        rfc5508_req_5a_what_is_quoted_outwards_is_as_it_was_sent
        rfc5508_req_5b_type_and_code_stay_outwards
        rfc5508_req_5c_an_error_comes_from_an_outer_address;
};

struct Opened {
    inside: Inside,
    remote: SocketAddr,
    heard: Heard,
}

fn opened(nat: &Nat, family: Family) -> Result<Opened, Failure> {
    let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
    Ok(Opened { inside, remote, heard: wanted(nat.datagram_heard(inside, remote)?, "a datagram")? })
}

/// An error from the remote about a quote of one's own making. What the sandbox hears, however broken.
fn about(
    nat: &Nat,
    it: &Opened,
    change: impl Fn(Packet) -> Packet,
    quoted: &[u8],
) -> Result<Option<Heard>, Failure> {
    let [from, to] = [it.remote.ip(), it.heard.from.ip()].map(|address| SocketAddr::new(address, 0));
    let packet = change(Packet::error([from, to], Trouble::Port, quoted));
    nat.say_outside(&packet.bytes(), [from.ip(), to.ip()])?;
    let kind = Trouble::Port.kind(to.is_ipv4());
    let is_about = |heard: &Heard| heard.quoted().is_some_and(|quoted| quoted.from == it.inside.at);
    Ok(nat.hear_broken_inside(1, |heard| heard.kind() == Some(kind) && is_about(heard)))
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes
}

fn rfc5508_req_3_an_error_with_a_wrong_checksum_is_dropped(nat: &Nat) -> Observed {
    let it = opened(nat, Family::V4)?;
    let wrong = |packet: Packet| Packet { l4: flipped(packet.l4.clone(), 3), ..packet };
    let heard = about(nat, &it, wrong, &it.heard.bytes)?;
    let is_wrong_still = heard.as_ref().is_some_and(|heard| !heard.is_sound());
    let otherwise = if is_wrong_still { "passed on, as wrong as it is" } else { "passed on, and made right" };
    Ok(Seen::met_or(heard.is_none(), otherwise))
}

fn rfc5508_req_3a_an_error_about_a_broken_header_is_dropped(nat: &Nat) -> Observed {
    let it = opened(nat, Family::V4)?;
    let heard = about(nat, &it, |packet| packet, &flipped(it.heard.bytes.clone(), 11))?;
    Ok(Seen::met_or(heard.is_none(), "passed on, quoting a header as wrong as it is"))
}

fn rfc5508_req_3b_options_in_what_is_quoted_are_skipped(nat: &Nat) -> Observed {
    let it = opened(nat, Family::V4)?;
    let heard = about(nat, &it, |packet| packet, &with_options(&it.heard.bytes))?;
    Ok(Seen::met_or(heard.is_some_and(|heard| heard.is_sound()), "it is not recognised"))
}

fn rfc5508_req_3c_a_wrong_checksum_in_what_is_quoted_does_not_matter(nat: &Nat) -> Observed {
    const UDP_CHECKSUM: usize = 20 + 7;
    let it = opened(nat, Family::V4)?;
    let heard = about(nat, &it, |packet| packet, &flipped(it.heard.bytes.clone(), UDP_CHECKSUM))?;
    Ok(Seen::met_or(heard.is_some_and(|heard| heard.is_sound()), "dropped"))
}

fn rfc5508_req_3d_extensions_are_not_taken_for_what_is_quoted(nat: &Nat) -> Observed {
    // RFC 4884: what is quoted is filled up to 128 bytes, 32 words, and the extensions follow.
    const WORDS: u8 = 32;
    const EXTENSIONS: [u8; 12] = [0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0xff];
    let it = opened(nat, Family::V4)?;
    let mut quoted = it.heard.bytes.clone();
    quoted.resize(usize::from(WORDS) * 4, 0);
    quoted.extend(EXTENSIONS);
    let with_length = |mut packet: Packet| {
        packet.l4.splice(5..6, [WORDS]);
        packet.summed()
    };
    let heard = about(nat, &it, with_length, &quoted)?;
    let is_well =
        |heard: Heard| heard.is_sound() && heard.l4.ends_with(&EXTENSIONS) && heard.l4.get(5) == Some(&WORDS);
    Ok(Seen::met_or(heard.is_some_and(is_well), "dropped, or changed"))
}

fn rfc5508_req_4_an_error_about_nothing_is_dropped_silently(nat: &Nat) -> Observed {
    of_both(|family| {
        let remote = nat.remote(Place::Beyond(0), family);
        let never = SocketAddr::new(nat.address(family), nat.fresh_port());
        let quoted = Packet::udp([never, remote], b"nobody said that").bytes();
        let ends = [remote, never].map(|it| SocketAddr::new(it.ip(), 0));
        nat.say_outside(&Packet::error(ends, Trouble::Port, &quoted).bytes(), [remote.ip(), never.ip()])?;
        let is_in = nat.hear_inside(1, |it| it.quoted().is_some_and(|it| it.to == remote)).is_some();
        let is_said = nat.all_outside(|it| it.to == remote).is_empty();
        Ok(Seen::met_or(!is_in && is_said, "it is not"))
    })
}

/// An error that reaches a sandbox.
fn inwards(nat: &Nat, family: Family, what: Trouble) -> Result<(Opened, Heard), Failure> {
    let it = opened(nat, family)?;
    let heard = wanted(nat.error_inwards(it.remote.ip(), what, &it.heard, it.inside)?, "an error")?;
    Ok((it, heard))
}

fn rfc5508_req_4a_what_is_quoted_is_as_it_was_sent(nat: &Nat) -> Observed {
    of_both(|family| {
        let (it, heard) = inwards(nat, family, Trouble::Host)?;
        let quoted = wanted(heard.quoted(), "a quote")?;
        let is_as_sent = (quoted.from, quoted.to) == (it.inside.at, it.remote)
            && quoted.is_sound()
            && quoted.words() == it.heard.words();
        Ok(Seen::met_or(is_as_sent, "it is not"))
    })
}

const TROUBLES: [Trouble; 4] = [Trouble::Port, Trouble::Host, Trouble::Prohibited, Trouble::Expired];

fn rfc5508_req_4b_type_and_code_stay(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut stay = true;
        for what in TROUBLES {
            let (_, heard) = inwards(nat, family, what)?;
            stay &= heard.kind() == Some(what.kind(family == Family::V4));
        }
        Ok(Seen::met_or(stay, "they do not"))
    })
}

fn rfc5508_req_4c_an_error_goes_to_the_sender(nat: &Nat) -> Observed {
    of_both(|family| {
        let (it, heard) = inwards(nat, family, Trouble::Host)?;
        Ok(Seen::met_or(heard.to.ip() == it.inside.at.ip(), "it does not"))
    })
}

fn rfc5508_req_5_an_error_about_nothing_does_not_go_out(nat: &Nat) -> Observed {
    of_both(|family| {
        let (inside, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
        let quoted = Packet::udp([remote, inside.at], b"nobody said that").bytes();
        let ends = [inside.at, remote].map(|it| SocketAddr::new(it.ip(), 0));
        nat.say_inside(1, &Packet::error(ends, Trouble::Port, &quoted).bytes(), remote.ip())?;
        let heard = nat.hear_outside(|it| it.quoted().is_some_and(|it| it.from == remote));
        let otherwise = match &heard {
            Some(it) if it.from.ip() == inside.at.ip() => "sent on from the sandbox's own address",
            _ => "sent on",
        };
        Ok(Seen::met_or(heard.is_none(), otherwise))
    })
}

/// An error of a sandbox's about an answer, as it is heard on the wire.
fn outwards(nat: &Nat, family: Family, what: Trouble) -> Result<(Opened, Heard), Failure> {
    let it = opened(nat, family)?;
    let answer = wanted(nat.answer(it.remote, it.heard.from, it.inside)?, "an answer")?;
    let ends = [it.inside.at, it.remote].map(|it| SocketAddr::new(it.ip(), 0));
    nat.say_inside(1, &Packet::error(ends, what, &answer.bytes).bytes(), it.remote.ip())?;
    let heard = nat.hear_outside(|heard| heard.quoted().is_some_and(|quoted| quoted.from == it.remote));
    Ok((it, wanted(heard, "an error on the wire")?))
}

fn rfc5508_req_5a_what_is_quoted_outwards_is_as_it_was_sent(nat: &Nat) -> Observed {
    of_both(|family| {
        let (it, heard) = outwards(nat, family, Trouble::Port)?;
        let quoted = wanted(heard.quoted(), "a quote")?;
        let is_as_sent = (quoted.from, quoted.to) == (it.remote, it.heard.from) && quoted.is_sound();
        Ok(Seen::met_or(is_as_sent, "it is not"))
    })
}

fn rfc5508_req_5b_type_and_code_stay_outwards(nat: &Nat) -> Observed {
    of_both(|family| {
        let mut stay = true;
        for what in TROUBLES {
            let (_, heard) = outwards(nat, family, what)?;
            stay &= heard.kind() == Some(what.kind(family == Family::V4));
        }
        Ok(Seen::met_or(stay, "they do not"))
    })
}

fn rfc5508_req_5c_an_error_comes_from_an_outer_address(nat: &Nat) -> Observed {
    of_both(|family| {
        let (_, heard) = outwards(nat, family, Trouble::Port)?;
        Ok(Seen::met_or(heard.from.ip() == nat.address(family), "it does not"))
    })
}
