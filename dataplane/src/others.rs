//! Programs of others on the same devices: found, and named.

use crate::error::Error;
use crate::pins::{self, Pins};
use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The kernel's number of a loaded program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProgramId(pub u32);

/// A program that is not Weir's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Other {
    /// Its number.
    pub id: ProgramId,
    /// Its name, of which the kernel keeps fifteen bytes; empty where it has none.
    pub name: String,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "a program without a name" } else { &self.name };
        write!(f, "{name} (id {})", self.id.0)
    }
}

/// The program with this number, if it is loaded and not Weir's.
///
/// # Errors
/// [`Error::Load`]: the kernel can't be asked; [`Error::Pin`].
pub fn by_id(pin_dir: &Path, id: ProgramId) -> Result<Option<Other>, Error> {
    if own(pin_dir)?.contains(&id) {
        return Ok(None);
    }
    for program in loaded_programs() {
        // One that goes while the others are asked for is none.
        let Ok(program) = program else { continue };
        if program.id() == id.0 {
            return Ok(Some(Other { id, name: name(program.name_as_str()) }));
        }
    }
    Ok(None)
}

/// The programs of others on a device's TC ingress, in the order that they run in (TCX alone: those of `tc filter`
/// run behind them).
///
/// # Errors
/// [`Error::Load`]: the kernel can't be asked; [`Error::Pin`].
pub fn on_tc(pin_dir: &Path, device: &str) -> Result<Vec<Other>, Error> {
    let own = own(pin_dir)?;
    let (_, programs) = SchedClassifier::query_tcx(device, TcAttachType::Ingress).map_err(Error::load)?;
    let others =
        programs.into_iter().map(|it| Other { id: ProgramId(it.id()), name: name(it.name_as_str()) });
    Ok(others.filter(|other| !own.contains(&other.id)).collect())
}

fn name(known: Option<&str>) -> String {
    known.unwrap_or_default().to_owned()
}

/// The programs of the links that are pinned under `pin_dir`.
fn own(pin_dir: &Path) -> Result<BTreeSet<ProgramId>, Error> {
    let links = pins::entries(&Pins::new(pin_dir).links)?;
    let programs: Result<Vec<_>, _> = links.iter().map(|link| pins::linked_program(link)).collect();
    Ok(programs?.into_iter().flatten().collect())
}
