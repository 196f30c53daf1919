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

/// The programs that are Weir's. Read once for many devices: what is pinned may be thousands of links.
#[derive(Clone, Debug)]
pub struct Ours(BTreeSet<ProgramId>);

impl Ours {
    /// The programs of the links that are pinned under `pin_dir`.
    ///
    /// # Errors
    /// [`Error::Pin`].
    pub fn read(pin_dir: &Path) -> Result<Self, Error> {
        let links = pins::entries(&Pins::new(pin_dir).links)?;
        let programs: Result<Vec<_>, _> = links.iter().map(|link| pins::linked_program(link)).collect();
        Ok(Self(programs?.into_iter().flatten().collect()))
    }

    /// The program with this number, if it is not Weir's. Without a name where the kernel doesn't tell it.
    #[must_use]
    pub fn other(&self, id: ProgramId) -> Option<Other> {
        if self.0.contains(&id) {
            return None;
        }
        // One that goes while the others are asked for is none.
        let known = loaded_programs().flatten().find(|program| program.id() == id.0);
        Some(Other { id, name: name(known.as_ref().and_then(|program| program.name_as_str())) })
    }

    /// The programs of others on a device's TC ingress, in the order that they run in (TCX alone: those of `tc
    /// filter` run behind them).
    ///
    /// # Errors
    /// [`Error::Load`]: the kernel can't be asked.
    pub fn others_on_tc(&self, device: &str) -> Result<Vec<Other>, Error> {
        let (_, programs) = SchedClassifier::query_tcx(device, TcAttachType::Ingress).map_err(Error::load)?;
        let others =
            programs.into_iter().map(|it| Other { id: ProgramId(it.id()), name: name(it.name_as_str()) });
        Ok(others.filter(|other| !self.0.contains(&other.id)).collect())
    }
}

fn name(known: Option<&str>) -> String {
    known.unwrap_or_default().to_owned()
}
