//! The demo: the whole story at once, on real traffic, in about a minute.
//!
//! Three sandboxes that all look the same serve behind one VIP; targets come and go under load; the daemon
//! is killed and comes back; nothing is lost, and nothing is left behind. Then sandboxes open connections into two
//! VPCs, and nobody is let in. Each promise is judged, and a
//! broken one makes the exit code 1.
#![forbid(unsafe_code)]

mod report;
mod stage;
mod story;
mod vpcs;

use std::process::ExitCode;

use clap::Parser;
use weir_netns_tests::error::Error;
use weir_netns_tests::waiting::catch_interrupts;

use crate::stage::Stage;

/// Shows Weir at work between network namespaces: needs root, changes nothing outside of them
#[derive(Parser)]
#[command(name = "weir-demo")]
struct Args {
    /// Print one JSON object to standard output, and the story to standard error
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let stage = Stage::new(args.json);
    match show(&stage) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            stage.say(&format!("\nThe demo could not go on: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn show(stage: &Stage) -> Result<bool, Error> {
    catch_interrupts()?;
    let report = story::tell(stage)?;
    let broken = report.broken_promises();
    stage.end(&report, &broken);
    Ok(broken.is_empty())
}
