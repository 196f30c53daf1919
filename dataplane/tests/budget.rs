//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.
#![expect(clippy::print_stdout, reason = "the sizes are what the test is asked for")]

use weir_dataplane::test_run::Runner;
use weir_dataplane::{ProgramSize, Sizes};

/// Instructions, and instructions that the verifier walks, of every program that is attached, reached by a tail call,
/// or run by the daemon. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 27] = [
    ("age_step", 1_560, 2_750),
    ("end_flows", 1_120, 2_750),
    ("slot_tc", 930, 1_500),
    ("slot_tc_moving_v4", 1_290, 31_050),
    ("slot_tc_moving_v6", 1_530, 44_300),
    ("slot_tc_ready", 800, 1_300),
    ("slot_tc_unknown", 1_140, 2_450),
    ("slot_xdp", 960, 1_900),
    ("slot_xdp_moving_v4", 1_290, 31_400),
    ("slot_xdp_moving_v6", 1_520, 44_100),
    ("slot_xdp_ready", 830, 1_600),
    ("slot_xdp_unknown", 1_040, 2_200),
    ("start_ageing", 1_620, 2_900),
    ("uplink_tc", 920, 1_500),
    ("uplink_tc_moving_v4", 1_290, 31_000),
    ("uplink_tc_moving_v6", 1_520, 44_250),
    ("uplink_tc_opening_v4", 2_920, 71_150),
    ("uplink_tc_opening_v6", 3_240, 93_900),
    ("uplink_tc_ready", 800, 1_800),
    ("uplink_tc_unknown", 1_480, 3_500),
    ("uplink_xdp", 950, 1_850),
    ("uplink_xdp_moving_v4", 1_280, 31_400),
    ("uplink_xdp_moving_v6", 1_510, 44_100),
    ("uplink_xdp_opening_v4", 2_910, 71_200),
    ("uplink_xdp_opening_v6", 3_230, 93_850),
    ("uplink_xdp_ready", 830, 2_550),
    ("uplink_xdp_unknown", 1_290, 2_950),
];

#[test]
fn every_program_stays_within_its_budget() {
    let runner = Runner::new(&Sizes::small(1024)).unwrap();
    let sizes = runner.program_sizes().unwrap();
    let over: Vec<_> = sizes.iter().filter_map(over).collect();
    assert!(over.is_empty(), "{}", over.join("\n"));
    assert_eq!(sizes.len(), BUDGET.len(), "a program that is not there has a budget");
}

fn over(size: &ProgramSize) -> Option<String> {
    let ProgramSize { name, instructions, verified } = size;
    let Some((_, most, most_verified)) = BUDGET.iter().find(|(known, ..)| known == name) else {
        return Some(format!("{name} has no budget: {instructions} instructions, {verified} verifier steps"));
    };
    println!("{name}: {instructions} instructions of {most}, {verified} verifier steps of {most_verified}");
    let is_over = instructions > most || verified > most_verified;
    is_over.then(|| format!("{size:?} is over {most} instructions or {most_verified} verifier steps"))
}
