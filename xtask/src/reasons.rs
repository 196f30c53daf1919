//! `docs/reasons.md`: every way out of the packet path, written from the one list the programs count by.

use crate::error::Error;
use crate::workspace::Workspace;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use weir_path::reason::{Class, Reason};

const HEAD: &str = "\
# Every way out

Each packet leaves the path for exactly one of these reasons; at every hook, packets in = the sum of the
reasons. `weir get counters` shows them by name. A name never changes its meaning.

This page is written by `cargo xtask docs` from `dataplane/path/src/reason.rs`; a test keeps it so.
";

const CLASSES: [(Class, &str, &str); 4] = [
    (Class::Forwarded, "Forwarded", "Sent on, rewritten."),
    (Class::Answered, "Answered", "Turned into an answer and sent back to where it came from."),
    (Class::Passed, "Passed", "Left to the kernel, untouched, as if Weir were not there."),
    (Class::Dropped, "Dropped", "Nothing was sent."),
];

/// The page, as the source says it must be.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    for (class, title, meaning) in CLASSES {
        let _ = write!(page, "\n## {title}\n\n{meaning}\n\n| no. | name | why |\n|---|---|---|\n");
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == class) {
            let _ =
                writeln!(page, "| {} | `{}` | {} |", *reason as u32, reason.name(), reason.meaning().trim());
        }
    }
    page
}

/// Writes the page.
pub(crate) fn write(workspace: &Workspace) -> Result<(), Error> {
    let path = path(workspace);
    fs::write(&path, page()).map_err(|source| Error::File { path, source })
}

/// Compares the page with the source.
pub(crate) fn compare(workspace: &Workspace) -> Result<(), Error> {
    let path = path(workspace);
    match fs::read_to_string(&path) {
        Ok(text) if text == page() => Ok(()),
        Ok(_) => Err(Error::Stale { path }),
        Err(source) => Err(Error::File { path, source }),
    }
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.root().join("docs/reasons.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_exactly_one_line() {
        let page = page();
        for reason in Reason::ALL {
            let cell = format!("| `{}` |", reason.name());
            assert_eq!(page.matches(&cell).count(), 1, "{cell}");
        }
    }

    #[test]
    fn a_page_that_says_something_else_is_stale() {
        let root = std::env::temp_dir().join(format!("weir-reasons-{}", std::process::id()));
        fs::create_dir_all(root.join("docs")).unwrap();
        let workspace = Workspace::at(root.clone());
        write(&workspace).unwrap();
        assert!(compare(&workspace).is_ok());
        fs::write(path(&workspace), page().replacen("to_slot", "to_slots", 1)).unwrap();
        assert!(matches!(compare(&workspace), Err(Error::Stale { .. })));
        fs::remove_dir_all(root).unwrap();
    }
}
