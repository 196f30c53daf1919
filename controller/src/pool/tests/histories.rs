//! Random histories of reloads, flows and time, judged by rules that hold after every step.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Something that happens between two steps.
#[derive(Clone, Debug)]
enum Event {
    /// So many slots are bound to a connector, which may have so many ENIs and addresses.
    Reload { connector: usize, slots: u32, min: u32, more: u32, addresses: u32 },
    /// An address of an ENI has so many hundredths of its ports in use, if there is such an ENI.
    Load { eni: usize, address: usize, percent: u32 },
    /// All flows end.
    Quiet,
    /// Time passes.
    Pass(u64),
    /// A device goes, or comes.
    Device(usize),
    /// Somebody wants to open something.
    Attempt(usize),
    /// The daemon is started again, with what it wrote down.
    Restart,
}

const NAMES: [&str; 3] = ["one", "two", "six"];
/// The first two get into each other's way; the third is of another VPC with the same addresses.
const SUBNETS: [&[&str]; 3] = [&["a", "b"], &["b"], &["c"]];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..3usize, 0..3u32, 1..5u32, 0..4u32, 1..4u32).prop_map(|(connector, slots, min, more, addresses)| {
            Event::Reload { connector, slots, min, more, addresses }
        }),
        6 => (0..12usize, 0..3usize, 0..101u32)
            .prop_map(|(eni, address, percent)| Event::Load { eni, address, percent }),
        2 => Just(Event::Quiet),
        4 => prop_oneof![Just(1), Just(7), Just(400), Just(5_000)].prop_map(Event::Pass),
        1 => (0..3usize).prop_map(Event::Device),
        2 => (0..3usize).prop_map(Event::Attempt),
        1 => Just(Event::Restart),
    ]
}

#[derive(Clone, Copy)]
struct Shape {
    slots: u32,
    min: u32,
    max: u32,
    addresses: u32,
}

fn written(shapes: &[Shape; 3]) -> String {
    let each = NAMES.iter().zip(SUBNETS).zip(shapes).map(|((name, subnets), shape)| {
        let Shape { slots, min, max, addresses } = shape;
        let lines = format!(
            "min_enis = {min}\nmax_enis = {max}\naddresses_per_eni = {addresses}\nidle_reclaim = 4000"
        );
        connector(name, subnets, &lines, *slots)
    });
    each.collect()
}

fn entry_of<'w>(world: &'w World, name: &str) -> Option<&'w Entry> {
    world.pool.entries.iter().find(|entry| entry.key.tenant == name)
}

fn zone_of(world: &World, entry: &Entry) -> Zone {
    world.config.vpcs.iter().find(|vpc| vpc.name.value == entry.key.vpc).unwrap().zone
}

fn happen(event: &Event, shapes: &mut [Shape; 3], world: &mut World) {
    match *event {
        Event::Reload { connector, slots, min, more, addresses } => {
            shapes[connector] = Shape { slots, min, max: min + more, addresses };
            world.config = configured(&written(shapes));
        }
        Event::Load { eni, address, percent } => {
            let found = world.pool.enis().nth(eni).and_then(|(entry, eni)| {
                Some(Vip { address: eni.addresses.get(address)?.address, zone: zone_of(world, entry) })
            });
            let live = FreePorts::ALL.ports() * percent / 100;
            if let Some(vip) = found {
                world.usage.towards.insert(vip, BTreeMap::from([(remote(1), Ports { live, resting: 0 })]));
            }
        }
        Event::Quiet => world.usage.towards.clear(),
        Event::Pass(seconds) => world.pass(seconds),
        Event::Device(place) => world.facts.uplinks[place].is_there ^= true,
        Event::Attempt(place) => {
            let id = entry_of(world, NAMES[place]).map(|entry| entry.id);
            world.facts.wanted.extend(id);
        }
        Event::Restart => {
            let json = serde_json::to_string(&world.pool).unwrap();
            world.pool = serde_json::from_str(&json).unwrap();
            world.before = None;
        }
    }
}

/// What may not be, whatever happened.
fn judge(before: &Pool, world: &World, shapes: &[Shape; 3]) -> Result<(), TestCaseError> {
    let mut given = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut connectors = BTreeSet::new();
    for (entry, eni) in world.pool.enis() {
        prop_assert!(ids.insert(eni.id) && eni.id.0 >> 32 != 0, "two ENIs are called {}", eni.id);
        let subnet = world.config.subnets.iter().find(|it| it.name.value == eni.subnet).unwrap();
        for it in &eni.addresses {
            prop_assert!(given.insert((subnet.zone, it.address)), "{} is given twice", it.address);
            let is_reserved = subnet.reserved.iter().any(|range| range.contains(it.address));
            prop_assert!(!is_reserved && subnet.v4.unwrap().prefix.contains(it.address), "{}", it.address);
        }
        prop_assert!(entry.key.subnets.contains(&eni.subnet));
    }
    for entry in &world.pool.entries {
        prop_assert!(connectors.insert(entry.id), "two connectors have the number {}", entry.id.0);
        let place = NAMES.iter().position(|name| *name == entry.key.tenant).unwrap();
        let Shape { slots, min, max, addresses } = shapes[place];
        prop_assert_eq!(entry.references, slots);
        let active: Vec<_> = entry.enis.iter().filter(|eni| eni.state != EniState::Detaching).collect();
        prop_assert!(active.len() as u32 <= max, "{} ENIs of {max}", active.len());
        prop_assert_eq!(entry.state == ConnectorState::Deleting, slots == 0);
        match entry.state {
            ConnectorState::Deleting | ConnectorState::Inactive => prop_assert!(active.is_empty()),
            _ => {
                let lacks = active.len() < min as usize
                    || active.iter().any(|eni| eni.sources(Family::V4).count() < addresses as usize);
                prop_assert!(!lacks || entry.reason.is_some(), "too few, and no word about it: {entry:#?}");
                prop_assert!(active.iter().all(|it| it.sources(Family::V4).count() <= addresses as usize));
            }
        }
        let kept = before.entry(&entry.key).is_none_or(|before| before.id == entry.id);
        prop_assert!(kept, "its number changed");
    }
    for (name, shape) in NAMES.iter().zip(shapes) {
        prop_assert!(shape.slots == 0 || entry_of(world, name).is_some(), "{name} is not there");
    }
    Ok(())
}

/// Nothing that has flows is taken away, but for what nobody refers to.
fn nothing_is_cut_off(before: &Pool, world: &World) -> Result<(), TestCaseError> {
    for (entry, eni) in before.enis().filter(|(entry, _)| {
        world.pool.entry(&entry.key).is_some_and(|now| now.state != ConnectorState::Deleting)
    }) {
        let now = world.pool.entry(&entry.key).and_then(|it| it.enis.iter().find(|it| it.id == eni.id));
        for it in &eni.addresses {
            let vip = Vip { address: it.address, zone: zone_of(world, entry) };
            let is_there = now.is_some_and(|now| now.addresses.iter().any(|now| now.address == it.address));
            prop_assert!(is_there || world.usage.of(vip).used() == 0, "{} went with flows", it.address);
        }
    }
    Ok(())
}

/// One that is full everywhere has asked for more.
fn growth_comes_before_refusal(
    before: &Pool,
    world: &World,
    shapes: &[Shape; 3],
) -> Result<(), TestCaseError> {
    for entry in world.pool.entries.iter().filter(|entry| entry.state == ConnectorState::Active) {
        let place = NAMES.iter().position(|name| *name == entry.key.tenant).unwrap();
        let Some(was) = before.entry(&entry.key) else { continue };
        let zone = zone_of(world, entry);
        let half = FreePorts::ALL.ports() / 2;
        let is_full = |address| world.usage.of(Vip { address, zone }).used() >= half;
        let mut sources = entry.enis.iter().flat_map(|eni| eni.sources(Family::V4)).peekable();
        let is_pressed = sources.peek().is_some() && sources.all(is_full);
        let has_grown = entry.enis.len() > was.enis.len() || entry.active_enis() > was.active_enis();
        let is_most = entry.active_enis() == shapes[place].max as usize;
        prop_assert!(!is_pressed || has_grown || is_most || entry.reason.is_some(), "{entry:#?}");
    }
    Ok(())
}

impl Entry {
    fn active_enis(&self) -> usize {
        self.enis.iter().filter(|eni| eni.state != EniState::Detaching).count()
    }
}

/// When all flows have ended, everything is there and nothing lacks any more, where it fits at all.
fn recovers(world: &mut World, shapes: &mut [Shape; 3]) -> Result<(), TestCaseError> {
    *shapes = [Shape { slots: 1, min: 1, max: 2, addresses: 1 }; 3];
    world.config = configured(&written(shapes));
    world.usage.towards.clear();
    world.facts = facts();
    for _ in 0..3 {
        world.pass(10);
        world.facts.wanted = world.pool.entries.iter().map(|entry| entry.id).collect();
        world.settle();
    }
    for entry in &world.pool.entries {
        prop_assert_eq!((entry.state, &entry.reason), (ConnectorState::Active, &None));
        prop_assert!(entry.enis.iter().all(|eni| eni.state == EniState::Available));
    }
    *shapes = [Shape { slots: 0, ..shapes[0] }; 3];
    world.config = configured(&written(shapes));
    world.step();
    world.pass(5);
    world.step();
    prop_assert_eq!(&world.pool.entries, &vec![]);
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold_and_in_the_end_all_is_well(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut shapes = [Shape { slots: 0, min: 1, max: 1, addresses: 1 }; 3];
        let mut world = World::new(&written(&shapes));
        for event in &events {
            happen(event, &mut shapes, &mut world);
            let before = world.pool.clone();
            world.step();
            judge(&before, &world, &shapes)?;
            nothing_is_cut_off(&before, &world)?;
            growth_comes_before_refusal(&before, &world, &shapes)?;
            world.pool.in_force();
            world.facts.wanted.clear();
        }
        recovers(&mut world, &mut shapes)?;
    }
}
