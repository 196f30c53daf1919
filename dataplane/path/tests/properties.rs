//! The invariants of the design, as properties: they hold for whatever comes, in whatever order.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by stopping")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::hash::Hasher;
use weir_path::Reason;
use weir_path::addr::{Ip4, L4Port, Zone};
use weir_path::checksum::Sum as SumOf;
use weir_path::flow::{Ends, Key, Key4, Part};
use weir_path::hash::{HashKey, scale};
use weir_path::tables::{Forward, GroupId, Interface, Target};
use weir_testkit::executor::{End, Executor, Slice, Walk};
use weir_testkit::image::{GroupImage, Image};
use weir_testkit::oracle::{Sum, checksums};
use weir_testkit::packets::{Ip, Party, flag, spoil, tcp, udp};
use weir_testkit::town::{
    self, ALIAS, CELLS, CLIENT, CLIENT_INSIDE, DNS, LAB, LAB_WEB, PROD, SANDBOX, SLOT_1, SLOT_2, SLOT_3, TCP,
    UDP, WEB, web_flow,
};
use weir_testkit::world::Change;
use weir_testkit::{World, laws};
use zerocopy::IntoBytes;

const ADDRESS: std::ops::Range<usize> = 26..30;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Any machine that may send.
fn party() -> impl Strategy<Value = Party> {
    (1..127u8, any::<[u8; 3]>(), any::<u16>())
        .prop_map(|(a, [b, c, d], port)| CLIENT.ip(a, b, c, d).port(port))
}

/// Any good TCP or UDP packet that opens nothing.
fn packet(protocol: u8) -> impl Strategy<Value = Ip> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), 2..=255u8);
    let options = (0..=10usize, 0..=10usize);
    (numbers, options, vec(any::<u8>(), 0..200), any::<bool>()).prop_map(
        move |((seq, ack, id, ttl), (ip_words, tcp_words), payload, bare)| {
            let packet = match protocol {
                TCP => {
                    tcp(CLIENT, WEB).numbers(seq, ack).flags(flag::ACK).tcp_options(&vec![1; 4 * tcp_words])
                }
                _ if bare => udp(CLIENT, WEB).without_checksum(),
                _ => udp(CLIENT, WEB),
            };
            packet.identification(id).ttl(ttl).ip_options(&vec![1; 4 * ip_words]).payload(&payload)
        },
    )
}

fn any_packet() -> impl Strategy<Value = (u8, Ip)> {
    prop_oneof![packet(TCP).prop_map(|packet| (TCP, packet)), packet(UDP).prop_map(|packet| (UDP, packet))]
}

/// Any configuration: other targets, other tables, another secret, perhaps no listeners at all.
fn image() -> impl Strategy<Value = Image> {
    (images(0), any::<bool>()).prop_map(|(mut image, keeps_listeners)| {
        if !keeps_listeners {
            image.listeners.clear();
            image.vips.clear();
        }
        image
    })
}

/// Any configuration with the town's listeners and at least this many targets in each group.
fn images(least: usize) -> impl Strategy<Value = Image> {
    let target = (select(vec![SLOT_1, SLOT_2, SLOT_3]), any::<u16>())
        .prop_map(|(slot, port)| Target::in_slot(slot.egress.id, L4Port::new(port)));
    let group = vec(target, least..4).prop_flat_map(|targets| {
        let count = targets.len() as u16;
        let cells = if count == 0 { vec(0..1u16, 0..1).boxed() } else { vec(0..count, 1..CELLS).boxed() };
        (Just(targets), cells)
    });
    (vec(group, 8..=8), any::<[u8; 16]>()).prop_map(|(groups, key)| {
        let groups = groups.into_iter().map(|(targets, cells)| GroupImage {
            cells: if targets.is_empty() { Vec::new() } else { cells },
            targets,
        });
        Image { hash_key: HashKey(key), groups: groups.collect(), ..town::image() }
    })
}

fn run(slice: &mut Slice, walk: Walk, at: Interface, bytes: &[u8]) -> (Reason, End, Vec<u8>) {
    let ran = slice.run(walk, at.egress.ifindex, bytes);
    (slice.witness().unwrap().why, ran.end, ran.bytes)
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn any_translation_of_any_good_packet_leaves_right_checksums_both_ways(
        (protocol, packet) in any_packet(),
        client in party(),
        vip in party(),
        port in any::<u16>(),
    ) {
        prop_assume!(client.ip != vip.ip);
        let vip = vip.mac(PROD.mac);
        let world = town::world().with_flow(town::flow(protocol, (PROD, client, vip), (SLOT_1, port)));
        let inside = client.mac(SLOT_1.mac);
        let mut slice = Slice::default();
        slice.load(&world);

        let inward = packet.clone().between(client, vip).bytes();
        let (why, _, bytes) = run(&mut slice, Walk::FromUplink, PROD, &inward);
        prop_assert_eq!(why, Reason::ToSlot);
        prop_assert_eq!(checksums(&bytes), checksums(&inward));
        prop_assert_eq!(checksums(&bytes).ip, Sum::Right);
        let hops = bytes[22];
        prop_assert_eq!(bytes, packet.clone().between(inside, SANDBOX.port(port)).ttl(hops).bytes());

        let outward = packet.clone().between(SANDBOX.port(port), inside).bytes();
        let (why, _, bytes) = run(&mut slice, Walk::FromSlot, SLOT_1, &outward);
        prop_assert_eq!(why, Reason::ToWire);
        prop_assert_eq!(bytes, packet.between(vip, client).ttl(hops).bytes());
    }

    #[test]
    fn an_established_flow_keeps_its_target_through_any_changes_of_configuration(
        changes in vec((image(), any_packet()), 1..6),
    ) {
        let mut slice = Slice::default();
        slice.load(&town::world().with_flow(web_flow()).with_flow(town::dns_flow()));
        for (image, (protocol, packet)) in changes {
            slice.change(&Change::Apply(image));
            let (vip, slot) = if protocol == TCP { (WEB, SLOT_1) } else { (DNS, SLOT_2) };
            let (why, ..) = run(&mut slice, Walk::FromUplink, PROD, &packet.between(CLIENT, vip).bytes());
            prop_assert_eq!(why, Reason::ToSlot);
            prop_assert_eq!(slice.witness().unwrap().to, Some(slot.egress));
        }
    }

    #[test]
    fn a_flow_that_opens_under_any_configuration_keeps_where_it_opened(first in images(1), second in image()) {
        let mut slice = Slice::default();
        slice.load(&World { image: first, ..town::world() });
        let (why, ..) = run(&mut slice, Walk::FromUplink, PROD, &tcp(CLIENT, WEB).syn().bytes());
        prop_assert_eq!(why, Reason::Opened);
        let opened = slice.witness().unwrap().to;
        slice.change(&Change::Apply(second));
        let (why, ..) = run(&mut slice, Walk::FromUplink, PROD, &tcp(CLIENT, WEB).bytes());
        prop_assert_eq!((why, slice.witness().unwrap().to), (Reason::ToSlot, opened));
    }

    #[test]
    fn whatever_first_packets_come_each_flow_is_whole_and_the_table_never_overflows(
        packets in vec((0..3u8, 0..3u16, 0..4usize), 1..60),
        room in 1..8u32,
        changes in vec(image(), 0..3),
    ) {
        let mut slice = Slice::default();
        slice.load(&town::world().with_room_for(room));
        let every = packets.len() / (changes.len() + 1) + 1;
        for (n, (host, port, door)) in packets.into_iter().enumerate() {
            if let Some(image) = changes.get(n / every).filter(|_| n % every == 0) {
                slice.change(&Change::Apply(image.clone()));
            }
            let client = CLIENT.ip(203, 0, 113, host).port(port);
            let before = slice.state();
            let packet = [
                tcp(client, WEB).syn(),
                tcp(client, ALIAS).syn(),
                udp(client, DNS),
                udp(client, ALIAS.port(53)),
            ];
            let (why, ..) = run(&mut slice, Walk::FromUplink, PROD, &packet[door].bytes());
            let after = slice.state();
            laws::tables(&before, &after, Walk::FromUplink, why).map_err(TestCaseError::fail)?;
            prop_assert!(after.flows.count() <= room as usize);
        }
        laws::conservation(&slice.state()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn nothing_leaves_a_slot_untranslated_whatever_its_sandbox_sends(
        (protocol, packet) in any_packet(),
        to in prop_oneof![Just(CLIENT_INSIDE), party()],
        port in prop_oneof![Just(8_080u16), any::<u16>()],
        spoiled in vec((0..80usize, any::<u8>()), 0..4),
        opens in any::<bool>(),
    ) {
        let mut slice = Slice::default();
        slice.load(&town::world().with_flow(web_flow()).with_flow(town::dns_flow()));
        let flags = if opens { flag::SYN } else { flag::ACK };
        let good = packet.flags(flags).between(SANDBOX.port(port), to).bytes();
        let sent = spoiled.iter().fold(good, |bytes, (at, value)| spoil::put(bytes, *at, &[*value]));
        let (why, end, bytes) = run(&mut slice, Walk::FromSlot, SLOT_1, &sent);
        match slice.witness().unwrap().to {
            // Towards the wire: only as the VIP that the client called.
            Some(egress) if egress == PROD.egress => prop_assert_eq!(&bytes[ADDRESS], &WEB.ip.0),
            // An answer of Weir's own.
            Some(egress) => prop_assert_eq!(egress, SLOT_1.egress),
            None => prop_assert_eq!((end, bytes), (End::Drop, sent), "{:?} {}", why, protocol),
        }
    }

    #[test]
    fn arbitrary_bytes_from_a_slot_never_reach_a_wire(bytes in vec(any::<u8>(), 0..200)) {
        let mut slice = Slice::default();
        slice.load(&town::world().with_flow(web_flow()));
        let (_, end, after) = run(&mut slice, Walk::FromSlot, SLOT_1, &bytes);
        prop_assert_eq!((end, after), (End::Drop, bytes));
    }

    #[test]
    fn a_slot_bound_anew_has_no_part_in_its_former_flows(
        (protocol, packet) in any_packet(),
        binding in 4..=Zone::MAX_NUMBER,
    ) {
        let both = town::flow(protocol, (PROD, CLIENT, WEB), (SLOT_1, 8_080));
        let mut slice = Slice::default();
        slice.load(&town::world().with_flow(both));
        let out = packet.between(SANDBOX, CLIENT_INSIDE).bytes();
        prop_assert_eq!(run(&mut slice, Walk::FromSlot, SLOT_1, &out).0, Reason::ToWire);
        slice.change(&Change::Bind(town::bound_anew(SLOT_1, binding)));
        let (why, ..) = run(&mut slice, Walk::FromSlot, SLOT_1, &out);
        prop_assert!(matches!(why, Reason::AnsweredReset | Reason::AnsweredNotAllowedOut), "{why:?}");
    }

    #[test]
    fn two_vpcs_with_the_same_addresses_never_meet((protocol, packet) in any_packet()) {
        let [prod, lab] = [(PROD, SLOT_1), (LAB, SLOT_3)]
            .map(|(uplink, slot)| town::flow(protocol, (uplink, CLIENT, WEB.mac(uplink.mac)), (slot, 8_080)));
        for (uplink, slot, both) in [(PROD, SLOT_1, prod), (LAB, SLOT_3, lab)] {
            let bytes = packet.clone().between(CLIENT, WEB.mac(uplink.mac)).bytes();
            let mut slice = Slice::default();
            slice.load(&town::world().with_flow(prod).with_flow(lab));
            run(&mut slice, Walk::FromUplink, uplink, &bytes);
            prop_assert_eq!(slice.witness().unwrap().to, Some(slot.egress));
            // With the other VPC's flow alone the packet finds none.
            slice.load(&town::world().with_flow(if both == prod { lab } else { prod }));
            let (why, ..) = run(&mut slice, Walk::FromUplink, uplink, &bytes);
            prop_assert_ne!(why, Reason::ToSlot);
        }
    }

    #[test]
    fn the_hash_is_siphash_2_4_of_the_key_as_it_lies_in_the_table(
        secret in any::<[u8; 16]>(),
        client in party(),
        vip in party(),
        protocol in any::<u8>(),
        zone in 0..=Zone::MAX_NUMBER,
    ) {
        let ends = Ends { src: client.ip, dst: vip.ip, sport: client.l4(), dport: vip.l4() };
        let key = Key4::new(ends, protocol, Zone::of_vpc(zone).unwrap());
        prop_assert_eq!(key.hash(Part::Flow, HashKey(secret)), standard_siphash(secret, key.as_bytes()));
    }

    #[test]
    fn scaling_keeps_the_order_and_stays_below_the_end(a in any::<u32>(), b in any::<u32>(), len in 1..u32::MAX) {
        let [low, high] = [a.min(b), a.max(b)];
        prop_assert!(scale(low, len) <= scale(high, len) && scale(high, len) < len);
        prop_assert_eq!(u64::from(scale(a, len)), (u64::from(a) * u64::from(len)) >> 32);
    }
}

/// The standard library's, keyed.
fn standard_siphash(secret: [u8; 16], message: &[u8]) -> u64 {
    let [k0, k1] = [&secret[..8], &secret[8..]].map(|half| u64::from_le_bytes(half.try_into().unwrap()));
    #[expect(deprecated, reason = "the standard library's only public SipHash-2-4, and an independent one")]
    let mut hasher = std::hash::SipHasher::new_with_keys(k0, k1);
    hasher.write(message);
    hasher.finish()
}

#[test]
fn consecutive_ports_of_one_client_spread_evenly_over_the_cells_by_either_half_of_the_hash() {
    const CELLS: usize = 101;
    const FLOWS: u32 = 60_000;
    let hash = |port: u32| {
        let ends = Ends {
            src: Ip4([203, 0, 113, 7]),
            dst: WEB.ip,
            sport: L4Port::new(1_024 + port as u16),
            dport: WEB.l4(),
        };
        Key4::new(ends, TCP, PROD.zone).hash(Part::Flow, town::HASH_KEY)
    };
    for half in [|hash: u64| hash as u32, |hash: u64| (hash >> 32) as u32] {
        let mut cells = [0u32; CELLS];
        (0..FLOWS).for_each(|port| cells[scale(half(hash(port)), CELLS as u32) as usize] += 1);
        let mean = f64::from(FLOWS) / CELLS as f64;
        // Chi-square with 100 degrees of freedom: above 161 once in ten thousand keys; this key is fixed.
        let chi: f64 = cells.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum();
        assert!(chi < 161.0, "chi-square is {chi}");
        assert!(chi > 50.0, "chi-square is {chi}: too even to be a hash");
    }
}

#[test]
fn a_group_s_flows_are_shared_as_its_table_says_and_not_by_their_order() {
    let mut slice = Slice::default();
    slice.load(&town::world().with_room_for(9_000));
    let mut served = std::collections::BTreeMap::new();
    for port in 0..9_000 {
        let client = CLIENT.port(1_024 + port);
        run(&mut slice, Walk::FromUplink, PROD, &tcp(client, town::FLEET).syn().bytes());
        *served.entry(slice.witness().unwrap().to.unwrap().id).or_insert(0u32) += 1;
    }
    // 101 cells over three targets: 34, 34 and 33. Four standard deviations are 180.
    assert_eq!(served.len(), 3);
    assert!(served.values().all(|count| (2_770..3_210).contains(count)), "{served:?}");
}

#[test]
fn the_group_number_of_a_listener_is_its_own_half_s() {
    // The idle half holds another configuration, whose group 0 is another one.
    let mut slice = Slice::default();
    slice.load(&town::world());
    let mut other = town::image();
    other.groups.swap(0, 5);
    let swapped = |group| match group {
        GroupId(0) => GroupId(5),
        GroupId(5) => GroupId(0),
        kept => kept,
    };
    for Forward { shares, .. } in other.listeners.values_mut() {
        shares.iter_mut().for_each(|share| share.group = swapped(share.group));
    }
    for image in [other, town::image()] {
        slice.change(&Change::Apply(image));
        for (uplink, vip, slot) in [(PROD, WEB, SLOT_1), (LAB, LAB_WEB, SLOT_3)] {
            let client = CLIENT.port(slice.state().flows.count() as u16 + 1);
            run(&mut slice, Walk::FromUplink, uplink, &tcp(client, vip).syn().bytes());
            assert_eq!(slice.witness().unwrap().to, Some(slot.egress));
        }
    }
}

#[test]
fn a_carry_that_makes_another_carry_is_not_lost() {
    // Added up: 0x1_ffff_ffff. The carry comes back in, and carries out again.
    let sum = [u32::MAX, u32::MAX, 1].iter().fold(SumOf::default(), |sum, word| sum.add4(word.to_ne_bytes()));
    assert_eq!(sum.to_wsum(), 1);
    assert_eq!(sum.fold(), 1u16.to_ne_bytes());
}
