//! What is said on screen: the story to people, one object to programs.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};

use crate::report::Report;

/// Where the story goes.
pub(crate) struct Stage {
    json: bool,
    begun: Instant,
}

impl Stage {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, begun: Instant::now() }
    }

    /// Says a line of the story.
    pub(crate) fn say(&self, line: &str) {
        // Nobody is left to be told that nobody listens.
        let _: io::Result<()> =
            if self.json { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") };
    }

    /// Begins a step, with the seconds since the start.
    pub(crate) fn step(&self, title: &str) {
        self.say(&format!("\n[{:5.1} s] {title}", self.begun.elapsed().as_secs_f32()));
    }

    /// Shows how many requests each sandbox served, in each phase.
    pub(crate) fn served(&self, phases: &[(&str, &BTreeMap<String, u64>)]) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(std::iter::once("served by").chain(phases.iter().map(|(name, _)| *name)));
        let names: std::collections::BTreeSet<_> =
            phases.iter().flat_map(|(_, served)| served.keys()).collect();
        for name in names {
            let counts =
                phases.iter().map(|(_, served)| served.get(name).copied().unwrap_or_default().to_string());
            table.add_row(std::iter::once(name.clone()).chain(counts));
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        self.say(&table.to_string());
    }

    /// The end: the figures, and whether every promise was kept.
    pub(crate) fn end(&self, report: &Report, broken: &[String]) {
        self.step("The figures");
        self.say(&report.for_people());
        if broken.is_empty() {
            self.say("\nEvery promise was kept.");
        }
        for promise in broken {
            self.say(&format!("BROKEN: {promise}"));
        }
        if self.json {
            let _: io::Result<()> = writeln!(io::stdout(), "{}", report.for_programs());
        }
    }
}
