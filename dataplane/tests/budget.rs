//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.
#![expect(clippy::print_stdout, reason = "the sizes are what the test is asked for")]

use weir_dataplane::test_run::Runner;
use weir_dataplane::{ProgramSize, Sizes};

/// Instructions, and instructions that the verifier walks, of every program that is attached, reached by a tail call,
/// or run by the daemon. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 58] = [
    ("age_step", 1_560, 2_850),
    ("end_flows", 1_120, 2_800),
    ("slot_tc", 1_530, 4_050),
    ("slot_tc_moving_v4", 1_380, 23_950),
    ("slot_tc_moving_v6", 1_760, 45_200),
    ("slot_tc_odd_v4", 1_270, 3_100),
    ("slot_tc_odd_v6", 1_510, 22_150),
    ("slot_tc_ready_v4", 1_580, 16_850),
    ("slot_tc_ready_v6", 1_770, 48_350),
    ("slot_tc_relay_v4", 890, 1_600),
    ("slot_tc_relay_v6", 1_310, 13_900),
    ("slot_tc_tell_v4", 1_380, 11_450),
    ("slot_tc_tell_v6", 1_540, 27_500),
    ("slot_tc_unknown", 2_730, 49_300),
    ("slot_xdp", 1_230, 3_550),
    ("slot_xdp_moving_v4", 1_340, 24_200),
    ("slot_xdp_moving_v6", 1_720, 46_850),
    ("slot_xdp_odd_v4", 1_230, 4_900),
    ("slot_xdp_odd_v6", 1_390, 46_800),
    ("slot_xdp_ready_v4", 1_420, 54_700),
    ("slot_xdp_ready_v6", 1_630, 138_850),
    ("slot_xdp_relay_v4", 840, 5_400),
    ("slot_xdp_relay_v6", 1_210, 43_150),
    ("slot_xdp_tagged", 1_240, 8_300),
    ("slot_xdp_tell_v4", 1_310, 11_600),
    ("slot_xdp_tell_v6", 1_460, 27_800),
    ("slot_xdp_unknown", 2_650, 95_750),
    ("start_ageing", 1_620, 2_950),
    ("transmit", 10, 50),
    ("uplink_tc", 1_530, 4_050),
    ("uplink_tc_moving_v4", 1_530, 25_050),
    ("uplink_tc_moving_v6", 1_870, 45_950),
    ("uplink_tc_odd_v4", 2_010, 4_500),
    ("uplink_tc_odd_v6", 2_190, 25_800),
    ("uplink_tc_opening_v4", 3_240, 98_900),
    ("uplink_tc_opening_v6", 3_740, 111_450),
    ("uplink_tc_ready_v4", 1_080, 15_900),
    ("uplink_tc_ready_v6", 1_300, 44_400),
    ("uplink_tc_relay_v4", 890, 1_600),
    ("uplink_tc_relay_v6", 1_310, 13_900),
    ("uplink_tc_tell_v4", 1_370, 11_400),
    ("uplink_tc_tell_v6", 1_510, 27_300),
    ("uplink_tc_unknown", 3_230, 49_000),
    ("uplink_xdp", 1_250, 3_550),
    ("uplink_xdp_moving_v4", 1_500, 27_100),
    ("uplink_xdp_moving_v6", 1_840, 46_350),
    ("uplink_xdp_odd_v4", 1_950, 8_450),
    ("uplink_xdp_odd_v6", 2_060, 58_250),
    ("uplink_xdp_opening_v4", 3_230, 99_100),
    ("uplink_xdp_opening_v6", 3_710, 111_100),
    ("uplink_xdp_ready_v4", 940, 52_000),
    ("uplink_xdp_ready_v6", 1_150, 132_450),
    ("uplink_xdp_relay_v4", 840, 5_400),
    ("uplink_xdp_relay_v6", 1_210, 43_150),
    ("uplink_xdp_tagged", 1_260, 8_300),
    ("uplink_xdp_tell_v4", 1_290, 11_600),
    ("uplink_xdp_tell_v6", 1_440, 27_800),
    ("uplink_xdp_unknown", 3_040, 95_250),
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
