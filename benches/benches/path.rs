//! What a packet costs on a slice: the same path as in the kernel, over a model of the tables.
//!
//! For comparing two versions of the path. Absolute values say little: the model's maps are not the kernel's.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use weir_path::frame::Frame;
use weir_path::{from_slot, from_uplink};
use weir_testkit::executor::Walk;
use weir_testkit::fixtures::{self, Fixture};
use weir_testkit::model::Model;

/// The fixtures that are measured, by their sentences.
const MEASURED: [&str; 3] = [
    "a request of a known TCP flow reaches its sandbox, with the client's address kept",
    "a datagram of a known UDP flow reaches its sandbox",
    "a SYN that is sent again follows the flow that it opened",
];

fn measure(criterion: &mut Criterion, fixture: &Fixture) {
    let model = Model::new(&fixture.world);
    criterion.bench_function(fixture.says, |bencher| {
        bencher.iter_batched_ref(
            || fixture.packet.clone(),
            |packet| {
                let view = model.seen_from(fixture.walk, fixture.arrival);
                let len = packet.len();
                let mut frame = Frame::new(packet, len)?;
                Some(black_box(match fixture.walk {
                    Walk::FromUplink => from_uplink(&mut frame, &view),
                    Walk::FromSlot => from_slot(&mut frame, &view),
                }))
            },
            BatchSize::SmallInput,
        );
    });
}

fn path(criterion: &mut Criterion) {
    let all = fixtures::all();
    for says in MEASURED {
        let fixture = all.iter().find(|fixture| fixture.says == says);
        assert!(fixture.is_some(), "no fixture says {says:?}");
        fixture.into_iter().for_each(|fixture| measure(criterion, fixture));
    }
}

criterion_group!(benches, path);
criterion_main!(benches);
