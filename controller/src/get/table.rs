//! Answers as tables for people.

use super::views::{CounterView, ListenerView, ShareView};
use crate::config::ANY;
use comfy_table::{Table, presets::NOTHING};

pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

pub(super) fn listeners(views: &[ListenerView]) -> String {
    table(
        &["NAME", "VPC", "ADDRESS", "PROTOCOL", "TARGET GROUPS", "STICKINESS", "TARGETS", "IDLE TIMEOUT"],
        views.iter().map(|it| {
            vec![
                it.name.clone(),
                it.vpc.clone(),
                endpoint(&it.address, it.port),
                it.protocol.into(),
                it.target_group.clone().unwrap_or_else(|| weighted(&it.target_groups)),
                it.stickiness.into(),
                it.targets.to_string(),
                idle(it),
            ]
        }),
    )
}

/// Groups with their weights.
fn weighted(shares: &[ShareView]) -> String {
    let shares: Vec<_> = shares.iter().map(|it| format!("{} {}", it.name, it.weight)).collect();
    shares.join(", ")
}

fn idle(listener: &ListenerView) -> String {
    let first = listener.idle_timeout_seconds;
    match listener.udp_idle_timeout_seconds {
        Some(udp) if udp != first => format!("{first}s, udp {udp}s"),
        _ => format!("{first}s"),
    }
}

pub(super) fn counters(view: &CounterView) -> String {
    let reasons = table(
        &["HOOK", "REASON", "CLASS", "PACKETS"],
        view.hooks.iter().flat_map(|hook| {
            let entered = vec![hook.hook.into(), "entered".into(), String::new(), hook.entered.to_string()];
            let left = hook.reasons.iter().map(|why| {
                vec![hook.hook.into(), why.reason.into(), why.class.into(), why.packets.to_string()]
            });
            std::iter::once(entered).chain(left).collect::<Vec<_>>()
        }),
    );
    let sent = table(
        &["SENT BY", "IFINDEX", "PACKETS"],
        view.sent.iter().map(|it| vec![it.name.clone(), it.ifindex.to_string(), it.packets.to_string()]),
    );
    let ended = table(
        &["FLOWS ENDED", "FLOWS", "MEANING"],
        view.ended.iter().map(|it| vec![it.reason.into(), it.flows.to_string(), it.meaning.clone()]),
    );
    let CounterView { flows_opened, events_lost, signals_lost, .. } = view;
    let lost =
        format!("flows opened: {flows_opened}\nevents lost: {events_lost}\nsignals lost: {signals_lost}");
    format!("{reasons}\n\n{sent}\n\n{ended}\n\n{lost}")
}

/// Some things in one cell.
pub(super) fn joined<T: ToString>(parts: impl IntoIterator<Item = T>) -> String {
    let parts: Vec<_> = parts.into_iter().map(|part| part.to_string()).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// An address and a port as people write them: an IPv6 address stands in brackets.
pub(super) fn endpoint(address: &str, port: impl Into<Option<u16>>) -> String {
    let port = port.into().map_or_else(|| ANY.to_owned(), |port| port.to_string());
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}
