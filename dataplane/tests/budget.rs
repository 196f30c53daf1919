//! How large the programs may be. The numbers are exact for one compiler, so growth is a decision.
//!
//! Needs root and Linux 6.6, because the verifier is the kernel's.

use weir_dataplane::Sizes;
use weir_dataplane::test_run::Runner;

/// Instructions, and instructions that the verifier walks. Raise them on purpose, with the reason in the commit.
const BUDGET: [(&str, u32, u32); 3] =
    [("uplink_xdp", 2_200, 6_200), ("uplink_tc", 2_150, 5_750), ("slot_tc", 1_000, 2_150)];

#[test]
fn the_programs_stay_within_their_budget() {
    let runner = Runner::new(&Sizes::small(1024)).unwrap();
    for size in runner.program_sizes().unwrap() {
        let (_, instructions, verified) = BUDGET.iter().find(|(name, ..)| *name == size.name).unwrap();
        println!(
            "{}: {} instructions of {instructions}, {} verifier steps of {verified}",
            size.name, size.instructions, size.verified
        );
        assert!(
            size.instructions <= *instructions && size.verified <= *verified,
            "{size:?} is over its budget"
        );
    }
}
