//! `docs/rfcs.md`: what the RFCs ask of a NAT, written from the table that the tests on real traffic hold two NATs to.
//!
//! This tool must not know that package: a program of its prints the page, and a test of its keeps the page so.

use crate::error::Error;
use crate::shell;
use crate::workspace::Workspace;
use std::fs;

/// Writes the page.
pub(crate) fn write(workspace: &Workspace) -> Result<(), Error> {
    let mut print = workspace.cargo(&["run", "--quiet", "--package=weir-netns-tests", "--bin=weir-rfcs"]);
    let page = shell::result_of(&mut print)?;
    let path = workspace.root().join("docs/rfcs.md");
    fs::write(&path, page).map_err(|source| Error::File { path, source })
}
