//! Which address and port a flow leaves from: what several requirements of several RFCs ask, by protocol.

use std::net::SocketAddr;

use weir_netns_tests::error::Failure;
use weir_netns_tests::nat::{Family, Inside, Nat, Place};
use weir_netns_tests::rfcs::{FOR_EACH, ITS_OWN, Seen};

use crate::vector::{Observed, wanted};

/// A protocol, whose flows are told apart by ports or by identifiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Udp,
    Tcp,
    Query,
}

impl Protocol {
    /// A flow's first packet, and where it comes from as the remote hears it.
    pub(crate) fn open(self, nat: &Nat, inside: Inside, remote: SocketAddr) -> Result<SocketAddr, Failure> {
        let external = match self {
            Self::Udp => nat.datagram(inside, remote)?,
            Self::Tcp => nat.begun(inside, remote)?.map(|it| it.external()),
            Self::Query => nat.echo(inside, remote.ip())?,
        };
        wanted(external, &format!("{self:?} of {inside:?} to {remote}"))
    }
}

/// The remotes of a mapping's test: two addresses beyond, one on the link.
fn remotes(nat: &Nat, family: Family) -> [SocketAddr; 3] {
    [Place::Beyond(0), Place::Beyond(1), Place::Link].map(|place| nat.remote(place, family))
}

fn opened(
    nat: &Nat,
    protocol: Protocol,
    inside: Inside,
    remotes: &[SocketAddr],
) -> Result<Vec<SocketAddr>, Failure> {
    remotes.iter().map(|remote| protocol.open(nat, inside, *remote)).collect()
}

fn are_alike(externals: &[SocketAddr]) -> bool {
    externals.windows(2).all(|pair| matches!(pair, [one, other] if one == other))
}

/// Whether one port leaves from one port, whatever the remote: another host has the same port towards the last one.
pub(crate) fn is_endpoint_independent(
    nat: &Nat,
    protocol: Protocol,
    sandbox: usize,
    family: Family,
) -> Observed {
    let inside = nat.inside(sandbox, family);
    let other = nat.inside_at(if sandbox == 1 { 2 } else { 1 }, family, inside.at.port());
    let remotes = remotes(nat, family);
    let [.., last] = remotes;
    protocol.open(nat, other, last)?;
    let externals = opened(nat, protocol, inside, &remotes)?;
    if are_alike(&externals) {
        return Ok(Seen::Met);
    }
    let alone = externals.get(..2).unwrap_or_default();
    let keeps = alone.iter().all(|it| it.port() == inside.at.port());
    Ok(Seen::Otherwise(if keeps { ITS_OWN } else { FOR_EACH }.to_owned()))
}

/// Whether that is the same with another host on the same port, and without.
pub(crate) fn is_always_alike(nat: &Nat, protocol: Protocol, family: Family) -> Observed {
    let alone = nat.inside(1, family);
    let is_alike_alone = are_alike(&opened(nat, protocol, alone, &remotes(nat, family))?);
    let is_alike_in_company = is_endpoint_independent(nat, protocol, 1, family)? == Seen::Met;
    let otherwise = "one port whatever the remote, until another host has that port";
    Ok(Seen::met_or(is_alike_alone == is_alike_in_company, otherwise))
}

/// Two hosts on the same port, to the same remote.
pub(crate) fn two_alike(
    nat: &Nat,
    protocol: Protocol,
    family: Family,
) -> Result<([Inside; 2], [SocketAddr; 2], SocketAddr), Failure> {
    let (one, remote) = (nat.inside(1, family), nat.remote(Place::Beyond(0), family));
    let other = nat.inside_at(2, family, one.at.port());
    let externals = [protocol.open(nat, one, remote)?, protocol.open(nat, other, remote)?];
    Ok(([one, other], externals, remote))
}

/// The ports that so many flows leave from, which a host opens from successive ports to one remote.
pub(crate) fn ports_of_many(
    nat: &Nat,
    protocol: Protocol,
    family: Family,
    flows: usize,
) -> Result<Vec<[u16; 2]>, Failure> {
    let remote = nat.remote(Place::Beyond(2), family);
    let one = |_| {
        let inside = nat.inside(1, family);
        let external = protocol.open(nat, inside, remote)?;
        Ok([inside.at.port(), external.port()])
    };
    (0..flows).map(one).collect()
}

/// Whether nobody can tell the next port from the ports before, or from the sender's own.
pub(crate) fn is_hard_to_guess(nat: &Nat, protocol: Protocol, family: Family) -> Observed {
    const FLOWS: usize = 64;
    /// By chance a port is so near the one before once in thirty runs; three are once in a million.
    const NEAR: u16 = 16;
    /// By chance a step is so near the one before in every fourth run; six are once in four million.
    const STEADY: u16 = 130;
    let ports = ports_of_many(nat, protocol, family, FLOWS)?;
    let own = ports.iter().filter(|[inside, external]| inside == external).count();
    if own == FLOWS {
        return Ok(Seen::Otherwise(ITS_OWN.to_owned()));
    }
    let step = |[one, other]: [u16; 2]| other.wrapping_sub(one);
    let size = |step: u16| step.min(step.wrapping_neg());
    let external: Vec<_> = ports.iter().map(|[_, external]| *external).collect();
    let steps: Vec<_> = external.array_windows().map(|pair| step(*pair)).collect();
    let near = steps.iter().filter(|it| size(**it) <= NEAR).count();
    let steady = steps.array_windows().filter(|pair| size(step(**pair)) <= STEADY).count();
    let told = format!("{own} of their own, {near} near the one before, {steady} as far on as before");
    Ok(Seen::met_or(own <= 1 && near <= 2 && steady <= 5, told))
}
