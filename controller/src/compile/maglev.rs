//! Which target a hash belongs to: Maglev's table (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", NSDI 2016, section 3.4).
//!
//! Each target has an order of its own in which it would like the table's cells: it begins at an offset and
//! goes on by a skip, both made of its name. The targets take turns, and each takes the first free cell of its
//! order. So all get the same number of cells, give or take one, and where a target goes, the others' orders
//! stay what they were: few cells change hands.

/// Where a table's cell is free while it is filled. No target has this number: there are far fewer.
const FREE: u16 = u16::MAX;

/// Sizes a table can have: primes, so that every skip reaches every cell. Each is about twice the one before,
/// so that a group's table keeps its size, and with it most of its cells, while the group grows.
const SIZES: [u32; 13] =
    [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_537, 131_071, 262_139, 524_287, 1_000_003];

/// Cells a target. The paper's rule for shares within 1 % of each other.
const CELLS_A_TARGET: usize = 100;

/// The size of the table for this many targets: none for none, else at least `CELLS_A_TARGET` a target.
#[must_use]
pub fn size_for(targets: usize) -> u32 {
    if targets == 0 {
        return 0;
    }
    let least = targets.saturating_mul(CELLS_A_TARGET);
    let largest = SIZES.last().copied().unwrap_or(0);
    SIZES.into_iter().find(|size| *size as usize >= least).unwrap_or(largest)
}

/// The table for targets with these names. `size` is a prime. Each cell holds a target's place in `names`;
/// names beyond the 65,535th, which no cell could hold, are left out.
#[must_use]
pub fn table(names: &[&str], size: u32) -> Vec<u16> {
    if names.is_empty() || size < 2 {
        return Vec::new();
    }
    let mut cells = vec![FREE; size as usize];
    let mut orders: Vec<Order> =
        names.iter().take(usize::from(FREE)).map(|name| Order::new(name, size)).collect();
    let mut left = cells.len();
    loop {
        for (target, order) in orders.iter_mut().enumerate() {
            order.take_first_free(&mut cells, target as u16, size);
            left -= 1;
            if left == 0 {
                return cells;
            }
        }
    }
}

/// The order in which one target would like the cells.
struct Order {
    next: u32,
    skip: u32,
}

impl Order {
    fn new(name: &str, size: u32) -> Self {
        let hash = hash(name);
        let [high, low] = [(hash >> 32) as u32, hash as u32];
        Self { next: high % size, skip: low % (size - 1) + 1 }
    }

    /// Ends, because a free cell is left and a prime size makes every skip reach it.
    #[inline]
    fn take_first_free(&mut self, cells: &mut [u16], target: u16, size: u32) {
        loop {
            let here = self.next as usize;
            // A compare and a conditional move: there is no division in this loop.
            let sum = self.next + self.skip;
            self.next = if sum >= size { sum - size } else { sum };
            match cells.get_mut(here) {
                Some(cell) if *cell == FREE => {
                    *cell = target;
                    return;
                }
                _ => {}
            }
        }
    }
}

/// A fixed hash of a target's name, so that every node and every build makes the same table: FNV-1a with 64
/// bits, then the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), because FNV leaves the upper bits
/// of short names alike.
fn hash(name: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let fnv = name.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_hundred_targets_share_the_cells_within_five_percent() {
        let names = names(100);
        let shares = shares(&table_of(&names), 100);
        let (max, mean) = (*shares.iter().max().unwrap() as f64, mean(&shares));
        assert!(max / mean <= 1.05, "max {max}, mean {mean}");
    }

    #[test]
    fn removing_one_of_a_hundred_moves_at_most_two_percent_of_the_others_cells() {
        let names = names(100);
        let before = table_of(&names);
        for removed in 0..100 {
            let mut rest = names.clone();
            rest.remove(removed);
            let after = table_of(&rest);
            assert_eq!(before.len(), after.len());
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(old, new)| {
                    usize::from(**old) != removed && names[usize::from(**old)] != rest[usize::from(**new)]
                })
                .count();
            let share = moved as f64 / before.len() as f64;
            assert!(share <= 0.02, "removing {} moved {:.2} % of the cells", names[removed], share * 100.0);
        }
    }

    #[test]
    fn a_table_is_the_same_today_and_tomorrow() {
        let cells = table_of(&names(3));
        assert_eq!(cells.len(), 509);
        assert_eq!(cells[..16], [0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0]);
    }

    #[test]
    fn no_targets_make_no_cells() {
        assert_eq!(size_for(0), 0);
        assert!(table(&[], size_for(0)).is_empty());
        assert!(table(&[], 251).is_empty());
        assert!(table(&["alone"], 0).is_empty());
    }

    #[test]
    fn a_table_has_room_for_a_hundred_cells_a_target_up_to_the_largest_group() {
        assert_eq!([1, 2, 3, 5, 6, 100].map(size_for), [251, 251, 509, 509, 1_021, 16_381]);
        assert_eq!(size_for(weir_dataplane::image::MAX_TARGETS_IN_GROUP as usize), 1_000_003);
    }

    #[test]
    fn every_size_is_prime() {
        for size in SIZES {
            let divisor = (2..size).take_while(|d| d * d <= size).find(|d| size % d == 0);
            assert_eq!(divisor, None, "{size}");
        }
    }

    proptest! {
        #[test]
        fn every_target_gets_its_share_within_one_cell(count in 1_usize..200) {
            let names = names(count);
            let shares = shares(&table_of(&names), count);
            let (min, max) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(max - min <= 1);
        }

        #[test]
        fn a_target_keeps_its_cells_wherever_it_stands_in_the_file(seed in 0_usize..1_000, count in 2_usize..60) {
            let names = names(count);
            let mut turned = names.clone();
            turned.rotate_left(seed % count);
            let held = |names: &[String]| -> BTreeSet<(usize, String)> {
                let cells = table_of(names);
                cells.iter().enumerate().map(|(at, cell)| (at, names[usize::from(*cell)].clone())).collect()
            };
            let (one, other) = (held(&names), held(&turned));
            // Who has the first turn wins where two want the same cell, so a few cells differ.
            let same = one.intersection(&other).count() as f64 / one.len() as f64;
            prop_assert!(same > 0.9, "{same}");
        }
    }

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("sandbox-{number}")).collect()
    }

    fn table_of(names: &[String]) -> Vec<u16> {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        table(&names, size_for(names.len()))
    }

    fn shares(cells: &[u16], targets: usize) -> Vec<usize> {
        (0..targets).map(|target| cells.iter().filter(|cell| usize::from(**cell) == target).count()).collect()
    }

    fn mean(shares: &[usize]) -> f64 {
        shares.iter().sum::<usize>() as f64 / shares.len() as f64
    }
}
