//! What is wrong with a configuration, shown where it is wrong.
//!
//! A file is judged to its end: whoever made five mistakes learns of five. Each says what is there, why it
//! can't be, and what to write instead.

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan,
};
use std::fmt;
use std::io::IsTerminal;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    message: String,
    help: String,
    labels: Vec<LabeledSpan>,
}

impl Problem {
    /// A mistake at `at`: `label` says what is wrong there, `help` what to write instead.
    pub fn new(
        at: SourceSpan,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let label = LabeledSpan::new_primary_with_span(Some(label.into()), at);
        Self { message: message.into(), help: help.into(), labels: vec![label] }
    }

    /// Shows another place that belongs to the mistake.
    #[must_use]
    pub fn and_at(mut self, at: SourceSpan, label: impl Into<String>) -> Self {
        self.labels.push(LabeledSpan::new_with_span(Some(label.into()), at));
        self
    }

    fn offset(&self) -> usize {
        self.labels.first().map_or(0, LabeledSpan::offset)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A configuration that can't be used, with everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Invalid {
    source: NamedSource<String>,
    problems: Vec<Problem>,
}

impl Invalid {
    /// `problems` of the file `name` whose text is `text`.
    #[must_use]
    pub fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::offset);
        Self { source: NamedSource::new(name, text.to_owned()).with_language("TOML"), problems }
    }

    /// The mistakes, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All of it as a person reads it; in colour where standard error is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn rendered(&self) -> String {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        self.rendered_as(if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() })
    }

    fn rendered_as(&self, theme: GraphicalTheme) -> String {
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
        let mut text = String::new();
        for problem in &self.problems {
            // A String can always be written to.
            let _: fmt::Result = handler.render_report(&mut text, &Placed { problem, source: &self.source });
            text.push('\n');
        }
        text + &self.to_string()
    }

    /// The first mistake with its place, on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(first) = self.problems.first() else { return self.to_string() };
        let place = self.place(first).unwrap_or_default();
        let more = match self.problems.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        format!("{place}{first}{more}")
    }

    fn place(&self, problem: &Problem) -> Option<String> {
        let at = problem.labels.first()?.inner();
        let place = self.source.read_span(at, 0, 0).ok()?;
        Some(format!("{}:{}:{}: ", self.source.name(), place.line() + 1, place.column() + 1))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let problems = if count == 1 { "problem" } else { "problems" };
        write!(f, "{} has {count} {problems}; nothing was changed", self.source.name())
    }
}

impl std::error::Error for Invalid {}

/// One mistake with the text it is in, which is what a report is made of.
#[derive(Debug)]
struct Placed<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Placed<'_> {}

impl Diagnostic for Placed<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.problem.help))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.problem.labels.iter().cloned()))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }
}
