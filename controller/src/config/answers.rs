//! `[answers]`: how much Weir says itself, by ICMP and by RST.

use super::model::Answers;
use super::reader::{Problems, Section};
use super::values;

/// Enough for an echo of each of some hundred neighbours, and too little to be of use to a flood.
const PER_SECOND: u32 = 1_000;
/// More than one CPU can make.
const MOST_PER_SECOND: u32 = 1_000_000;

impl Default for Answers {
    fn default() -> Self {
        Self { per_second: PER_SECOND }
    }
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> Answers {
    let read = |value| values::number_of(value, "answers", 0, MOST_PER_SECOND);
    let per_second = section.optional(problems, "per_second", read);
    section.finish(problems);
    Answers { per_second: per_second.map_or(PER_SECOND, |it| it.value) }
}
