//! Flows that ended, told to whoever wants to know.

use crate::maps::WORDS;
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use weir_path::layout;

/// Flows that ended, for whoever wants to know. Sized for a burst of thousands.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(layout::EVENT_BYTES, 0);

/// Flows that were silent for too long, whose ends the daemon is to tell.
#[map]
pub static SIGNALS: RingBuf = RingBuf::with_byte_size(layout::SIGNAL_BYTES, 0);

#[inline(always)]
pub fn are_wanted() -> bool {
    // SAFETY: an aligned word of a map value, which user space writes at any time.
    WORDS.get_ptr(layout::EVENTS_WANTED).is_some_and(|word| unsafe { word.read_volatile() } != 0)
}

/// Writes an event field by field: put together on the stack first, it would not fit.
macro_rules! put_event {
    ($maps:expr, $Family:ty, $event:expr, $record:expr, $why:expr, $life:expr) => {{
        let [original, reply] = &(*$record.0).keys;
        (&raw mut (*$event).original).write(original.ends.mapped());
        (&raw mut (*$event).reply).write(reply.ends.mapped());
        (&raw mut (*$event).zones).write([original.zone(), reply.zone()]);
        (&raw mut (*$event).protocol).write(original.protocol());
        (&raw mut (*$event).phase).write($life.phase() as u8);
        (&raw mut (*$event).tells_idle).write((*$record.0).meta.tells_idle);
        (&raw mut (*$event).zero).write(0);
        (&raw mut (*$event).why).write($why as u32);
        (&raw mut (*$event).opened).write((*$record.0).meta.opened);
        (&raw mut (*$event).seen).write($life.seen());
        (&raw mut (*$event).ended).write($maps.now());
        (&raw mut (*$event).account).write((*$record.0).meta.account);
        for side in [Side::Original, Side::Reply] {
            let (counts, acknowledged, hop) = match <Maps as Flows<$Family>>::find_side($maps, $record, side)
            {
                Some(entry) => (entry.counts(), entry.acknowledged(), entry.hop()),
                None => (Counts { packets: 0, bytes: 0 }, 0, Hop::default()),
            };
            let nth = side as usize;
            (&raw mut (*$event).counts).cast::<Counts>().add(nth).write(counts);
            (&raw mut (*$event).acknowledged).cast::<u32>().add(nth).write(acknowledged);
            (&raw mut (*$event).hops).cast::<Hop>().add(nth).write(hop);
        }
    }};
}
pub(crate) use put_event;
