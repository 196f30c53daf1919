//! Who stays, and who has to leave, under which rules.

use super::*;
use crate::config::tests::{SMALL, config};
use crate::pool::{ConnectorState, Entry, Moment};
use weir_dataplane::image::ConnectorImage;
use weir_path::addr::{Address, Ip4};
use weir_path::tables::{Egress, Owner};

const OURS: ConnectorId = ConnectorId(1);
const THEIRS: ConnectorId = ConnectorId(2);
const CLIENT: [u8; 4] = [203, 0, 113, 9];
const VIP: [u8; 4] = [198, 51, 100, 10];
const REMOTE: [u8; 4] = [192, 0, 2, 1];
const OUR_ENI: [u8; 4] = [10, 0, 1, 5];
const THEIR_ENI: [u8; 4] = [10, 0, 1, 6];
const SANDBOX: [u8; 4] = [169, 254, 100, 2];

fn v4(address: [u8; 4]) -> Ip6 {
    Ip4(address).mapped()
}

fn vpc() -> Zone {
    Zone::of_vpc(1).unwrap()
}

fn binding(number: u32) -> Zone {
    Zone::of_binding(number).unwrap()
}

/// Slot 7 has our connector, slot 8 theirs, and slot 9 none.
fn known() -> Slots {
    [(binding(7), OURS), (binding(8), THEIRS)].into()
}

/// Ours wants flows judged again, by these rules; theirs does not.
fn book(out: Option<Vec<Rule>>, into: Option<Vec<Rule>>) -> Rulebook {
    let pages = [(OURS, Page { zone: vpc(), out, into })].into();
    let vpcs = [OURS, THEIRS].map(|id| (id, vpc())).into();
    Rulebook { pages, vpcs, ..Rulebook::default() }
}

/// TCP to or from one address.
fn tcp(address: [u8; 4], port: u16) -> Rule {
    let mask = Ip6([0xff; 16]);
    Rule { network: v4(address), mask, first: port, last: port, protocol: protocol::TCP, ..Rule::default() }
}

fn flow(zones: [Zone; 2], original: ([u8; 4], [u8; 4], u16), reply: ([u8; 4], u16, [u8; 4])) -> Tracked {
    let (src, dst, port) = original;
    let (server, server_port, seen_from) = reply;
    let client = L4Port::new(40_000);
    Tracked {
        protocol: protocol::TCP,
        original: Ends { src: v4(src), dst: v4(dst), sport: client, dport: L4Port::new(port) },
        reply: Ends { src: v4(server), dst: v4(seen_from), sport: L4Port::new(server_port), dport: client },
        zones,
    }
}

fn outwards(binding_number: u32) -> Tracked {
    flow([binding(binding_number), vpc()], (SANDBOX, REMOTE, 443), (REMOTE, 443, OUR_ENI))
}

fn inwards(binding_number: u32) -> Tracked {
    flow([vpc(), binding(binding_number)], (CLIENT, VIP, 80), (SANDBOX, 8_080, CLIENT))
}

#[test]
fn what_a_sandbox_opened_is_judged_by_whom_it_called_and_at_which_port() {
    for (rules, stays) in [
        (vec![tcp(REMOTE, 443)], true),
        (vec![tcp(REMOTE, 80), tcp(REMOTE, 443)], true),
        (vec![tcp(REMOTE, 80)], false),
        (vec![tcp(OUR_ENI, 443)], false),
        (vec![], false),
    ] {
        assert_eq!(book(Some(rules.clone()), None).allows(&outwards(7), &known()), stays, "{rules:?}");
    }
}

#[test]
fn what_leads_to_a_sandbox_is_judged_by_who_comes_and_the_port_that_serves() {
    for (rules, stays) in [
        (vec![tcp(CLIENT, 8_080)], true),
        (vec![tcp(CLIENT, 80)], false),
        (vec![tcp(VIP, 8_080)], false),
        (vec![], false),
    ] {
        assert_eq!(book(None, Some(rules.clone())).allows(&inwards(7), &known()), stays, "{rules:?}");
    }
}

#[test]
fn no_security_group_blocks_nothing_and_neither_way_is_judged_by_the_others_rules() {
    let (nothing, everything) = (Some(vec![]), None);
    assert!(book(nothing.clone(), everything.clone()).allows(&inwards(7), &known()));
    assert!(book(everything, nothing).allows(&outwards(7), &known()));
    assert!(!book(None, None).is_strict() && book(None, Some(vec![])).is_strict());
}

#[test]
fn who_does_not_want_it_is_not_judged_and_neither_is_who_has_no_connector() {
    let nothing = book(Some(vec![]), Some(vec![]));
    for binding_number in [8, 9] {
        assert!(nothing.allows(&outwards(binding_number), &known()));
        assert!(nothing.allows(&inwards(binding_number), &known()));
    }
    let past_all_slots = flow([vpc(), vpc()], (CLIENT, VIP, 80), (REMOTE, 5_432, OUR_ENI));
    assert!(nothing.allows(&past_all_slots, &known()));
}

#[test]
fn a_call_from_sandbox_to_sandbox_must_be_allowed_at_both_ends() {
    let call = flow([binding(7), binding(7)], (SANDBOX, VIP, 80), (SANDBOX, 8_080, OUR_ENI));
    let (out, into) = (vec![tcp(VIP, 80)], vec![tcp(OUR_ENI, 8_080)]);
    assert!(book(Some(out.clone()), Some(into.clone())).allows(&call, &known()));
    assert!(!book(Some(out), Some(vec![])).allows(&call, &known()));
    assert!(!book(Some(vec![]), Some(into)).allows(&call, &known()));
}

#[test]
fn a_rule_that_names_a_group_allows_the_enis_that_are_in_it_at_present() {
    let theirs = SecurityGroupId(2);
    let any_port = Rule { last: u16::MAX, group: theirs, ..Rule::default() };
    let mut book = book(Some(vec![any_port]), Some(vec![any_port]));
    let to_eni = flow([binding(7), vpc()], (SANDBOX, THEIR_ENI, 443), (THEIR_ENI, 443, OUR_ENI));
    let from_eni = flow([binding(8), binding(7)], (SANDBOX, VIP, 80), (SANDBOX, 8_080, THEIR_ENI));
    let stay = |book: &Rulebook| [to_eni, from_eni].map(|flow| book.allows(&flow, &known()));
    assert_eq!(stay(&book), [false, false]);
    let none = SecurityGroupId::NONE;
    let place = Vip { address: v4(THEIR_ENI), zone: vpc() };
    book.groups.insert(place, [SecurityGroupId(1), theirs, none, none, none]);
    assert_eq!(stay(&book), [true, true]);
    book.groups.insert(place, [SecurityGroupId(1), none, none, none, none]);
    assert_eq!(stay(&book), [false, false]);
}

#[test]
fn an_echo_is_judged_by_its_type_and_a_mapping_not_at_all() {
    let icmp = |first, last| Rule { network: v4([0; 4]), first, last, protocol: 1, ..Rule::default() };
    let echo = Tracked {
        protocol: protocol::ICMP,
        ..flow([binding(7), vpc()], (SANDBOX, REMOTE, 0), (REMOTE, 0, OUR_ENI))
    };
    assert!(book(Some(vec![icmp(8 << 8, 8 << 8)]), None).allows(&echo, &known()));
    assert!(!book(Some(vec![icmp(0, 0)]), None).allows(&echo, &known()));
    let mapping = Tracked { protocol: protocol::MAPPING, ..echo };
    assert!(book(Some(vec![]), None).allows(&mapping, &known()));
    let v6 = Rule { protocol: protocol::ICMPV6, ..icmp(128 << 8, 128 << 8) };
    let echo6 = Tracked { protocol: protocol::ICMPV6, ..echo };
    assert!(book(Some(vec![v6]), None).allows(&echo6, &known()));
}

#[test]
fn a_service_of_the_hosts_needs_no_rule_for_as_long_as_it_is_one() {
    let call = flow([binding(7), vpc()], (SANDBOX, [169, 254, 100, 1], 9_001), (REMOTE, 9_001, OUR_ENI));
    let mut book = book(Some(vec![]), None);
    assert!(!book.allows(&call, &known()));
    let vip = Vip { address: v4([169, 254, 100, 1]), zone: Connector::services(OURS) };
    book.services.insert(Heard { vip, port: L4Port::new(9_001), protocol: protocol::TCP, zero: 0 });
    assert!(book.allows(&call, &known()));
    assert!(!book.allows(&Tracked { protocol: protocol::UDP, ..call }, &known()));
}

#[test]
fn only_slots_with_a_connector_are_known_by_their_bindings() {
    let record = |zone, connector| Interface { zone, connector, ..Interface::default() };
    let records = [
        record(vpc(), ConnectorId::NONE),
        record(vpc(), OURS),
        record(binding(7), OURS),
        record(binding(9), ConnectorId::NONE),
    ];
    assert_eq!(slots(&records), Slots::from([(binding(7), OURS)]));
}

/// Two connectors, one of which wants flows judged again and whose group allows itself; the pool behind them, and what is
/// compiled of them.
fn compiled() -> (Config, Pool, Image) {
    let text = r#"
[[subnet]]
name = "a"
vpc = "prod"
prefix = "10.0.1.0/24"
[[security_group]]
name = "web"
vpc = "prod"
[[security_group.outbound]]
protocol = "all"
security_group = "web"
[[connector]]
name = "strict"
tenant = "a"
subnets = ["a"]
security_groups = ["web"]
rejudge = true
[[connector]]
name = "lax"
tenant = "b"
subnets = ["a"]
security_groups = ["web"]
"#;
    let config = config(&format!("{SMALL}{text}"));
    let entry = |connector: &crate::config::Connector, id| Entry {
        key: connector.key.clone(),
        id,
        state: ConnectorState::Active,
        reason: None,
        since: Moment(0),
        references: 1,
        used: Moment(0),
        roomy: None,
        enis: vec![],
    };
    let entries = config.connectors.iter().zip([OURS, THEIRS]).map(|(it, id)| entry(it, id)).collect();
    let group = SecurityGroupId(1);
    let none = SecurityGroupId::NONE;
    let connector =
        Connector { zone: vpc(), groups: [group, none, none, none, none], ..Connector::default() };
    let rule = Rule { last: u16::MAX, group, ..Rule::default() };
    let (rules_out, rules_in) = (Some(vec![rule]), Some(vec![]));
    let compiled = ConnectorImage { connector, rules_out, rules_in, ..ConnectorImage::default() };
    let image = Image {
        connectors: [(OURS, compiled.clone()), (THEIRS, compiled)].into(),
        enis: [(Vip { address: v4(THEIR_ENI), zone: vpc() }, Owner::eni(InterfaceId(5)))].into(),
        ..Image::default()
    };
    (config, Pool { entries, ..Pool::default() }, image)
}

#[test]
fn a_book_has_the_rules_of_those_who_want_it_and_the_groups_that_they_name() {
    let (config, pool, mut image) = compiled();
    let egress = Egress { id: InterfaceId(5), ..Egress::default() };
    let eni = Interface { egress, zone: vpc(), connector: THEIRS, ..Interface::default() };
    let before = Rulebook::of(&config, &pool, &image, &[eni]);
    assert_eq!(before.pages.keys().collect::<Vec<_>>(), [&OURS]);
    let to_eni = flow([binding(7), vpc()], (SANDBOX, THEIR_ENI, 443), (THEIR_ENI, 443, OUR_ENI));
    assert!(before.is_strict() && before.allows(&to_eni, &known()) && !before.allows(&outwards(7), &known()));

    let lax = image.connectors.get_mut(&THEIRS).unwrap();
    (lax.rules_out, lax.connector.tcp_idle.0) = (None, 7);
    assert_eq!(Rulebook::of(&config, &pool, &image, &[eni]), before, "what nobody is judged by is no change");
    let left = Rulebook::of(&config, &pool, &image, &[]);
    assert_ne!(left, before, "an ENI that is no longer in a group is one");
    assert!(!left.allows(&to_eni, &known()));
}
