//! Any bytes are a packet, and every law must hold. `tests/fuzz.rs` runs the same target bounded, on stable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use weir_testkit::fuzz::Target;

thread_local! {
    static TARGET: RefCell<Target> = RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    TARGET.with_borrow_mut(|target| {
        if let Err(law) = target.one(input) {
            panic!("{law}");
        }
    });
});
