//! The demo itself: what it prints for programs, and that it cleans up after Ctrl-C.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ── sb1 … sb4      as the demo builds it
//! ```

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use weir_netns_tests::error::Tested;
use weir_netns_tests::netns::NETNS_DIR;
use weir_netns_tests::requirements::BPFFS;

/// There is one set of the demo's namespaces in a machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn demo() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir-demo"))
}

/// Whatever in these folders is the demo's.
fn traces() -> Vec<String> {
    let folders =
        [NETNS_DIR, BPFFS].map(Path::new).into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    let names = folders.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("weir-demo-")).collect()
}

#[test]
fn the_demo_keeps_its_promises_and_prints_one_object() -> Tested {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);

    let ended = demo().arg("--json").output()?;

    let story = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{story}");
    let report: Value = serde_json::from_slice(&ended.stdout)?;
    assert_eq!(report["requests"], 2000, "{story}");
    #[rustfmt::skip]
    let zeros = [
        "failed", "failed_during_scale", "failed_while_dead", "tcp_retrans_over_baseline", "conservation_diff",
        "outward_failed", "uninvited_let_in",
    ];
    assert!(zeros.iter().all(|field| report[field] == 0), "{report:#}");
    assert!(report["begun_while_dead"].as_u64().is_some_and(|begun| begun >= 500), "{report:#}");
    assert!(
        ["sandbox-1", "sandbox-2", "sandbox-3"].iter().all(|name| report["served"][name].is_u64()),
        "{report:#}"
    );
    assert_eq!(report["vpc_sees_sources"], serde_json::json!({ "vpc-a": 1, "vpc-b": 1 }), "{story}");
    assert!(report["uninvited_sent"].as_u64().is_some_and(|sent| sent > 0), "{report:#}");
    assert!(report["packets_in"].as_u64() >= report["packets_out"].as_u64(), "{report:#}");
    assert_eq!((&report["left_behind"], &report["xdp_mode"]), (&Value::Array(vec![]), &"native".into()));
    assert_eq!(traces(), Vec::<String>::new());
    Ok(())
}

#[test]
fn an_interrupted_demo_takes_everything_down() -> Tested {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut running = demo().stdout(Stdio::piped()).process_group(0).spawn()?;
    let mut story = BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(story.any(|line| line.contains("under load")), "the daemon runs, requests are on their way");

    kill(Pid::from_raw(running.id() as i32), Signal::SIGINT)?;

    let rest: Vec<_> = story.collect();
    assert_eq!(running.wait()?.code(), Some(1), "{rest:#?}");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:#?}");
    assert_eq!(traces(), Vec::<String>::new());
    Ok(())
}
