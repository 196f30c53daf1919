//! How much a sandbox and a tenant may hold, and what others notice of one that wants more.
//!
//! ```text
//!   client ── router ── [XDP] host [TC] ─┬─ sb1   takes all that it may ┐ one tenant, one connector
//!     echo    tx off     ENIs            ├─ sb2   beside it             ┘
//!             everywhere                 └─ sb3   another tenant's
//! ```
#![expect(clippy::indexing_slicing, reason = "a testbed has the sandboxes it was built with")]
#![expect(clippy::print_stdout, reason = "what was measured is a test's result, too")]

mod kinds;
mod neighbours;
