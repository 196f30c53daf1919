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
    ("slot_tc", 2_020, 5_850),
    ("slot_tc_enter_v4", 5_910, 294_750),
    ("slot_tc_enter_v6", 8_110, 309_450),
    ("slot_tc_moving_v4", 2_150, 32_150),
    ("slot_tc_moving_v6", 2_900, 56_250),
    ("slot_tc_odd_v4", 1_930, 20_600),
    ("slot_tc_odd_v6", 2_180, 27_400),
    ("slot_tc_outbound_v4", 3_870, 29_400),
    ("slot_tc_outbound_v6", 4_200, 42_650),
    ("slot_tc_query_v4", 2_900, 16_000),
    ("slot_tc_query_v6", 3_810, 25_150),
    ("slot_tc_ready_v4", 2_300, 31_500),
    ("slot_tc_ready_v6", 2_530, 73_350),
    ("slot_tc_relay_v4", 1_560, 6_350),
    ("slot_tc_relay_v6", 2_020, 21_750),
    ("slot_tc_tell_v4", 1_670, 33_800),
    ("slot_tc_tell_v6", 1_830, 103_350),
    ("slot_tc_unknown", 2_950, 50_650),
    ("slot_xdp", 1_600, 4_850),
    ("slot_xdp_enter_v4", 5_870, 294_650),
    ("slot_xdp_enter_v6", 8_060, 309_400),
    ("slot_xdp_moving_v4", 2_110, 32_500),
    ("slot_xdp_moving_v6", 2_860, 55_650),
    ("slot_xdp_odd_v4", 1_770, 38_250),
    ("slot_xdp_odd_v6", 1_940, 62_300),
    ("slot_xdp_outbound_v4", 3_850, 28_850),
    ("slot_xdp_outbound_v6", 4_190, 42_050),
    ("slot_xdp_query_v4", 2_720, 35_000),
    ("slot_xdp_query_v6", 3_600, 56_900),
    ("slot_xdp_ready_v4", 2_010, 73_100),
    ("slot_xdp_ready_v6", 2_220, 145_250),
    ("slot_xdp_relay_v4", 1_400, 21_550),
    ("slot_xdp_relay_v6", 1_780, 62_300),
    ("slot_xdp_tagged", 1_620, 12_100),
    ("slot_xdp_tell_v4", 1_470, 36_050),
    ("slot_xdp_tell_v6", 1_630, 106_600),
    ("slot_xdp_unknown", 2_650, 92_750),
    ("start_ageing", 3_510, 7_550),
    ("transmit", 10, 50),
    ("uplink_tc", 1_760, 6_250),
    ("uplink_tc_enter_v4", 5_910, 294_750),
    ("uplink_tc_enter_v6", 8_110, 309_450),
    ("uplink_tc_moving_v4", 2_390, 35_650),
    ("uplink_tc_moving_v6", 3_120, 61_350),
    ("uplink_tc_odd_v4", 2_840, 34_850),
    ("uplink_tc_odd_v6", 2_940, 35_900),
    ("uplink_tc_opening_v4", 2_110, 20_750),
    ("uplink_tc_opening_v6", 2_090, 31_250),
    ("uplink_tc_query_v4", 2_970, 14_050),
    ("uplink_tc_query_v6", 3_840, 23_300),
    ("uplink_tc_ready_v4", 1_510, 19_200),
    ("uplink_tc_ready_v6", 1_750, 53_200),
    ("uplink_tc_relay_v4", 1_550, 8_750),
    ("uplink_tc_relay_v6", 1_990, 21_550),
    ("uplink_tc_tell_v4", 1_670, 33_700),
    ("uplink_tc_tell_v6", 1_830, 99_400),
    ("uplink_tc_unknown", 4_300, 116_900),
    ("uplink_xdp", 1_350, 4_700),
    ("uplink_xdp_enter_v4", 5_870, 294_650),
    ("uplink_xdp_enter_v6", 8_060, 309_400),
    ("uplink_xdp_moving_v4", 2_360, 37_400),
    ("uplink_xdp_moving_v6", 3_080, 59_550),
    ("uplink_xdp_odd_v4", 2_610, 73_450),
    ("uplink_xdp_odd_v6", 2_600, 79_550),
    ("uplink_xdp_opening_v4", 2_080, 19_400),
    ("uplink_xdp_opening_v6", 2_080, 29_100),
    ("uplink_xdp_query_v4", 2_770, 31_400),
    ("uplink_xdp_query_v6", 3_590, 59_250),
    ("uplink_xdp_ready_v4", 1_260, 57_900),
    ("uplink_xdp_ready_v6", 1_480, 131_200),
    ("uplink_xdp_relay_v4", 1_390, 23_050),
    ("uplink_xdp_relay_v6", 1_760, 63_950),
    ("uplink_xdp_tagged", 1_360, 11_400),
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
