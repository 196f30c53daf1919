//! The flow tables as BPF maps, once for each family.

use crate::cells::{EntryAt4, EntryAt6, RecordAt4, RecordAt6};
use crate::events::{self, EVENTS, SIGNALS, put_event};
use crate::maps::{ENDED, Maps, WORDS, add_per_cpu};
use crate::words::{PortsAt, Shared, add};
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_loop};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use core::ffi::c_void;
use core::ptr::addr_of_mut;
use weir_path::addr::{Ip4, Ip6};
use weir_path::asked::Asked;
use weir_path::flow::end::End;
use weir_path::flow::event::Event;
use weir_path::flow::store::{EntryCell, Flows, PortSetId, PortSetRef, Room, RoomWord, Word};
use weir_path::flow::{
    Counts, Datagram4, Datagram6, Entry4, Entry6, Hop, Key, Key4, Key6, Life, Record4, Record6, RecordId,
    Side, Stamp, V4, V6,
};
use weir_path::layout::{self, PORT_SET_KEY, PortSet, Pot};
use weir_path::tables::{Claim, Clock};

const EEXIST: i32 = 17;

macro_rules! flows {
    (
        $Family:ident, $Address:ident, $Key:ident, $Entry:ident, $EntryAt:ident, $Record:ident, $RecordAt:ident,
        $Datagram:ident, $FLOWS:ident, $RECORDS:ident, $POTS:ident, $PLACES:ident, $SCRATCH:ident, $ROOM:ident,
        $DATAGRAMS:ident, $PORTS:ident, $PORT_SETS:ident, $REFUSED:ident, $ASKED:ident,
        $most:expr
    ) => {
        /// Not an LRU: a flood of new flows must never push out an established one.
        #[map]
        static $FLOWS: HashMap<$Key, $Entry> = HashMap::with_max_entries(2 * $most, 0);
        /// Mapped, so that user space reads every flow without a call.
        #[map]
        static $RECORDS: Array<$Record> = Array::with_max_entries($most, BPF_F_MMAPABLE);
        #[map]
        static $POTS: Array<Pot> = Array::with_max_entries(layout::POTS, 0);
        #[map]
        static $PLACES: Array<u64> = Array::with_max_entries($most / layout::HALF_OPEN_SHARE, 0);
        #[map]
        static $SCRATCH: PerCpuArray<$Entry> = PerCpuArray::with_max_entries(1, 0);
        /// Where fragments without ports go. An LRU: what is pushed out is a datagram, not a flow.
        #[map]
        static $DATAGRAMS: LruHashMap<$Key, $Datagram> =
            LruHashMap::with_max_entries(layout::MAX_DATAGRAMS, 0);
        /// Which set of ports a remote has, by the reply's key without the port.
        #[map]
        static $PORTS: HashMap<$Key, PortSetRef> =
            HashMap::with_max_entries($most / layout::FLOWS_A_PORT_SET, 0);
        /// Mapped, so that user space sees which remotes are crowded without a call.
        #[map]
        static $PORT_SETS: Array<PortSet> =
            Array::with_max_entries($most / layout::FLOWS_A_PORT_SET, BPF_F_MMAPABLE);
        /// How often a remote was refused a port, by the same key. An LRU: what is pushed out is a count.
        #[map]
        static $REFUSED: LruHashMap<$Key, u64> = LruHashMap::with_max_entries(layout::MAX_REFUSED, 0);
        /// What this CPU's packet asks for, between two steps.
        #[map]
        static $ASKED: PerCpuArray<Asked<$Key, $Address>> = PerCpuArray::with_max_entries(1, 0);
        /// Records, pots, places in a pot, sets of ports. Set when the object is loaded, so that the kernel knows them.
        #[unsafe(no_mangle)]
        static $ROOM: [u32; 4] = [0; 4];

        impl Flows<$Family> for Maps {
            type Entry = $EntryAt;
            type Record = $RecordAt;
            type Word = Shared;
            type Ports = PortsAt;

            #[inline(always)]
            fn find(&self, key: &$Key) -> Option<$EntryAt> {
                $FLOWS.get_ptr_mut(key).map($EntryAt)
            }

            #[inline(always)]
            fn claim(&self, record: $RecordAt, side: Side, hop: Hop) -> Claim {
                // Put together in a map: the stack has no room for it.
                let Some(entry) = $SCRATCH.get_ptr_mut(0) else { return Claim::NoRoom };
                let key = record.key_at(side);
                // SAFETY: keys in a valid map value, which is in this run's hands alone.
                unsafe { copy_words(key, addr_of_mut!((*entry).key)) };
                // SAFETY: as above.
                let rewrite = unsafe { (*record.key_at(side.other())).ends.reversed() };
                // SAFETY: a valid map value of this CPU.
                unsafe { addr_of_mut!((*entry).rewrite).write(rewrite) };
                // SAFETY: as above.
                unsafe { addr_of_mut!((*entry).stamp).write(Stamp::WIPED) };
                // SAFETY: as above.
                unsafe { addr_of_mut!((*entry).hop).write(hop) };
                // SAFETY: as above.
                unsafe { addr_of_mut!((*entry).acknowledged).write(0) };
                // SAFETY: as above.
                unsafe { addr_of_mut!((*entry).counts).write(Counts { packets: 0, bytes: 0 }) };
                // SAFETY: as above, and a key in a valid map value.
                let (key, entry) = unsafe { (&*key, &*entry) };
                match $FLOWS.insert(key, entry, u64::from(BPF_NOEXIST)) {
                    Ok(()) => Claim::Made,
                    Err(error) if error == -EEXIST => Claim::Taken,
                    Err(_) => Claim::NoRoom,
                }
            }

            #[inline(always)]
            fn find_side(&self, record: $RecordAt, side: Side) -> Option<$EntryAt> {
                // SAFETY: a key in a valid map value, which the helper takes as it is: no copy on the stack.
                <Self as Flows<$Family>>::find(self, unsafe { &*record.key_at(side) })
            }

            #[inline(always)]
            fn remove(&self, record: $RecordAt, side: Side) {
                // It can only fail where the key is gone already, which is what was wanted.
                // SAFETY: a key in a valid map value.
                let _ = $FLOWS.remove(unsafe { &*record.key_at(side) });
            }

            #[inline(always)]
            fn record(&self, id: RecordId) -> Option<$RecordAt> {
                $RECORDS.get_ptr_mut(id.0).map($RecordAt)
            }

            #[inline(always)]
            fn room(&self) -> Room {
                // The loader sets it: the compiler must not take it for what is written above.
                // SAFETY: a static, read-only for programs.
                let [records, pots, places_in_pot, port_sets] = unsafe { (&raw const $ROOM).read_volatile() };
                Room { records, pots, places_in_pot, port_sets }
            }

            #[inline(always)]
            fn own_pot(&self) -> u32 {
                // SAFETY: the helper takes nothing.
                let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
                let pots = <Self as Flows<$Family>>::room(self).pots;
                if pots == 0 { 0 } else { cpu % pots }
            }

            #[inline(always)]
            fn word(&self, which: RoomWord) -> Option<Shared> {
                let word = match which {
                    RoomWord::Place(number) => $PLACES.get_ptr_mut(number)?,
                    RoomWord::Free(pot) => $POTS.get_ptr_mut(pot)?.cast(),
                    // SAFETY: the second word of a map value of eight.
                    RoomWord::Turn(pot) => unsafe { $POTS.get_ptr_mut(pot)?.cast::<u64>().add(1) },
                    RoomWord::Fresh => $POTS.get_ptr_mut(layout::SHARED_POT)?.cast(),
                    // SAFETY: as above.
                    RoomWord::Hand => unsafe { $POTS.get_ptr_mut(layout::SHARED_POT)?.cast::<u64>().add(1) },
                    // SAFETY: the third word of a map value of eight.
                    RoomWord::FreshPorts => unsafe {
                        $POTS.get_ptr_mut(layout::SHARED_POT)?.cast::<u64>().add(2)
                    },
                    // SAFETY: the fourth word of a map value of eight.
                    RoomWord::FreePorts => unsafe {
                        $POTS.get_ptr_mut(layout::SHARED_POT)?.cast::<u64>().add(3)
                    },
                };
                // SAFETY: an aligned word of a map value.
                Some(unsafe { Shared::at(word) })
            }

            #[inline(always)]
            fn datagram(&self, key: &$Key) -> Option<$Datagram> {
                // SAFETY: a valid map value. Should it be given to another datagram meanwhile, a fragment goes astray,
                // as one may anywhere, and its datagram is never put together.
                $DATAGRAMS.get_ptr(key).map(|datagram| unsafe { *datagram })
            }

            #[inline(always)]
            fn note_datagram(&self, key: &$Key, datagram: &$Datagram) {
                // Where it fails, the fragments that follow are placed as those that come too early.
                let _ = $DATAGRAMS.insert(key, datagram, 0);
            }

            #[inline(always)]
            fn next_number(&self) -> u32 {
                let Some(word) = WORDS.get_ptr_mut(layout::NUMBERS) else { return 0 };
                // SAFETY: an aligned word of a map value.
                unsafe { Shared::at(word) }.add(1) as u32
            }

            #[inline(always)]
            fn ports_towards(&self, record: $RecordAt) -> PortSetRef {
                // SAFETY: a key in a valid map value, which the helper takes as it is.
                let set = $PORTS.get_ptr(unsafe { &*record.key_at(Side::Reply) });
                // SAFETY: an aligned word of a map value, read once.
                set.map_or(PortSetRef::NONE, |set| unsafe { set.read_volatile() })
            }

            #[inline(always)]
            fn enter_ports(&self, record: $RecordAt, set: PortSetRef) -> bool {
                let key = record.key_at(Side::Reply);
                let Some(place) = $PORT_SETS.get_ptr_mut(set.id().0) else { return false };
                // SAFETY: the words from there on hold a key of either family.
                let noted = unsafe { place.cast::<u64>().add(PORT_SET_KEY as usize).cast::<$Key>() };
                // SAFETY: keys in valid map values; the set is this run's alone.
                unsafe { copy_words(key, noted) };
                // SAFETY: a key in a valid map value.
                $PORTS.insert(unsafe { &*key }, set, u64::from(BPF_NOEXIST)).is_ok()
            }

            #[inline(always)]
            fn remove_ports(&self, id: PortSetId) {
                let Some(place) = $PORT_SETS.get_ptr_mut(id.0) else { return };
                // SAFETY: as in `enter_ports`.
                let noted = unsafe { place.cast::<u64>().add(PORT_SET_KEY as usize).cast::<$Key>() };
                // It can only fail where the key is gone already, which is what was wanted.
                // SAFETY: a key in a valid map value.
                let _ = $PORTS.remove(unsafe { &*noted });
            }

            #[inline(always)]
            fn ports(&self, id: PortSetId) -> Option<PortsAt> {
                // SAFETY: a valid map value.
                $PORT_SETS.get_ptr_mut(id.0).map(|set| unsafe { PortsAt::at(set) })
            }

            #[inline(always)]
            fn refused(&self, record: $RecordAt) {
                // SAFETY: a key in a valid map value, which the helper takes as it is.
                let towards = unsafe { &*record.key_at(Side::Reply) };
                if let Some(count) = $REFUSED.get_ptr_mut(towards) {
                    // SAFETY: an aligned word of a map value.
                    return unsafe { add(count, 1) };
                }
                // Where another CPU was faster, one refusal of two is not counted by remote; by reason both are.
                let _ = $REFUSED.insert(towards, 1, u64::from(BPF_NOEXIST));
            }

            #[inline(always)]
            fn ask(&self, note: impl FnOnce(&mut Asked<$Key, $Address>)) {
                if let Some(asked) = $ASKED.get_ptr_mut(0) {
                    // SAFETY: a valid map value of this CPU, which only its packet's steps look at.
                    note(unsafe { &mut *asked });
                }
            }

            #[inline(always)]
            fn asked<R>(&self, see: impl FnOnce(&Asked<$Key, $Address>) -> R) -> Option<R> {
                let asked = $ASKED.get_ptr_mut(0)?;
                // SAFETY: as above.
                Some(see(unsafe { &*asked }))
            }

            #[inline(always)]
            fn repeat(times: u32, mut body: impl FnMut() -> bool) {
                repeat(times, &mut body);
            }

            #[inline(always)]
            fn made(&self) {
                add_per_cpu(&ENDED, layout::FLOWS_OPENED, 1);
            }

            #[inline(always)]
            fn tell(&self, record: $RecordAt, why: End, life: Life) {
                add_per_cpu(&ENDED, why as u32, 1);
                // SAFETY: a record in a valid map value.
                if why == End::Idle && unsafe { (*record.0).meta.tells_idle } != 0 {
                    put(&SIGNALS, layout::SIGNALS_LOST, |event| {
                        // SAFETY: as below.
                        unsafe { put_event!(self, $Family, event, record, why, life) };
                    });
                }
                if events::are_wanted() {
                    put(&EVENTS, layout::EVENTS_LOST, |event| {
                        // SAFETY: the kernel's memory for one event, written whole before it is submitted; and a
                        // record in a valid map value, which is in this run's hands alone.
                        unsafe { put_event!(self, $Family, event, record, why, life) };
                    });
                }
            }
        }
    };
}

flows!(
    V4,
    Ip4,
    Key4,
    Entry4,
    EntryAt4,
    Record4,
    RecordAt4,
    Datagram4,
    FLOWS_V4,
    RECORDS_V4,
    POTS_V4,
    PLACES_V4,
    SCRATCH_V4,
    ROOM_V4,
    DATAGRAMS_V4,
    PORTS_V4,
    PORT_SETS_V4,
    REFUSED_V4,
    ASKED_V4,
    layout::DEFAULT_FLOWS
);
flows!(
    V6,
    Ip6,
    Key6,
    Entry6,
    EntryAt6,
    Record6,
    RecordAt6,
    Datagram6,
    FLOWS_V6,
    RECORDS_V6,
    POTS_V6,
    PLACES_V6,
    SCRATCH_V6,
    ROOM_V6,
    DATAGRAMS_V6,
    PORTS_V6,
    PORT_SETS_V6,
    REFUSED_V6,
    ASKED_V6,
    layout::DEFAULT_FLOWS_V6
);

/// Puts an event into a ring, or counts that there was no room.
#[inline(always)]
fn put(ring: &RingBuf, lost: u32, fill: impl FnOnce(*mut Event)) {
    let Some(mut room) = ring.reserve::<Event>(0) else { return add_per_cpu(&ENDED, lost, 1) };
    fill(room.as_mut_ptr());
    room.submit(0);
}

/// A loop of the kernel's: the verifier walks its body until nothing new is found, not once for each number.
#[inline(always)]
fn repeat<B: FnMut() -> bool>(times: u32, body: &mut B) {
    unsafe extern "C" fn step<B: FnMut() -> bool>(_: u32, body: *mut c_void) -> i64 {
        // SAFETY: `repeat` passes a body of its own, which lives until the loop is done.
        i64::from(unsafe { (*body.cast::<B>())() })
    }
    // SAFETY: the callback has the signature that the kernel calls.
    unsafe { bpf_loop(times, step::<B> as *mut c_void, (&raw mut *body).cast(), 0) };
}

/// Copies a value word by word, without the stack in between.
///
/// # Safety
/// Both must be aligned to eight bytes and valid for a `T`, whose size is a multiple of eight.
#[inline(always)]
unsafe fn copy_words<T>(from: *const T, to: *mut T) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    for nth in 0..size_of::<T>() / 8 {
        // SAFETY: the caller vouches for the size.
        let from = unsafe { from.add(nth) };
        // SAFETY: as above.
        let to = unsafe { to.add(nth) };
        // SAFETY: the caller vouches for what lies there.
        let word = unsafe { from.read_volatile() };
        // SAFETY: as above.
        unsafe { to.write_volatile(word) };
    }
}
