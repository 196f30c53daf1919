//! `[timeouts]`: how long a flow may be silent before it ends.

use super::model::{OnIdle, Timeouts};
use super::problem::Problem;
use super::reader::{Problems, Section, Value};
use super::values;
use weir_path::time::{Seconds, Times};

/// As long as network load balancers let a connection be silent; and what the path's clocks of sixteen bits can
/// tell apart by far.
const MOST_SECONDS: u32 = 6_000;
/// An established flow that ends sooner is one that its ends still believe in.
const LEAST_IDLE_SECONDS: u32 = 60;

impl Default for Timeouts {
    fn default() -> Self {
        Self { times: Times::DEFAULT, tcp_idle: Times::TCP_IDLE, udp_idle: Times::UDP_IDLE }
    }
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> Timeouts {
    let default = Timeouts::default();
    let mut short = |key, default: Seconds| {
        section.optional(problems, key, |it| seconds(it, 1)).map_or(default, |it| it.value)
    };
    let times = Times {
        tcp_half_open: short("tcp_half_open", default.times.tcp_half_open),
        tcp_closing: short("tcp_closing", default.times.tcp_closing),
        udp_unanswered: short("udp_unanswered", default.times.udp_unanswered),
        icmp_query: short("icmp_query", default.times.icmp_query),
    };
    let tcp_idle = section.optional(problems, "tcp_idle", idle);
    let udp_idle = section.optional(problems, "udp_idle", idle);
    section.finish(problems);
    Timeouts {
        times,
        tcp_idle: tcp_idle.map_or(default.tcp_idle, |it| it.value),
        udp_idle: udp_idle.map_or(default.udp_idle, |it| it.value),
    }
}

/// How long an established flow may be silent.
pub(super) fn idle(value: Value<'_>) -> Result<Seconds, Problem> {
    seconds(value, LEAST_IDLE_SECONDS)
}

/// Who is told when an established flow was silent for so long.
pub(super) fn on_idle(value: Value<'_>) -> Result<OnIdle, Problem> {
    values::choice(value, "way to end what is idle", &OnIdle::NAMES)
}

/// How long something rests; 0 for not at all.
pub(super) fn rest(value: Value<'_>) -> Result<Seconds, Problem> {
    seconds(value, 0)
}

fn seconds(value: Value<'_>, least: u32) -> Result<Seconds, Problem> {
    // At most MOST_SECONDS, as just read.
    values::number_of(value, "seconds", least, MOST_SECONDS).map(|number| Seconds(number as u16))
}
