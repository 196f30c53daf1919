//! How flows are placed, and what numbers Weir gives: properties of many packets together.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by stopping")]

use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::{InterfaceId, Ip6};
use weir_path::flow::Key;
use weir_path::reason::{Class, Reason};
use weir_path::tables::{Forward, GroupId, Share};
use weir_testkit::anatomy::Anatomy;
use weir_testkit::executor::{End, Executor, Slice, Walk};
use weir_testkit::packets::{Party, fragments, fragments6, tcp, tcp6, udp, udp6};
use weir_testkit::town::{
    self, CLIENT, CLIENT_6, CLIENT_6_INSIDE, CLIENT_INSIDE, PROD, SANDBOX, SANDBOX_6, SLOT_2, SLOT_3, STICKY,
    STICKY_6, WEIGHED, dns_flow, dns_flow_6,
};
use weir_testkit::world::Change;
use weir_testkit::{World, fixtures};

/// Above this, chi-square is improbable: once in a hundred thousand for these degrees of freedom.
const IMPROBABLE: [f64; 4] = [0.0, 19.5, 23.0, 25.9];

/// Where a first packet goes.
fn place(slice: &mut Slice, packet: &[u8]) -> InterfaceId {
    slice.run(Walk::FromUplink, PROD.egress.ifindex, packet);
    slice.witness().unwrap().to.unwrap().id
}

fn roomy(flows: u32) -> World {
    town::world().with_room_for(flows)
}

fn chi_square(seen: &[f64], expected: &[f64]) -> f64 {
    seen.iter().zip(expected).map(|(seen, expected)| (seen - expected).powi(2) / expected).sum()
}

#[test]
fn flows_are_shared_among_groups_as_their_weights_say() {
    const FLOWS: u16 = 20_000;
    let groups = [0, 2, 5].map(GroupId);
    for weights in [[1, 1, 1], [999, 1, 500], [0, 1, 3], [10, 0, 0], [0, 0, 999]] {
        let mut slice = Slice::default();
        slice.load(&roomy(FLOWS.into()));
        let mut image = town::image();
        let mut up_to = 0;
        let mut shares = groups.into_iter().zip(weights).map(|(group, weight)| {
            up_to += weight;
            Share { group, up_to }
        });
        let shares = [(); 3].map(|()| shares.next().unwrap());
        let all = [shares[0], shares[1], shares[2], shares[2], shares[2]];
        let listener = town::listener(PROD, WEIGHED, town::TCP);
        image.listeners.insert(listener, Forward { shares: all, ..Forward::to(GroupId(0), town::TCP_IDLE) });
        slice.change(&Change::Apply(image));

        // Each group's only target is another slot's.
        let mut seen = BTreeMap::new();
        for n in 0..FLOWS {
            let client = CLIENT.port(1_024 + n);
            *seen.entry(place(&mut slice, &tcp(client, WEIGHED).syn().bytes())).or_insert(0.0) += 1.0;
        }
        let total = f64::from(weights.iter().sum::<u32>());
        let slots = [town::SLOT_1, SLOT_2, SLOT_3].map(|slot| slot.egress.id);
        let with_weight = || slots.into_iter().zip(weights).filter(|(_, weight)| *weight != 0);
        assert!(seen.keys().all(|slot| with_weight().any(|(id, _)| id == *slot)), "{weights:?}: {seen:?}");
        let expected: Vec<f64> =
            with_weight().map(|(_, weight)| f64::from(FLOWS) * f64::from(weight) / total).collect();
        let seen: Vec<f64> = with_weight().map(|(slot, _)| seen.get(&slot).copied().unwrap_or(0.0)).collect();
        let chi = chi_square(&seen, &expected);
        assert!(chi <= IMPROBABLE[expected.len() - 1], "{weights:?}: {seen:?}, chi-square {chi}");
    }
}

#[test]
fn the_group_says_nothing_of_the_target_within_it() {
    const FLOWS: u16 = 20_000;
    let mut slice = Slice::default();
    slice.load(&roomy(FLOWS.into()));
    for n in 0..FLOWS {
        place(&mut slice, &tcp(CLIENT.port(1_024 + n), WEIGHED).syn().bytes());
    }
    let mut seen = BTreeMap::new();
    for flow in slice.state().flows.v4.values() {
        let [_, reply] = flow.keys;
        *seen.entry((reply.zone().number(), reply.ends.sport.number())).or_insert(0.0) += 1.0;
    }
    // 300 of a thousand to one target; 700 to three, whose table has 34, 34 and 33 cells of 101.
    let flows = f64::from(FLOWS);
    let expected = [0.7 * 34.0 / 101.0, 0.7 * 34.0 / 101.0, 0.3, 0.7 * 33.0 / 101.0].map(|part| part * flows);
    let seen: Vec<f64> = [(1, 8_443), (2, 8_443), (3, 8_080), (3, 8_443)].map(|place| seen[&place]).to_vec();
    let chi = chi_square(&seen, &expected);
    assert!(chi < IMPROBABLE[3], "{seen:?}, chi-square {chi}");
}

#[test]
fn a_client_of_a_sticky_listener_stays_at_its_target_whatever_its_ports_while_clients_are_spread() {
    let mut slice = Slice::default();
    slice.load(&roomy(60_000));
    let mut seen = BTreeMap::new();
    for client in 0..3_000u16 {
        let [high, low] = client.to_be_bytes();
        let client = CLIENT.ip(203, 0, 100 + high, low);
        let mut places = BTreeSet::new();
        for port in [1_024, 5_000, 65_535] {
            for vip in [STICKY, STICKY.port(443)] {
                // The two listeners share a target: replies of one port could not be told apart.
                let port = port - u16::from(vip == STICKY);
                places.insert(place(&mut slice, &tcp(client.port(port), vip).syn().bytes()));
            }
        }
        assert_eq!(places.len(), 1, "{client:?}");
        *seen.entry(places).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.values().all(|clients| (880..1_120).contains(clients)), "{seen:?}");
}

#[test]
fn a_client_of_a_sticky_ipv6_listener_stays_at_its_target() {
    let mut slice = Slice::default();
    slice.load(&roomy(9_000));
    let mut seen = BTreeSet::new();
    for client in 0..300u128 {
        let ip = Ip6((u128::from_be_bytes(CLIENT_6.ip.0) + (client << 16)).to_be_bytes());
        let places: BTreeSet<_> = [1_024, 5_000, 65_535]
            .into_iter()
            .map(|port| place(&mut slice, &tcp6(Party { ip, port, ..CLIENT_6 }, STICKY_6).syn().bytes()))
            .collect();
        assert_eq!(places.len(), 1);
        seen.extend(places);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn no_two_of_65_536_fragmented_answers_to_one_client_have_the_same_identification() {
    let mut slice = Slice::default();
    slice.load(&town::world().with_flow(dns_flow()).with_flow(dns_flow_6()));
    // As sandboxes are that start from one snapshot: all count the same way, or not at all.
    let answer = udp(SANDBOX.port(5_353), CLIENT_INSIDE).payload(&[1; 64]);
    let first = fragments(&answer.bytes(), 7, 32).swap_remove(0);
    let answer_6 = udp6(SANDBOX_6.port(5_353), CLIENT_6_INSIDE).payload(&[1; 64]);
    let first_6 = fragments6(&answer_6.bytes(), 7, 32).swap_remove(0);

    let mut sent = |packet: &[u8]| {
        let ran = slice.run(Walk::FromSlot, SLOT_2.egress.ifindex, packet);
        assert_eq!(ran.end, End::Send);
        ran.bytes
    };
    let ids: BTreeSet<_> = (0..65_536).map(|_| sent(&first)[18..20].to_vec()).collect();
    assert_eq!(ids.len(), 65_536);
    let ids: BTreeSet<_> = (0..100_000).map(|_| sent(&first_6)[58..62].to_vec()).collect();
    assert_eq!(ids.len(), 100_000);
}

#[test]
fn no_answer_is_made_to_an_answer() {
    let mut slice = Slice::default();
    let mut seen = BTreeSet::new();
    for fixture in fixtures::all().iter().filter(|fixture| fixture.why.class() == Class::Answered) {
        slice.load(&fixture.world);
        let answer = slice.run(fixture.walk, fixture.arrival, &fixture.packet).bytes;
        let Some(echoed) = turned_round(answer) else { continue };
        slice.run(fixture.walk, fixture.arrival, &echoed);
        let why = slice.witness().unwrap().why;
        assert_ne!(why.class(), Class::Answered, "{}: {why:?}", fixture.says);
        seen.insert(fixture.why);
    }
    let answers = Reason::ALL.iter().filter(|why| why.class() == Class::Answered).count();
    assert_eq!(seen.len(), answers - 1, "all answers but ARP's are IP: {seen:?}");
}

/// The packet as its receiver would send it back, unread; `None` for what isn't IP.
fn turned_round(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let parts = Anatomy::of(&bytes)?;
    let (src, len) = if parts.is_v6 { (parts.at + 8, 16) } else { (parts.at + 12, 4) };
    bytes[..12].rotate_left(6);
    bytes[src..src + 2 * len].rotate_left(len);
    Some(bytes)
}
