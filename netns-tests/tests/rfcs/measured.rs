//! Times, measured: a flow lives at least as long as is set, and not much longer. Two flows each: asking the one whether
//! it lives would keep it alive.

use std::time::Duration;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::packet::tcp;
use weir_netns_tests::nat::{Connection, Family, Nat, Place, Side};
use weir_netns_tests::rfcs::Seen;

use crate::vector::{Clock, LAG, LONG_LAG, Observed, wanted};

/// By how much before its time a flow is looked at.
const BEFORE: Duration = Duration::from_millis(1_500);

/// Whether times are long enough, and what they are where they are not.
pub(crate) fn at_least(least_s: u64, times: &[(Duration, &str)]) -> Seen {
    let is_met = times.iter().all(|(time, _)| time.as_secs() >= least_s);
    let told = times.iter().map(|(time, of)| format!("{} s {of}", time.as_secs()).trim_end().to_owned());
    Seen::met_or(is_met, told.collect::<Vec<_>>().join(", "))
}

/// UDP before an answer.
pub(crate) fn unanswered_udp_ends_in_time(nat: &Nat) -> Result<(), Failure> {
    let remote = nat.remote(Place::Beyond(3), Family::V4);
    let flows = [nat.inside(1, Family::V4), nat.inside(1, Family::V4)];
    let [one, other] = flows.map(|it| nat.datagram(it, remote));
    let ([lives, ends], clock) = (flows, Clock::begin());
    let externals = [wanted(one?, "the first flow")?, wanted(other?, "the second flow")?];
    let (time, [one, other]) = (nat.times.udp_unanswered.here, externals);
    clock.wait(nat, time - BEFORE);
    assert!(nat.is_answered(remote, one, lives)?, "it ended before {time:?}");
    clock.wait(nat, time + LAG);
    assert!(!nat.is_answered(remote, other, ends)?, "it lives for longer than {time:?}");
    Ok(())
}

/// UDP after an answer.
pub(crate) fn answered_udp_ends_in_time(nat: &Nat) -> Result<(), Failure> {
    let remote = nat.remote(Place::Beyond(3), Family::V4);
    let flows = [nat.inside(1, Family::V4), nat.inside(1, Family::V4)];
    let [one, other] = flows.map(|it| answered_udp(nat, it, remote));
    // The second one has just spoken, the first one a while ago.
    let (externals, clock) = ([one?, other?], Clock::begin());
    let (time, [ends, lives], [one, other]) = (nat.times.udp_answered.here, flows, externals);
    clock.wait(nat, time - BEFORE);
    assert!(nat.is_answered(remote, other, lives)?, "it ended before {time:?}");
    clock.wait(nat, time + LONG_LAG);
    assert!(!nat.is_answered(remote, one, ends)?, "it lives for longer than {time:?}");
    Ok(())
}

/// A conversation that both sides have taken part in. The kernel believes that only of one that lasts for two seconds.
pub(crate) fn answered_udp(
    nat: &Nat,
    inside: weir_netns_tests::nat::Inside,
    remote: std::net::SocketAddr,
) -> Result<std::net::SocketAddr, Failure> {
    let external = wanted(nat.datagram(inside, remote)?, "a datagram")?;
    assert!(nat.is_answered(remote, external, inside)?, "an answer");
    nat.pass(Duration::from_millis(2_200));
    assert!(nat.is_answered(remote, external, inside)?, "another answer");
    wanted(nat.datagram(inside, remote)?, "another datagram")
}

/// ICMP queries.
pub(crate) fn a_query_ends_in_time(nat: &Nat) -> Result<(), Failure> {
    let remote = nat.remote(Place::Beyond(3), Family::V4).ip();
    let flows = [nat.inside(1, Family::V4), nat.inside(1, Family::V4)];
    let [one, other] = flows.map(|it| nat.echo(it, remote));
    let ([lives, ends], clock) = (flows, Clock::begin());
    let externals = [wanted(one?, "the first query")?, wanted(other?, "the second query")?];
    let (time, [one, other]) = (nat.times.query.here, externals);
    clock.wait(nat, time - BEFORE);
    assert!(nat.is_echo_answered(remote, one, lives)?, "it ended before {time:?}");
    clock.wait(nat, time + LAG);
    assert!(!nat.is_echo_answered(remote, other, ends)?, "it lives for longer than {time:?}");
    Ok(())
}

/// A connection that has come as far as `far` says ends after that time: what the remote says is heard before, and not after.
pub(crate) fn a_connection_ends_in_time(
    nat: &Nat,
    [time, lag]: [Duration; 2],
    far: impl Fn(&Nat) -> Result<Connection, Failure>,
    says: u8,
) -> Result<(), Failure> {
    let (mut lives, mut ends) = (far(nat)?, far(nat)?);
    let clock = Clock::begin();
    clock.wait(nat, time - BEFORE);
    assert!(lives.say(nat, Side::Remote, says, b"")?, "it ended before {time:?}");
    clock.wait(nat, time + lag);
    assert!(!ends.say(nat, Side::Remote, says, b"")?, "it lives for longer than {time:?}");
    Ok(())
}

/// A connection whose handshake waits for an answer.
pub(crate) fn half_open(nat: &Nat) -> Result<Connection, Failure> {
    let remote = nat.remote(Place::Beyond(4), Family::V4);
    wanted(nat.begun(nat.inside(1, Family::V4), remote)?, "a SYN")
}

/// One that both sides speak on.
pub(crate) fn established(nat: &Nat, family: Family) -> Result<Connection, Failure> {
    let remote = nat.remote(Place::Beyond(4), family);
    let mut it = wanted(nat.connected(nat.inside(1, family), remote)?, "a connection")?;
    assert!(it.speaks(nat, Side::Sandbox)? && it.speaks(nat, Side::Remote)?, "both speak");
    assert!(it.say(nat, Side::Sandbox, tcp::ACK, b"")?, "all is acknowledged");
    Ok(it)
}

/// One that both sides have ended.
pub(crate) fn closed(nat: &Nat) -> Result<Connection, Failure> {
    let mut it = established(nat, Family::V4)?;
    let ends = [(Side::Sandbox, tcp::FIN | tcp::ACK), (Side::Remote, tcp::FIN | tcp::ACK)];
    for (side, flags) in ends.into_iter().chain([(Side::Sandbox, tcp::ACK)]) {
        assert!(it.say(nat, side, flags, b"")?, "the end of {side:?}");
    }
    Ok(it)
}

/// One that the remote has reset.
pub(crate) fn reset(nat: &Nat) -> Result<Connection, Failure> {
    let mut it = established(nat, Family::V4)?;
    assert!(it.say(nat, Side::Remote, tcp::RST, b"")?, "a RST");
    Ok(it)
}

/// What TCP's transitory times are.
pub(crate) fn transitory(nat: &Nat) -> Observed {
    let times = nat.times;
    let here = [(times.half_open, "before the handshake ends"), (times.closing, "after both FINs")];
    let all = here.into_iter().chain([(times.reset, "after a RST")]);
    Ok(at_least(240, &all.map(|(time, of)| (time.default, of)).collect::<Vec<_>>()))
}
