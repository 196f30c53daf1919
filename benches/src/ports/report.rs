//! What was found, line by line, and whether it is what it should be.

use serde_json::{Value, json};
use weir_benches::figures::Series;

/// What a figure should be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Aim {
    /// The median is this or more.
    AtLeast(f64),
    /// The median is this or less.
    AtMost(f64),
    /// Every round's figure is this.
    Always(f64),
    /// There is none.
    None,
}

impl Aim {
    /// Whether the figures are what they should be; `None` where nothing is said.
    fn is_met(self, figures: &Series) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(figures.median() >= least),
            Self::AtMost(most) => Some(figures.median() <= most),
            Self::Always(figure) => Some(figures.least() >= figure && figures.most() <= figure),
            Self::None => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
            Self::Always(figure) => format!("always {figure}"),
            Self::None => String::new(),
        }
    }
}

/// A figure's unit, and how many digits are worth showing behind the point.
pub(crate) type Unit = (&'static str, usize);
/// Nanoseconds.
pub(crate) const NS: Unit = ("ns", 0);
/// One figure divided by another.
pub(crate) const RATIO: Unit = ("x", 2);
/// So many of those that should have.
pub(crate) const SHARE: Unit = ("share", 4);
/// A number of things.
pub(crate) const COUNT: Unit = ("", 0);
/// Seconds.
pub(crate) const SECONDS: Unit = ("s", 2);

struct Finding {
    section: &'static str,
    what: String,
    figures: Series,
    unit: Unit,
    aim: Aim,
}

/// Everything that was found.
pub(crate) struct Report {
    machine: Vec<String>,
    section: &'static str,
    findings: Vec<Finding>,
    prints: bool,
}

impl Report {
    /// An empty one; whether its lines are printed as they come.
    pub(crate) const fn new(prints: bool) -> Self {
        Self { machine: Vec::new(), section: "", findings: Vec::new(), prints }
    }

    /// Says what the machine is like now.
    pub(crate) fn machine(&mut self, machine: String) {
        if self.prints {
            println!("{machine}");
        }
        self.machine.push(machine);
    }

    /// Begins a section, with a sentence about it.
    pub(crate) fn section(&mut self, name: &'static str, about: &str) {
        self.section = name;
        if self.prints {
            println!("\n{name}: {about}");
        }
    }

    /// Adds a finding.
    pub(crate) fn add(&mut self, what: impl Into<String>, figures: Series, unit: Unit, aim: Aim) {
        let finding = Finding { section: self.section, what: what.into(), figures, unit, aim };
        if self.prints {
            println!("{}", finding.for_people());
        }
        self.findings.push(finding);
    }

    /// How many aims there are, and which are not met.
    pub(crate) fn verdict(&self) -> String {
        let met: Vec<bool> = self.findings.iter().filter_map(Finding::is_met).collect();
        let missed: Vec<_> = self.findings.iter().filter(|it| it.is_met() == Some(false)).collect();
        let names: Vec<_> = missed.iter().map(|it| format!("\n  {}: {}", it.section, it.what)).collect();
        format!("{} aims, {} missed.{}", met.len(), missed.len(), names.concat())
    }

    /// All of it, as one object.
    pub(crate) fn for_programs(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(Finding::for_programs).collect();
        json!({ "machine": self.machine, "findings": findings })
    }
}

impl Finding {
    fn is_met(&self) -> Option<bool> {
        self.aim.is_met(&self.figures)
    }

    fn for_people(&self) -> String {
        let (unit, digits) = self.unit;
        let figures = format!("{:.digits$}", self.figures);
        let verdict = match self.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let line = format!("  {:<64} {figures:<30} {unit:<6} {} {verdict}", self.what, self.aim.words());
        line.trim_end().to_owned()
    }

    fn for_programs(&self) -> Value {
        let (unit, _) = self.unit;
        json!({
            "section": self.section,
            "what": self.what,
            "median": self.figures.median(),
            "least": self.figures.least(),
            "most": self.figures.most(),
            "unit": unit,
            "aim": self.aim.words(),
            "is_met": self.is_met(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_for_every_round_is_missed_by_one_of_them() {
        let figures: Series = [1.0, 1.0, 0.5].into_iter().collect();
        assert_eq!(Aim::AtLeast(1.0).is_met(&figures), Some(true));
        assert_eq!(Aim::Always(1.0).is_met(&figures), Some(false));
        assert_eq!(Aim::None.is_met(&figures), None);
    }
}
