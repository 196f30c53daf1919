//! Figures of several rounds: their median and how far they spread.

use std::fmt;

/// One figure a round.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a round's figure.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The median round.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The lowest figure.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The highest figure.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// This divided by `other`, round by round.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        self.with(other, |mine, theirs| mine / theirs)
    }

    /// This less `other`, round by round.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        self.with(other, |mine, theirs| mine - theirs)
    }

    /// This and `other`, round by round.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, |mine, theirs| mine + theirs)
    }

    fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| combine(*mine, *theirs)).collect())
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

impl fmt::Display for Series {
    /// The median, and the spread in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let (median, least, most) = (self.median(), self.least(), self.most());
        let text = format!("{median:.digits$} ({least:.digits$}..{most:.digits$})");
        // Not `pad`: it would cut the text to as many characters as there are digits.
        write!(f, "{text:<width$}", width = f.width().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round_before_the_median() {
        let [mine, floor]: [Series; 2] =
            [[10.0, 40.0, 90.0], [10.0, 20.0, 30.0]].map(|rounds| rounds.into_iter().collect());
        let ratio = mine.over(&floor);
        assert_eq!((ratio.median(), ratio.least(), ratio.most()), (2.0, 1.0, 3.0));
        assert_eq!(format!("{ratio:.1}"), "2.0 (1.0..3.0)");
        assert_eq!(mine.less(&floor).median(), 20.0);
    }
}
