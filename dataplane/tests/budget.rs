//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.
#![expect(clippy::print_stdout, reason = "the sizes are what the test is asked for")]

use weir_dataplane::test_run::Runner;
use weir_dataplane::{ProgramSize, Sizes};

/// Instructions, and instructions that the verifier walks, of every program that is attached, reached by a tail call,
/// or run by the daemon. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 78] = [
    ("age_step", 3_460, 7_500),
    ("end_flows", 1_680, 6_950),
    ("slot_tc", 1_950, 5_400),
    ("slot_tc_enter_v4", 5_940, 294_550),
    ("slot_tc_enter_v6", 8_130, 309_500),
    ("slot_tc_moving_v4", 2_140, 32_100),
    ("slot_tc_moving_v6", 2_900, 56_250),
    ("slot_tc_odd_v4", 1_840, 5_500),
    ("slot_tc_odd_v6", 2_160, 27_250),
    ("slot_tc_outbound_v4", 3_900, 28_100),
    ("slot_tc_outbound_v6", 4_300, 44_100),
    ("slot_tc_query_v4", 2_870, 15_150),
    ("slot_tc_query_v6", 3_790, 24_050),
    ("slot_tc_ready_v4", 2_280, 29_500),
    ("slot_tc_ready_v6", 2_510, 69_900),
    ("slot_tc_relay_v4", 1_550, 5_950),
    ("slot_tc_relay_v6", 2_000, 21_400),
    ("slot_tc_tell_v4", 1_670, 33_800),
    ("slot_tc_tell_v6", 1_830, 103_350),
    ("slot_tc_unknown", 2_950, 50_650),
    ("slot_xdp", 1_550, 4_650),
    ("slot_xdp_enter_v4", 5_900, 294_500),
    ("slot_xdp_enter_v6", 8_090, 309_450),
    ("slot_xdp_moving_v4", 2_100, 32_450),
    ("slot_xdp_moving_v6", 2_860, 55_650),
    ("slot_xdp_odd_v4", 1_700, 8_850),
    ("slot_xdp_odd_v6", 1_920, 61_850),
    ("slot_xdp_outbound_v4", 3_890, 27_550),
    ("slot_xdp_outbound_v6", 4_280, 42_750),
    ("slot_xdp_query_v4", 2_690, 33_200),
    ("slot_xdp_query_v6", 3_580, 55_300),
    ("slot_xdp_ready_v4", 2_000, 71_550),
    ("slot_xdp_ready_v6", 2_210, 144_500),
    ("slot_xdp_relay_v4", 1_390, 19_250),
    ("slot_xdp_relay_v6", 1_770, 61_100),
    ("slot_xdp_tagged", 1_580, 11_100),
    ("slot_xdp_tell_v4", 1_470, 36_050),
    ("slot_xdp_tell_v6", 1_630, 106_600),
    ("slot_xdp_unknown", 2_650, 92_750),
    ("start_ageing", 3_510, 7_550),
    ("transmit", 10, 50),
    ("uplink_tc", 1_720, 6_150),
    ("uplink_tc_enter_v4", 5_940, 294_550),
    ("uplink_tc_enter_v6", 8_130, 309_500),
    ("uplink_tc_moving_v4", 2_380, 35_600),
    ("uplink_tc_moving_v6", 3_110, 61_300),
    ("uplink_tc_odd_v4", 2_740, 11_350),
    ("uplink_tc_odd_v6", 2_900, 35_700),
    ("uplink_tc_opening_v4", 2_190, 20_500),
    ("uplink_tc_opening_v6", 2_240, 31_400),
    ("uplink_tc_query_v4", 2_940, 13_700),
    ("uplink_tc_query_v6", 3_810, 23_000),
    ("uplink_tc_ready_v4", 1_500, 18_800),
    ("uplink_tc_ready_v6", 1_730, 52_150),
    ("uplink_tc_relay_v4", 1_530, 7_850),
    ("uplink_tc_relay_v6", 1_980, 21_200),
    ("uplink_tc_tell_v4", 1_670, 33_700),
    ("uplink_tc_tell_v6", 1_830, 99_400),
    ("uplink_tc_unknown", 4_300, 116_900),
    ("uplink_xdp", 1_320, 4_700),
    ("uplink_xdp_enter_v4", 5_900, 294_500),
    ("uplink_xdp_enter_v6", 8_090, 309_450),
    ("uplink_xdp_moving_v4", 2_350, 37_350),
    ("uplink_xdp_moving_v6", 3_070, 59_500),
    ("uplink_xdp_odd_v4", 2_570, 18_950),
    ("uplink_xdp_odd_v6", 2_560, 79_650),
    ("uplink_xdp_opening_v4", 2_160, 19_200),
    ("uplink_xdp_opening_v6", 2_230, 29_200),
    ("uplink_xdp_query_v4", 2_750, 30_200),
    ("uplink_xdp_query_v6", 3_560, 58_350),
    ("uplink_xdp_ready_v4", 1_240, 57_150),
    ("uplink_xdp_ready_v6", 1_460, 130_450),
    ("uplink_xdp_relay_v4", 1_370, 20_600),
    ("uplink_xdp_relay_v6", 1_740, 62_900),
    ("uplink_xdp_tagged", 1_340, 11_300),
    ("uplink_xdp_tell_v4", 1_460, 36_000),
    ("uplink_xdp_tell_v6", 1_620, 103_450),
    ("uplink_xdp_unknown", 3_990, 172_500),
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
