//! `docs/reasons.md`: every way out of the packet path, and every end of a flow, written from the lists the
//! programs count by.

use crate::error::Error;
use crate::workspace::Workspace;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use weir_path::flow::end::End;
use weir_path::reason::{Class, Reason};

const HEAD: &str = "\
# Every way out

Each packet leaves the path for exactly one of these reasons; at every hook, packets in = the sum of the
reasons. `weir get counters` shows them by name. A name never changes its meaning.

This page is written by `cargo xtask docs` from `dataplane/path/src/reason.rs` and `flow/end.rs`; a test keeps it so.
";

const ENDS: &str = "
## How flows end

Each flow ends for exactly one of these reasons: flows opened = flows that live + the sum of these. `weir get counters`
counts them, `weir events` tells them one by one.

| no. | name | why |
|---|---|---|
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
    page.push_str(ENDS);
    for end in End::ALL {
        let _ = writeln!(page, "| {} | `{}` | {} |", *end as u32, end.name(), end.meaning().trim());
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
    fn every_reason_and_every_end_has_exactly_one_line() {
        let page = page();
        let ends = End::ALL.iter().map(|end| end.name());
        for name in Reason::ALL.iter().map(|reason| reason.name()).chain(ends) {
            let cell = format!("| `{name}` |");
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
