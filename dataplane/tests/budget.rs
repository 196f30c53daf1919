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
    ("slot_tc", 1_970, 5_500),
    ("slot_tc_enter_v4", 5_940, 294_550),
    ("slot_tc_enter_v6", 8_130, 309_500),
    ("slot_tc_moving_v4", 2_140, 32_100),
    ("slot_tc_moving_v6", 2_900, 56_250),
    ("slot_tc_odd_v4", 1_860, 5_650),
    ("slot_tc_odd_v6", 2_180, 27_400),
    ("slot_tc_outbound_v4", 3_920, 29_400),
    ("slot_tc_outbound_v6", 4_310, 46_400),
    ("slot_tc_query_v4", 2_890, 15_950),
    ("slot_tc_query_v6", 3_800, 25_100),
    ("slot_tc_ready_v4", 2_300, 31_500),
    ("slot_tc_ready_v6", 2_530, 73_350),
    ("slot_tc_relay_v4", 1_560, 6_350),
    ("slot_tc_relay_v6", 2_020, 21_750),
    ("slot_tc_tell_v4", 1_670, 33_800),
    ("slot_tc_tell_v6", 1_830, 103_350),
    ("slot_tc_unknown", 2_950, 50_650),
    ("slot_xdp", 1_570, 4_800),
    ("slot_xdp_enter_v4", 5_900, 294_500),
    ("slot_xdp_enter_v6", 8_090, 309_450),
    ("slot_xdp_moving_v4", 2_100, 32_450),
    ("slot_xdp_moving_v6", 2_860, 55_650),
    ("slot_xdp_odd_v4", 1_710, 9_300),
    ("slot_xdp_odd_v6", 1_940, 62_300),
    ("slot_xdp_outbound_v4", 3_910, 28_900),
    ("slot_xdp_outbound_v6", 4_300, 45_100),
    ("slot_xdp_query_v4", 2_710, 34_750),
    ("slot_xdp_query_v6", 3_590, 56_800),
    ("slot_xdp_ready_v4", 2_010, 73_100),
    ("slot_xdp_ready_v6", 2_220, 145_250),
    ("slot_xdp_relay_v4", 1_400, 21_550),
    ("slot_xdp_relay_v6", 1_780, 62_300),
    ("slot_xdp_tagged", 1_600, 11_550),
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
    ("uplink_tc_odd_v4", 2_760, 11_450),
    ("uplink_tc_odd_v6", 2_920, 35_850),
    ("uplink_tc_opening_v4", 2_210, 20_900),
    ("uplink_tc_opening_v6", 2_260, 31_700),
    ("uplink_tc_query_v4", 2_960, 13_950),
    ("uplink_tc_query_v6", 3_830, 23_250),
    ("uplink_tc_ready_v4", 1_510, 19_200),
    ("uplink_tc_ready_v6", 1_750, 53_200),
    ("uplink_tc_relay_v4", 1_550, 8_650),
    ("uplink_tc_relay_v6", 1_990, 21_650),
    ("uplink_tc_tell_v4", 1_670, 33_700),
    ("uplink_tc_tell_v6", 1_830, 99_400),
    ("uplink_tc_unknown", 4_300, 116_900),
    ("uplink_xdp", 1_320, 4_700),
    ("uplink_xdp_enter_v4", 5_900, 294_500),
    ("uplink_xdp_enter_v6", 8_090, 309_450),
    ("uplink_xdp_moving_v4", 2_350, 37_350),
    ("uplink_xdp_moving_v6", 3_070, 59_500),
    ("uplink_xdp_odd_v4", 2_590, 19_350),
    ("uplink_xdp_odd_v6", 2_570, 80_050),
    ("uplink_xdp_opening_v4", 2_180, 19_600),
    ("uplink_xdp_opening_v6", 2_250, 29_550),
    ("uplink_xdp_query_v4", 2_770, 31_200),
    ("uplink_xdp_query_v6", 3_580, 59_150),
    ("uplink_xdp_ready_v4", 1_260, 57_900),
    ("uplink_xdp_ready_v6", 1_480, 131_200),
    ("uplink_xdp_relay_v4", 1_390, 23_000),
    ("uplink_xdp_relay_v6", 1_760, 64_050),
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
