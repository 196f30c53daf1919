//! What many flows cost: opened, ended and taken back on two CPUs; aged by the timer; listed.
//!
//! No daemon runs. Absolute values move by a third between runs and machines.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod ageing;
mod churn;
mod listing;
mod stolen;

use weir_benches::{Outcome, machine};

/// The sections, by the names that they are asked for with.
type Section = (&'static str, fn() -> Outcome<()>);
const SECTIONS: [Section; 3] =
    [("churn", churn::print), ("ageing", ageing::print), ("listing", listing::print)];

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.iter().any(|(known, _)| known == name)) {
        return Err(format!("there is no section {unknown}; there are churn, ageing, listing").into());
    }
    println!("{}", machine::describe());
    for (name, print) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            print()?;
        }
    }
    println!("{}", machine::describe());
    Ok(())
}
