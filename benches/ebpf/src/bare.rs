//! The least that opening and ending a flow can be: two keys entered into a hash, two keys taken out.
//!
//! Keys and values have the sizes of Weir's, and the keys are as many bits apart.

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_action};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::XdpContext;
use weir_path::flow::{Entry4, Entry6, Key4, Key6};

/// Words of a key and of a value.
const KEY4: usize = size_of::<Key4>() / 8;
const KEY6: usize = size_of::<Key6>() / 8;
type Value4 = [u64; size_of::<Entry4>() / 8];
type Value6 = [u64; size_of::<Entry6>() / 8];

#[map]
static BARE_V4: HashMap<[u64; KEY4], Value4> = HashMap::with_max_entries(1 << 21, 0);
#[map]
static BARE_V6: HashMap<[u64; KEY6], Value6> = HashMap::with_max_entries(1 << 19, 0);

/// Enters both directions of a packet's flow.
#[xdp(frags)]
pub fn bare_insert_v4(ctx: XdpContext) -> u32 {
    verdict(both_v4(&ctx).is_some_and(|keys| insert(&BARE_V4, &keys, &[0; 8])))
}

/// Takes both directions out.
#[xdp(frags)]
pub fn bare_remove_v4(ctx: XdpContext) -> u32 {
    verdict(both_v4(&ctx).is_some_and(|keys| remove(&BARE_V4, &keys)))
}

/// Enters both directions of a packet's flow.
#[xdp(frags)]
pub fn bare_insert_v6(ctx: XdpContext) -> u32 {
    verdict(both_v6(&ctx).is_some_and(|keys| insert(&BARE_V6, &keys, &[0; 14])))
}

/// Takes both directions out.
#[xdp(frags)]
pub fn bare_remove_v6(ctx: XdpContext) -> u32 {
    verdict(both_v6(&ctx).is_some_and(|keys| remove(&BARE_V6, &keys)))
}

#[inline(always)]
fn insert<K, V>(map: &HashMap<K, V>, [one, other]: &[K; 2], value: &V) -> bool {
    let flags = u64::from(BPF_NOEXIST);
    map.insert(one, value, flags).is_ok() && map.insert(other, value, flags).is_ok()
}

#[inline(always)]
fn remove<K, V>(map: &HashMap<K, V>, [one, other]: &[K; 2]) -> bool {
    map.remove(one).is_ok() && map.remove(other).is_ok()
}

#[inline(always)]
fn verdict(is_done: bool) -> u32 {
    if is_done { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// A key of the packet's addresses and ports, and one that differs from it.
#[inline(always)]
fn both_v4(ctx: &XdpContext) -> Option<[[u64; KEY4]; 2]> {
    let [addresses, ports] = words(ctx, 26)?;
    let ports = ports & 0xffff_ffff;
    Some([[addresses, ports], [addresses.rotate_left(32), ports | 1 << 63]])
}

/// A key of the packet's addresses and ports, and one that differs from it.
#[inline(always)]
fn both_v6(ctx: &XdpContext) -> Option<[[u64; KEY6]; 2]> {
    let [a, b, c, d, ports] = words(ctx, 22)?;
    let ports = ports & 0xffff_ffff;
    Some([[a, b, c, d, ports], [c, d, a, b, ports | 1 << 63]])
}

#[inline(always)]
fn words<const N: usize>(ctx: &XdpContext, at: usize) -> Option<[u64; N]> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + at + N * 8 > end {
        return None;
    }
    // SAFETY: the bytes were compared with the packet's end.
    Some(unsafe { ((data + at) as *const [u64; N]).read_unaligned() })
}
