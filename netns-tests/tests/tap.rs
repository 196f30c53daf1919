//! A target behind a TAP device, as a virtual machine has it.
//!
//! ```text
//!   client ── router ── [XDP | TC] host [TC] ─┬─ tap1   a guest that echoes UDP
//!                                             └─ sb1    a veth beside it, unused
//! ```

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::error::Tested;
use weir_netns_tests::guest::Guest;
use weir_netns_tests::talk::ask_by_udp;
use weir_netns_tests::topology::{Topology, vip};
use weir_netns_tests::weir::Weir;
use weir_path::Reason;

#[test]
fn a_guest_behind_a_tap_answers_through_an_xdp_uplink() -> Tested {
    a_guest_answers("tap-xdp", Hook::Xdp)
}

#[test]
fn a_guest_behind_a_tap_answers_through_a_tc_uplink() -> Tested {
    a_guest_answers("tap-tc", Hook::Tc)
}

fn a_guest_answers(name: &'static str, hook: Hook) -> Tested {
    let mut bed = Topology { name, sandboxes: 1 }.build()?;
    let guest = Guest::begin(&bed.host, "tap1")?;
    bed.keep(guest);
    let config = Config::new(hook, [Service::echo_udp(1..=1)]);
    let in_a_namespace = format!("netns = \"weir-{name}-sb1\"\n  interface = \"eth0\"");
    let behind_a_tap = config.toml(&bed).replace(&in_a_namespace, "interface = \"tap1\"");
    let mut weir = Weir::new(&bed, &config)?;
    weir.write(&behind_a_tap)?;
    weir.start()?;

    for len in [1, 64, 1400] {
        let words = vec![len as u8; len];
        assert_eq!(ask_by_udp(&bed.client, vip(7), &words)?, words);
    }

    let counters = weir.counters()?;
    assert_eq!((counters.of(Reason::Opened), counters.of(Reason::ToWire)), (3, 3), "{counters:#?}");
    Ok(bed.finish(weir)?)
}
