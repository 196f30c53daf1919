//! Connectors that target groups and services are reached by.

use super::*;

/// A group of one address that `web` leads to, without any slot.
fn group() -> String {
    format!(
        "{}[[target_group]]\nname = \"db\"\nconnector = \"web\"\n[[target_group.target]]\nname = \"db\"\n\
         address = \"10.0.1.50\"\n",
        connector("web", &["a"], "idle_reclaim = 60", 0)
    )
}

#[test]
fn what_a_target_group_is_reached_by_has_enis_without_any_slot_and_is_never_idle() {
    let mut world = World::new(&group());
    world.settle();
    assert_eq!((world.only().references, world.only().state), (1, ConnectorState::Active));
    world.pass(1_000);
    world.step();
    assert_eq!((world.only().state, world.states()), (ConnectorState::Active, vec!["available"]));
}

#[test]
fn what_a_service_is_reached_by_has_enis_too() {
    let service =
        "[[connector.service]]\naddress = \"169.254.1.1\"\nport = 80\nprotocol = \"tcp\"\nvia = \"host\"";
    let mut world =
        World::new(&format!("{}{}", connector("web", &["a"], service, 1), connector("host", &["c"], "", 0)));
    world.step();
    let uses: Vec<_> = world.pool.entries.iter().map(|it| (it.key.tenant.as_str(), it.references)).collect();
    assert_eq!(uses, [("host", 1), ("web", 1)]);
}

#[test]
fn state_that_is_older_than_security_groups_is_that_of_connectors_without_any() {
    let mut world = World::new(&connector("web", &["a"], "", 1));
    world.settle();
    let json = serde_json::to_string(&world.pool).unwrap();
    let older = json.replace(",\"security_groups\":[]", "");
    assert_ne!(json, older);
    assert_eq!(serde_json::from_str::<Pool>(&older).unwrap(), world.pool);
}
