//! A connection whose rule is taken away is ended by the reload, where its connector wants that; others go on.
//!
//! ```text
//!   client ───────── router ───────── [XDP] host [TC] ───────── sb1
//!   serves :7070 and :7071    ENI 192.0.2.100       calls both
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use weir_netns_tests::config::{Config, Hook};
use weir_netns_tests::connectors::{Connector, V4, connected, outwards};
use weir_netns_tests::error::{Failure, Tested};
use weir_netns_tests::topology::{CLIENT, Testbed};
use weir_netns_tests::waiting::PATIENCE;

/// Its rule is taken away.
const LOSES: u16 = 7_070;
/// Its rule stays.
const KEEPS: u16 = 7_071;

/// The sandbox may call these ports of anybody.
fn allowing(ports: &str, rejudge: bool) -> Config {
    let connector = Connector::of(1..=1, V4).with("security_groups", "[\"web\"]").with("rejudge", rejudge);
    let rule = format!(
        "[[security_group.outbound]]\nprotocol = \"tcp\"\nports = \"{ports}\"\ncidr = \"0.0.0.0/0\"\n"
    );
    let more = format!("\n[[security_group]]\nname = \"web\"\nvpc = \"prod\"\n{rule}");
    Config { more, ..outwards(Hook::Xdp, connector) }
}

/// The sandbox's end and the client's.
fn call(bed: &Testbed, port: u16) -> Result<[TcpStream; 2], Failure> {
    let listener = bed.client.enter(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
    let sandbox = bed.sandboxes[0].netns.enter(move || TcpStream::connect((CLIENT, port)))??;
    let (client, _) = listener.accept()?;
    [&sandbox, &client].iter().try_for_each(|end| end.set_read_timeout(Some(PATIENCE)))?;
    Ok([sandbox, client])
}

/// A word of the sandbox's arrives.
fn goes_on([sandbox, client]: &mut [TcpStream; 2]) -> Tested {
    let mut word = [0; 4];
    sandbox.write_all(b"here")?;
    client.read_exact(&mut word)?;
    assert_eq!(&word, b"here");
    Ok(())
}

#[test]
fn a_connection_that_no_rule_allows_any_more_is_reset_and_others_go_on() -> Tested {
    let (bed, mut weir, _) = connected("rejudge", 1, &allowing("7070-7071", true))?;
    let [mut loses, mut keeps] = [call(&bed, LOSES)?, call(&bed, KEEPS)?];
    goes_on(&mut loses)?;
    goes_on(&mut keeps)?;

    weir.reconfigure(&bed, &allowing("7071", true))?;

    let left: Vec<_> = weir.flows()?.iter().map(|flow| flow.vip_port).collect();
    assert_eq!(left, [KEEPS]);
    assert_eq!(weir.counters()?.ended("blocked"), 1);
    loses[0].write_all(b"still there?")?;
    let heard = loses[0].read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::ConnectionReset));
    goes_on(&mut keeps)?;
    Ok(bed.finish(weir)?)
}

#[test]
fn a_connection_stays_for_as_long_as_it_lasts_where_nobody_wants_it_judged_again() -> Tested {
    let (bed, mut weir, _) = connected("no-rejudge", 1, &allowing("7070-7071", false))?;
    let mut loses = call(&bed, LOSES)?;
    goes_on(&mut loses)?;

    weir.reconfigure(&bed, &allowing("7071", false))?;

    goes_on(&mut loses)?;
    assert_eq!(weir.counters()?.ended("blocked"), 0);
    Ok(bed.finish(weir)?)
}
