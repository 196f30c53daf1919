//! What could be read of a file, before anything is compared with anything else.
//!
//! A field is `None` where it was wrong or missing, which has been reported then; checks go on with the rest.

use super::model::{At, DataplaneSection, Protocol, Sandbox, Sandbox6, Timeouts, UplinkHook};
use super::reader::{Problems, Section, spanned};
use super::{dataplane, timeouts, values};
use miette::SourceSpan;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeTable;
use weir_path::addr::{Ip4, Ip6, L4Port, Mac};
use weir_path::time::Seconds;

/// The version of the file's format that this build reads.
const VERSION: u32 = 1;

/// Link-local (RFC 3927), so that it is in nobody's VPC.
const DEFAULT_SANDBOX: Sandbox = Sandbox {
    address: Ip4([169, 254, 100, 2]),
    mac: Mac([0x02, 0x57, 0x45, 0x49, 0x52, 0x02]),
    gateway: Ip4([169, 254, 100, 1]),
    gateway_mac: Mac([0x02, 0x57, 0x45, 0x49, 0x52, 0x01]),
    v6: None,
};

#[derive(Default)]
pub(crate) struct Draft {
    /// Whether the file was TOML, so that what is missing in it is really missing.
    pub(crate) is_whole: bool,
    pub(crate) dataplane: DataplaneSection,
    pub(crate) timeouts: Timeouts,
    pub(crate) sandbox: SandboxDraft,
    pub(crate) vpcs: Vec<VpcDraft>,
    pub(crate) uplinks: Vec<UplinkDraft>,
    pub(crate) groups: Vec<GroupDraft>,
    pub(crate) listeners: Vec<ListenerDraft>,
}

pub(crate) struct SandboxDraft {
    pub(crate) at: Option<SourceSpan>,
    pub(crate) values: Sandbox,
    pub(crate) address6: Option<At<Ip6>>,
    pub(crate) gateway6: Option<At<Ip6>>,
    /// Whether one of the two was wrong, so that it only seems to be missing.
    pub(crate) has_bad_v6: bool,
}

impl Default for SandboxDraft {
    fn default() -> Self {
        Self { at: None, values: DEFAULT_SANDBOX, address6: None, gateway6: None, has_bad_v6: false }
    }
}

pub(crate) struct VpcDraft {
    pub(crate) name: Option<At<String>>,
}

pub(crate) struct UplinkDraft {
    pub(crate) interface: Option<At<String>>,
    pub(crate) vpc: Option<At<String>>,
    pub(crate) hook: Option<At<UplinkHook>>,
    pub(crate) senders_complete_checksums: bool,
}

pub(crate) struct GroupDraft {
    pub(crate) name: Option<At<String>>,
    pub(crate) port: Option<At<L4Port>>,
    pub(crate) targets: Vec<TargetDraft>,
}

pub(crate) struct TargetDraft {
    pub(crate) at: SourceSpan,
    pub(crate) name: Option<At<String>>,
    pub(crate) netns: Option<At<PathBuf>>,
    pub(crate) interface: Option<At<String>>,
    pub(crate) port: Option<At<L4Port>>,
}

pub(crate) struct ListenerDraft {
    pub(crate) at: SourceSpan,
    pub(crate) name: Option<At<String>>,
    pub(crate) vpc: Option<At<String>>,
    pub(crate) address: Option<At<Ip6>>,
    pub(crate) port: Option<At<L4Port>>,
    pub(crate) protocol: Option<At<Protocol>>,
    pub(crate) group: Option<At<String>>,
    pub(crate) idle: Option<At<Seconds>>,
}

impl Draft {
    pub(crate) fn read(root: &Spanned<DeTable<'_>>, problems: &mut Problems) -> Self {
        let mut file = Section::new(root.get_ref(), "the file", top(root));
        file.required(problems, "version", "1", |value| values::version(value, VERSION));
        let dataplane = file.section(problems, "dataplane", "[dataplane]");
        let timeouts = file.section(problems, "timeouts", "[timeouts]");
        let sandbox = file.section(problems, "sandbox", "[sandbox]");
        let vpcs = file.sections(problems, "vpc", "[[vpc]]");
        let uplinks = file.sections(problems, "uplink", "[[uplink]]");
        let groups = file.sections(problems, "target_group", "[[target_group]]");
        let listeners = file.sections(problems, "listener", "[[listener]]");
        file.finish(problems);
        Self {
            is_whole: true,
            dataplane: dataplane.map(|it| dataplane::read(it, problems)).unwrap_or_default(),
            timeouts: timeouts.map(|it| timeouts::read(it, problems)).unwrap_or_default(),
            sandbox: sandbox.map(|it| read_sandbox(it, problems)).unwrap_or_default(),
            vpcs: vpcs.into_iter().map(|it| read_vpc(it, problems)).collect(),
            uplinks: uplinks.into_iter().map(|it| read_uplink(it, problems)).collect(),
            groups: groups.into_iter().map(|it| read_group(it, problems)).collect(),
            listeners: listeners.into_iter().map(|it| read_listener(it, problems)).collect(),
        }
    }
}

/// Where a complaint about the whole file points: at its first byte.
pub(crate) fn top(root: &Spanned<DeTable<'_>>) -> SourceSpan {
    SourceSpan::new(spanned(root).offset().into(), 0)
}

fn read_sandbox(mut section: Section<'_>, problems: &mut Problems) -> SandboxDraft {
    let at = section.at();
    let address = section.optional(problems, "address", values::address);
    let mac = section.optional(problems, "mac", values::mac);
    let gateway = section.optional(problems, "gateway", values::address);
    let gateway_mac = section.optional(problems, "gateway_mac", values::mac);
    let before = problems.len();
    let address6 = section.optional(problems, "address6", values::address6);
    let gateway6 = section.optional(problems, "gateway6", values::address6);
    let has_bad_v6 = problems.len() > before;
    section.finish(problems);
    let values = Sandbox {
        address: address.map_or(DEFAULT_SANDBOX.address, |it| it.value),
        mac: mac.map_or(DEFAULT_SANDBOX.mac, |it| it.value),
        gateway: gateway.map_or(DEFAULT_SANDBOX.gateway, |it| it.value),
        gateway_mac: gateway_mac.map_or(DEFAULT_SANDBOX.gateway_mac, |it| it.value),
        v6: address6
            .zip(gateway6)
            .map(|(address, gateway)| Sandbox6 { address: address.value, gateway: gateway.value }),
    };
    SandboxDraft { at: Some(at), values, address6, gateway6, has_bad_v6 }
}

fn read_vpc(mut section: Section<'_>, problems: &mut Problems) -> VpcDraft {
    let name = section.required(problems, "name", "\"prod\"", values::name);
    section.finish(problems);
    VpcDraft { name }
}

fn read_uplink(mut section: Section<'_>, problems: &mut Problems) -> UplinkDraft {
    let interface = section.required(problems, "interface", "\"eth0\"", values::interface);
    let vpc = section.required(problems, "vpc", "\"prod\"", values::name);
    let hook = section.optional(problems, "hook", values::hook);
    let complete = section.optional(problems, "senders_complete_checksums", values::truth);
    section.finish(problems);
    UplinkDraft { interface, vpc, hook, senders_complete_checksums: complete.is_some_and(|it| it.value) }
}

fn read_group(mut section: Section<'_>, problems: &mut Problems) -> GroupDraft {
    let name = section.required(problems, "name", "\"web\"", values::name);
    let port = section.optional(problems, "port", values::port);
    let targets = section.sections(problems, "target", "[[target_group.target]]");
    section.finish(problems);
    let targets = targets.into_iter().map(|it| read_target(it, problems)).collect();
    GroupDraft { name, port, targets }
}

fn read_target(mut section: Section<'_>, problems: &mut Problems) -> TargetDraft {
    let at = section.at();
    let name = section.required(problems, "name", "\"sandbox-1\"", values::name);
    let netns = section.optional(problems, "netns", values::netns);
    let interface = section.required(problems, "interface", "\"eth0\"", values::interface);
    let port = section.optional(problems, "port", values::port);
    section.finish(problems);
    TargetDraft { at, name, netns, interface, port }
}

fn read_listener(mut section: Section<'_>, problems: &mut Problems) -> ListenerDraft {
    let at = section.at();
    let name = section.required(problems, "name", "\"web\"", values::name);
    let vpc = section.required(problems, "vpc", "\"prod\"", values::name);
    let address = section.required(problems, "address", "\"198.51.100.10\"", values::vip);
    let port = section.required(problems, "port", "80", values::port);
    let protocol = section.required(problems, "protocol", "\"tcp\"", values::protocol);
    let group = section.required(problems, "target_group", "\"web\"", values::name);
    let idle = section.optional(problems, "idle_timeout", timeouts::idle);
    section.finish(problems);
    ListenerDraft { at, name, vpc, address, port, protocol, group, idle }
}
