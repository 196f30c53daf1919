//! What security groups become: one list a connector and way, that no other family and no order matters to.

use crate::compile::{Numbers, compile};
use crate::config::Config;
use crate::config::tests::{CONNECTED, config};
use crate::pool::{Facts, Moment, Pool, Seen, Usage, step};
use weir_dataplane::image::Image;
use weir_path::addr::Ip6;
use weir_path::hash::HashKey;
use weir_path::rules::Question;
use weir_path::tables::{ConnectorId, Rule, SecurityGroupId, TenantId};

/// Group `web` with these rules, group `other` without any, and a connector that is in the groups named.
fn with(rules: &str, groups: &str) -> String {
    let groups = format!("tenant = \"acme\"\nsecurity_groups = [{groups}]");
    let text = CONNECTED.replacen("tenant = \"acme\"", &groups, 1);
    format!(
        "{text}\n[[prefix_list]]\nname = \"offices\"\nprefixes = [\"10.8.0.0/16\", \"2001:db8::/32\"]\n\
         [[security_group]]\nname = \"other\"\nvpc = \"prod\"\n\
         [[security_group]]\nname = \"web\"\nvpc = \"prod\"\n{rules}"
    )
}

fn out(rule: &str) -> String {
    format!("[[security_group.outbound]]\n{rule}\n")
}

/// The pool after its first step.
fn pooled(config: &Config) -> Pool {
    let (facts, usage) = (Facts::default(), Usage::new(Moment(1)));
    let seen = Seen {
        now: Moment(1),
        facts: &facts,
        usage: &usage,
        before: None,
        is_counted: true,
        crowd: &usage,
        crowd_before: None,
    };
    step(&Pool::default(), config, seen).0
}

/// The tables for a file, whose pool has gone one step and whose tenant `acme` is the seventh.
pub(in crate::compile) fn image(text: &str) -> Image {
    let config = config(text);
    let numbers = Numbers { tenants: [("acme".to_owned(), TenantId(7))].into(), ..Numbers::default() };
    compile(&config, HashKey::default(), &pooled(&config), &Facts::default(), &numbers)
}

fn rules(image: &Image) -> &[Rule] {
    image.connectors[&ConnectorId(1)].rules_out.as_deref().unwrap()
}

fn asks(remote: &str, what: u16, protocol: u32) -> Question {
    let remote: std::net::IpAddr = remote.parse().unwrap();
    Question { remote: remote.into(), groups: [SecurityGroupId::NONE; 5], what, protocol }
}

#[test]
fn a_connector_without_security_groups_says_nothing_and_one_in_an_empty_group_allows_nothing() {
    let open = &image(CONNECTED).connectors[&ConnectorId(1)];
    assert_eq!((&open.rules_out, &open.rules_in), (&None, &None));
    let closed = &image(&with("", "\"other\"")).connectors[&ConnectorId(1)];
    assert_eq!((&closed.rules_out, &closed.rules_in), (&Some(vec![]), &Some(vec![])));
    assert_eq!(
        closed.connector.groups[0],
        SecurityGroupId(1),
        "groups are numbered in the order of the file"
    );
}

#[test]
fn a_rule_is_a_protocol_a_range_of_ports_and_a_masked_address() {
    let image =
        image(&with(&out("protocol = \"tcp\"\nports = \"1000-2000\"\ncidr = \"10.0.0.0/8\""), "\"web\""));
    let [rule] = rules(&image) else { panic!("{:?}", rules(&image)) };
    assert_eq!((rule.first, rule.last, rule.protocol, rule.group), (1_000, 2_000, 6, SecurityGroupId::NONE));
    let mapped = |address: [u8; 4]| {
        let [a, b, c, d] = address;
        Ip6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    };
    assert_eq!(rule.network, mapped([10, 0, 0, 0]));
    assert_eq!(rule.mask, Ip6([255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0]));
    assert!(rule.allows(&asks("10.200.0.1", 1_500, 6)));
    assert!(!rule.allows(&asks("11.0.0.1", 1_500, 6)) && !rule.allows(&asks("10.0.0.1", 1_500, 17)));
    assert!(image.arena().is_ok());
}

#[test]
fn all_of_one_family_is_nothing_of_the_other() {
    let allows = |cidr: &str, remote: &str| {
        let image = image(&with(&out(&format!("protocol = \"all\"\ncidr = \"{cidr}\"")), "\"web\""));
        rules(&image).iter().any(|rule| rule.allows(&asks(remote, 443, 6)))
    };
    assert!(allows("0.0.0.0/0", "198.51.100.1"));
    assert!(!allows("0.0.0.0/0", "2001:db8::1") && !allows("0.0.0.0/0", "::1"));
    for v6 in ["2001:db8::1", "fd00::1", "fe80::1", "64:ff9b::c633:6401", "64:ff9b:1::1", "5f00::1"] {
        assert!(allows("::/0", v6), "{v6}");
    }
    assert!(!allows("::/0", "198.51.100.1") && !allows("::/0", "0.0.0.1"));
}

#[test]
fn icmp_is_a_type_and_a_code_in_one_number() {
    let range = |lines: &str| {
        let image =
            image(&with(&out(&format!("protocol = \"icmp\"\n{lines}cidr = \"0.0.0.0/0\"")), "\"web\""));
        rules(&image).iter().map(|rule| (rule.first, rule.last, rule.protocol)).collect::<Vec<_>>()
    };
    assert_eq!(range("type = 8\ncode = 0\n"), [(0x0800, 0x0800, 1)]);
    assert_eq!(range("type = 3\n"), [(0x0300, 0x03ff, 1)]);
    assert_eq!(range(""), [(0, 0xffff, 1)]);
}

#[test]
fn a_prefix_list_is_a_rule_for_each_prefix_and_a_group_is_one() {
    let list = image(&with(&out("protocol = \"udp\"\nports = 53\nprefix_list = \"offices\""), "\"web\""));
    assert_eq!(rules(&list).len(), 2);
    for remote in ["10.8.1.1", "2001:db8::5"] {
        assert!(rules(&list).iter().any(|rule| rule.allows(&asks(remote, 53, 17))), "{remote}");
    }
    let group = image(&with(&out("protocol = \"all\"\nsecurity_group = \"web\""), "\"web\""));
    let [rule] = rules(&group) else { panic!("{:?}", rules(&group)) };
    assert_eq!((rule.group, rule.protocol), (SecurityGroupId(2), 0));
    assert!(!rule.allows(&asks("10.0.0.1", 1, 6)));
    let its =
        Question { groups: group.connectors[&ConnectorId(1)].connector.groups, ..asks("10.0.0.1", 1, 6) };
    assert!(rule.allows(&its));
}

#[test]
fn the_rules_of_all_groups_are_one_list_and_the_order_in_the_file_says_nothing() {
    let [one, two] =
        ["\"10.0.0.0/8\"", "\"10.1.0.0/16\""].map(|it| out(&format!("protocol = \"tcp\"\ncidr = {it}")));
    let more = "[[security_group]]\nname = \"more\"\nvpc = \"prod\"\n";
    let both = image(&with(&format!("{one}{more}{two}{one}"), "\"web\", \"more\""));
    assert_eq!(rules(&both).len(), 2, "what two groups allow is there once");
    assert_eq!(both.connectors[&ConnectorId(1)].connector.groups[..3], [2, 3, 0].map(SecurityGroupId));
    let swapped = image(&with(&format!("{two}{one}"), "\"web\""));
    assert_eq!(rules(&both), rules(&swapped));
}

#[test]
fn connectors_that_allow_the_same_share_their_rules() {
    let second = "[[connector]]\nname = \"api\"\ntenant = \"other\"\nsubnets = [\"prod-a\"]\n\
                  security_groups = [\"web\"]\n[[slot]]\nnetns = \"sandbox-2\"\ninterface = \"eth0\"\nconnector = \"api\"\n";
    let rule = out("protocol = \"tcp\"\ncidr = \"10.0.0.0/8\"");
    let arena = image(&format!("{}{second}", with(&rule, "\"web\", \"other\""))).arena().unwrap();
    assert_eq!(arena.rules.len(), 1);
    let pieces: Vec<_> = arena.connectors.iter().map(|(_, it)| it.rules_out).collect();
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[0], pieces[1]);
}

#[test]
fn a_connector_has_its_tenants_number_and_the_tenant_its_quotas() {
    let tenant = "[[tenant]]\nname = \"acme\"\nmax_flows = 9\n[tenant.sandbox]\nmax_new_flows = 5\n";
    let image = image(&format!("{CONNECTED}{tenant}"));
    assert_eq!(image.connectors[&ConnectorId(1)].connector.tenant, TenantId(7));
    let quotas = image.tenants[&TenantId(7)];
    assert_eq!((quotas.all.flows, quotas.each.opened_a_second, quotas.all.ports), (9, 5, 0));
    assert_eq!(image.tenants.len(), 1);
}
