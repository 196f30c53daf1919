//! "Nothing is left behind" as an assertion: what a run could leave, and how it would be seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use serde_json::Value;

use crate::error::Error;
use crate::netns::{NETNS_DIR, Netns};
use crate::process::json;

/// The machine before a run, to compare with after it.
#[derive(Debug)]
pub struct Watch {
    links: BTreeSet<String>,
}

/// Devices that the topology makes. One of these in the namespace of the tests got there by mistake.
const DEVICES: [&str; 5] = ["c0", "rc0", "rh0", "hu0", "sb"];

impl Watch {
    /// Looks at the machine before anything is made.
    pub fn begin() -> Result<Self, Error> {
        Ok(Self { links: links()? })
    }

    /// Programs that stay attached to these devices of a namespace.
    pub fn attachments(&self, netns: &Netns, devices: &[String]) -> Result<Vec<String>, Error> {
        attached(netns, devices)
    }

    /// Processes that still run in these namespaces. To be asked before the namespaces are deleted.
    pub fn processes(&self, namespaces: &[Netns]) -> Result<Vec<String>, Error> {
        let mut left = Vec::new();
        for netns in namespaces {
            let pids = crate::process::run("ip", &["netns", "pids", netns.name()])?;
            left.extend(pids.split_whitespace().map(|pid| format!("process {pid} in {}", netns.name())));
        }
        Ok(left)
    }

    /// Namespaces, files and devices that are still there at the very end.
    pub fn traces(&self, namespaces: &[String], files: &[&Path]) -> Result<Vec<String>, Error> {
        let namespaces = namespaces.iter().map(|name| Path::new(NETNS_DIR).join(name));
        let files = files.iter().map(PathBuf::from).chain(namespaces);
        let mut left: Vec<_> =
            files.filter(|file| file.exists()).map(|file| file.display().to_string()).collect();
        let new_links = links()?.into_iter().filter(|link| !self.links.contains(link));
        left.extend(new_links.map(|link| format!("device {link}")));
        Ok(left)
    }
}

/// Programs attached to these devices right now.
fn attached(netns: &Netns, devices: &[String]) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    for device in devices {
        if netns.link(device)?.get("xdp").is_some() {
            left.push(format!("an XDP program on {device} in {}", netns.name()));
        }
        let name = device.clone();
        let tcx = netns.enter(move || tcx_programs(&name))?.map_err(|error| Error::Output {
            command: format!("BPF_PROG_QUERY on {device}"),
            why: "the kernel refused".into(),
            output: error.to_string(),
        })?;
        left.extend(
            tcx.iter().map(|program| format!("TCX program {program} on {device} in {}", netns.name())),
        );
    }
    Ok(left)
}

fn tcx_programs(device: &str) -> Result<Vec<u32>, aya::programs::ProgramError> {
    let mut found = Vec::new();
    for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
        let (_, programs) = SchedClassifier::query_tcx(device, hook)?;
        found.extend(programs.iter().map(aya::programs::ProgramInfo::id));
    }
    Ok(found)
}

fn links() -> Result<BTreeSet<String>, Error> {
    let listed = json(Command::new("ip").args(["-j", "link", "show"]))?;
    let names =
        listed.as_array().into_iter().flatten().filter_map(|link| link.get("ifname").and_then(Value::as_str));
    Ok(names
        .filter(|name| DEVICES.iter().any(|device| name.starts_with(device)))
        .map(str::to_owned)
        .collect())
}
