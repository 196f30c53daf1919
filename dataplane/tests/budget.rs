//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.
#![expect(clippy::print_stdout, reason = "the sizes are what the test is asked for")]

use weir_dataplane::test_run::Runner;
use weir_dataplane::{ProgramSize, Sizes};

/// Instructions, and instructions that the verifier walks, of every program that is attached, reached by a tail call,
/// or run by the daemon. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 74] = [
    ("age_step", 2_700, 5_700),
    ("end_flows", 1_470, 4_250),
    ("slot_tc", 1_720, 5_650),
    ("slot_tc_moving_v4", 1_810, 30_250),
    ("slot_tc_moving_v6", 2_320, 53_100),
    ("slot_tc_odd_v4", 1_600, 4_800),
    ("slot_tc_odd_v6", 1_910, 25_950),
    ("slot_tc_outbound_v4", 1_950, 16_600),
    ("slot_tc_outbound_v6", 2_450, 24_600),
    ("slot_tc_port_v4", 4_440, 281_950),
    ("slot_tc_port_v6", 6_050, 296_000),
    ("slot_tc_query_v4", 2_300, 10_450),
    ("slot_tc_query_v6", 2_970, 19_400),
    ("slot_tc_ready_v4", 2_040, 20_950),
    ("slot_tc_ready_v6", 2_260, 55_500),
    ("slot_tc_relay_v4", 1_310, 4_250),
    ("slot_tc_relay_v6", 1_750, 17_700),
    ("slot_tc_tell_v4", 1_620, 23_950),
    ("slot_tc_tell_v6", 1_770, 68_150),
    ("slot_tc_unknown", 2_860, 50_650),
    ("slot_xdp", 1_310, 4_100),
    ("slot_xdp_moving_v4", 1_770, 30_600),
    ("slot_xdp_moving_v6", 2_280, 55_850),
    ("slot_xdp_odd_v4", 1_460, 7_200),
    ("slot_xdp_odd_v6", 1_670, 52_900),
    ("slot_xdp_outbound_v4", 1_940, 16_750),
    ("slot_xdp_outbound_v6", 2_430, 26_500),
    ("slot_xdp_port_v4", 4_390, 281_850),
    ("slot_xdp_port_v6", 6_010, 295_950),
    ("slot_xdp_query_v4", 2_120, 23_950),
    ("slot_xdp_query_v6", 2_760, 48_700),
    ("slot_xdp_ready_v4", 1_740, 68_250),
    ("slot_xdp_ready_v6", 1_950, 148_000),
    ("slot_xdp_relay_v4", 1_130, 11_150),
    ("slot_xdp_relay_v6", 1_500, 53_100),
    ("slot_xdp_tagged", 1_330, 10_200),
    ("slot_xdp_tell_v4", 1_420, 24_000),
    ("slot_xdp_tell_v6", 1_580, 71_950),
    ("slot_xdp_unknown", 2_670, 98_000),
    ("start_ageing", 2_750, 5_750),
    ("transmit", 10, 50),
    ("uplink_tc", 1_740, 5_200),
    ("uplink_tc_moving_v4", 2_040, 32_450),
    ("uplink_tc_moving_v6", 2_510, 58_400),
    ("uplink_tc_odd_v4", 2_470, 10_350),
    ("uplink_tc_odd_v6", 2_610, 33_350),
    ("uplink_tc_opening_v4", 3_750, 80_000),
    ("uplink_tc_opening_v6", 4_230, 91_450),
    ("uplink_tc_query_v4", 2_360, 11_050),
    ("uplink_tc_query_v6", 2_980, 21_800),
    ("uplink_tc_ready_v4", 1_250, 17_050),
    ("uplink_tc_ready_v6", 1_480, 48_100),
    ("uplink_tc_relay_v4", 1_300, 4_750),
    ("uplink_tc_relay_v6", 1_720, 18_800),
    ("uplink_tc_tell_v4", 1_500, 13_650),
    ("uplink_tc_tell_v6", 1_650, 32_150),
    ("uplink_tc_unknown", 4_390, 96_400),
    ("uplink_xdp", 1_330, 4_200),
    ("uplink_xdp_moving_v4", 2_010, 33_500),
    ("uplink_xdp_moving_v6", 2_480, 57_250),
    ("uplink_xdp_odd_v4", 2_290, 17_250),
    ("uplink_xdp_odd_v6", 2_280, 71_400),
    ("uplink_xdp_opening_v4", 3_740, 79_700),
    ("uplink_xdp_opening_v6", 4_210, 94_350),
    ("uplink_xdp_query_v4", 2_160, 24_400),
    ("uplink_xdp_query_v6", 2_720, 52_900),
    ("uplink_xdp_ready_v4", 990, 55_550),
    ("uplink_xdp_ready_v6", 1_210, 137_250),
    ("uplink_xdp_relay_v4", 1_130, 12_200),
    ("uplink_xdp_relay_v6", 1_480, 53_350),
    ("uplink_xdp_tagged", 1_350, 10_150),
    ("uplink_xdp_tell_v4", 1_300, 13_850),
    ("uplink_xdp_tell_v6", 1_460, 32_850),
    ("uplink_xdp_unknown", 3_850, 150_400),
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
