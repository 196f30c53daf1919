//! The one file that says what should be.
//!
//! ```text
//!   text ──► reader, values ──► draft ──► check ──► Config
//!              each value        what could   how they fit   only where
//!              by itself         be read      together       nothing is wrong
//! ```
//!
//! Both stages add to one list of [`Problem`]s, so a file is always judged to its end. What only the host can
//! say (is there such a device?) comes later, in [`crate::host`], and is shown in the same way.

mod answers;
mod check;
mod connectors;
mod dataplane;
mod draft;
mod groups;
mod listeners;
mod maxima;
mod model;
mod problem;
mod reader;
mod routes;
mod rules;
mod sandbox;
mod security;
mod services;
mod slots;
mod subnets;
mod tenants;
mod timeouts;
mod uplinks;
mod values;

pub use model::{
    AddressRange, Addresses, Answers, At, Bucket, Config, Connector, ConnectorKey, ConnectorSettings,
    DataplaneSection, DirectionRate, EniKind, EniMac, Family, Far, Listener, NETNS_DIR, OnIdle, OwnAddress,
    Place, Prefix, Protocol, RuleProtocol, Sandbox, Sandbox6, SecurityGroup, Service, SgRule, Share,
    SlotBinding, SlotName, SlotRates, Stickiness, Subnet, SubnetPrefix, Target, TargetGroup, Tenant,
    Timeouts, Transport, UdpMapping, Uplink, UplinkHook, Vpc, VpcRoute,
};
pub(crate) use model::{address, number};
pub use problem::{Invalid, Problem};
pub(crate) use values::{ANY, parse_hash_key};

use draft::Draft;
use reader::Problems;
use toml::de::DeTable;

/// A configuration's text, and what it is called in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The file's name.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Document {
    /// The document of these bytes.
    ///
    /// # Errors
    /// [`Invalid`], at the first byte that is no text.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, Invalid> {
        let name = name.to_owned();
        let error = match String::from_utf8(bytes) {
            Ok(text) => return Ok(Self { name, text }),
            Err(error) => error,
        };
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let problem = Problem::new(
            reader::span(at..at + char::REPLACEMENT_CHARACTER.len_utf8()),
            "this is not text",
            "no character of UTF-8 begins with this byte, or goes on like this",
            "save the file as UTF-8",
        );
        Err(Self { name, text }.invalid(vec![problem]))
    }

    /// Reads and checks everything that can be known without looking at the host.
    ///
    /// # Errors
    /// [`Invalid`], with every mistake of the file.
    pub fn parse(&self) -> Result<Config, Invalid> {
        let mut problems = Problems::default();
        let draft = self.draft(&mut problems);
        // What a broken file seems to say would be judged wrongly: its syntax comes first.
        let config =
            if problems.len() == 0 || draft.is_whole { check::check(&draft, &mut problems) } else { None };
        match config {
            Some(config) if problems.len() == 0 => Ok(config),
            _ => Err(self.invalid(problems.into_vec())),
        }
    }

    /// The `[dataplane]` section by itself: enough to find a running dataplane, whatever else the file says.
    ///
    /// # Errors
    /// [`Invalid`], where this section can't be read.
    pub fn parse_dataplane(&self) -> Result<DataplaneSection, Invalid> {
        let mut problems = Problems::default();
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        if !errors.is_empty() {
            self.draft(&mut problems);
            return Err(self.invalid(problems.into_vec()));
        }
        let section = dataplane::alone(&root, &mut problems);
        if problems.len() == 0 { Ok(section) } else { Err(self.invalid(problems.into_vec())) }
    }

    /// This document with these mistakes.
    #[must_use]
    pub fn invalid(&self, problems: Vec<Problem>) -> Invalid {
        Invalid::new(&self.name, &self.text, problems)
    }

    fn draft(&self, problems: &mut Problems) -> Draft {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        for error in &errors {
            problems.add(syntax(error));
        }
        if errors.is_empty() { Draft::read(&root, problems) } else { Draft::default() }
    }
}

fn syntax(error: &toml::de::Error) -> Problem {
    let at = reader::span(error.span().unwrap_or_default());
    let help = if error.message().contains("duplicate key") {
        "remove one of the two; a section that repeats, like `[[listener]]`, has two brackets"
    } else {
        "write `key = value` lines under `[section]` or `[[section]]` headers; texts stand in double quotes (https://toml.io)"
    };
    Problem::new(at, format!("this is not TOML: {}", error.message()), "here", help)
}

#[cfg(test)]
pub(crate) mod tests;
