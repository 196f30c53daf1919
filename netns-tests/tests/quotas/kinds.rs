//! Each kind of quota, of a sandbox and of a tenant: as much as it says can be held, who wants more hears so at once, and what
//! ends makes room.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{BOTH, Connector, SERVERS, connected, outwards};
use weir_netns_tests::error::{Error, Failure, Tested};
use weir_netns_tests::netns::Netns;
use weir_netns_tests::pace::{Sink, socket_towards};
use weir_netns_tests::quotas::{Held, Kind, Whose, tenant};
use weir_netns_tests::talk::{Conversation, refusal_by_tcp};
use weir_netns_tests::topology::Testbed;
use weir_netns_tests::waiting::{PATIENCE, until};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

/// How much there may be, of whatever it is.
const MOST: u32 = 6;
/// Where datagrams are taken, and none is answered.
const SILENT: u16 = 7_100;
/// What it takes, of both families.
const REMOTES: [SocketAddr; 2] = [SERVERS[0], SERVERS[1]];

#[test]
fn a_sandbox_and_all_of_a_tenant_together_have_as_many_flows_as_they_may() -> Tested {
    are_kept("quota-flows", Kind::Flows)
}

#[test]
fn a_sandbox_and_all_of_a_tenant_together_have_as_many_ports_as_they_may() -> Tested {
    are_kept("quota-ports", Kind::Ports)
}

#[test]
fn a_sandbox_and_all_of_a_tenant_together_have_as_many_half_open_flows_as_they_may() -> Tested {
    are_kept("quota-half", Kind::HalfOpen)
}

#[test]
fn a_sandbox_and_all_of_a_tenant_together_open_as_many_flows_in_a_second_as_they_may() -> Tested {
    let (bed, mut weir, silent) = bed("quota-new", Kind::NewFlows)?;
    let came = comes_back_with_time(&bed, &weir, Whose::Sandbox)?;
    weir.reconfigure(&bed, &config(Kind::NewFlows, Whose::Tenant))?;
    let came = came + comes_back_with_time(&bed, &weir, Whose::Tenant)?;
    let taken = silent.map(Sink::end).iter().map(Vec::len).sum::<usize>() as u64;
    assert_eq!(taken, came, "each that was not refused came");
    Ok(bed.finish(weir)?)
}

/// Two sandboxes of a tenant, which may have so much, or each of which may.
fn config(kind: Kind, whose: Whose) -> Config {
    let outwards = outwards(Hook::Xdp, Connector::of(1..=2, BOTH).with("rest", 0));
    // What is over makes room soon; what nobody answers is held for as long as a test needs to look.
    let timeouts = vec![("tcp_closing", 1), ("udp_unanswered", 4)];
    Config { more: tenant("acme", &[(whose, kind, MOST)]), timeouts, ..outwards }
}

/// With a quota of each sandbox, and somebody beyond the gateway who never answers.
fn bed(name: &'static str, kind: Kind) -> Result<(Testbed, Weir, [Sink; 2]), Failure> {
    let (bed, weir, _) = connected(name, 2, &config(kind, Whose::Sandbox))?;
    let [v4, v6] = REMOTES.map(|to| Sink::begin(&bed.client, (to.ip(), SILENT).into()));
    Ok((bed, weir, [v4?, v6?]))
}

/// The sandboxes that share a quota.
fn users(bed: &Testbed, whose: Whose) -> Vec<&Netns> {
    let sharing = if whose == Whose::Tenant { 2 } else { 1 };
    bed.sandboxes.iter().take(sharing).map(|it| &it.netns).collect()
}

fn held(bed: &Testbed, weir: &Weir, whose: Whose) -> Result<Held, Error> {
    match whose {
        Whose::Tenant => Held::by_tenant(weir, "acme"),
        Whose::Sandbox => Held::by_sandbox(weir, &bed.sandboxes[0]),
    }
}

/// Something that is held.
#[expect(dead_code, reason = "what it has is kept, not used")]
enum Grip {
    Talk(Conversation),
    Unanswered(UdpSocket),
}

/// One more, by one family or the other.
fn grip(kind: Kind, netns: &Netns, nth: usize) -> Result<Grip, Error> {
    let to = REMOTES[nth / 2 % 2];
    if kind != Kind::HalfOpen {
        return Conversation::begin(netns, to).map(Grip::Talk);
    }
    let socket = socket_towards(netns, (to.ip(), SILENT).into())?;
    socket.send(b"nobody answers").map_err(Error::io("send a datagram"))?;
    Ok(Grip::Unanswered(socket))
}

/// As much as there may be, by all who share it.
fn grip_all(kind: Kind, users: &[&Netns]) -> Result<Vec<Grip>, Error> {
    (0..MOST as usize).map(|nth| grip(kind, users[nth % users.len()], nth)).collect()
}

fn are_kept(name: &'static str, kind: Kind) -> Tested {
    let (bed, mut weir, _silent) = bed(name, kind)?;
    is_kept(&bed, &weir, kind, Whose::Sandbox)?;
    weir.reconfigure(&bed, &config(kind, Whose::Tenant))?;
    is_kept(&bed, &weir, kind, Whose::Tenant)?;
    Ok(bed.finish(weir)?)
}

fn is_kept(bed: &Testbed, weir: &Weir, kind: Kind, whose: Whose) -> Tested {
    let users = users(bed, whose);
    let told_before = weir.counters()?.of(Reason::AnsweredQuota);
    // How often the tenant, or the sandbox, was refused; and nobody else.
    let at_first = held(bed, weir, whose)?;
    assert!(at_first.is_nothing() && at_first.refused_at_all() == 0, "{at_first:?}");

    let grips = grip_all(kind, &users)?;

    let full = held(bed, weir, whose)?;
    assert_eq!((full.of(kind), full.refused_at_all()), (MOST.into(), 0), "{full:?}");
    users.iter().try_for_each(|user| is_told(user))?;
    let refusing = held(bed, weir, whose)?;
    let refused = 4 * users.len() as u64;
    assert_eq!(refusing.refused(kind), refused, "{refusing:?}");
    assert_eq!((refusing.of(kind), refusing.refused_at_all()), (MOST.into(), refused), "{refusing:?}");
    assert_eq!(weir.counters()?.of(Reason::AnsweredQuota) - told_before, refused);
    // What each may have is nothing to the others.
    if whose == Whose::Sandbox {
        assert!(Conversation::begin(&bed.sandboxes[1].netns, REMOTES[0])?.exchange(b"beside")?);
    }

    drop(grips);
    has_come_to_nothing(bed, weir, whose, kind)?;
    let again = grip_all(kind, &users)?;
    assert_eq!(held(bed, weir, whose)?.refused_at_all(), refused, "there is room again");
    drop(again);
    books_close(bed, weir)
}

/// Who wants more hears so at once: by a RST, or by ICMP.
fn is_told(user: &Netns) -> Tested {
    let begun = Instant::now();
    for to in REMOTES {
        assert_eq!(refusal_by_tcp(user, to)?, Some(ErrorKind::ConnectionRefused), "{to}");
        let socket = socket_towards(user, to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // Else the kernel keeps to itself what may pass.
        match to {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        socket.send(b"one more")?;
        assert_eq!(socket.recv(&mut [0]).map_err(|it| it.kind()), Err(ErrorKind::HostUnreachable), "{to}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "at once, not after {:?}", begun.elapsed());
    Ok(())
}

fn has_come_to_nothing(bed: &Testbed, weir: &Weir, whose: Whose, kind: Kind) -> Tested {
    let evidence = || format!("{:?}", held(bed, weir, whose));
    let is_nothing = || Ok((held(bed, weir, whose)?.of(kind) == 0).then_some(()));
    Ok(until("what is held to be given back", PATIENCE, evidence, is_nothing)?)
}

/// In the end nobody holds anything.
fn books_close(bed: &Testbed, weir: &Weir) -> Tested {
    let all = || {
        let each = bed.sandboxes.iter().map(|it| Held::by_sandbox(weir, it));
        each.chain([Held::by_tenant(weir, "acme")]).collect::<Result<Vec<_>, _>>()
    };
    Ok(until(
        "closed books",
        PATIENCE,
        || format!("{:?}", all()),
        || Ok(all()?.iter().all(Held::is_nothing).then_some(())),
    )?)
}

/// Flows that are opened in a second: as many as may be at once, and then with time. How many datagrams went out.
fn comes_back_with_time(bed: &Testbed, weir: &Weir, whose: Whose) -> Result<u64, Failure> {
    const TRIED: u64 = 40;
    let users = users(bed, whose);
    let told_before = weir.counters()?.of(Reason::AnsweredQuota);
    let begun = Instant::now();

    let tried = (0..TRIED as usize).map(|nth| grip(Kind::HalfOpen, users[nth % users.len()], nth));
    let tried = tried.collect::<Result<Vec<_>, _>>()?;

    let took = begun.elapsed();
    let after = held(bed, weir, whose)?;
    // A second's worth at once; what came back meanwhile; and a tick.
    let most = u64::from(MOST) + (took.as_secs_f64() * f64::from(MOST)).ceil() as u64 + 1;
    let refused = after.refused(Kind::NewFlows);
    println!("{whose:?}: {refused} of {TRIED} in {took:?} refused, where {MOST} a second may be opened");
    assert!((TRIED - most..=TRIED - u64::from(MOST)).contains(&refused), "{after:?} after {took:?}");
    assert_eq!(after.refused_at_all(), refused, "{after:?}");
    assert_eq!(weir.counters()?.of(Reason::AnsweredQuota) - told_before, refused);
    if whose == Whose::Sandbox {
        assert!(Conversation::begin(&bed.sandboxes[1].netns, REMOTES[0])?.exchange(b"beside")?);
    }

    let once_more = || Ok(refusal_by_tcp(users[0], REMOTES[0])?.is_none().then_some(()));
    until("room for a new flow", Duration::from_secs(2), String::new, once_more)?;
    drop(tried);
    books_close(bed, weir)?;
    Ok(TRIED - refused)
}
