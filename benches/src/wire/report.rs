//! What was measured, and whether Weir is where it should be.

use serde_json::{Map, Value, json};
use weir_benches::figures::Series;

use crate::mode::Mode;
use crate::packets::{Came, Traffic};
use crate::sockets::Seen;

/// What is measured of each mode, in the order of the table's columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Figure {
    OneFlow,
    NewFlows,
    Gigabits,
    Connections,
    P50,
    P99,
}

impl Figure {
    const ALL: [Self; 6] =
        [Self::OneFlow, Self::NewFlows, Self::Gigabits, Self::Connections, Self::P50, Self::P99];

    /// The column's title, and how many digits are worth showing behind the point.
    const fn shown(self) -> (&'static str, usize) {
        match self {
            Self::OneFlow => ("one flow, Mpps", 2),
            Self::NewFlows => ("new flows, Mpps", 2),
            Self::Gigabits => ("stream, Gb/s", 1),
            Self::Connections => ("connections/s", 0),
            Self::P50 => ("p50, us", 0),
            Self::P99 => ("p99, us", 0),
        }
    }

    /// The name that programs know it by.
    const fn key(self) -> &'static str {
        match self {
            Self::OneFlow => "one_flow_mpps",
            Self::NewFlows => "new_flows_mpps",
            Self::Gigabits => "stream_gbps",
            Self::Connections => "connections_per_second",
            Self::P50 => "request_p50_us",
            Self::P99 => "request_p99_us",
        }
    }
}

/// What Weir should reach, beside another in the same run.
struct Aim {
    mine: Mode,
    at_least: f64,
    theirs: Mode,
    figure: Figure,
}

const AIMS: [Aim; 3] = [
    Aim { mine: Mode::WeirXdp, at_least: 0.9, theirs: Mode::XdpDnat, figure: Figure::OneFlow },
    Aim { mine: Mode::WeirXdp, at_least: 2.5, theirs: Mode::Nftables, figure: Figure::NewFlows },
    Aim { mine: Mode::WeirTc, at_least: 0.9, theirs: Mode::TcRedirectPeer, figure: Figure::OneFlow },
];

/// Figures of all modes, turn by turn.
#[derive(Debug)]
pub(crate) struct Report {
    machine: [String; 2],
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    mode: Mode,
    figures: [Series; Figure::ALL.len()],
    lost: Series,
}

impl Row {
    fn of(&self, figure: Figure) -> Option<&Series> {
        Figure::ALL.iter().zip(&self.figures).find(|(which, _)| **which == figure).map(|(_, series)| series)
    }
}

impl Report {
    /// With no figures yet, of a machine that is described.
    pub(crate) fn new(machine: String) -> Self {
        let row = |mode| Row { mode, figures: Default::default(), lost: Series::default() };
        Self { machine: [machine, String::new()], rows: Mode::ALL.into_iter().map(row).collect() }
    }

    /// Adds what came of a turn.
    pub(crate) fn add_packets(&mut self, mode: Mode, traffic: Traffic, came: Came) {
        let figure = match traffic {
            Traffic::OneFlow => Figure::OneFlow,
            Traffic::NewFlows => Figure::NewFlows,
        };
        self.add(mode, figure, came.per_second / 1e6);
        if let Some(row) = self.row(mode) {
            row.lost.push(came.lost);
        }
    }

    /// Adds what was seen by sockets.
    pub(crate) fn add_seen(&mut self, mode: Mode, seen: Seen) {
        self.add(mode, Figure::Gigabits, seen.gigabits);
        self.add(mode, Figure::Connections, seen.connections);
        self.add(mode, Figure::P50, seen.p50_us);
        self.add(mode, Figure::P99, seen.p99_us);
    }

    fn add(&mut self, mode: Mode, figure: Figure, value: f64) {
        let Some(row) = self.row(mode) else { return };
        let mut all = Figure::ALL.iter().zip(&mut row.figures);
        if let Some((_, series)) = all.find(|(which, _)| **which == figure) {
            series.push(value);
        }
    }

    fn row(&mut self, mode: Mode) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.mode == mode)
    }

    /// Describes the machine once more: it may have become busier.
    pub(crate) fn end(&mut self, machine: String) {
        let [_, end] = &mut self.machine;
        *end = machine;
    }

    /// The table, and the aims.
    pub(crate) fn for_people(&self) -> String {
        let is_measured = |figure: &Figure| self.rows.iter().any(|row| row.has(*figure));
        let figures: Vec<Figure> = Figure::ALL.into_iter().filter(is_measured).collect();
        let titles: String = figures.iter().map(|figure| format!("{:<22}", figure.shown().0)).collect();
        let mut text = format!("{:<20}{titles}lost at most\n", "");
        for row in &self.rows {
            let cells = figures.iter().filter_map(|figure| Some((row.of(*figure)?, figure.shown().1)));
            let cells: String = cells.map(|(series, digits)| format!("{series:<22.digits$}")).collect();
            text += &format!("{:<20}{cells}{:.1} %\n", row.mode.name(), row.lost.most() * 100.0);
        }
        text.push('\n');
        for aim in &AIMS {
            let Some(ratio) = self.ratio(aim) else { continue };
            let (mine, theirs, what) = (aim.mine.name(), aim.theirs.name(), aim.figure.shown().0);
            text += &format!(
                "{:<7} {mine} / {theirs}, {what}: {ratio:.2}; the aim is {:.1}\n",
                if aim.is_met(&ratio) { "met:" } else { "MISSED:" },
                aim.at_least
            );
        }
        text
    }

    /// The same as one object.
    pub(crate) fn for_programs(&self) -> Value {
        let spread = |series: &Series| json!({ "median": series.median(), "least": series.least(), "most": series.most() });
        let modes = self.rows.iter().map(|row| {
            let figures = Figure::ALL.into_iter().filter(|figure| row.has(*figure));
            let figures = figures.filter_map(|figure| Some((figure.key().into(), spread(row.of(figure)?))));
            let mut all: Map<String, Value> = figures.collect();
            all.insert("lost".into(), spread(&row.lost));
            (row.mode.name().to_owned(), Value::Object(all))
        });
        let aims = AIMS.iter().filter_map(|aim| {
            let ratio = self.ratio(aim)?;
            Some(json!({
                "of": aim.mine.name(), "to": aim.theirs.name(), "figure": aim.figure.key(),
                "ratio": spread(&ratio), "at_least": aim.at_least, "met": aim.is_met(&ratio),
            }))
        });
        json!({
            "machine": self.machine,
            "modes": modes.collect::<Map<_, _>>(),
            "aims": aims.collect::<Vec<_>>(),
        })
    }

    /// Turn by turn, because all turns of a row share the machine's mood.
    fn ratio(&self, aim: &Aim) -> Option<Series> {
        let of = |mode| self.rows.iter().find(|row| row.mode == mode)?.of(aim.figure);
        Some(of(aim.mine)?.over(of(aim.theirs)?))
    }
}

impl Row {
    fn has(&self, figure: Figure) -> bool {
        self.of(figure).is_some_and(|series| series.median().is_finite())
    }
}

impl Aim {
    fn is_met(&self, ratio: &Series) -> bool {
        ratio.median() >= self.at_least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(per_second: f64) -> Came {
        Came { per_second, lost: 0.0 }
    }

    #[test]
    fn an_aim_is_judged_by_the_median_of_ratios_within_turns() {
        let mut report = Report::new(String::new());
        for (mine, theirs) in [(0.95e6, 1e6), (1.8e6, 2e6), (0.5e6, 1e6)] {
            report.add_packets(Mode::WeirXdp, Traffic::OneFlow, came(mine));
            report.add_packets(Mode::XdpDnat, Traffic::OneFlow, came(theirs));
        }
        let text = report.for_people();
        assert!(
            text.contains("met:    Weir on XDP / XDP stateless DNAT, one flow, Mpps: 0.90 (0.50..0.95)"),
            "{text}"
        );
        let aims = report.for_programs();
        assert_eq!(aims["aims"][0]["met"], true);
        assert_eq!(aims["aims"][0]["ratio"]["least"], 0.5);
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let mut report = Report::new(String::new());
        report.add_packets(Mode::Forwarding, Traffic::NewFlows, came(1e6));
        assert!(!report.for_people().contains("p99"));
        assert!(report.for_programs()["modes"]["kernel forwarding"].get("request_p99_us").is_none());
    }
}
