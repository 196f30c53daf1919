//! Security groups: whom a sandbox may call, and who may call what it serves. What no rule allows is blocked at a flow's
//! first packet; a flow that was allowed is never asked again.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ sb1   calls
//!     echo    echo on    an ENI for each      ├─ sb2   serves behind the VIP
//!             the link   set of groups        └─ sb3   is in no group that anybody lets in
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

mod changes;
mod full;
mod inward;
mod outward;
mod stateful;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::security::blocked;
use weir_netns_tests::servers::Echo;
use weir_netns_tests::talk::{Conversation, ask_by_udp, refusal_by_tcp, refusal_by_udp};
use weir_netns_tests::tools::said;
use weir_netns_tests::topology::Testbed;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;

/// Much shorter than a sender waits before it sends again.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Something that somebody tries.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Ping(IpAddr),
}

impl Attempt {
    /// It is answered by whom it is for.
    fn must_work(self, from: &Netns) -> Tested {
        let works = match self {
            Self::Tcp(to) => Conversation::begin(from, to)?.exchange(b"hello")?,
            Self::Udp(to) => ask_by_udp(from, to, b"hello")? == b"hello",
            Self::Ping(to) => ping_once(from, to)?.0,
        };
        assert!(works, "{self:?} from {}", from.name());
        Ok(())
    }

    /// It is refused at once, by what its sender's kernel understands: one packet asks, one tells.
    fn must_be_blocked(self, from: &Netns) -> Tested {
        let begun = Instant::now();
        let prohibited = |to: IpAddr| match to {
            IpAddr::V4(_) => ErrorKind::HostUnreachable,
            IpAddr::V6(_) => ErrorKind::PermissionDenied,
        };
        match self {
            Self::Tcp(to) => {
                assert_eq!(refusal_by_tcp(from, to)?, Some(ErrorKind::ConnectionRefused), "{to}")
            }
            Self::Udp(to) => assert_eq!(refusal_by_udp(from, to)?, Some(prohibited(to.ip())), "{to}"),
            Self::Ping(to) => {
                let (is_answered, text) = ping_once(from, to)?;
                let is_told =
                    ["Packet filtered", "Administratively prohibited"].iter().any(|it| text.contains(it));
                assert!(!is_answered && is_told, "{to}: {text}");
            }
        }
        // A ping that is told waits for its second all the same.
        let patience = if matches!(self, Self::Ping(_)) { 2 * AT_ONCE } else { AT_ONCE };
        assert!(begun.elapsed() < patience, "{self:?}: {:?}", begun.elapsed());
        Ok(())
    }
}

/// One echo request: whether it is answered, and what `ping` says of it.
fn ping_once(from: &Netns, to: IpAddr) -> Result<(bool, String), Error> {
    let ended = said(from.command("ping").args(["-n", "-c", "1", "-W", "1", &to.to_string()]))?;
    Ok((ended.is_well, ended.text))
}

/// Echo servers, TCP and UDP.
fn serve(bed: &mut Testbed, at: impl Fn(&Testbed) -> &Netns, ends: &[SocketAddr]) -> Result<(), Error> {
    for end in ends {
        let (tcp, udp) = (Echo::tcp_at(at(bed), *end)?, Echo::udp_at(at(bed), *end)?);
        bed.keep(tcp);
        bed.keep(udp);
    }
    Ok(())
}

/// Waits until so many flows were blocked on the connectors of a group: outwards, and inwards.
fn were_blocked(weir: &Weir, group: &str, expected: [u64; 2]) -> Result<(), Failure> {
    let evidence = || format!("{:?}, {:#?}", blocked(weir), weir.counters());
    until(&format!("{expected:?} flows blocked in {group}"), PATIENCE, evidence, || {
        Ok((blocked(weir)?.get(group) == Some(&expected)).then_some(()))
    })?;
    Ok(())
}
