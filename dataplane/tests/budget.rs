//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.
#![expect(clippy::print_stdout, reason = "the sizes are what the test is asked for")]

use weir_dataplane::test_run::Runner;
use weir_dataplane::{ProgramSize, Sizes};

/// Instructions, and instructions that the verifier walks, of every program that is attached, reached by a tail call,
/// or run by the daemon. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 74] = [
    ("age_step", 2_590, 4_200),
    ("end_flows", 1_410, 3_500),
    ("slot_tc", 1_720, 5_550),
    ("slot_tc_moving_v4", 1_800, 28_000),
    ("slot_tc_moving_v6", 2_320, 51_400),
    ("slot_tc_odd_v4", 1_600, 4_750),
    ("slot_tc_odd_v6", 1_910, 25_500),
    ("slot_tc_outbound_v4", 1_140, 15_200),
    ("slot_tc_outbound_v6", 1_310, 24_950),
    ("slot_tc_port_v4", 4_190, 269_450),
    ("slot_tc_port_v6", 5_810, 285_300),
    ("slot_tc_query_v4", 2_140, 9_650),
    ("slot_tc_query_v6", 2_800, 19_100),
    ("slot_tc_ready_v4", 1_890, 19_800),
    ("slot_tc_ready_v6", 2_110, 48_400),
    ("slot_tc_relay_v4", 1_310, 4_150),
    ("slot_tc_relay_v6", 1_750, 17_400),
    ("slot_tc_tell_v4", 1_810, 22_800),
    ("slot_tc_tell_v6", 2_040, 50_150),
    ("slot_tc_unknown", 2_860, 49_750),
    ("slot_xdp", 1_310, 4_050),
    ("slot_xdp_moving_v4", 1_770, 28_500),
    ("slot_xdp_moving_v6", 2_280, 51_800),
    ("slot_xdp_odd_v4", 1_460, 7_050),
    ("slot_xdp_odd_v6", 1_670, 51_950),
    ("slot_xdp_outbound_v4", 1_120, 15_200),
    ("slot_xdp_outbound_v6", 1_280, 26_150),
    ("slot_xdp_port_v4", 4_140, 269_400),
    ("slot_xdp_port_v6", 5_760, 285_250),
    ("slot_xdp_query_v4", 1_960, 22_650),
    ("slot_xdp_query_v6", 2_590, 52_300),
    ("slot_xdp_ready_v4", 1_590, 60_200),
    ("slot_xdp_ready_v6", 1_800, 138_150),
    ("slot_xdp_relay_v4", 1_130, 10_950),
    ("slot_xdp_relay_v6", 1_500, 52_100),
    ("slot_xdp_tagged", 1_330, 10_000),
    ("slot_xdp_tell_v4", 1_610, 19_100),
    ("slot_xdp_tell_v6", 1_850, 41_650),
    ("slot_xdp_unknown", 2_670, 96_200),
    ("start_ageing", 2_640, 4_250),
    ("transmit", 10, 50),
    ("uplink_tc", 1_740, 5_100),
    ("uplink_tc_moving_v4", 1_980, 31_250),
    ("uplink_tc_moving_v6", 2_460, 54_700),
    ("uplink_tc_odd_v4", 2_470, 10_150),
    ("uplink_tc_odd_v6", 2_610, 32_750),
    ("uplink_tc_opening_v4", 3_700, 77_600),
    ("uplink_tc_opening_v6", 4_180, 91_400),
    ("uplink_tc_query_v4", 2_280, 11_200),
    ("uplink_tc_query_v6", 2_920, 21_350),
    ("uplink_tc_ready_v4", 1_250, 16_800),
    ("uplink_tc_ready_v6", 1_480, 47_200),
    ("uplink_tc_relay_v4", 1_300, 4_650),
    ("uplink_tc_relay_v6", 1_720, 18_450),
    ("uplink_tc_tell_v4", 1_500, 13_400),
    ("uplink_tc_tell_v6", 1_640, 31_550),
    ("uplink_tc_unknown", 4_220, 92_100),
    ("uplink_xdp", 1_330, 4_100),
    ("uplink_xdp_moving_v4", 1_950, 32_300),
    ("uplink_xdp_moving_v6", 2_430, 55_950),
    ("uplink_xdp_odd_v4", 2_290, 16_900),
    ("uplink_xdp_odd_v6", 2_280, 70_050),
    ("uplink_xdp_opening_v4", 3_680, 73_050),
    ("uplink_xdp_opening_v6", 4_160, 89_750),
    ("uplink_xdp_query_v4", 2_100, 26_300),
    ("uplink_xdp_query_v6", 2_670, 52_700),
    ("uplink_xdp_ready_v4", 990, 54_550),
    ("uplink_xdp_ready_v6", 1_210, 134_700),
    ("uplink_xdp_relay_v4", 1_130, 11_950),
    ("uplink_xdp_relay_v6", 1_480, 52_350),
    ("uplink_xdp_tagged", 1_350, 9_950),
    ("uplink_xdp_tell_v4", 1_300, 13_550),
    ("uplink_xdp_tell_v6", 1_460, 32_150),
    ("uplink_xdp_unknown", 3_920, 135_200),
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
