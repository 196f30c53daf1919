//! Records that cross into the kernel, and numbers that are published: what must not change by accident.

use std::hash::{BuildHasher, RandomState};
use weir_path::Reason;
use weir_path::addr::{Address, InterfaceId, Ip4, L4Port, Mac, Zone};
use weir_path::hash::HashKey;
use weir_path::layout::{
    CELLS_IN_LINE, DEFAULT_FLOWS, DEFAULT_FLOWS_V6, ListenerKey, MAX_CELLS, MAX_IFINDEX, VipKey,
    interface_stored, stored_interface,
};
use weir_path::reason::{Class, Verdict};
use weir_path::tables::{Half, Interface, Listener, Vip};
use weir_testkit::town::{PROD, WEB, listener};

#[test]
fn the_published_sizes_are_what_they_are_said_to_be() {
    assert_eq!(MAX_CELLS as usize * size_of::<u16>(), 8 << 20, "8 MiB a half");
    assert_eq!(CELLS_IN_LINE as usize * size_of::<u16>(), 64, "a cache line");
    assert_eq!([MAX_IFINDEX, DEFAULT_FLOWS / 2, 2 * DEFAULT_FLOWS_V6], [1_048_576; 3]);
}

#[test]
fn the_same_vip_and_listener_have_another_key_in_each_half() {
    let [even, odd] = [0, 1].map(Half::of_epoch);
    let vip = Vip { address: WEB.ip.mapped(), zone: PROD.zone };
    assert_eq!(VipKey::new(even, vip), VipKey { vip, half: 0 });
    assert_eq!(VipKey::new(odd, vip), VipKey { vip, half: 1 });
    let listener: Listener = listener(PROD, WEB, 6);
    assert_eq!(ListenerKey::new(even, listener), ListenerKey { listener, half: 0 });
    assert_eq!(ListenerKey::new(odd, listener), ListenerKey { listener, half: 1 });
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
fn a_secret_does_not_print() {
    assert_eq!(format!("{:?}", HashKey([7; 16])), "HashKey(secret)");
}

#[test]
fn what_is_equal_hashes_alike_and_what_differs_in_one_byte_is_not_equal() {
    let state = RandomState::new();
    let mac = Mac([1, 2, 3, 4, 5, 6]);
    assert_eq!(state.hash_one(mac), state.hash_one(Mac([1, 2, 3, 4, 5, 6])));
    for byte in 0..6 {
        let mut other = mac.0;
        other.iter_mut().skip(byte).take(1).for_each(|byte| *byte ^= 0x80);
        assert_ne!(Mac(other), mac);
        assert_ne!(state.hash_one(Mac(other)), state.hash_one(mac));
    }
    let [vpc, binding] = [Zone::of_vpc(7), Zone::of_binding(7)];
    assert_ne!(vpc, binding);
    assert_ne!(state.hash_one(vpc), state.hash_one(binding));
    assert_ne!(state.hash_one(L4Port::new(80)), state.hash_one(L4Port::new(81)));
    assert_ne!(state.hash_one(Ip4([1, 2, 3, 4])), state.hash_one(Ip4([1, 2, 3, 5])));
}
