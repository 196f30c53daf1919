//! How long flows may be silent: where nothing is said, and in a test, which has no minutes.

use std::fs;
use std::time::Duration;

use crate::error::Error;
use crate::nat::{Kind, weir};
use crate::topology::Testbed;

/// Weir's example says of each time what it is where nothing is said.
const EXAMPLE: &str = include_str!("../../../controller/weir.example.toml");

/// Long enough for a busy machine, and short enough to be waited for; so far apart that none is taken for another one.
pub(crate) const SHORT: [(&str, Duration); 4] = [
    ("tcp_closing", Duration::from_secs(4)),
    ("tcp_half_open", Duration::from_secs(7)),
    ("udp_unanswered", Duration::from_secs(10)),
    ("icmp_query", Duration::from_secs(13)),
];

/// The same of nf_conntrack's.
pub(crate) const KERNEL_SHORT: [(&str, u16); 12] = [
    ("tcp_timeout_last_ack", 4),
    ("tcp_timeout_time_wait", 4),
    ("tcp_timeout_close", 4),
    ("tcp_timeout_syn_sent", 7),
    ("tcp_timeout_syn_recv", 7),
    ("udp_timeout", 10),
    ("icmp_timeout", 13),
    ("icmpv6_timeout", 13),
    ("udp_timeout_stream", 16),
    ("tcp_timeout_established", 19),
    ("tcp_timeout_fin_wait", 19),
    ("tcp_timeout_close_wait", 19),
];

/// For how long a flow may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// In a test.
    pub here: Duration,
    /// Where nothing is said.
    pub default: Duration,
}

/// For how long flows may be silent, by what they are.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// UDP before an answer.
    pub udp_unanswered: Time,
    /// UDP afterwards.
    pub udp_answered: Time,
    /// ICMP queries.
    pub query: Time,
    /// TCP before its handshake ends.
    pub half_open: Time,
    /// Established TCP.
    pub established: Time,
    /// TCP after both FINs.
    pub closing: Time,
    /// TCP after a RST.
    pub reset: Time,
}

impl Times {
    /// Reads those of a NAT, before anything of them is set.
    pub(crate) fn of(kind: Kind, bed: &Testbed) -> Result<Self, Error> {
        match kind {
            Kind::Weir => Self::of_weir(),
            Kind::Kernel => Self::of_kernel(bed),
        }
    }

    fn of_weir() -> Result<Self, Error> {
        let short = |key: &str| {
            let here = SHORT.iter().find(|(name, _)| *name == key).map(|(_, time)| *time);
            Ok(Time { here: here.unwrap_or_default(), default: said(key)? })
        };
        let idle = |key: &str| {
            // Of connectors: behind the section's head.
            Ok::<_, Error>(Time { here: Duration::from_secs(weir::IDLE_S.into()), default: said(key)? })
        };
        Ok(Self {
            udp_unanswered: short("udp_unanswered")?,
            udp_answered: idle("# udp_idle")?,
            query: short("icmp_query")?,
            half_open: short("tcp_half_open")?,
            established: idle("# tcp_idle")?,
            closing: short("tcp_closing")?,
            reset: short("tcp_closing")?,
        })
    }

    fn of_kernel(bed: &Testbed) -> Result<Self, Error> {
        let time = |key: &'static str| {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{key}");
            let text = bed.host.enter({
                let path = path.clone();
                move || fs::read_to_string(path)
            })?;
            let text = text.map_err(Error::file("read", &path))?;
            let here = KERNEL_SHORT.iter().find(|(name, _)| *name == key).map(|(_, seconds)| *seconds);
            Ok::<_, Error>(Time {
                here: Duration::from_secs(here.unwrap_or_default().into()),
                default: Duration::from_secs(text.trim().parse().unwrap_or_default()),
            })
        };
        Ok(Self {
            udp_unanswered: time("udp_timeout")?,
            udp_answered: time("udp_timeout_stream")?,
            query: time("icmp_timeout")?,
            half_open: time("tcp_timeout_syn_sent")?,
            established: time("tcp_timeout_established")?,
            closing: time("tcp_timeout_time_wait")?,
            reset: time("tcp_timeout_close")?,
        })
    }
}

/// What the example says of a time.
fn said(key: &str) -> Result<Duration, Error> {
    let value = EXAMPLE.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('='));
    let number = value.and_then(|it| it.split_whitespace().next()?.parse().ok());
    number.map(Duration::from_secs).ok_or_else(|| Error::Output {
        command: "weir.example.toml".into(),
        why: format!("no `{key} = `"),
        output: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_every_time() {
        let times = Times::of_weir().unwrap();
        assert_eq!(times.established.default, Duration::from_secs(350));
        assert_eq!(times.udp_answered.default, Duration::from_secs(350));
        assert_eq!(times.query.default, Duration::from_secs(60));
    }
}
