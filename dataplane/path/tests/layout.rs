//! Where records lie, and how numbers are written: what the kernel's maps and people's eyes agree on.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use weir_path::Reason;
use weir_path::addr::{IfIndex, InterfaceId, Ip4, L4Port, Mac, Zone};
use weir_path::hash::HashKey;
use weir_path::layout::{
    CELLS_IN_LINE, COUNTERS, DEFAULT_FLOWS, Hook, ListenerKey, MAX_CELLS, MAX_GROUPS, MAX_IFINDEX,
    MAX_TARGETS, VipKey, cell_line, entered_counter, group_index, interface_stored, reason_counter,
    stored_interface, target_index,
};
use weir_path::reason::{Class, Verdict};
use weir_path::tables::{GroupId, Half, Interface, Listener, Vip};
use weir_testkit::town::{PROD, WEB, listener};

fn halves() -> [Half; 2] {
    [0, 1].map(Half::of_epoch)
}

#[test]
fn epochs_alternate_between_two_halves() {
    let [even, odd] = halves();
    assert_eq!([even.index(), odd.index()], [0, 1]);
    assert_eq!([even.other(), odd.other()], [odd, even]);
    assert_eq!([2, 3, u64::MAX - 1, u64::MAX].map(Half::of_epoch), [even, odd, even, odd]);
}

#[test]
fn the_two_halves_of_an_array_lie_end_to_end_and_do_not_overlap() {
    let [even, odd] = halves();
    assert_eq!([0, 7, MAX_GROUPS - 1].map(|n| group_index(even, GroupId(n))), [0, 7, 4_095]);
    assert_eq!([0, 7, MAX_GROUPS - 1].map(|n| group_index(odd, GroupId(n))), [4_096, 4_103, 8_191]);
    assert_eq!([0, 7, MAX_TARGETS - 1].map(|n| target_index(even, n)), [0, 7, 65_535]);
    assert_eq!([0, 7, MAX_TARGETS - 1].map(|n| target_index(odd, n)), [65_536, 65_543, 131_071]);
    assert_eq!([0, 31, 32, MAX_CELLS - 1].map(|n| cell_line(even, n)), [0, 0, 1, 131_071]);
    assert_eq!([0, 31, 32, MAX_CELLS - 1].map(|n| cell_line(odd, n)), [131_072, 131_072, 131_073, 262_143]);
}

#[test]
fn the_published_sizes_are_what_they_are_said_to_be() {
    assert_eq!(MAX_CELLS as usize * size_of::<u16>(), 8 << 20, "8 MiB a half");
    assert_eq!(CELLS_IN_LINE as usize * size_of::<u16>(), 64, "a cache line");
    assert_eq!([MAX_IFINDEX, DEFAULT_FLOWS], [1_048_576; 2]);
}

#[test]
fn the_same_vip_and_listener_have_another_key_in_each_half() {
    let [even, odd] = halves();
    let vip = Vip { address: WEB.ip, zone: PROD.zone };
    assert_eq!(VipKey::new(even, vip), VipKey { vip, half: 0 });
    assert_eq!(VipKey::new(odd, vip), VipKey { vip, half: 1 });
    let listener: Listener = listener(PROD, WEB, 6);
    assert_eq!(ListenerKey::new(even, listener), ListenerKey { listener, half: 0, zero: 0 });
    assert_eq!(ListenerKey::new(odd, listener), ListenerKey { listener, half: 1, zero: 0 });
}

#[test]
fn every_counter_of_every_hook_has_a_place_of_its_own_and_no_place_is_left_over() {
    let places: Vec<u32> = Hook::ALL
        .into_iter()
        .flat_map(|hook| {
            let reasons = Reason::ALL.iter().map(move |why| reason_counter(hook, *why));
            std::iter::once(entered_counter(hook)).chain(reasons)
        })
        .collect();
    let distinct: BTreeSet<_> = places.iter().copied().collect();
    assert_eq!(distinct.len(), places.len(), "two counters share a place");
    assert_eq!(distinct, (0..COUNTERS).collect());
}

#[test]
fn hooks_have_names_of_their_own() {
    assert_eq!(Hook::ALL.map(Hook::name), ["uplink_xdp", "uplink_tc", "slot_tc"]);
}

#[test]
fn an_empty_place_is_no_interface_and_interface_zero_is_not_an_empty_place() {
    assert_eq!(interface_stored(0), None);
    for id in [0, 1, 8_191].map(InterfaceId) {
        assert_ne!(stored_interface(id), 0);
        assert_eq!(interface_stored(stored_interface(id)), Some(id));
    }
    assert!(!Interface::default().is_in_use());
    assert!(PROD.is_in_use());
}

#[test]
fn a_reason_that_sends_nowhere_passes_only_what_is_not_weir_s() {
    for why in Reason::ALL {
        let expected = if why.class() == Class::Passed { Verdict::Pass } else { Verdict::Drop };
        assert_eq!(why.verdict(), expected, "{}", why.name());
    }
}

#[test]
fn addresses_and_numbers_print_as_people_write_them() {
    assert_eq!(format!("{0} {0:?}", Ip4([198, 51, 100, 10])), "198.51.100.10 198.51.100.10");
    assert_eq!(format!("{0} {0:?}", L4Port::new(8_080)), "8080 8080");
    assert_eq!(format!("{0} {0:?}", Mac([2, 0, 0xab, 0, 0, 0xff])), "02:00:ab:00:00:ff 02:00:ab:00:00:ff");
    assert_eq!(format!("{} {}", IfIndex(7), InterfaceId(9)), "7 9");
    let [vpc, binding] = [Zone::of_vpc(3), Zone::of_binding(4)].map(Option::unwrap_or_default);
    assert_eq!(format!("{vpc:?} {binding:?}"), "vpc:3 binding:4");
}

#[test]
fn a_secret_does_not_print() {
    assert_eq!(format!("{:?}", HashKey([7; 16])), "HashKey(secret)");
}

#[test]
fn addresses_convert_to_the_standard_library_s_and_back() {
    let address = Ipv4Addr::new(203, 0, 113, 7);
    assert_eq!(Ip4::from(address), Ip4([203, 0, 113, 7]));
    assert_eq!(Ipv4Addr::from(Ip4([203, 0, 113, 7])), address);
    assert_eq!(Ip4([203, 0, 113, 7]).to_bits(), 0xcb00_7107);
}

#[test]
fn what_is_equal_hashes_alike_and_what_differs_in_one_byte_is_not_equal() {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    let mac = Mac([1, 2, 3, 4, 5, 6]);
    assert_eq!(state.hash_one(mac), state.hash_one(Mac([1, 2, 3, 4, 5, 6])));
    for byte in 0..6 {
        let mut other = mac.0;
        other.iter_mut().skip(byte).take(1).for_each(|byte| *byte ^= 0x80);
        assert_ne!(Mac(other), mac);
        assert_ne!(state.hash_one(Mac(other)), state.hash_one(mac));
    }
    assert_ne!(Zone([1, 2, 3]), Zone([0, 2, 3]));
    assert_ne!(Zone([1, 2, 3]), Zone([1, 0, 3]));
    assert_ne!(Zone([1, 2, 3]), Zone([1, 2, 0]));
    assert_ne!(state.hash_one(Zone([1, 2, 3])), state.hash_one(Zone([1, 2, 4])));
    assert_ne!(state.hash_one(L4Port::new(80)), state.hash_one(L4Port::new(81)));
    assert_ne!(state.hash_one(Ip4([1, 2, 3, 4])), state.hash_one(Ip4([1, 2, 3, 5])));
}
