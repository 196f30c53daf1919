//! Files that cannot work are refused before anything is touched.
//!
//! ```text
//!   client ── router ── host ── sb1        the daemon never gets to attach anything
//! ```

use weir_netns_tests::config::{Config, Hook, Service};
use weir_netns_tests::error::Tested;
use weir_netns_tests::topology::{Testbed, Topology};
use weir_netns_tests::weir::Weir;

/// The exit code of a configuration that failed validation.
const REFUSED: i32 = 4;

fn good(bed: &Testbed) -> String {
    Config::new(Hook::Xdp, [Service::web(1..=1)]).toml(bed)
}

/// Runs the daemon on a broken file. It must be refused with the line and every word, and leave nothing.
fn is_refused(name: &'static str, from: &str, to: &str, words: &[&str]) -> Tested {
    let bed = Topology { name, sandboxes: 1 }.build()?;
    let weir = Weir::new(&bed, &Config::new(Hook::Xdp, []))?;
    let broken = good(&bed).replacen(from, to, 1);
    assert_ne!(broken, good(&bed), "the file is broken indeed");
    weir.write(&broken)?;
    let line = broken.lines().take_while(|line| !line.contains(to.trim())).count() + 1;

    let run = weir.try_command(&["run"])?;

    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(REFUSED), "{said}");
    // A namespace and its interface are one place: either line will do.
    let is_located = [line, line + 1].iter().any(|line| said.contains(&format!("weir.toml:{line}:")));
    assert!(is_located, "line {line} is not in:\n{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    // Also asserts that nothing is pinned and nothing is attached.
    Ok(bed.finish_without_weir()?)
}

#[test]
fn an_uplink_that_is_not_there_is_refused_by_line_and_name() -> Tested {
    is_refused("no-uplink", "interface = \"hu0\"", "interface = \"hu9\"", &["hu9"])
}

#[test]
fn a_sandbox_without_its_device_is_refused_by_line_and_name() -> Tested {
    is_refused("no-slot", "interface = \"eth0\"", "interface = \"eth7\"", &["eth7"])
}

#[test]
fn a_namespace_that_is_not_there_is_refused_by_name() -> Tested {
    is_refused("no-netns", "weir-no-netns-sb1", "weir-no-netns-sb9", &["weir-no-netns-sb9"])
}

#[test]
fn an_unknown_key_is_refused_with_what_was_meant() -> Tested {
    is_refused("bad-key", "max_flows", "max_flow", &["max_flow", "max_flows"])
}

#[test]
fn a_port_that_cannot_be_is_refused_with_its_value() -> Tested {
    is_refused("bad-port", "port = 80\n", "port = 80000\n", &["80000"])
}
