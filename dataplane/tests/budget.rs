//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.
#![expect(clippy::print_stdout, reason = "the sizes are what the test is asked for")]

use weir_dataplane::test_run::Runner;
use weir_dataplane::{ProgramSize, Sizes};

/// Instructions, and instructions that the verifier walks, of every program that is attached, reached by a tail call,
/// or run by the daemon. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 74] = [
    ("age_step", 2_640, 5_500),
    ("end_flows", 1_450, 4_150),
    ("slot_tc", 1_720, 5_550),
    ("slot_tc_moving_v4", 1_800, 29_700),
    ("slot_tc_moving_v6", 2_310, 52_100),
    ("slot_tc_odd_v4", 1_600, 4_750),
    ("slot_tc_odd_v6", 1_910, 25_500),
    ("slot_tc_outbound_v4", 1_940, 16_250),
    ("slot_tc_outbound_v6", 2_440, 24_150),
    ("slot_tc_port_v4", 4_390, 275_800),
    ("slot_tc_port_v6", 6_010, 288_900),
    ("slot_tc_query_v4", 2_220, 9_200),
    ("slot_tc_query_v6", 2_890, 17_900),
    ("slot_tc_ready_v4", 1_980, 20_400),
    ("slot_tc_ready_v6", 2_200, 49_550),
    ("slot_tc_relay_v4", 1_310, 4_150),
    ("slot_tc_relay_v6", 1_750, 17_400),
    ("slot_tc_tell_v4", 1_620, 23_500),
    ("slot_tc_tell_v6", 1_770, 66_900),
    ("slot_tc_unknown", 2_860, 49_750),
    ("slot_xdp", 1_310, 4_050),
    ("slot_xdp_moving_v4", 1_760, 30_050),
    ("slot_xdp_moving_v6", 2_270, 54_800),
    ("slot_xdp_odd_v4", 1_460, 7_050),
    ("slot_xdp_odd_v6", 1_670, 51_950),
    ("slot_xdp_outbound_v4", 1_920, 16_400),
    ("slot_xdp_outbound_v6", 2_420, 26_050),
    ("slot_xdp_port_v4", 4_350, 275_750),
    ("slot_xdp_port_v6", 5_960, 288_850),
    ("slot_xdp_query_v4", 2_040, 20_400),
    ("slot_xdp_query_v6", 2_690, 47_550),
    ("slot_xdp_ready_v4", 1_670, 62_550),
    ("slot_xdp_ready_v6", 1_880, 144_500),
    ("slot_xdp_relay_v4", 1_130, 10_950),
    ("slot_xdp_relay_v6", 1_500, 52_100),
    ("slot_xdp_tagged", 1_330, 10_000),
    ("slot_xdp_tell_v4", 1_420, 23_600),
    ("slot_xdp_tell_v6", 1_580, 70_600),
    ("slot_xdp_unknown", 2_670, 96_200),
    ("start_ageing", 2_700, 5_550),
    ("transmit", 10, 50),
    ("uplink_tc", 1_740, 5_100),
    ("uplink_tc_moving_v4", 2_020, 31_850),
    ("uplink_tc_moving_v6", 2_500, 57_300),
    ("uplink_tc_odd_v4", 2_470, 10_150),
    ("uplink_tc_odd_v6", 2_610, 32_750),
    ("uplink_tc_opening_v4", 3_720, 78_450),
    ("uplink_tc_opening_v6", 4_210, 89_800),
    ("uplink_tc_query_v4", 2_340, 10_850),
    ("uplink_tc_query_v6", 2_960, 21_400),
    ("uplink_tc_ready_v4", 1_250, 16_750),
    ("uplink_tc_ready_v6", 1_480, 47_200),
    ("uplink_tc_relay_v4", 1_300, 4_650),
    ("uplink_tc_relay_v6", 1_720, 18_450),
    ("uplink_tc_tell_v4", 1_500, 13_400),
    ("uplink_tc_tell_v6", 1_650, 31_550),
    ("uplink_tc_unknown", 4_390, 94_650),
    ("uplink_xdp", 1_330, 4_100),
    ("uplink_xdp_moving_v4", 1_990, 32_850),
    ("uplink_xdp_moving_v6", 2_470, 56_200),
    ("uplink_xdp_odd_v4", 2_290, 16_900),
    ("uplink_xdp_odd_v6", 2_280, 70_050),
    ("uplink_xdp_opening_v4", 3_710, 78_250),
    ("uplink_xdp_opening_v6", 4_180, 92_600),
    ("uplink_xdp_query_v4", 2_140, 23_950),
    ("uplink_xdp_query_v6", 2_710, 51_950),
    ("uplink_xdp_ready_v4", 990, 54_550),
    ("uplink_xdp_ready_v6", 1_210, 134_700),
    ("uplink_xdp_relay_v4", 1_130, 11_950),
    ("uplink_xdp_relay_v6", 1_480, 52_350),
    ("uplink_xdp_tagged", 1_350, 9_950),
    ("uplink_xdp_tell_v4", 1_300, 13_600),
    ("uplink_xdp_tell_v6", 1_460, 32_250),
    ("uplink_xdp_unknown", 3_850, 147_600),
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
