//! How many ENIs there are, and how many addresses each has.

use super::*;

#[test]
fn an_eni_more_is_made_when_all_the_others_are_half_full_towards_one_remote() {
    let mut world = World::new(&connector("web", &["a", "b"], "max_enis = 2", 1));
    world.settle();
    world.hold(FIRST, 20_000, 12_255);
    world.step();
    assert_eq!(world.states(), ["in-use"]);
    world.hold(FIRST, 20_000, 12_256);
    world.step();
    // In the other subnet: they are spread.
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.2.4"]);
    world.settle();
    assert_eq!(world.states(), ["in-use", "available"], "one at a time");
    world.hold([10, 0, 2, 4], 40_000, 0);
    world.step();
    let reason = world.only().reason.clone().unwrap();
    assert_eq!((world.only().state, reason.code), (ConnectorState::Active, ReasonCode::EniLimitExceeded));
    assert!(reason.text.contains("nearly full with 2 ENIs"), "{}", reason.text);
}

#[test]
fn an_eni_more_is_made_when_the_others_will_be_full_in_ten_seconds() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    world.hold(FIRST, 1_000, 0);
    world.step();
    world.pass(1);
    // 63,700 ports in ten seconds; there are 64,512.
    world.hold(FIRST, 6_700, 0);
    world.step();
    assert_eq!(world.states(), ["in-use"]);
    world.hold(FIRST, 7_000, 0);
    world.step();
    assert_eq!(world.states().len(), 2);
}

#[test]
fn a_refusal_makes_an_eni_too() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    let vip = Vip { address: Ip4(FIRST).mapped(), zone: world.zone() };
    world.crowd.refused.insert(vip);
    world.step();
    assert_eq!(world.states().len(), 2);
}

#[test]
fn the_youngest_drains_when_the_others_had_room_for_everything_for_five_minutes() {
    let mut world = World::new(&connector("web", &["a", "b"], "", 1));
    world.settle();
    world.hold(FIRST, 40_000, 0);
    world.settle();
    world.hold(FIRST, 16_000, 0);
    world.hold([10, 0, 2, 4], 100, 0);
    world.pass(1);
    world.step();
    world.pass(299);
    world.step();
    assert_eq!(world.states(), ["in-use", "in-use"]);
    world.pass(1);
    world.step();
    assert_eq!(world.states(), ["in-use", "detaching"]);
    assert_eq!(world.only().enis[1].sources(Family::V4).count(), 0);
    world.hold([10, 0, 2, 4], 0, 1);
    world.step();
    assert_eq!(world.states().len(), 2, "a port of it rests");
    world.usage.towards.clear();
    world.step();
    assert_eq!(world.states(), ["available"], "and never below the fewest");
    world.pass(10_000);
    world.step();
    world.pass(10_000);
    world.step();
    assert_eq!(world.states(), ["available"]);
}

#[test]
fn an_eni_that_drains_is_taken_back_before_a_new_one_is_made() {
    let mut world = World::new(&connector("web", &["a"], "min_enis = 2", 1));
    world.settle();
    let ids: Vec<_> = world.pool.enis().map(|(_, eni)| eni.id).collect();
    world.hold([10, 0, 1, 8], 5, 0);
    world.config = configured(&connector("web", &["a"], "min_enis = 1\nmax_enis = 1", 1));
    world.step();
    assert_eq!(world.states(), ["available", "detaching"]);
    world.config = configured(&connector("web", &["a"], "min_enis = 2", 1));
    world.step();
    assert_eq!(world.states().len(), 2);
    assert_eq!(world.pool.enis().map(|(_, eni)| eni.id).collect::<Vec<_>>(), ids);
    assert_eq!(world.notes, [Note::Revived { eni: ids[1] }]);
}

#[test]
fn what_nobody_uses_for_long_is_given_back_and_made_again_at_the_first_attempt() {
    let mut world = World::new(&connector("web", &["a"], "idle_reclaim = 100", 1));
    world.settle();
    world.hold(FIRST, 1, 0);
    world.pass(99);
    world.step();
    world.usage.towards.clear();
    world.pass(99);
    world.step();
    assert_eq!(world.only().state, ConnectorState::Active);
    world.pass(1);
    world.step();
    let code = |world: &World| world.only().reason.as_ref().map(|reason| reason.code);
    assert_eq!((world.only().state, world.states()), (ConnectorState::Inactive, vec![]));
    assert_eq!(code(&world), Some(ReasonCode::Idle));
    world.pass(1_000);
    world.step();
    assert_eq!(world.only().state, ConnectorState::Inactive);

    world.facts.wanted.insert(world.only().id);
    world.step();
    assert_eq!((world.only().state, code(&world)), (ConnectorState::Pending, Some(ReasonCode::Restoring)));
    assert_eq!(world.addresses(), ["10.0.1.7"]);
    world.facts.wanted.clear();
    world.settle();
    assert_eq!((world.only().state, code(&world)), (ConnectorState::Active, None));
}

#[test]
fn further_addresses_come_and_go_with_a_reload_and_those_in_use_drain_first() {
    let with = |addresses: u32| connector("web", &["a"], &format!("addresses_per_eni = {addresses}"), 1);
    let mut world = World::new(&with(1));
    world.settle();
    let id = world.only().enis[0].id;
    world.config = configured(&with(3));
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.1.8", "10.0.1.9"]);
    world.hold([10, 0, 1, 9], 1, 0);
    world.config = configured(&with(1));
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.1.8 drains", "10.0.1.9 drains"]);
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.1.9 drains"]);
    world.config = configured(&with(2));
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.7", "10.0.1.9"]);
    assert_eq!(world.only().enis[0].id, id);
}

#[test]
fn a_crowded_remote_makes_an_eni_more_without_a_count_of_everything() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    world.is_counted = false;
    world.crowd(FIRST, 25_000);
    world.step();
    assert_eq!(world.states().len(), 1);
    // Two fifths: a set that was made late doesn't know of all.
    world.crowd(FIRST, 25_805);
    world.step();
    assert_eq!(world.states().len(), 2);
}

#[test]
fn a_remote_that_is_crowded_since_now_was_not_empty_before() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    world.is_counted = false;
    world.pass(1);
    world.crowd(FIRST, 10_000);
    world.step();
    assert_eq!(world.states().len(), 1);
    world.pass(1);
    // 66,000 ports in ten seconds; there are 64,512.
    world.crowd(FIRST, 15_100);
    world.step();
    assert_eq!(world.states().len(), 2);
}

#[test]
fn nothing_is_released_and_nothing_shrinks_on_a_count_of_some_time_ago() {
    let mut world = World::new(&connector("web", &["a"], "min_enis = 2\nidle_reclaim = 3600", 1));
    world.settle();
    world.config = configured(&connector("web", &["a"], "max_enis = 1\nidle_reclaim = 3600", 1));
    world.step();
    assert_eq!(world.states(), ["available", "detaching"]);
    world.is_counted = false;
    world.pass(3_600);
    world.step();
    assert_eq!(world.states(), ["available", "detaching"]);
    world.is_counted = true;
    world.step();
    assert_eq!((world.states(), world.only().state), (vec![], ConnectorState::Inactive));
}

#[test]
fn what_nobody_refers_to_goes_when_its_time_is_up_also_without_a_count() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    world.hold(FIRST, 1, 0);
    world.config = configured(&connector("web", &["a"], "", 0));
    world.step();
    world.is_counted = false;
    world.pass(4);
    world.step();
    assert_eq!(world.states(), ["detaching"]);
    world.pass(1);
    world.step();
    assert_eq!(world.pool.entries, []);
}

#[test]
fn the_complaint_about_the_limit_stays_until_there_is_room_again() {
    let mut world = World::new(&connector("web", &["a"], "max_enis = 1", 1));
    world.settle();
    let mut complains = |used, is_counted| {
        world.hold(FIRST, used, 0);
        world.is_counted = is_counted;
        world.step();
        world.only().reason.is_some()
    };
    let seen =
        [(32_255, true), (32_256, true), (30_000, true), (30_000, false), (25_804, true), (32_255, true)];
    assert_eq!(
        seen.map(|(used, is_counted)| complains(used, is_counted)),
        [false, true, true, true, false, false]
    );
}

#[test]
fn the_hosts_address_is_not_said_to_need_more_enis() {
    let mut world = World::new(&connector("web", &["a"], "enis = \"host\"", 1));
    world.facts.uplinks[0].addresses = vec![Ip4(FIRST).mapped()];
    world.settle();
    world.hold(FIRST, 40_000, 0);
    world.step();
    let reason = world.only().reason.clone().unwrap();
    assert_eq!(reason.code, ReasonCode::EniLimitExceeded);
    assert!(
        reason.text.contains("ip_local_port_range") && !reason.text.contains("max_enis"),
        "{}",
        reason.text
    );
}

#[test]
fn an_address_of_the_hosts_that_passes_is_shared_with_nobody_and_given_to_nobody() {
    let mut world = World::new(&connector("web", &["a"], "enis = \"host\"", 1));
    let [passing, lasting] = [7, 9].map(|last| Ip4([10, 0, 1, last]).mapped());
    (world.facts.uplinks[0].addresses, world.facts.uplinks[0].passing) =
        (vec![passing, lasting], vec![passing]);
    world.step();
    assert_eq!(world.addresses(), ["10.0.1.9"]);
    world.config = configured(&connector("web", &["a"], "", 1));
    world.step();
    assert!(world.addresses().contains(&"10.0.1.8".to_owned()), "{:?}", world.addresses());
}
