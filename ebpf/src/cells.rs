//! Entries and records where they lie in the maps, once for each family.

use crate::words::{Shared, add};
use core::ptr::{addr_of, addr_of_mut};
use weir_path::addr::{Ip4, Ip6, L4Port, Zone};
use weir_path::flow::store::{EntryCell, RecordCell, Word};
use weir_path::flow::{
    Account, Counts, Ends, Entry4, Entry6, Hop, Key, Key4, Key6, Meta, Record4, Record6, Side, V4, V6,
};

macro_rules! cells {
    ($Family:ident, $Address:ident, $Key:ident, $Entry:ident, $EntryAt:ident, $Record:ident, $RecordAt:ident) => {
        /// An entry in the map.
        #[derive(Clone, Copy)]
        pub struct $EntryAt(pub *mut $Entry);

        impl EntryCell<$Family> for $EntryAt {
            type Stamp = Shared;

            #[inline(always)]
            fn stamp(self) -> Shared {
                // SAFETY: a valid map value, whose first field is an aligned word.
                unsafe { Shared::at(addr_of_mut!((*self.0).stamp).cast()) }
            }

            #[inline(always)]
            fn is_under(self, key: &$Key) -> bool {
                // SAFETY: a valid map value.
                Key::is(unsafe { &*addr_of!((*self.0).key) }, key)
            }

            #[inline(always)]
            fn rewrite(self) -> Ends<$Address> {
                // SAFETY: a valid map value.
                unsafe { (*self.0).rewrite }
            }

            #[inline(always)]
            fn hop(self) -> Hop {
                // SAFETY: a valid map value.
                unsafe { (*self.0).hop }
            }

            #[inline(always)]
            fn swap_hop(self, from: Hop, to: Hop) -> bool {
                // SAFETY: an aligned word of a valid map value.
                let hop = unsafe { Shared::at(addr_of_mut!((*self.0).hop).cast()) };
                hop.swap(from.to_word(), to.to_word())
            }

            #[inline(always)]
            fn acknowledged(self) -> u32 {
                // SAFETY: a valid map value.
                unsafe { (*self.0).acknowledged }
            }

            #[inline(always)]
            fn set_acknowledged(self, number: u32) {
                // SAFETY: a valid map value; the field is aligned, so it is written whole.
                unsafe { addr_of_mut!((*self.0).acknowledged).write(number) };
            }

            #[inline(always)]
            fn counts(self) -> Counts {
                // SAFETY: a valid map value.
                unsafe { (*self.0).counts }
            }

            #[inline(always)]
            fn count(self, packets: u32, bytes: u32) -> u64 {
                // SAFETY: an aligned word of a valid map value.
                unsafe { add(addr_of_mut!((*self.0).counts.bytes), u64::from(bytes)) };
                // SAFETY: as above.
                unsafe { Shared::at(addr_of_mut!((*self.0).counts.packets)) }.add(u64::from(packets))
            }
        }

        /// A record in the map.
        #[derive(Clone, Copy)]
        pub struct $RecordAt(pub *mut $Record);

        impl $RecordAt {
            #[inline(always)]
            pub fn key_at(self, side: Side) -> *mut $Key {
                // SAFETY: a valid map value; there is a key for each side.
                unsafe { addr_of_mut!((*self.0).keys).cast::<$Key>().add(side as usize) }
            }
        }

        impl RecordCell<$Family> for $RecordAt {
            type Life = Shared;

            #[inline(always)]
            fn life(self) -> Shared {
                // SAFETY: a valid map value, whose first field is an aligned word.
                unsafe { Shared::at(addr_of_mut!((*self.0).life).cast()) }
            }

            #[inline(always)]
            fn key(self, side: Side) -> $Key {
                // SAFETY: a key in a valid map value.
                unsafe { *self.key_at(side) }
            }

            #[inline(always)]
            fn protocol(self) -> u8 {
                // SAFETY: a key in a valid map value.
                Key::protocol(unsafe { &*self.key_at(Side::Original) })
            }

            #[inline(always)]
            fn meta(self) -> Meta {
                // SAFETY: a valid map value.
                unsafe { (*self.0).meta }
            }

            #[inline(always)]
            fn fill(self, original: &$Key, meta: &Meta) {
                // SAFETY: the record is in nobody else's hands.
                unsafe { self.key_at(Side::Original).write(*original) };
                // SAFETY: as above.
                unsafe { addr_of_mut!((*self.0).meta).write(*meta) };
            }

            #[inline(always)]
            fn answer_from(self, address: &$Address, port: L4Port, zone: Zone) {
                let (original, reply) = (self.key_at(Side::Original), self.key_at(Side::Reply));
                // Field by field: put together on the stack first, it would not fit.
                // SAFETY: a key in a valid map value.
                let asked = unsafe { &(*original).ends };
                // SAFETY: as above, in a record that is in nobody else's hands.
                let reply = unsafe { &mut *reply };
                reply.ends.src = *address;
                reply.ends.dst = asked.src;
                reply.ends.sport = port;
                reply.ends.dport = asked.sport;
                reply.set_space(zone, self.protocol());
            }

            #[inline(always)]
            fn answer_to(self, [from, to]: [&$Address; 2], port: L4Port, zone: Zone) {
                // SAFETY: a key in a valid map value, in a record that is in nobody else's hands.
                let reply = unsafe { &mut *self.key_at(Side::Reply) };
                reply.ends.src = *from;
                reply.ends.dst = *to;
                reply.ends.sport = port;
                reply.ends.dport = L4Port([0; 2]);
                reply.set_space(zone, self.protocol());
            }

            #[inline(always)]
            fn set_port(self, port: L4Port) {
                // SAFETY: a key in a valid map value, in a record that is in nobody else's hands.
                unsafe { addr_of_mut!((*self.key_at(Side::Reply)).ends.dport).write(port) };
            }

            #[inline(always)]
            fn port(self) -> L4Port {
                // SAFETY: a key in a valid map value.
                unsafe { (*self.key_at(Side::Reply)).ends.dport }
            }

            #[inline(always)]
            fn set_place(self, place: u32) {
                // SAFETY: a valid map value; the field is aligned, so it is written whole.
                unsafe { addr_of_mut!((*self.0).meta.place).write(place) };
            }

            #[inline(always)]
            fn set_account(self, account: Account) {
                // SAFETY: a valid map value; the field is aligned, so it is written whole.
                unsafe { addr_of_mut!((*self.0).meta.account).write(account) };
            }

            #[inline(always)]
            fn expect(self, acknowledgement: u32) {
                // SAFETY: a valid map value; the field is aligned, so it is written whole.
                unsafe { addr_of_mut!((*self.0).meta.expected).write(acknowledgement) };
            }

            #[inline(always)]
            fn set_shift(self, side: Side, shift: u8) {
                // SAFETY: a valid map value; there is a byte for each side.
                unsafe { addr_of_mut!((*self.0).meta.shifts).cast::<u8>().add(side as usize).write(shift) };
            }

            #[inline(always)]
            fn next(self) -> u32 {
                // SAFETY: a valid map value.
                unsafe { addr_of!((*self.0).meta.account).cast::<u32>().read_volatile() }
            }

            #[inline(always)]
            fn link(self, next: u32) {
                // SAFETY: a valid map value; the field is aligned, so it is written whole.
                unsafe { addr_of_mut!((*self.0).meta.account).cast::<u32>().write_volatile(next) };
            }
        }
    };
}

cells!(V4, Ip4, Key4, Entry4, EntryAt4, Record4, RecordAt4);
cells!(V6, Ip6, Key6, Entry6, EntryAt6, Record6, RecordAt6);
