//! RFC 6056: ports that nobody can guess.

use crate::rfcs::Claim::{Met, NotSeen, Otherwise};
use crate::rfcs::Level::Should;
use crate::rfcs::{ITS_OWN, Requirement, Rfc, it};

pub(super) const RFC: Rfc =
    Rfc { number: 6056, about: "Which ports are chosen (BCP 156), by section.", requirements: REQUIREMENTS };

const REQUIREMENTS: &[Requirement] = &[
    it(
        "3.1",
        Should,
        "nobody can guess the next port",
        Met,
        Otherwise(ITS_OWN, "`fully-random` in the rule is what is asked"),
        "rfc6056_3_1_ports_are_hard_to_guess",
    ),
    it(
        "3.2",
        Should,
        "ports come from the whole range of 1024 to 65535",
        Met,
        Otherwise(ITS_OWN, "As above"),
        "rfc6056_3_2_ports_come_from_the_whole_range",
    ),
    it(
        "3.3",
        Should,
        "one of five algorithms: the same conversation, opened again, begins at another port",
        Met,
        Otherwise("at the same one", "As above"),
        "rfc6056_3_3_the_same_conversation_begins_at_another_port",
    ),
    it(
        "3.4",
        Should,
        "the key of such an algorithm is hard to guess",
        NotSeen("it does not show on a wire: 16 random bytes, made once and kept in `state_dir`"),
        NotSeen("no key is needed where senders' own ports are taken"),
        "",
    ),
    it(
        "4",
        Should,
        "a NAT chooses ports as a host should, also where hosts choose theirs one after the other",
        Met,
        Otherwise(ITS_OWN, "As above"),
        "rfc6056_4_a_nat_chooses_as_a_host_should",
    ),
];
