//! The command beside a real dataplane without devices: what survives the daemon, and what can be seen of it.
//! Takes root and a bpffs.
#![expect(clippy::unwrap_used, reason = "test code")]

mod daemon;

use daemon::{Running, Said};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use weir_dataplane::flows::{FlowState, SideState};
use weir_dataplane::{Dataplane, FamilySizes, Options, Sizes};
use weir_path::addr::{InterfaceId, Ip4, L4Port, Mac, Zone};
use weir_path::flow::end::End;
use weir_path::flow::{Counts, Ends, Hop, Key, Key4, Life, Meta, Phase, RecordId, Side, Stamp, V4};
use weir_path::layout::SCHEMA;
use weir_path::time::Seconds;

const SIZES: &str = "max_flows = 2048\nmax_flows_v6 = 1024\nmax_half_open = 512\n";

#[test]
fn tables_of_another_schema_are_refused_with_what_to_do() {
    let bed = Bed::new(SIZES);
    let (other, this) = (SCHEMA - 1, SCHEMA);
    fs::create_dir_all(bed.pins.join(format!("v{other}/maps"))).unwrap();
    let said = bed.weir(&["run"]);
    assert_eq!(said.code, 1);
    let words =
        [&format!("schema v{other}"), &format!("this version has schema v{this}"), "`weir stop --release`"];
    for word in words {
        assert!(said.err.contains(word), "{word:?} is not in\n{}", said.err);
    }
    // The release takes away what any version pinned.
    assert_eq!(bed.weir(&["stop", "--release"]).code, 0);
    assert!(!bed.pins.exists());
}

#[test]
fn a_restart_adopts_tables_of_the_same_sizes_and_refuses_others() {
    let bed = Bed::new(SIZES);
    let daemon = bed.run();
    assert!(daemon.said.contains("made a new dataplane"), "{}", daemon.said);
    let sizes = "family=\"ipv4\" max_flows=2048 max_half_open=512 bytes_per_flow=";
    assert!(daemon.said.contains(sizes), "{}", daemon.said);
    daemon.stop();

    for other in ["max_flows = 4096", "max_flows_v6 = 2048", "max_half_open = 256"] {
        let (key, _) = other.split_once(' ').unwrap();
        let kept: Vec<_> = SIZES.lines().filter(|line| !line.starts_with(&format!("{key} "))).collect();
        bed.write(&format!("{}\n{other}\n", kept.join("\n")));
        let said = bed.weir(&["run"]);
        assert_eq!(said.code, 1, "{other}");
        assert!(said.err.contains("pinned flow tables keep their size"), "{other}: {}", said.err);
    }
    bed.write(SIZES);
    let daemon = bed.run();
    assert!(daemon.said.contains("adopted the running dataplane"), "{}", daemon.said);
    daemon.stop();
}

#[test]
fn a_reload_refuses_other_sizes_and_takes_other_timeouts() {
    let bed = Bed::new(SIZES);
    let mut daemon = bed.run();
    bed.write(&format!("{SIZES}max_half_open_v6 = 128\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("[dataplane] changed, which takes a restart");
    bed.write(&format!("{SIZES}[timeouts]\ntcp_closing = 1\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the new configuration is in force");
    daemon.stop();
}

#[test]
fn flows_and_what_they_cost_are_shown_beside_a_dead_daemon() {
    let bed = Bed::new(SIZES);
    bed.run().stop();
    let dataplane = bed.open();
    enter(&dataplane, Phase::Established);
    let shown = bed.weir(&["get", "flows", "-o", "json"]);
    for field in [
        "\"client\": \"203.0.113.9\"",
        "\"vip\": \"198.51.100.10\"",
        "\"target_port\": 8080",
        "\"phase\": \"established\"",
        "\"idle_timeout_seconds\": 350",
        "\"to_target_packets\": 3",
        "\"to_client_bytes\": 1500",
    ] {
        assert!(shown.out.contains(field), "{field} is not in\n{}\n{}", shown.out, shown.err);
    }
    let shown = bed.weir(&["get", "capacity", "-o", "json"]);
    for field in ["\"max_flows\": 2048", "\"flows\": 1", "\"max_half_open\": 512", "\"half_open\": 0"] {
        assert!(shown.out.contains(field), "{field} is not in\n{}\n{}", shown.out, shown.err);
    }
}

#[test]
fn a_flow_that_ends_is_told_to_the_one_who_follows() {
    let bed = Bed::new(SIZES);
    bed.run().stop();
    let mut dataplane = bed.open();
    enter(&dataplane, Phase::Established);
    let mut reader = bed.start(&["events", "--json"]);
    reader.wait_for("following flows that end");

    let second = bed.weir(&["events"]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains(&format!("(pid {})", reader.child.id())), "{}", second.err);

    assert_eq!(dataplane.end_flows(End::Removed, |_| true).unwrap(), 1);
    let mut line = String::new();
    BufReader::new(reader.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    for field in [
        "\"reason\":\"removed\"",
        "\"client_port\":40000",
        "\"phase\":\"established\"",
        "\"to_client_packets\":2",
    ] {
        assert!(line.contains(field), "{field} is not in\n{line}");
    }
    reader.stop();

    let counters = bed.weir(&["get", "counters"]).out;
    let removed = counters.lines().find(|line| line.trim_start().starts_with("removed")).unwrap();
    assert_eq!(removed.split_whitespace().nth(1), Some("1"), "{counters}");
    assert!(counters.contains("events lost: 0"), "{counters}");

    // The place is free again, and so is whoever stopped.
    let mut next = bed.start(&["events"]);
    next.wait_for("following flows that end");
    next.signal(Signal::SIGINT);
    assert_eq!(next.child.wait().unwrap().code(), Some(0));
}

/// A flow to a sandbox that there is no slot for.
fn enter(dataplane: &Dataplane, phase: Phase) {
    const TCP: u8 = 6;
    let (tables, record) = (dataplane.tables(), RecordId(0));
    let now = tables.now();
    let (client, vip, sandbox) = (Ip4([203, 0, 113, 9]), Ip4([198, 51, 100, 10]), Ip4([169, 254, 100, 2]));
    let (from, port) = (L4Port::new(40_000), L4Port::new(8_080));
    let keys = [
        Key4::new(
            Ends { src: client, dst: vip, sport: from, dport: L4Port::new(80) },
            TCP,
            Zone::of_vpc(1).unwrap(),
        ),
        Key4::new(
            Ends { src: sandbox, dst: client, sport: port, dport: from },
            TCP,
            Zone::of_binding(7).unwrap(),
        ),
    ];
    let side = |side, packets, bytes| SideState {
        hop: Hop::new(InterfaceId(0), Mac([2; 6])),
        counts: Counts { packets, bytes },
        acknowledged: 0,
        stamp: Stamp::new(record, 1, side, now),
    };
    let flow = FlowState {
        record,
        life: Life::new(phase, 1, now),
        keys,
        meta: Meta { opened: now, idle: Seconds(350), ..Meta::default() },
        sides: [side(Side::Original, 3, 200), side(Side::Reply, 2, 1_500)],
    };
    tables.insert_flows::<V4>(&[flow]).unwrap();
}

/// A configuration with pins of its own, which go with it.
struct Bed {
    folder: TempDir,
    pins: PathBuf,
}

impl Bed {
    fn new(section: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pins = format!("/sys/fs/bpf/weir-c-{}-{number}", std::process::id());
        let bed = Self { folder: TempDir::new().unwrap(), pins: pins.into() };
        bed.write(section);
        bed
    }

    fn write(&self, section: &str) {
        let (pins, state) = (self.pins.display(), self.folder.path().join("state"));
        let text = format!(
            "version = 1\n[[vpc]]\nname = \"prod\"\n[dataplane]\npin_dir = \"{pins}\"\nstate_dir = \"{}\"\n{section}",
            state.display()
        );
        fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("weir.toml")
    }

    fn open(&self) -> Dataplane {
        let sizes = Sizes {
            v4: FamilySizes { flows: 2_048, half_open: 512 },
            v6: FamilySizes { flows: 1_024, half_open: 64 },
        };
        Dataplane::open(&Options { pin_dir: self.pins.clone(), sizes }).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(words).arg("--config").arg(self.file()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn weir(&self, words: &[&str]) -> Said {
        Said::by(self.command(words))
    }

    fn start(&self, words: &[&str]) -> Running {
        Running::start(self.command(words))
    }

    /// The daemon, once it is ready.
    fn run(&self) -> Running {
        let mut daemon = self.start(&["run"]);
        daemon.wait_for("configuration applied");
        daemon
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let released = self.weir(&["stop", "--release"]);
        assert!(std::thread::panicking() || released.code == 0, "{}", released.err);
        assert!(std::thread::panicking() || !Path::new(&self.pins).exists());
    }
}
