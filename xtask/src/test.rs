//! `cargo xtask test` and `cargo xtask check`: stages in a list, quick ones first.
//!
//! A stage that judges the source ends the run when it fails. Test stages go on to the next, so that one run
//! shows everything that is broken. The last line counts all tests.
#![expect(clippy::print_stdout, reason = "what the tests print, the table and the count are results")]

use crate::error::Error;
use crate::setup::{self, Scope};
use crate::shell;
use crate::tally::Tally;
use crate::workspace::Workspace;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Tells tests that take minutes to run; without it they do a bounded part of their work.
const LONG: &str = "WEIR_LONG";

/// One command.
struct Stage {
    name: &'static str,
    kind: Kind,
    arguments: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Judges the source, or builds.
    Source,
    /// Judges the documentation.
    Docs,
    /// Judges source that is compiled for the kernel: workspaces of their own, with a target of their own.
    Ebpf,
    /// Runs tests.
    Tests,
}

const SOURCE: &[Stage] = &[
    Stage { name: "format", kind: Kind::Source, arguments: &["fmt", "--all", "--check"] },
    Stage {
        name: "format of ebpf/",
        kind: Kind::Source,
        arguments: &["fmt", "--manifest-path=ebpf/Cargo.toml", "--check"],
    },
    Stage {
        name: "format of benches/ebpf/",
        kind: Kind::Source,
        arguments: &["fmt", "--manifest-path=benches/ebpf/Cargo.toml", "--check"],
    },
    Stage {
        name: "lints",
        kind: Kind::Source,
        arguments: &["clippy", "--workspace", "--all-targets", "--", "--deny=warnings"],
    },
];

const DOCS: Stage = Stage {
    name: "documentation",
    kind: Kind::Docs,
    arguments: &["doc", "--workspace", "--no-deps", "--document-private-items"],
};

const KERNEL_SOURCE: &[Stage] = &[
    Stage {
        name: "lints of ebpf/",
        kind: Kind::Ebpf,
        arguments: &lints_of("--manifest-path=ebpf/Cargo.toml"),
    },
    Stage {
        name: "lints of benches/ebpf/",
        kind: Kind::Ebpf,
        arguments: &lints_of("--manifest-path=benches/ebpf/Cargo.toml"),
    },
];

const fn lints_of(manifest: &str) -> [&str; 8] {
    let (core, target) = ("-Zbuild-std=core", "--target=bpfel-unknown-none");
    ["clippy", manifest, "--release", "--locked", core, target, "--", "--deny=warnings"]
}

/// Neither root nor a kernel: the path, its fixtures, properties and fuzzing on a slice; the tidy test.
const PURE: Stage = Stage {
    name: "tests: path, tidy",
    kind: Kind::Tests,
    arguments: &[
        "test",
        "--no-fail-fast",
        "--package=weir-path",
        "--package=weir-testkit",
        "--package=xtask",
    ],
};

/// Of the controller, only what its library tests.
const CONTROLLER: Stage = Stage {
    name: "tests: controller",
    kind: Kind::Tests,
    arguments: &["test", "--no-fail-fast", "--package=weir-controller", "--lib"],
};

/// Whatever is neither among the first nor the last: a new package is here unless someone moves it.
const KERNEL: Stage = Stage {
    name: "tests: kernel, controller",
    kind: Kind::Tests,
    arguments: &[
        "test",
        "--no-fail-fast",
        "--workspace",
        "--exclude=weir-path",
        "--exclude=weir-testkit",
        "--exclude=xtask",
        "--exclude=weir-netns-tests",
    ],
};

/// The daemon that the next stage starts; built with the same selection as for the demo, so that neither
/// throws the other's work away.
const DAEMON: Stage = Stage {
    name: "build of the daemon",
    kind: Kind::Source,
    arguments: &["build", "--package=weir-controller", "--package=weir-netns-tests", "--bins"],
};

const NETNS: Stage = Stage {
    name: "tests: real traffic",
    kind: Kind::Tests,
    arguments: &["test", "--no-fail-fast", "--package=weir-netns-tests"],
};

/// How a stage went.
struct Outcome {
    name: &'static str,
    result: StageResult,
    took: Duration,
    tally: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StageResult {
    Passed,
    Failed,
    /// This machine can't; counted among the skipped, with what it would take.
    Skipped(&'static str),
}

/// Everything there is, as root.
pub(crate) fn everything(workspace: &Workspace, long: bool) -> Result<ExitCode, Error> {
    let command = if long { "test --long" } else { "test" };
    setup::make_ready(workspace, Scope::Everything, command)?;
    let tail = [DOCS, PURE, KERNEL, DAEMON, NETNS];
    run_all(workspace, SOURCE.iter().chain(KERNEL_SOURCE).chain(&tail), long)
}

/// What needs neither root nor a kernel.
pub(crate) fn without_root(workspace: &Workspace) -> Result<ExitCode, Error> {
    setup::make_ready(workspace, Scope::Build, "check")?;
    run_all(workspace, SOURCE.iter().chain(&[DOCS, PURE, CONTROLLER]), false)
}

fn run_all<'a>(
    workspace: &Workspace,
    stages: impl Iterator<Item = &'a Stage>,
    long: bool,
) -> Result<ExitCode, Error> {
    let mut outcomes = Vec::new();
    for stage in stages {
        let outcome = run(workspace, stage, long)?;
        let goes_on = outcome.result != StageResult::Failed || stage.kind == Kind::Tests;
        outcomes.push(outcome);
        if !goes_on {
            break;
        }
    }
    let (sum, verdict) = judge(&outcomes);
    print_table(&outcomes);
    // The last line of all output: what follows would hide the count from whoever reads only that.
    if let Err(error) = &verdict {
        println!("{error}");
    }
    println!("{sum}");
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sum of all tests, and whether all is well. A stage that broke without failing a test counts as one
/// failure, so that the count can't look clean when the run was not.
fn judge(outcomes: &[Outcome]) -> (Tally, Result<(), Error>) {
    let mut sum = Tally::default();
    for outcome in outcomes {
        sum += outcome.tally;
        match outcome.result {
            StageResult::Failed if outcome.tally.failed == 0 => sum.failed += 1,
            StageResult::Skipped(_) => sum.skipped += 1,
            StageResult::Failed | StageResult::Passed => {}
        }
    }
    let broken =
        outcomes.iter().find(|outcome| outcome.result == StageResult::Failed || outcome.tally.failed > 0);
    let verdict = match broken {
        Some(outcome) => Err(Error::Stage { stage: outcome.name }),
        None if sum.ran() == 0 => Err(Error::NoTests),
        None => Ok(()),
    };
    (sum, verdict)
}

fn run(workspace: &Workspace, stage: &Stage, long: bool) -> Result<Outcome, Error> {
    eprintln!("\n== {}", stage.name);
    let outcome = |result, took, tally| Outcome { name: stage.name, result, took, tally };
    if stage.kind == Kind::Ebpf && !setup::rustup_has_core_source() {
        let why = "clippy wants rustup's own source of `core`: rustup component add rust-src";
        eprintln!("skipped: {why}");
        return Ok(outcome(StageResult::Skipped(why), Duration::ZERO, Tally::default()));
    }
    let mut command = workspace.cargo(stage.arguments);
    match stage.kind {
        Kind::Source => &mut command,
        Kind::Docs => command.env("RUSTDOCFLAGS", "--deny=warnings"),
        // As in dataplane/build.rs: `core` is compiled for a target that has none prebuilt.
        Kind::Ebpf => command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", workspace.ebpf_lint_dir()),
        Kind::Tests if long => command.env(LONG, "1"),
        Kind::Tests => command.env_remove(LONG),
    };
    let said = shell::say(&command);
    let started = Instant::now();
    let (passed, tally) = stream(&mut command, said)?;
    let result = if passed { StageResult::Passed } else { StageResult::Failed };
    Ok(outcome(result, started.elapsed(), tally))
}

/// Runs a command, passes its stdout on line by line, and counts what its test runners say.
fn stream(command: &mut Command, said: String) -> Result<(bool, Tally), Error> {
    let cannot_start = |source| Error::CannotStart { command: said.clone(), source };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot_start)?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        // Bytes, not text: a test may print anything.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(cannot_start)?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(counted) = Tally::of_line(&line) {
                tally += counted;
            }
        }
    }
    let status = child.wait().map_err(cannot_start)?;
    Ok((status.success(), tally))
}

fn print_table(outcomes: &[Outcome]) {
    println!("\n{:<28} {:>8}  result", "stage", "seconds");
    for outcome in outcomes {
        let result = match outcome.result {
            StageResult::Passed => "ok".to_owned(),
            StageResult::Failed => "FAILED".to_owned(),
            StageResult::Skipped(why) => format!("skipped: {why}"),
        };
        let tests =
            if outcome.tally == Tally::default() { String::new() } else { format!(", {}", outcome.tally) };
        println!("{:<28} {:>8.1}  {result}{tests}", outcome.name, outcome.took.as_secs_f32());
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    use StageResult::{Failed, Passed, Skipped};

    fn outcome(result: StageResult, passed: u64, failed: u64) -> Outcome {
        let tally = Tally { passed, failed, skipped: 0 };
        Outcome { name: "a stage", result, took: Duration::ZERO, tally }
    }

    fn sh(script: &str) -> (bool, Tally) {
        stream(Command::new("sh").args(["-c", script]), script.to_owned()).unwrap()
    }

    #[test]
    fn a_run_without_any_test_fails() {
        assert!(matches!(judge(&[outcome(Passed, 0, 0)]), (_, Err(Error::NoTests))));
        assert!(matches!(judge(&[]), (_, Err(Error::NoTests))));
    }

    #[test]
    fn a_stage_that_broke_before_its_tests_counts_as_a_failure() {
        let (sum, verdict) = judge(&[outcome(Passed, 7, 0), outcome(Failed, 0, 0)]);
        assert_eq!(sum.to_string(), "7 passed, 1 failed, 0 skipped");
        assert!(matches!(verdict, Err(Error::Stage { stage: "a stage" })));
    }

    #[test]
    fn failed_tests_are_counted_once() {
        let (sum, verdict) = judge(&[outcome(Failed, 3, 2)]);
        assert_eq!(sum.to_string(), "3 passed, 2 failed, 0 skipped");
        assert!(verdict.is_err());
    }

    #[test]
    fn a_stage_that_this_machine_cannot_run_is_counted_as_skipped() {
        let (sum, verdict) = judge(&[outcome(Skipped("no clippy"), 0, 0), outcome(Passed, 1, 0)]);
        assert_eq!(sum.to_string(), "1 passed, 0 failed, 1 skipped");
        assert!(verdict.is_ok());
    }

    #[test]
    fn all_runners_of_a_stage_are_summed_while_their_output_streams_by() {
        let ok = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'";
        let (passed, tally) = sh(&format!("{ok}; {ok}"));
        assert!(passed);
        assert_eq!(tally, Tally { passed: 4, failed: 0, skipped: 2 });
        assert_eq!(sh("exit 1"), (false, Tally::default()));
    }

    #[test]
    fn every_package_of_the_workspace_is_tested() {
        for package in PURE.arguments.iter().filter_map(|argument| argument.strip_prefix("--package=")) {
            let exclusion = format!("--exclude={package}");
            assert!(KERNEL.arguments.contains(&exclusion.as_str()), "{package} would run twice");
        }
        assert!(KERNEL.arguments.contains(&"--workspace"));
        let excluded = KERNEL.arguments.iter().filter_map(|argument| argument.strip_prefix("--exclude="));
        for package in excluded {
            let selection = format!("--package={package}");
            let selected = [&PURE, &NETNS].iter().any(|stage| stage.arguments.contains(&selection.as_str()));
            assert!(selected, "{package} would never run");
        }
    }
}
