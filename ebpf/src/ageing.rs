//! What runs without a packet: the timer that writes the clock and ages flows, and flows ended by order.
//!
//! Only programs end flows. User space that wants one ended writes down which, and runs `end_flows` by a
//! kernel test run: so nobody who is stopped half-way can leave a flow half ended.

use crate::maps::{Maps, WORDS};
use aya_ebpf::bindings::{BPF_F_MMAPABLE, TC_ACT_UNSPEC, bpf_timer};
use aya_ebpf::btf_maps;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_loop, bpf_timer_init, bpf_timer_set_callback, bpf_timer_start,
};
use aya_ebpf::macros::{btf_map, classifier, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::TcContext;
use core::ffi::c_void;
use weir_path::addr::IfIndex;
use weir_path::flow::end::{End, end};
use weir_path::flow::ports::tend;
use weir_path::flow::room::age;
use weir_path::flow::store::{Flows, PortSetId, RecordCell, RoomWord, Word};
use weir_path::flow::{Family, Life, RecordId, V4, V6};
use weir_path::layout::{self, Hook};
use weir_path::tables::{Clock, Listeners};
use weir_path::time::{Now, Times};

const CLOCK_MONOTONIC: u64 = 1;
const MILLISECOND: u64 = 1_000_000;

/// The timer, and where its walks over the records stand. What counts from record to record is kept here and not
/// on the stack, where the verifier would follow every number it can have.
#[repr(C)]
pub struct Ageing {
    timer: bpf_timer,
    next: [u32; 2],
    /// How many records of each family were ever taken: behind them there is nothing to look at.
    used: [u32; 2],
    /// The set of ports of each family that is looked at next.
    next_ports: [u32; 2],
    ended: u32,
    now: Now,
    times: Times,
}

#[btf_map]
static AGEING: btf_maps::Array<Ageing, 1> = btf_maps::Array::new();

/// Flows to be ended: first how many, then the number of each one's record and its incarnation.
#[map]
static ORDERS: Array<u64> = Array::with_max_entries(1 + layout::MAX_ORDERS, BPF_F_MMAPABLE);

/// No packet and no device: counters by hook are never touched from here.
const MAPS: Maps = Maps { hook: Hook::SlotTc, arrived_at: IfIndex(0) };

/// One step of ageing, for tests and for where no timer runs. The clock is the caller's.
#[classifier]
pub fn age_step(_: TcContext) -> i32 {
    if let Some(ageing) = AGEING.get_ptr_mut(0) {
        step(ageing);
    }
    TC_ACT_UNSPEC
}

/// Starts the timer, or makes one that runs already call this program's code from its next tick on.
#[classifier]
pub fn start_ageing(_: TcContext) -> i32 {
    let Some(ageing) = AGEING.get_ptr_mut(0) else { return TC_ACT_UNSPEC };
    // SAFETY: the timer is the first field of a map value, which is where the kernel wants it.
    let timer = unsafe { &raw mut (*ageing).timer };
    // Fails where it was done before, which is what was wanted.
    // SAFETY: a timer of this map.
    unsafe { bpf_timer_init(timer, (&raw const AGEING).cast_mut().cast(), CLOCK_MONOTONIC) };
    // SAFETY: as above; the callback has the signature that the kernel calls.
    unsafe { bpf_timer_set_callback(timer, tick as *mut c_void) };
    // SAFETY: as above.
    unsafe { bpf_timer_start(timer, 0, 0) };
    TC_ACT_UNSPEC
}

/// Ends the flows that user space named.
#[classifier]
pub fn end_flows(_: TcContext) -> i32 {
    let count = ORDERS.get(0).copied().unwrap_or(0) as u32;
    let mut ended = 0u32;
    // SAFETY: the callback has the signature that the kernel calls, and the context lives until it is done.
    unsafe {
        bpf_loop(count.min(layout::MAX_ORDERS), end_ordered as *mut c_void, (&raw mut ended).cast(), 0);
    }
    ended as i32
}

unsafe extern "C" fn end_ordered(nth: u32, ended: *mut c_void) -> i64 {
    let Some(order) = ORDERS.get(nth + 1).copied() else { return 1 };
    // SAFETY: `end_flows` passes a number of its own.
    let ended = unsafe { &mut *ended.cast::<u32>() };
    let is_ended = if order & layout::ORDER_V6 == 0 { end_one::<V4>(order) } else { end_one::<V6>(order) };
    *ended += u32::from(is_ended);
    0
}

#[inline(always)]
fn end_one<F: Family>(order: u64) -> bool
where
    Maps: Flows<F>,
{
    let id = RecordId(order as u32);
    let Some(record) = Flows::<F>::record(&MAPS, id) else { return false };
    let life = Life(record.life().load());
    let why = if order & layout::ORDER_BLOCKED == 0 { End::Removed } else { End::Blocked };
    life.incarnation() == (order >> 32) as u16 && end::<F, Maps>(&MAPS, id, life, why)
}

/// What the timer calls. It runs whether or not there is a daemon: the pinned map keeps it.
unsafe extern "C" fn tick(_: *mut c_void, _: *mut u32, ageing: *mut Ageing) -> i32 {
    // SAFETY: the helper takes nothing.
    let now = Now::from_nanoseconds(unsafe { bpf_ktime_get_ns() });
    if let Some(word) = WORDS.get_ptr_mut(layout::CLOCK) {
        // SAFETY: an aligned word of a map value; nobody else writes it while a timer runs.
        unsafe { word.write_volatile(u64::from(now.0)) };
    }
    let is_busy = step(ageing);
    let pause = if is_busy { layout::BUSY_STEP_MS } else { layout::STEP_MS };
    // SAFETY: the timer is the first field of this map value.
    let timer = unsafe { &raw mut (*ageing).timer };
    // SAFETY: a timer of this map, whose callback is set.
    unsafe { bpf_timer_start(timer, pause * MILLISECOND, 0) };
    0
}

/// Looks at the next records of both families. Returns whether there was more to end than a step may.
#[inline(always)]
fn step(ageing: *mut Ageing) -> bool {
    // SAFETY: a valid map value; programs of this kind run one at a time.
    let ageing = unsafe { &mut *ageing };
    ageing.now = MAPS.now();
    ageing.times = MAPS.times(MAPS.live());
    ageing.used = [used::<V4>(), used::<V6>()];
    tend_one::<V4>(0);
    tend_one::<V6>(1);
    let mut is_busy = false;
    for look in [age_v4 as *mut c_void, age_v6 as *mut c_void] {
        ageing.ended = 0;
        // SAFETY: the callback has the signature that the kernel calls, and wants no context.
        unsafe { bpf_loop(layout::LOOKED_AT_IN_A_STEP, look, core::ptr::null_mut(), 0) };
        is_busy |= ageing.ended >= layout::ENDED_IN_A_STEP;
    }
    is_busy
}

/// Looks at the next set of ports.
#[inline(always)]
fn tend_one<F: Family>(family: usize)
where
    Maps: Flows<F>,
{
    let Some(ageing) = AGEING.get_ptr_mut(0) else { return };
    // SAFETY: a valid map value; programs of this kind run one at a time.
    let ageing = unsafe { &mut *ageing };
    let Some(next) = ageing.next_ports.get_mut(family) else { return };
    let id = PortSetId(*next);
    *next = if id.0 + 1 < Flows::<F>::room(&MAPS).port_sets { id.0 + 1 } else { 0 };
    tend::<F, Maps>(&MAPS, id, ageing.now);
}

#[inline(always)]
fn used<F: Family>() -> u32
where
    Maps: Flows<F>,
{
    let taken = Flows::<F>::word(&MAPS, RoomWord::Fresh).map_or(0, |fresh| fresh.load());
    taken.min(u64::from(Flows::<F>::room(&MAPS).records)) as u32
}

unsafe extern "C" fn age_v4(_: u32, _: *mut c_void) -> i64 {
    look::<V4>(0)
}

unsafe extern "C" fn age_v6(_: u32, _: *mut c_void) -> i64 {
    look::<V6>(1)
}

/// Looks at one record; 1 to end the walk.
#[inline(always)]
fn look<F: Family>(family: usize) -> i64
where
    Maps: Flows<F>,
{
    let Some(ageing) = AGEING.get_ptr_mut(0) else { return 1 };
    // SAFETY: a valid map value; programs of this kind run one at a time.
    let ageing = unsafe { &mut *ageing };
    let Some(next) = ageing.next.get_mut(family) else { return 1 };
    let id = RecordId(*next);
    *next += 1;
    let is_round = ageing.used.get(family).is_none_or(|used| *next >= *used);
    if is_round {
        *next = 0;
    }
    if age::<F, Maps>(&MAPS, id, ageing.now, &ageing.times, false) {
        ageing.ended += 1;
    }
    i64::from(is_round || ageing.ended >= layout::ENDED_IN_A_STEP)
}
