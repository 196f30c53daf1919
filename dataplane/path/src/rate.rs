//! How many answers may be made: a bucket of tokens for each interface, in one word.
//!
//! An answer goes to whoever the packet says that it is from. So a flood of packets must not become a flood of
//! answers, neither to its sender nor to the one whose address it borrowed.

use crate::flow::store::Word;
use crate::time::Now;
use crate::verifier::rolled;

/// How often a word is tried that other CPUs change at the same moment.
const TRIES: u32 = 3;
/// What an answer costs. The clock ticks in eighths of a second, so that many come back with each tick.
const PRICE: u64 = 8;

/// Takes an answer out of the bucket in `word`, which fills up with `a_second` of them, and holds no more than that.
/// `false` where it is empty. A bucket of zeros is full.
///
/// ```text
///  63 ────── 32   31 ────── 0
///  last filled    eighths of answers that are gone
/// ```
#[inline(always)]
pub fn take(word: impl Word, now: Now, a_second: u32) -> bool {
    for _ in rolled(TRIES) {
        let was = word.load();
        let came_back = u64::from(now.since(Now((was >> 32) as u32))) * u64::from(a_second);
        let gone = (was & 0xffff_ffff).saturating_sub(came_back) + PRICE;
        if gone > u64::from(a_second) * PRICE {
            return false;
        }
        if word.swap(was, u64::from(now.0) << 32 | gone) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    impl Word for &Cell<u64> {
        fn load(self) -> u64 {
            self.get()
        }

        fn swap(self, from: u64, to: u64) -> bool {
            let is_it = self.get() == from;
            if is_it {
                self.set(to);
            }
            is_it
        }

        fn add(self, number: u64) -> u64 {
            self.replace(self.get().wrapping_add(number))
        }

        fn set(self, bits: u64) -> u64 {
            self.replace(self.get() | bits)
        }

        fn clear(self, bits: u64) -> u64 {
            self.replace(self.get() & !bits)
        }
    }

    fn taken(word: &Cell<u64>, now: Now, a_second: u32, tries: u32) -> usize {
        (0..tries).filter(|_| take(word, now, a_second)).count()
    }

    #[test]
    fn as_many_answers_as_a_second_has_are_made_at_once_and_then_an_eighth_with_each_tick() {
        let word = Cell::new(0);
        assert_eq!(taken(&word, Now(80), 1_000, 5_000), 1_000);
        assert_eq!(taken(&word, Now(81), 1_000, 5_000), 125);
        assert_eq!(taken(&word, Now(81 + 4), 1_000, 5_000), 500);
        assert_eq!(taken(&word, Now(81 + 400), 1_000, 5_000), 1_000, "no more than the bucket holds");
    }

    #[test]
    fn slow_rates_are_kept_exactly() {
        let word = Cell::new(0);
        let a_minute: usize = (0..60 * 8).map(|tick| taken(&word, Now(1_000 + tick), 3, 10)).sum();
        assert_eq!(a_minute, 3 + 60 * 3 - 1, "a full bucket, and what came back in 479 ticks");
    }

    #[test]
    fn a_rate_of_zero_answers_nothing() {
        assert_eq!(taken(&Cell::new(0), Now(8), 0, 10), 0);
    }

    #[test]
    fn a_clock_that_wraps_does_not_empty_the_bucket() {
        let word = Cell::new(u64::from(u32::MAX) << 32 | 8_000);
        assert!(take(&word, Now(7), 1_000));
    }
}
