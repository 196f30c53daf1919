//! How fast a slot's sandbox may send and receive: two buckets of tokens each way, of bytes and of packets.
//!
//! A bucket is one word: the moment at which it will be full if nothing more is taken. Taking moves that moment on by what
//! the tokens take to come, and is refused where the bucket would not hold so many (the generic cell rate algorithm, ITU-T I.371
//! annex A, says the same). So nothing has to be filled by a clock, and several CPUs need but a compare-and-swap.
//!
//! A full bucket gives to whoever comes, and may be in debt afterwards: else a packet that is larger than it would never go.
//!
//! Time is measured in 4096ths of a nanosecond, so that a byte has a whole price at any speed. It wraps after 52 days; a
//! bucket whose moment lies further ahead than it can is full.

use crate::flow::store::Word;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::tables::{Direction, Interface, MeterWord, Rate, Tables};
use crate::verifier::rolled;

/// How often a bucket is tried that other CPUs take from at the same moment.
const TRIES: u32 = 4;
/// By how many bits a nanosecond is cut.
const FRACTION: u32 = 12;
/// The most tokens that one packet takes: bytes of the longest one, before it is cut into segments.
const LARGEST: u64 = 1 << 17;
/// The longest that a token may take to come: a second. A packet takes less than a day and a half then.
const DEAREST: u64 = 1_000_000_000 << FRACTION;

impl Rate {
    /// A bucket that holds `size` tokens, and is filled in `refill` nanoseconds: at most a second a token.
    #[must_use]
    pub const fn of(size: u64, refill: u64) -> Self {
        if size == 0 {
            return Self { price: 0, burst: 0 };
        }
        let burst = refill << FRACTION;
        match burst / size {
            0 => Self { price: 1, burst },
            price if price > DEAREST => Self { price: DEAREST, burst: DEAREST * size },
            price => Self { price, burst },
        }
    }
}

/// Lets a packet from a slot go on, if it is not faster than may be.
///
/// # Errors
/// [`Reason::OverRateOut`].
#[inline(always)]
pub(crate) fn let_out<P: Packet, T: Tables>(p: &P, t: &T, here: &Interface) -> Result<(), Reason> {
    if here.is_metered(Direction::Out) && !admits(t, here, Direction::Out, [p.length() as u32, p.segments()])
    {
        return Err(Reason::OverRateOut);
    }
    Ok(())
}

/// The same for a packet that leaves by a slot.
///
/// # Errors
/// [`Reason::OverRateIn`].
#[inline(always)]
pub(crate) fn let_in<P: Packet, T: Tables>(p: &P, t: &T, out: &Interface) -> Result<(), Reason> {
    if out.is_metered(Direction::In) && !admits(t, out, Direction::In, [p.length() as u32, p.segments()]) {
        return Err(Reason::OverRateIn);
    }
    Ok(())
}

/// Takes a packet's bytes and its number of packets out of the buckets, or nothing.
#[inline(never)]
fn admits<T: Tables>(t: &T, slot: &Interface, direction: Direction, [bytes, packets]: [u32; 2]) -> bool {
    let Some(rates) = t.rates(slot.egress.id) else { return false };
    let now = t.nanoseconds() << FRACTION;
    let way = direction as usize;
    let (Some(of_bytes), Some(of_packets)) = (rates.bytes.get(way), rates.packets.get(way)) else {
        return false;
    };
    let word = |which| t.meter(slot.egress.id, direction, which);
    if !takes([word(MeterWord::Bytes), word(MeterWord::BytesOnce)], of_bytes, now, bytes) {
        return false;
    }
    let is_admitted =
        takes([word(MeterWord::Packets), word(MeterWord::PacketsOnce)], of_packets, now, packets);
    if !is_admitted && let Some(bucket) = word(MeterWord::Bytes) {
        bucket.add((u64::from(bytes) * of_bytes.price).wrapping_neg());
    }
    is_admitted
}

#[inline(always)]
fn takes<W: Word>([bucket, once]: [Option<W>; 2], rate: &Rate, now: u64, tokens: u32) -> bool {
    if rate.price == 0 {
        return true;
    }
    let (Some(bucket), Some(once)) = (bucket, once) else { return false };
    take(bucket, once, rate, now, u64::from(tokens))
}

/// Takes tokens: of those that are there once, else out of the bucket.
#[inline(always)]
fn take<W: Word>(bucket: W, once: W, rate: &Rate, now: u64, tokens: u64) -> bool {
    let left = once.load();
    if left >= tokens && once.swap(left, left - tokens) {
        return true;
    }
    for _ in rolled(TRIES) {
        let was = bucket.load();
        let ahead = was.wrapping_sub(now);
        let ahead = if ahead > rate.burst + LARGEST * rate.price { 0 } else { ahead };
        let is = ahead + tokens * rate.price;
        if ahead != 0 && is > rate.burst {
            return false;
        }
        if bucket.swap(was, now.wrapping_add(is)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    const SECOND: u64 = 1_000_000_000;

    /// How many of `offered` packets a second, each of so many tokens, get through in these seconds.
    fn passed(rate: Rate, once: u64, offered: u64, tokens: u64, seconds: u64) -> u64 {
        let (bucket, once) = (Cell::new(0), Cell::new(once));
        let times = (0..offered * seconds).map(|nth| (77 * SECOND + nth * SECOND / offered) << FRACTION);
        times.filter(|now| take(&bucket, &once, &rate, *now, tokens)).count() as u64
    }

    #[test]
    fn twice_the_rate_comes_out_as_the_rate_and_one_bucket() {
        for (size, refill) in
            [(12_500_000, 100_000_000), (1_000, SECOND), (65_536, 1_000_000), (1 << 30, 50_000_000)]
        {
            let rate = Rate::of(size, refill);
            let a_second = (size as u128 * SECOND as u128 / refill as u128) as u64;
            let tokens = (a_second / 10_000).max(1);
            let offered = 2 * a_second / tokens;
            let through = passed(rate, 0, offered, tokens, 5) * tokens;
            let due = 5 * a_second + size;
            assert!(through.abs_diff(due) * 1_000 < due * 5, "{size} in {refill}: {through} for {due}");
        }
    }

    #[test]
    fn packets_that_are_larger_than_the_bucket_go_as_fast_as_it_fills() {
        let through = passed(Rate::of(1_000, SECOND), 0, 10, 5_000, 60) * 5_000;
        assert_eq!(through, 60 * 1_000, "one in five seconds");
    }

    #[test]
    fn what_is_there_once_goes_first_and_only_once() {
        let rate = Rate::of(100, SECOND);
        assert_eq!(passed(rate, 0, 1_000, 1, 1), 199);
        assert_eq!(passed(rate, 250, 1_000, 1, 1), 250 + 174);
    }

    #[test]
    fn a_bucket_of_no_size_has_no_limit() {
        assert_eq!(passed(Rate::of(0, SECOND), 0, 1_000, 9_000, 1), 1_000);
    }

    #[test]
    fn a_bucket_whose_moment_lies_further_ahead_than_it_can_is_full() {
        let rate = Rate::of(100, SECOND);
        let (bucket, once) = (Cell::new(u64::MAX / 3), Cell::new(0));
        assert!(take(&bucket, &once, &rate, 7, 100));
        assert!(!take(&bucket, &once, &rate, 7, 1));
    }
}
