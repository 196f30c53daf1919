//! The way to one sandbox by the kernel's own forwarding: what there would be without Weir, to compare with.

use crate::error::Error;
use crate::topology::{GATEWAY, HOST, SANDBOX, Sandbox, Testbed};

/// A route from the client to one sandbox, until it is ended. Weir must not run meanwhile.
#[derive(Debug)]
pub struct PlainRoute<'a> {
    bed: &'a Testbed,
    sandbox: &'a Sandbox,
}

impl<'a> PlainRoute<'a> {
    /// Gives the sandbox's gateway address to the host's end of its veth, and a route to the router.
    pub fn begin(bed: &'a Testbed, sandbox: &'a Sandbox) -> Result<Self, Error> {
        bed.host.ip(&["addr", "add", &format!("{GATEWAY}/30"), "dev", &sandbox.port])?;
        bed.router.ip(&["route", "add", &SANDBOX.to_string(), "via", &HOST.to_string()])?;
        Ok(Self { bed, sandbox })
    }

    /// Takes all of it back, also what the sandbox learnt about its gateway.
    pub fn end(self) -> Result<(), Error> {
        self.bed.router.ip(&["route", "del", &SANDBOX.to_string()])?;
        self.bed.host.ip(&["addr", "del", &format!("{GATEWAY}/30"), "dev", &self.sandbox.port])?;
        self.sandbox.netns.ip(&["neigh", "flush", "all"]).map(drop)
    }
}
