//! What the demo found out, and what it promised.

use std::collections::BTreeMap;

use serde::Serialize;

/// The figures of one run. The field names are the output's.
#[derive(Serialize, Debug, Default)]
pub(crate) struct Report {
    /// Requests through the VIP with everything in order.
    pub(crate) requests: u64,
    /// Those of them without a right answer.
    pub(crate) failed: u64,
    /// Who served them.
    pub(crate) served: BTreeMap<String, u64>,
    /// Requests that failed while targets came and went.
    pub(crate) failed_during_scale: u64,
    /// Requests that were begun, and ended, while no daemon ran.
    pub(crate) begun_while_dead: u64,
    /// Requests that failed from the kill until well after the restart.
    pub(crate) failed_while_dead: u64,
    /// TCP retransmissions of `requests`, less those of as many by plain kernel forwarding.
    pub(crate) tcp_retrans_over_baseline: u64,
    /// Packets that entered Weir's hooks.
    pub(crate) packets_in: u64,
    /// Packets that went on from there: forwarded, answered or passed.
    pub(crate) packets_out: u64,
    /// Every reason packets left for.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Packets in less the sum of the reasons, and the uplink's packets by the kernel's count less Weir's.
    pub(crate) conservation_diff: u64,
    /// Requests of sandboxes to servers in their VPCs.
    pub(crate) outward_requests: u64,
    /// Those of them without an answer of the right VPC's server.
    pub(crate) outward_failed: u64,
    /// How many addresses the server in each VPC saw sandboxes come from.
    pub(crate) vpc_sees_sources: BTreeMap<String, u64>,
    /// Packets that were sent to the address that the sandboxes share, and that nobody asked for.
    pub(crate) uninvited_sent: u64,
    /// Those of them, and what they caused, that a sandbox saw.
    pub(crate) uninvited_let_in: u64,
    /// What outlived the run.
    pub(crate) left_behind: Vec<String>,
    /// How XDP ran on the uplink, as the kernel says.
    pub(crate) xdp_mode: String,
}

/// How many requests must be begun while no daemon runs.
pub(crate) const BEGUN_WHILE_DEAD: u64 = 500;

/// How far from its fair share a sandbox may be. With 2,000 requests over 3, chance alone has a standard
/// deviation of 3 %, so this is eight of them.
const UNFAIR: f64 = 0.25;

impl Report {
    /// The promises that were not kept.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        let zeros = [
            ("requests fail", self.failed),
            ("requests fail while targets come and go", self.failed_during_scale),
            ("requests fail while the daemon is dead", self.failed_while_dead),
            ("TCP retransmits more than without Weir", self.tcp_retrans_over_baseline),
            ("packets leave uncounted", self.conservation_diff),
            ("requests of sandboxes fail", self.outward_failed),
            ("uninvited packets come in", self.uninvited_let_in),
            ("things are left behind", self.left_behind.len() as u64),
        ];
        let mut broken: Vec<_> = zeros
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("no {what} was promised, and {count} did"))
            .collect();
        if self.begun_while_dead < BEGUN_WHILE_DEAD {
            broken.push(format!(
                "only {} requests were begun while the daemon was dead",
                self.begun_while_dead
            ));
        }
        if self.xdp_mode != "native" {
            broken.push(format!("the uplink's XDP mode is {}, not native", self.xdp_mode));
        }
        let sees_one = |vpc: &str| self.vpc_sees_sources.get(vpc) == Some(&1);
        if !["vpc-a", "vpc-b"].into_iter().all(sees_one) || self.uninvited_sent == 0 {
            broken.push(format!(
                "each VPC was to see one source, and {} uninvited packets: {:?}",
                self.uninvited_sent, self.vpc_sees_sources
            ));
        }
        if !self.is_fair() {
            broken.push(format!("the requests are not spread evenly: {:?}", self.served));
        }
        broken
    }

    fn is_fair(&self) -> bool {
        let share = self.requests as f64 / self.served.len().max(1) as f64;
        self.served.len() == 3
            && self.served.values().all(|count| (*count as f64 / share - 1.0).abs() < UNFAIR)
    }

    pub(crate) fn for_programs(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    pub(crate) fn for_people(&self) -> String {
        let reasons: String =
            self.reasons.iter().map(|(name, packets)| format!("      {packets:>9}  {name}\n")).collect();
        format!(
            "  requests                          {:>9}, failed {}\n  \
             while targets came and went                  failed {}\n  \
             begun while the daemon was dead   {:>9}, failed {}\n  \
             TCP retransmissions over baseline {:>9}\n  \
             packets in                        {:>9}\n  \
             packets out                       {:>9}, uncounted {}\n{reasons}  \
             outward requests                  {:>9}, failed {}\n  \
             sources that vpc-a, vpc-b see     {:>9}\n  \
             uninvited packets                 {:>9}, let in {}\n  \
             XDP mode                          {:>9}\n  \
             left behind                       {:>9}",
            self.requests,
            self.failed,
            self.failed_during_scale,
            self.begun_while_dead,
            self.failed_while_dead,
            self.tcp_retrans_over_baseline,
            self.packets_in,
            self.packets_out,
            self.conservation_diff,
            self.outward_requests,
            self.outward_failed,
            self.vpc_sees_sources.values().map(u64::to_string).collect::<Vec<_>>().join(", "),
            self.uninvited_sent,
            self.uninvited_let_in,
            self.xdp_mode,
            if self.left_behind.is_empty() { "nothing".into() } else { self.left_behind.join(", ") },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Report {
        Report {
            requests: 2000,
            served: [("sandbox-1", 660), ("sandbox-2", 690), ("sandbox-3", 650)]
                .map(|(n, c)| (n.into(), c))
                .into(),
            begun_while_dead: 500,
            vpc_sees_sources: [("vpc-a".into(), 1), ("vpc-b".into(), 1)].into(),
            uninvited_sent: 80,
            xdp_mode: "native".into(),
            ..Report::default()
        }
    }

    #[test]
    fn a_run_in_which_all_went_well_breaks_no_promise() {
        assert_eq!(kept().broken_promises(), Vec::<String>::new());
    }

    #[test]
    fn each_promise_can_be_broken() {
        let breaches: [fn(&mut Report); 13] = [
            |report| report.outward_failed = 1,
            |report| report.uninvited_let_in = 1,
            |report| report.uninvited_sent = 0,
            |report| report.vpc_sees_sources.extend([("vpc-b".to_owned(), 2)]),
            |report| report.failed = 1,
            |report| report.failed_during_scale = 1,
            |report| report.begun_while_dead = 499,
            |report| report.failed_while_dead = 1,
            |report| report.tcp_retrans_over_baseline = 1,
            |report| report.conservation_diff = 1,
            |report| report.left_behind.push("a pin".into()),
            |report| report.xdp_mode = "generic".into(),
            |report| report.served.retain(|name, _| name != "sandbox-3"),
        ];
        for breach in breaches {
            let mut report = kept();
            breach(&mut report);
            assert_eq!(report.broken_promises().len(), 1, "{report:?}");
        }
    }
}
