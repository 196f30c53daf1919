//! The path's cells over the model: every method is one access past the watcher.

use super::flows::{FlowModel, Kept};
use super::watch::{Op, Watch};
use super::words::{EntryAt, RecordAt, Which, WordAt};
use weir_path::addr::{L4Port, Zone};
use weir_path::flow::store::{EntryCell, PortCells, PortSetId, RecordCell};
use weir_path::flow::{Account, Counts, Ends, Hop, Key, Meta, Side};

impl<'a, F: Kept, W: Watch> EntryCell<F> for EntryAt<'a, F, W> {
    type Stamp = WordAt<'a, F, W>;

    fn stamp(self) -> Self::Stamp {
        let Self { table, watch, at } = self;
        WordAt { table, watch, which: Which::Stamp(at) }
    }

    fn is_under(self, key: &F::Key) -> bool {
        self.watch.access(Op::IsUnder, || self.table.element(self.at).key.is(key))
    }

    fn rewrite(self) -> Ends<F::Address> {
        F::rewrite(self.watch, || self.table.element(self.at).rewrite)
    }

    fn hop(self) -> Hop {
        self.watch.access(Op::Hop, || self.table.element(self.at).side.hop)
    }

    fn swap_hop(self, from: Hop, to: Hop) -> bool {
        self.watch.access(Op::SwapHop, || {
            let is_it = self.table.element(self.at).side.hop == from;
            if is_it {
                self.table.write_side(self.at, |side| side.hop = to);
            }
            is_it
        })
    }

    fn acknowledged(self) -> u32 {
        self.watch.access(Op::Acknowledged, || self.table.element(self.at).side.acknowledged)
    }

    fn set_acknowledged(self, number: u32) {
        self.watch.access(Op::Acknowledged, || {
            self.table.write_side(self.at, |side| side.acknowledged = number);
        });
    }

    fn counts(self) -> Counts {
        self.watch.access(Op::Counts, || self.table.element(self.at).side.counts)
    }

    fn count(self, packets: u32, bytes: u32) -> u64 {
        self.watch.access(Op::Count, || {
            let before = self.table.element(self.at).side.counts.packets;
            self.table.write_side(self.at, |side| {
                side.counts.packets += u64::from(packets);
                side.counts.bytes += u64::from(bytes);
            });
            before
        })
    }
}

impl<'a, F: Kept, W: Watch> RecordCell<F> for RecordAt<'a, F, W> {
    type Life = WordAt<'a, F, W>;

    fn life(self) -> Self::Life {
        let Self { table, watch, id } = self;
        WordAt { table, watch, which: Which::Life(id) }
    }

    fn key(self, side: Side) -> F::Key {
        self.watch.access(Op::ReadRecord, || self.table.read(self.id).key(side))
    }

    fn protocol(self) -> u8 {
        self.watch.access(Op::ReadRecord, || self.table.read(self.id).key(Side::Original).protocol())
    }

    fn meta(self) -> Meta {
        self.watch.access(Op::ReadRecord, || self.table.read(self.id).meta)
    }

    fn fill(self, original: &F::Key, meta: &Meta) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| {
                let [_, reply] = record.keys;
                (record.keys, record.meta) = ([*original, reply], *meta);
            });
        });
    }

    fn answer_from(self, address: &F::Address, port: L4Port, zone: Zone) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| {
                let original = record.key(Side::Original);
                let Ends { src, sport, .. } = original.ends();
                let ends = Ends { src: *address, dst: src, sport: port, dport: sport };
                record.keys = [original, F::Key::new(ends, original.protocol(), zone)];
            });
        });
    }

    fn answer_to(self, [src, dst]: [&F::Address; 2], port: L4Port, zone: Zone) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| {
                let original = record.key(Side::Original);
                let ends = Ends { src: *src, dst: *dst, sport: port, dport: L4Port::new(0) };
                record.keys = [original, F::Key::new(ends, original.protocol(), zone)];
            });
        });
    }

    fn set_port(self, port: L4Port) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| {
                let [original, reply] = record.keys;
                let ends = Ends { dport: port, ..reply.ends() };
                record.keys = [original, F::Key::new(ends, reply.protocol(), reply.zone())];
            });
        });
    }

    fn port(self) -> L4Port {
        let number = || self.table.read(self.id).key(Side::Reply).ends().dport.number();
        L4Port::new(self.watch.access(Op::ReadRecord, number))
    }

    fn set_place(self, place: u32) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| record.meta.place = place);
        });
    }

    fn set_account(self, account: Account) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| record.meta.account = account);
        });
    }

    fn expect(self, acknowledgement: u32) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| record.meta.expected = acknowledgement);
        });
    }

    fn set_shift(self, side: Side, shift: u8) {
        self.watch.access(Op::WriteRecord, || {
            self.table.write(self.id, |record| {
                let [original, reply] = &mut record.meta.shifts;
                *(if side == Side::Original { original } else { reply }) = shift;
            });
        });
    }

    fn next(self) -> u32 {
        self.watch.access(Op::Link, || self.table.read(self.id).meta.account.0)
    }

    fn link(self, next: u32) {
        self.watch
            .access(Op::Link, || self.table.write(self.id, |record| record.meta.account = Account(next)));
    }
}

/// A set of ports.
#[derive(Debug)]
pub struct PortsAt<'a, F: Kept, W> {
    pub(super) table: &'a FlowModel<F>,
    pub(super) watch: &'a W,
    pub(super) id: PortSetId,
}

impl<F: Kept, W> Clone for PortsAt<'_, F, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Kept, W> Copy for PortsAt<'_, F, W> {}

impl<'a, F: Kept, W: Watch> PortCells for PortsAt<'a, F, W> {
    type Word = WordAt<'a, F, W>;

    fn word(self, nth: u32) -> Self::Word {
        let Self { table, watch, id } = self;
        WordAt { table, watch, which: Which::Port(id, nth) }
    }
}
