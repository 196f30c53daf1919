//! Steps as stories: what was there, what is seen, and what comes of it.

mod adopting;
mod histories;
mod leading;
mod sizes;

use super::*;
use crate::config::Config;
use crate::config::tests::config;
use std::collections::BTreeMap;
use weir_path::addr::{Address, Ip4, L4Port, Zone};
use weir_path::tables::Vip;

/// A VPC with two subnets on two uplinks, of 251 and of 11 addresses.
const HEAD: &str = r#"version = 1
[sandbox]
address6 = "fd00:7765:6972::2"
gateway6 = "fd00:7765:6972::1"
[[vpc]]
name = "prod"
[[vpc]]
name = "test"
[[uplink]]
interface = "eth0"
vpc = "prod"
[[uplink]]
interface = "eth1"
vpc = "prod"
[[uplink]]
interface = "eth2"
vpc = "test"
[[subnet]]
name = "a"
vpc = "prod"
uplink = "eth0"
prefix = "10.0.1.0/24"
prefix6 = "fd00:1::/64"
gateway = "10.0.1.1"
reserved = ["10.0.1.4-10.0.1.6"]
[[subnet]]
name = "b"
vpc = "prod"
uplink = "eth1"
prefix = "10.0.2.0/28"
[[subnet]]
name = "c"
vpc = "test"
prefix = "10.0.1.0/24"
"#;

/// A connector of these subnets with these further lines, and so many slots that are bound to it.
pub(super) fn connector(name: &str, subnets: &[&str], lines: &str, slots: u32) -> String {
    let slot = |number| {
        format!("[[slot]]\nnetns = \"{name}-{number}\"\ninterface = \"eth0\"\nconnector = \"{name}\"\n")
    };
    let slots: String = (0..slots).map(slot).collect();
    format!(
        "[[connector]]\nname = \"{name}\"\ntenant = \"{name}\"\nsubnets = {subnets:?}\naddresses = \"ipv4\"\n{lines}\n{slots}"
    )
}

pub(super) fn configured(connectors: &str) -> Config {
    config(&format!("{HEAD}{connectors}"))
}

pub(super) fn facts() -> Facts {
    let uplink = UplinkFacts { is_there: true, addresses: vec![], passing: vec![], ports: FreePorts::ALL };
    Facts { uplinks: vec![uplink; 3], ..Facts::default() }
}

/// A pool, and the world around it.
pub(super) struct World {
    pub(super) pool: Pool,
    pub(super) config: Config,
    pub(super) facts: Facts,
    pub(super) usage: Usage,
    pub(super) before: Option<Usage>,
    pub(super) is_counted: bool,
    pub(super) crowd: Usage,
    pub(super) crowd_before: Option<Usage>,
    pub(super) notes: Vec<Note>,
}

impl World {
    pub(super) fn new(connectors: &str) -> Self {
        Self {
            pool: Pool { seed: 7, ..Pool::default() },
            config: configured(connectors),
            facts: facts(),
            usage: Usage::new(Moment(1_000)),
            before: None,
            is_counted: true,
            crowd: Usage::new(Moment(1_000)),
            crowd_before: None,
            notes: Vec::new(),
        }
    }

    /// One step at the present moment, after which everything is in force.
    pub(super) fn step(&mut self) {
        let seen = Seen {
            now: self.usage.at,
            facts: &self.facts,
            usage: &self.usage,
            before: self.before.as_ref(),
            is_counted: self.is_counted,
            crowd: &self.crowd,
            crowd_before: self.crowd_before.as_ref(),
        };
        let (pool, notes) = step(&self.pool, &self.config, seen);
        (self.pool, self.notes) = (pool, notes);
    }

    /// Steps until what was made is in force, and is said to be.
    fn settle(&mut self) {
        self.step();
        self.pool.in_force();
        self.step();
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.before = Some(self.usage.clone());
        self.crowd_before = Some(self.crowd.clone());
        self.usage.at.0 += seconds;
        self.crowd.at = self.usage.at;
    }

    fn only(&self) -> &Entry {
        let [entry] = self.pool.entries.as_slice() else { panic!("{:#?}", self.pool) };
        entry
    }

    fn addresses(&self) -> Vec<String> {
        let all = self.pool.enis().flat_map(|(_, eni)| &eni.addresses);
        all.map(|it| format!("{}{}", it.address, if it.draining { " drains" } else { "" })).collect()
    }

    fn states(&self) -> Vec<&'static str> {
        self.pool.enis().map(|(_, eni)| eni.state.name()).collect()
    }

    fn zone(&self) -> Zone {
        self.config.vpcs[0].zone
    }

    /// So many ports of this address of the VPC "prod" are in use towards one remote.
    fn hold(&mut self, address: [u8; 4], live: u32, resting: u32) {
        let vip = Vip { address: Ip4(address).mapped(), zone: self.zone() };
        self.usage.towards.insert(vip, BTreeMap::from([(remote(1), Ports { live, resting })]));
    }

    /// So many are, as the set of that remote knows it.
    fn crowd(&mut self, address: [u8; 4], live: u32) {
        let vip = Vip { address: Ip4(address).mapped(), zone: self.zone() };
        self.crowd.towards.insert(vip, BTreeMap::from([(remote(1), Ports { live, resting: 0 })]));
    }
}

pub(super) fn remote(last: u8) -> Remote {
    Remote { address: Ip4([192, 0, 2, last]).mapped(), port: L4Port::new(443), protocol: 6 }
}

/// The lowest address of subnet "a" that is not reserved.
const FIRST: [u8; 4] = [10, 0, 1, 7];

#[test]
fn a_thousand_slots_of_one_key_share_one_eni() {
    let mut world = World::new(&connector("web", &["a", "b"], "", 1_000));
    world.step();
    assert_eq!((world.only().references, world.only().state), (1_000, ConnectorState::Pending));
    world.settle();
    assert_eq!((world.states(), world.addresses()), (vec!["available"], vec!["10.0.1.7".to_owned()]));
    assert_eq!((world.only().state, &world.only().reason), (ConnectorState::Active, &None));
}

#[test]
fn the_same_key_has_the_same_enis_whoever_asks_and_however_it_is_written() {
    let one = connector("one", &["a", "b"], "", 1);
    let other = connector("two", &["b", "a", "b"], "", 2).replace("tenant = \"two\"", "tenant = \"one\"");
    let mut world = World::new(&format!("{one}{other}"));
    world.step();
    assert_eq!((world.only().references, world.only().enis.len()), (3, 1));

    let mut world = World::new(&format!("{one}{}", connector("two", &["a", "b"], "", 1)));
    world.step();
    let ids: Vec<_> = world.pool.entries.iter().map(|entry| (entry.id.0, entry.enis.len())).collect();
    assert_eq!(ids, [(1, 1), (2, 1)]);
}

#[test]
fn an_eni_has_a_name_of_seventeen_digits_that_a_restart_keeps() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    let id = world.only().enis[0].id;
    let name = id.to_string();
    assert!(name.len() == 21 && name.starts_with("eni-0"), "{name}");
    let json = serde_json::to_string(&world.pool).unwrap();
    assert!(json.contains(&name) && json.contains("\"10.0.1.7\""), "{json}");
    let read: Pool = serde_json::from_str(&json).unwrap();
    assert_eq!(read, world.pool);
    world.pool = read;
    world.step();
    assert_eq!(world.only().enis[0].id, id);
    assert!(world.notes.is_empty(), "{:?}", world.notes);
}

#[test]
fn overlapping_vpcs_have_the_same_addresses() {
    let both = format!("{}{}", connector("web", &["a"], "", 1), connector("xyz", &["c"], "", 1));
    let mut world = World::new(&both);
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.1.4"]);
    assert_eq!(world.pool.entries.len(), 2);
}

#[test]
fn without_references_all_goes_within_seconds_and_the_number_is_not_given_again_while_it_is_named() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    world.hold(FIRST, 3, 0);
    world.config = configured(&connector("web", &["a"], "", 0));
    world.step();
    assert_eq!((world.only().state, world.states()), (ConnectorState::Deleting, vec!["detaching"]));
    world.pass(4);
    world.step();
    assert_eq!(world.states().len(), 1);
    world.pass(1);
    world.step();
    assert_eq!(world.pool.entries, []);

    // Its flows are not ended yet, and slots still name it.
    world.facts.connectors.insert(ConnectorId(1));
    world.config = configured(&connector("other", &["a"], "", 1));
    world.step();
    assert_eq!((world.only().id, world.addresses()), (ConnectorId(2), vec!["10.0.1.8".to_owned()]));
}

#[test]
fn a_connector_that_is_bound_again_keeps_what_it_has() {
    let bound = connector("web", &["a"], "", 1);
    let mut world = World::new(&bound);
    world.settle();
    let before = world.only().clone();
    world.config = configured("");
    world.step();
    world.pass(1);
    world.config = configured(&bound);
    world.step();
    let after = world.only();
    assert_eq!(
        (after.id, after.enis[0].id, after.enis[0].state),
        (before.id, before.enis[0].id, EniState::Available)
    );
    assert_eq!(after.state, ConnectorState::Active);
}

#[test]
fn an_exhausted_subnet_is_named_with_counts_and_others_are_not_touched() {
    // 16 addresses, of which five are kept.
    let full = connector("web", &["b"], "min_enis = 11\nmax_enis = 11", 1);
    let mut world = World::new(&full);
    world.settle();
    let before = world.pool.clone();
    world.config = configured(&format!("{full}{}", connector("xyz", &["b"], "", 1)));
    world.step();
    let failed = world.pool.entries[1].clone();
    assert_eq!((failed.state, failed.enis.len()), (ConnectorState::Failed, 0));
    let reason = failed.reason.clone().unwrap();
    assert_eq!(reason.code, ReasonCode::SubnetOutOfIPAddresses);
    assert!(reason.text.contains("b has given 11 of 11 IPv4 addresses"), "{}", reason.text);
    assert_eq!(world.pool.entries[0], before.entries[0]);

    // It is tried again.
    world.config = configured(&connector("xyz", &["b"], "", 1));
    world.step();
    world.step();
    assert_eq!(world.pool.entries.last().map(|entry| entry.state), Some(ConnectorState::Pending));
}

#[test]
fn one_that_can_have_some_is_active_and_says_what_it_lacks() {
    let mut world = World::new(&connector("web", &["b"], "min_enis = 12\nmax_enis = 12", 1));
    world.settle();
    assert_eq!((world.only().state, world.states().len()), (ConnectorState::Active, 11));
    let code = world.only().reason.as_ref().map(|reason| reason.code);
    assert_eq!(code, Some(ReasonCode::SubnetOutOfIPAddresses));
}

#[test]
fn an_address_that_is_reserved_afterwards_drains_and_another_one_takes_over() {
    let web = connector("web", &["a"], "", 1);
    let mut world = World::new(&web);
    world.settle();
    world.hold(FIRST, 1, 0);
    world.config = config(&format!("{HEAD}{web}").replace("10.0.1.4-10.0.1.6", "10.0.1.4-10.0.1.9"));
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7 drains", "10.0.1.10"]);
    world.usage.towards.clear();
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.10"]);
}

#[test]
fn no_eni_is_given_what_the_host_has_on_the_device() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.facts.uplinks[0].addresses = vec![Ip4(FIRST).mapped()];
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.8"]);
}

#[test]
fn the_hosts_address_is_taken_where_it_is_asked_for_and_its_ports_are_the_measure() {
    let mut world = World::new(&connector("web", &["a", "b"], "enis = \"host\"", 1));
    world.step();
    assert_eq!(world.only().state, ConnectorState::Failed);
    assert!(world.only().reason.as_ref().unwrap().text.contains("the host has no address in a, b"));
    let ports = FreePorts { first: PortBlock(0), blocks: 1 };
    world.facts.uplinks[0] =
        UplinkFacts { is_there: true, addresses: vec![Ip4([10, 0, 1, 2]).mapped()], passing: vec![], ports };
    world.settle();
    assert_eq!(
        (world.only().state, world.addresses()),
        (ConnectorState::Active, vec!["10.0.1.2".to_owned()])
    );
    world.hold([10, 0, 1, 2], 32, 0);
    world.facts.uplinks[1] =
        UplinkFacts { is_there: true, addresses: vec![Ip4([10, 0, 2, 2]).mapped()], passing: vec![], ports };
    world.settle();
    assert_eq!(world.addresses(), ["10.0.1.2", "10.0.2.2"]);
    // The host is given another one.
    world.facts.uplinks[0].addresses = vec![Ip4([10, 0, 1, 3]).mapped()];
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.2 drains", "10.0.1.3", "10.0.2.2"]);
}

#[test]
fn without_its_uplinks_a_connector_fails_and_comes_back_with_them() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.facts.uplinks[0].is_there = false;
    world.step();
    let code = world.only().reason.as_ref().map(|reason| reason.code);
    assert_eq!((world.only().state, code), (ConnectorState::Failed, Some(ReasonCode::InvalidSubnet)));
    world.facts.uplinks[0].is_there = true;
    world.settle();
    assert_eq!((world.only().state, &world.only().reason), (ConnectorState::Active, &None));
    world.facts.uplinks[0].is_there = false;
    world.step();
    assert_eq!((world.only().state, world.states()), (ConnectorState::Failed, vec!["available"]));
}

#[test]
fn a_dualstack_eni_has_addresses_of_both_families() {
    let text = connector("web", &["a"], "addresses_per_eni = 2", 1).replace("\"ipv4\"", "\"dualstack\"");
    let mut world = World::new(&text);
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.1.8", "fd00:1::4", "fd00:1::5"]);
}

#[test]
fn an_enis_own_mac_is_made_of_its_number() {
    let mut world = World::new(&connector("web", &["a"], "mac = \"own\"", 1));
    world.step();
    let entry = world.only();
    let mac = entry.enis[0].mac(&entry.key).unwrap();
    assert!(mac.may_be_an_enis());
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.step();
    assert_eq!(world.only().enis[0].mac(&world.only().key), None);
}
