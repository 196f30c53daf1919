//! How much fits, how much is there, and what it costs.

use super::table::table;
use serde::Serialize;
use weir_dataplane::Tables;
use weir_dataplane::flows::Flow;
use weir_path::flow::{Phase, V4, V6};

/// What can be seen of a flow, in the order it comes that far.
const PHASES: [Phase; 5] = [Phase::New, Phase::Answered, Phase::Established, Phase::Reset, Phase::Closing];

/// Room for flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapacityView {
    /// By family.
    pub families: Vec<FamilyView>,
    /// What the kernel holds for the flow tables of both, full or empty.
    pub memory_bytes: u64,
}

/// Room for flows of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FamilyView {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Flows that fit.
    pub max_flows: u32,
    /// Flows that are there.
    pub flows: usize,
    /// The same by how far they have come.
    pub phases: Vec<PhaseView>,
    /// Flows that may be half-open at one time.
    pub max_half_open: u32,
    /// Flows that are: `new` and `answered` ones.
    pub half_open: usize,
    /// What the kernel holds for each flow that fits.
    pub bytes_per_flow: u64,
    /// What it holds for all of them.
    pub memory_bytes: u64,
}

/// Flows in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseView {
    /// The phase.
    pub phase: &'static str,
    /// Flows.
    pub flows: usize,
}

/// One family's tables, empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) family: &'static str,
    pub(crate) max_flows: u32,
    pub(crate) max_half_open: u32,
    pub(crate) bytes_per_flow: u64,
}

impl Room {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes_per_flow.saturating_mul(self.max_flows as u64)
    }
}

/// The tables of IPv4 and of IPv6.
pub(crate) fn rooms(tables: &Tables) -> [Room; 2] {
    let room = |family, (max_flows, max_half_open), bytes_per_flow| Room {
        family,
        max_flows,
        max_half_open,
        bytes_per_flow,
    };
    [
        room("ipv4", tables.max_flows::<V4>(), tables.bytes_a_flow::<V4>()),
        room("ipv6", tables.max_flows::<V6>(), tables.bytes_a_flow::<V6>()),
    ]
}

pub(super) fn capacity(rooms: &[Room; 2], flows: &[Flow]) -> CapacityView {
    let [v4, v6] = rooms;
    let families = vec![family(v4, flows, false), family(v6, flows, true)];
    let memory_bytes = families.iter().map(|it| it.memory_bytes).sum();
    CapacityView { families, memory_bytes }
}

fn family(room: &Room, flows: &[Flow], is_v6: bool) -> FamilyView {
    let own = || flows.iter().filter(|flow| flow.id.is_v6 == is_v6);
    let phases = PHASES.map(|phase| PhaseView {
        phase: phase.name(),
        flows: own().filter(|flow| flow.phase == phase).count(),
    });
    FamilyView {
        family: room.family,
        max_flows: room.max_flows,
        flows: own().count(),
        phases: phases.into(),
        max_half_open: room.max_half_open,
        half_open: own().filter(|flow| flow.phase.is_half_open()).count(),
        bytes_per_flow: room.bytes_per_flow,
        memory_bytes: room.bytes(),
    }
}

pub(super) fn as_table(view: &CapacityView) -> String {
    let phases = PHASES.map(|phase| phase.name().to_uppercase());
    let mut header = vec!["FAMILY", "FLOWS", "OF", "HALF-OPEN", "OF"];
    header.extend(phases.iter().map(String::as_str));
    header.extend(["BYTES PER FLOW", "MEMORY"]);
    let rows = view.families.iter().map(|it| {
        let mut row = vec![
            it.family.to_owned(),
            it.flows.to_string(),
            it.max_flows.to_string(),
            it.half_open.to_string(),
            it.max_half_open.to_string(),
        ];
        row.extend(it.phases.iter().map(|phase| phase.flows.to_string()));
        row.extend([it.bytes_per_flow.to_string(), mebibytes(it.memory_bytes)]);
        row
    });
    format!("{}\n\nthe flow tables hold {}", table(&header, rows), mebibytes(view.memory_bytes))
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::super::flows::tests::flow;
    use super::super::views::tests::json;
    use super::*;

    #[test]
    fn capacity_says_how_much_fits_how_much_is_there_and_what_it_costs() {
        let half_open = Flow { phase: Phase::New, ..flow(40_000, 7, 8_081) };
        let mut v6 = flow(40_002, 7, 8_081);
        v6.id.is_v6 = true;
        let room = |family, max_flows, bytes_per_flow| Room {
            family,
            max_flows,
            max_half_open: max_flows / 16,
            bytes_per_flow,
        };
        let rooms = [room("ipv4", 2_048, 330), room("ipv6", 1_024, 550)];
        let view = capacity(&rooms, &[half_open, flow(40_001, 7, 8_081), v6]);
        assert_eq!(
            json(&view),
            concat!(
                r#"{"families":[{"family":"ipv4","max_flows":2048,"flows":2,"phases":[{"phase":"new","flows":1},"#,
                r#"{"phase":"answered","flows":0},{"phase":"established","flows":1},{"phase":"reset","flows":0},"#,
                r#"{"phase":"closing","flows":0}],"max_half_open":128,"half_open":1,"bytes_per_flow":330,"memory_bytes":675840},"#,
                r#"{"family":"ipv6","max_flows":1024,"flows":1,"phases":[{"phase":"new","flows":0},"#,
                r#"{"phase":"answered","flows":0},{"phase":"established","flows":1},{"phase":"reset","flows":0},"#,
                r#"{"phase":"closing","flows":0}],"max_half_open":64,"half_open":0,"bytes_per_flow":550,"memory_bytes":563200}],"#,
                r#""memory_bytes":1239040}"#,
            )
        );
        let shown = as_table(&view);
        assert_eq!(
            shown.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
            ["ipv4", "2", "2048", "1", "128", "1", "0", "1", "0", "0", "330", "0.6", "MiB"]
        );
        assert!(shown.ends_with("the flow tables hold 1.2 MiB"), "{shown}");
    }
}
