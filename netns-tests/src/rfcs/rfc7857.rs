//! RFC 7857: what was learnt since.

use crate::rfcs::Claim::{Met, NotApplicable, Otherwise};
use crate::rfcs::Level::{May, Must, Recommended, Should, ShouldNot};
use crate::rfcs::{ITS_OWN, Requirement, Rfc, it};

pub(super) const RFC: Rfc =
    Rfc { number: 7857, about: "Updates of the three (BCP 127), by section.", requirements: REQUIREMENTS };

const REQUIREMENTS: &[Requirement] = &[
    it(
        "2",
        Should,
        "connections are followed from SYN to FIN or RST",
        Met,
        Met,
        "rfc7857_2_connections_are_followed",
    ),
    it(
        "2.1",
        Should,
        "beginnings and ends have times of their own, which can be set",
        Met,
        Met,
        "rfc7857_2_1_a_beginning_and_an_end_have_times_of_their_own",
    ),
    it(
        "2.1 default",
        Recommended,
        "each is four minutes where nothing is said; less may be set",
        Otherwise(
            "30 s before the handshake ends, 10 s after both FINs, 10 s after a RST",
            "As RFC 5382 REQ-5",
        ),
        Otherwise("120 s before the handshake ends, 120 s after both FINs, 10 s after a RST", ""),
        "rfc7857_2_1_default_a_beginning_or_end_lives_for_four_minutes",
    ),
    it("2.2", Must, "a RST goes through", Met, Met, "rfc7857_2_2_a_reset_goes_through"),
    it(
        "2.2 wait",
        Should,
        "the connection is kept for four minutes afterwards",
        Otherwise("10 s", "As RFC 5382 REQ-5: `tcp_closing = 240`. Only a RST in the window counts"),
        Otherwise("10 s", ""),
        "rfc7857_2_2_wait_a_reset_connection_is_kept_for_four_minutes",
    ),
    it(
        "2.2 restored",
        Should,
        "what follows a RST keeps the connection",
        Met,
        Otherwise("it ends all the same", ""),
        "rfc7857_2_2_restored_what_follows_a_reset_keeps_the_connection",
    ),
    it("3", May, "two remotes see one port", Met, Met, "rfc7857_3_two_remotes_may_see_one_port"),
    it(
        "4",
        Recommended,
        "addresses are paired, also where one is full",
        NotApplicable("they are not paired: RFC 4787 REQ-2"),
        NotApplicable("they are not paired"),
        "",
    ),
    it("5", Should, "a mapping is of one protocol", Met, Met, "rfc7857_5_a_mapping_is_of_one_protocol"),
    it("6", Should, "a filter is of one protocol", Met, Met, "rfc7857_6_a_filter_is_of_one_protocol"),
    it(
        "7",
        May,
        "what comes in keeps a mapping alive; that strangers do so is a risk",
        Met,
        Met,
        "rfc7857_7_strangers_do_not_keep_a_mapping_alive",
    ),
    it(
        "7.1",
        ShouldNot,
        "ICMP errors that go out keep a mapping alive",
        Met,
        Met,
        "rfc7857_7_1_errors_that_go_out_do_not_keep_a_mapping_alive",
    ),
    it(
        "8",
        May,
        "parity is not kept; means to ask for it should be there",
        NotApplicable("it is not kept, and there is no protocol to ask for ports (PCP)"),
        NotApplicable("there is no protocol to ask for ports"),
        "",
    ),
    it(
        "9",
        Should,
        "ports are chosen by chance, as RFC 6056 says",
        Met,
        Otherwise(ITS_OWN, "`fully-random` in the rule is what is asked"),
        "rfc7857_9_ports_are_hard_to_guess",
    ),
    it(
        "10",
        Should,
        "identifications of several hosts' datagrams differ (RFC 6864 section 5.3.1)",
        Met,
        Otherwise("both leave with the one that they came with", ""),
        "rfc7857_10_identifications_of_two_hosts_are_not_alike",
    ),
    it(
        "11",
        May,
        "a query's mapping ends with its last session",
        Met,
        Met,
        "rfc7857_11_a_query_ends_with_its_last_session",
    ),
    it(
        "12",
        Must,
        "queries are hairpinned, by every NAT",
        Otherwise(
            "refused with an ICMP error",
            "ENIs and the host are out of a sandbox's reach; nobody is let in by an ENI's address",
        ),
        Otherwise("answered by the host, which has that address itself", ""),
        "rfc7857_12_one_host_pings_another_by_its_outer_address",
    ),
];
