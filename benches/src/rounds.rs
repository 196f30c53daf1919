//! Rounds: every subject measured once in each, so that all of them share the machine's moods.

use crate::Outcome;
use crate::figures::Series;
use crate::frames::Shot;
use crate::harness::{Flows, Harness, Hook, Subject};
use aya::programs::ProgramFd;
use weir_path::addr::IfIndex;

/// What a program returns that sends nothing and drops nothing: `XDP_PASS`, `TC_ACT_UNSPEC`.
#[must_use]
pub const fn passed(hook: Hook) -> u32 {
    match hook {
        Hook::Xdp => 2,
        Hook::Tc => u32::MAX,
    }
}

/// One kind of packet, given to one program.
#[must_use]
pub fn subject(hook: Hook, shot: Shot, program: ProgramFd, ingress: IfIndex, action: u32) -> Subject {
    Subject { hook, shots: vec![(shot, program)], ingress, action }
}

/// Mean nanoseconds of one packet, net of the harness.
///
/// # Errors
/// What the kernel refused, or a packet that took another way than it should.
pub fn net(harness: &mut Harness, subject: &Subject, flows: Flows, packets: u32) -> Outcome<f64> {
    let base = base(harness, subject, flows, packets)?;
    Ok(harness.time(subject, flows, packets)? - base)
}

/// What the harness costs by itself.
fn base(harness: &mut Harness, subject: &Subject, flows: Flows, packets: u32) -> Outcome<f64> {
    let name = if subject.hook == Hook::Xdp { "empty" } else { "empty_tc" };
    let mut shots = Vec::new();
    for (shot, _) in &subject.shots {
        shots.push((*shot, harness.program(name)?));
    }
    let Subject { hook, ingress, .. } = *subject;
    harness.time(&Subject { hook, shots, ingress, action: passed(hook) }, flows, packets)
}

/// Measures every subject in each round, net of the harness, in another order each time. The first round warms up
/// and is not counted.
///
/// # Errors
/// What the kernel refused, or a packet that took another way than it should.
pub fn measure(
    harness: &mut Harness,
    subjects: &[&Subject],
    flows: Flows,
    packets: u32,
    rounds: usize,
) -> Outcome<Vec<Series>> {
    let mut figures = vec![Series::default(); subjects.len()];
    for round in 0..=rounds {
        for step in 0..subjects.len() {
            let nth = (step + round) % subjects.len();
            let (Some(subject), Some(series)) = (subjects.get(nth), figures.get_mut(nth)) else { continue };
            let figure = net(harness, subject, flows, packets)?;
            if round > 0 {
                series.push(figure);
            }
        }
    }
    Ok(figures)
}
