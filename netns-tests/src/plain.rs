//! The ways to and from sandboxes by the kernel's own means: what there would be without Weir, to compare with.

use std::fs;
use std::net::Ipv4Addr;

use crate::error::Error;
use crate::process;
use crate::topology::{GATEWAY, HOST, SANDBOX, Sandbox, Testbed, UPLINK};

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

/// The way of all sandboxes outwards by the kernel's forwarding and nftables' masquerade, until it is ended. Weir must not
/// run meanwhile.
#[derive(Debug)]
pub struct Masquerade<'a>(&'a Testbed);

impl<'a> Masquerade<'a> {
    /// Gives each sandbox an address of its own, because the kernel can't tell sandboxes with the same one apart.
    pub fn begin(bed: &'a Testbed) -> Result<Self, Error> {
        for (n, sandbox) in bed.sandboxes.iter().enumerate() {
            let [gateway, own] = [1, 2].map(|host| Ipv4Addr::new(10, 200, n as u8, host));
            sandbox.netns.ip(&["-4", "addr", "flush", "dev", "eth0"])?;
            sandbox.netns.ip(&["addr", "add", &format!("{own}/30"), "dev", "eth0"])?;
            sandbox.netns.ip(&["route", "add", "default", "via", &gateway.to_string()])?;
            bed.host.ip(&["addr", "add", &format!("{gateway}/30"), "dev", &sandbox.port])?;
        }
        let rules = bed.dir().join("masquerade.nft");
        let text = format!(
            "table ip plain {{\n chain out {{\n  type nat hook postrouting priority 100\n  \
             oifname \"{UPLINK}\" masquerade\n }}\n}}\n"
        );
        fs::write(&rules, text).map_err(Error::file("write", &rules))?;
        process::output(bed.host.command("nft").arg("-f").arg(&rules))?;
        Ok(Self(bed))
    }

    /// The address of a sandbox meanwhile; the first one is 0.
    #[must_use]
    pub const fn address(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, n, 2)
    }

    /// Takes all of it back.
    pub fn end(self) -> Result<(), Error> {
        process::output(self.0.host.command("nft").args(["delete", "table", "ip", "plain"]))?;
        for sandbox in &self.0.sandboxes {
            self.0.host.ip(&["-4", "addr", "flush", "dev", &sandbox.port])?;
            sandbox.netns.ip(&["-4", "addr", "flush", "dev", "eth0"])?;
            sandbox.netns.ip(&["neigh", "flush", "all"])?;
            sandbox.address()?;
        }
        Ok(())
    }
}
