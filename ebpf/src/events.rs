//! Flows that ended, told to whoever wants to know.

use crate::maps::WORDS;
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use weir_path::layout;

/// Flows that ended, for whoever wants to know. Sized for a burst of thousands.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(layout::EVENT_BYTES, 0);

#[inline(always)]
pub fn are_wanted() -> bool {
    // SAFETY: an aligned word of a map value, which user space writes at any time.
    WORDS.get_ptr(layout::EVENTS_WANTED).is_some_and(|word| unsafe { word.read_volatile() } != 0)
}

/// Writes an event field by field: put together on the stack first, it would not fit.
macro_rules! put_event {
    ($event:expr, $record:expr, $why:expr, $life:expr, $counts:expr, $now:expr) => {{
        let [original, reply] = &(*$record).keys;
        (&raw mut (*$event).counts).write($counts);
        (&raw mut (*$event).original).write(original.ends.mapped());
        (&raw mut (*$event).reply).write(reply.ends.mapped());
        (&raw mut (*$event).zones).write([original.zone(), reply.zone()]);
        (&raw mut (*$event).protocol).write(original.protocol());
        (&raw mut (*$event).phase).write($life.phase() as u8);
        (&raw mut (*$event).why).write($why as u32);
        (&raw mut (*$event).opened).write((*$record).meta.opened);
        (&raw mut (*$event).seen).write($life.seen());
        (&raw mut (*$event).ended).write($now);
        (&raw mut (*$event).zero).write([0; 2]);
        (&raw mut (*$event).zero_too).write([0; 4]);
    }};
}
pub(crate) use put_event;
