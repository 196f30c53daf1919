//! RFC 5382: what TCP may ask of a NAT.

use crate::rfcs::Claim::{Met, NotApplicable, Otherwise};
use crate::rfcs::Level::{May, Must, MustNot, Recommended, Should};
use crate::rfcs::{FOR_EACH, ITS_OWN, Requirement, Rfc, it};

pub(super) const RFC: Rfc = Rfc { number: 5382, about: "TCP (BCP 142).", requirements: REQUIREMENTS };

const REQUIREMENTS: &[Requirement] = &[
    it(
        "REQ-1",
        Must,
        "one port of a host leaves from one port, whatever the remote",
        Otherwise(
            FOR_EACH,
            "As RFC 4787 REQ-1; `udp_mapping` is for UDP alone: peers that want TCP through two NATs are not what sandboxes are",
        ),
        Otherwise(ITS_OWN, ""),
        "rfc5382_req_1_the_mapping_is_endpoint_independent",
    ),
    it(
        "REQ-2",
        Must,
        "every orderly connection goes through",
        Met,
        Met,
        "rfc5382_req_2_every_orderly_connection_goes_through",
    ),
    it("REQ-2a", Must, "both sides may open at once", Met, Met, "rfc5382_req_2a_both_sides_may_open_at_once"),
    it(
        "REQ-3",
        Recommended,
        "anybody may answer, or at least any port of the remote's address",
        Otherwise(
            "only the remote's own address and port",
            "Nobody is let in uninvited: a sandbox serves behind a VIP, or not at all",
        ),
        Otherwise("only the remote's own address and port", ""),
        "rfc5382_req_3_others_than_the_remote_are_let_in",
    ),
    it(
        "REQ-3a",
        May,
        "that can be set",
        NotApplicable("there is no such setting"),
        NotApplicable("none is configured here"),
        "",
    ),
    it(
        "REQ-3b",
        May,
        "it is another one than UDP's",
        NotApplicable("it is the same"),
        NotApplicable("it is the same"),
        "",
    ),
    it(
        "REQ-4",
        MustNot,
        "an uninvited SYN is answered within six seconds",
        Met,
        Otherwise("answered at once with a RST", "By the host, which has the address itself and no firewall"),
        "rfc5382_req_4_an_uninvited_syn_is_not_answered_at_once",
    ),
    it(
        "REQ-4a",
        Must,
        "it is dropped silently, where an answer would be against the policy; else port unreachable is sent afterwards",
        Met,
        Otherwise("answered at once with a RST", "As above"),
        "rfc5382_req_4a_an_uninvited_syn_is_dropped_silently",
    ),
    it(
        "REQ-5",
        MustNot,
        "a silent connection ends in less than two hours and four minutes",
        Otherwise(
            "350 s",
            "What network load balancers take; a sandbox that speaks later gets a RST. `tcp_idle` on the connector goes up to 6000",
        ),
        Met,
        "rfc5382_req_5_a_silent_connection_lives_for_two_hours",
    ),
    it(
        "REQ-5 transitory",
        MustNot,
        "one that begins or ends is given less than four minutes",
        Otherwise(
            "30 s before the handshake ends, 10 s after both FINs, 10 s after a RST",
            "A SYN is sent again long before; a closing flow is replaced by a new SYN at once. `tcp_half_open = 240` and `tcp_closing = 240` are what is asked",
        ),
        Otherwise("120 s before the handshake ends, 120 s after both FINs, 10 s after a RST", ""),
        "rfc5382_req_5_transitory_a_beginning_or_end_lives_for_four_minutes",
    ),
    it("REQ-5a", May, "the times can be set", Met, Met, "rfc5382_req_5a_the_times_of_connections_can_be_set"),
    it(
        "REQ-6",
        Recommended,
        "no ALG is on, but for FTP's",
        Met,
        Met,
        "rfc5382_req_6_no_gateway_of_an_application_changes_what_is_said",
    ),
    it(
        "REQ-7",
        MustNot,
        "two hosts share a port towards one remote",
        Met,
        Met,
        "rfc5382_req_7_no_two_hosts_share_a_port_towards_a_remote",
    ),
    it(
        "REQ-8",
        Must,
        "one host reaches another by its outer address",
        Otherwise(
            "refused with a RST",
            "ENIs and the host are out of a sandbox's reach; nobody is let in by an ENI's address",
        ),
        Otherwise("refused with a RST", ""),
        "rfc5382_req_8_one_host_reaches_another_by_its_outer_address",
    ),
    it(
        "REQ-8a",
        Must,
        "what is hairpinned comes from the outer address and port",
        NotApplicable("nothing is hairpinned"),
        NotApplicable("nothing is hairpinned"),
        "",
    ),
    it(
        "REQ-9",
        Should,
        "destination unreachable reaches the sender",
        Met,
        Met,
        "rfc5382_req_9_destination_unreachable_reaches_the_sender",
    ),
    it(
        "REQ-10",
        MustNot,
        "an ICMP message ends a connection or its mapping",
        Met,
        Met,
        "rfc5382_req_10_no_icmp_message_ends_a_connection",
    ),
];
