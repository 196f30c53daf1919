//! A flow that ended, as data and as a line.

use crate::get::{Carried, FlowEnds, Names, seconds};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_path::flow::Phase;
use weir_path::flow::end::End;
use weir_path::flow::event::Event;
use weir_path::time::Now;

/// A flow that ended. Field names are what programs rely on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventView {
    /// When it ended (RFC 3339, UTC), to an eighth of a second.
    pub ended: String,
    /// Why: the name of an [`End`].
    pub reason: &'static str,
    /// Whose it was and where it led.
    #[serde(flatten)]
    pub ends: FlowEnds,
    /// How far it had come.
    pub phase: &'static str,
    /// From its first packet to its end.
    pub duration_seconds: f64,
    /// From when it was last heard to its end.
    pub idle_seconds: f64,
    /// What it carried.
    #[serde(flatten)]
    pub carried: Carried,
}

impl EventView {
    /// What is said of `event`, read at the moment that is `now` to the programs and `clock` to people.
    pub(super) fn new(event: &Event, names: &Names, now: Now, clock: SystemTime) -> Self {
        let ago = Duration::from_secs_f64(seconds(event.ended, now));
        let phase = Phase::ALL.into_iter().find(|phase| *phase as u8 == event.phase);
        Self {
            ended: rfc3339(clock.checked_sub(ago).unwrap_or(clock)),
            reason: End::from_number(event.why).map_or("unknown", End::name),
            ends: FlowEnds::new(
                event.protocol,
                &event.original,
                &event.reply,
                event.zones,
                event.account,
                names,
            ),
            phase: phase.map_or("unknown", Phase::name),
            duration_seconds: seconds(event.opened, event.ended),
            idle_seconds: seconds(event.seen, event.ended),
            carried: Carried::new(event.counts),
        }
    }

    pub(super) fn line(&self) -> String {
        let Self { ended, reason, ends, phase, duration_seconds, idle_seconds, carried } = self;
        let Carried { to_target_packets, to_target_bytes, to_client_packets, to_client_bytes } = carried;
        let eni = ends.eni().map(|eni| format!(" eni {eni}")).unwrap_or_default();
        let tenant = ends.tenant.as_ref().map(|tenant| format!(" tenant {tenant}")).unwrap_or_default();
        format!(
            "{ended} {reason} {} {} -> {} target {} port {} binding {}{eni}{tenant} phase {phase} \
             lasted {duration_seconds:.1}s idle {idle_seconds:.1}s \
             to target {to_target_packets}p/{to_target_bytes}B to client {to_client_packets}p/{to_client_bytes}B",
            ends.protocol,
            ends.client(),
            ends.vip(),
            ends.target(),
            ends.target_port,
            ends.bindings(),
        )
    }
}

/// A moment as RFC 3339 writes it, in UTC, with milliseconds.
fn rfc3339(moment: SystemTime) -> String {
    const DAY: u64 = 86_400;
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let millisecond = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Year, month and day of so many days after 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the day that comes and goes is a year's last; the calendar repeats
/// every 400 years (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_ERA: u64 = 146_097;
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (DAYS_IN_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::flow_tests::{flow, names};
    use weir_path::flow::{Counts, Hop};

    #[test]
    fn an_event_says_when_why_whose_how_long_and_how_much() {
        let view = view();
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            concat!(
                r#"{"ended":"2026-02-28T23:59:59.875Z","reason":"idle","protocol":"tcp","client":"203.0.113.9","#,
                r#""client_port":40000,"vip":"198.51.100.10","vip_port":80,"target":"sandbox-1","target_address":null,"#,
                r#""target_port":8081,"binding":7,"client_binding":null,"eni":null,"eni_port":null,"tenant":"acme","#,
                r#""phase":"established","duration_seconds":456.0,"#,
                r#""idle_seconds":356.0,"#,
                r#""to_target_packets":3,"to_target_bytes":200,"to_client_packets":2,"to_client_bytes":1500}"#,
            )
        );
        assert_eq!(
            view.line(),
            "2026-02-28T23:59:59.875Z idle tcp 203.0.113.9:40000 -> 198.51.100.10:80 target sandbox-1 port 8081 \
             binding 7 tenant acme phase established lasted 456.0s idle 356.0s to target 3p/200B to client 2p/1500B"
        );
    }

    #[test]
    fn dates_are_right_about_leap_years_and_centuries() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (20_454, (2026, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(day), date, "day {day}");
        }
    }

    /// Opened at 0, heard at 100 s, ended at 456 s; read an eighth of a second later, at midnight.
    fn view() -> EventView {
        let (flow, ended) = (flow(40_000, 7, 8_081), Now(456 * 8));
        let event = Event {
            counts: [Counts { packets: 3, bytes: 200 }, Counts { packets: 2, bytes: 1_500 }],
            original: flow.original,
            reply: flow.reply,
            zones: flow.zones,
            protocol: flow.protocol,
            phase: flow.phase as u8,
            tells_idle: 0,
            zero: 0,
            why: End::Idle as u32,
            opened: flow.opened,
            seen: flow.seen,
            ended,
            account: flow.account,
            acknowledged: [0; 2],
            hops: [Hop::default(); 2],
        };
        let midnight = UNIX_EPOCH + Duration::from_secs(20_513 * 86_400);
        EventView::new(&event, &names(), Now(ended.0 + 1), midnight)
    }
}
