//! What a packet costs in the kernel: Weir's programs beside the least that programs can do, in one run.
//!
//! Absolute values move by a third between runs and machines: compare within one table only.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod established;
mod lifecycle;
mod sizes;

use weir_benches::{Outcome, machine};

/// The sections, by the names that they are asked for with.
type Section = (&'static str, fn() -> Outcome<()>);
const SECTIONS: [Section; 3] =
    [("established", established::print), ("lifecycle", lifecycle::print), ("sizes", sizes::print)];

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.iter().any(|(known, _)| known == name)) {
        return Err(format!("there is no section {unknown}; there are established, lifecycle, sizes").into());
    }
    machine::stay_on(0)?;
    println!("{}", machine::describe());
    for (name, print) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            print()?;
        }
    }
    Ok(())
}
