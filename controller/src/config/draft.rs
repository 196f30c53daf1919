//! What could be read of a file, before anything is compared with anything else.
//!
//! A field is `None` where it was wrong or missing, which has been reported then; checks go on with the rest.

use super::connectors::ConnectorDraft;
use super::groups::GroupDraft;
use super::listeners::ListenerDraft;
use super::model::{Answers, At, DataplaneSection, Sandbox, Sandbox6, Timeouts};
use super::reader::{Problems, Section, spanned};
use super::routes::RouteDraft;
use super::security::{PrefixListDraft, SecurityGroupDraft};
use super::slots::SlotDraft;
use super::subnets::SubnetDraft;
use super::tenants::TenantDraft;
use super::uplinks::UplinkDraft;
use super::{
    answers, connectors, dataplane, groups, listeners, routes, security, slots, subnets, tenants, timeouts,
    uplinks, values,
};
use miette::SourceSpan;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeTable;
use weir_path::addr::{Ip4, Ip6, Mac};

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
    pub(crate) answers: Answers,
    pub(crate) sandbox: SandboxDraft,
    pub(crate) tenants: Vec<TenantDraft>,
    pub(crate) vpcs: Vec<VpcDraft>,
    pub(crate) uplinks: Vec<UplinkDraft>,
    pub(crate) groups: Vec<GroupDraft>,
    pub(crate) listeners: Vec<ListenerDraft>,
    pub(crate) subnets: Vec<SubnetDraft>,
    pub(crate) prefix_lists: Vec<PrefixListDraft>,
    pub(crate) security_groups: Vec<SecurityGroupDraft>,
    pub(crate) connectors: Vec<ConnectorDraft>,
    pub(crate) slots: Vec<SlotDraft>,
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
    pub(crate) tenant: Option<At<String>>,
    pub(crate) routes: Vec<RouteDraft>,
}

impl Draft {
    pub(crate) fn read(root: &Spanned<DeTable<'_>>, problems: &mut Problems) -> Self {
        let mut file = Section::new(root.get_ref(), "the file", top(root));
        file.required(problems, "version", "1", |value| values::version(value, VERSION));
        let dataplane = file.section(problems, "dataplane", "[dataplane]");
        let timeouts = file.section(problems, "timeouts", "[timeouts]");
        let answers = file.section(problems, "answers", "[answers]");
        let sandbox = file.section(problems, "sandbox", "[sandbox]");
        let tenants = file.sections(problems, "tenant", "[[tenant]]");
        let vpcs = file.sections(problems, "vpc", "[[vpc]]");
        let uplinks = file.sections(problems, "uplink", "[[uplink]]");
        let groups = file.sections(problems, "target_group", "[[target_group]]");
        let listeners = file.sections(problems, "listener", "[[listener]]");
        let subnets = file.sections(problems, "subnet", "[[subnet]]");
        let lists = file.sections(problems, "prefix_list", "[[prefix_list]]");
        let security_groups = file.sections(problems, "security_group", "[[security_group]]");
        let connectors = file.sections(problems, "connector", "[[connector]]");
        let slots = file.sections(problems, "slot", "[[slot]]");
        file.finish(problems);
        Self {
            is_whole: true,
            dataplane: dataplane.map(|it| dataplane::read(it, problems)).unwrap_or_default(),
            timeouts: timeouts.map(|it| timeouts::read(it, problems)).unwrap_or_default(),
            answers: answers.map(|it| answers::read(it, problems)).unwrap_or_default(),
            sandbox: sandbox.map(|it| read_sandbox(it, problems)).unwrap_or_default(),
            tenants: tenants.into_iter().map(|it| tenants::read(it, problems)).collect(),
            vpcs: vpcs.into_iter().map(|it| read_vpc(it, problems)).collect(),
            uplinks: uplinks.into_iter().map(|it| uplinks::read(it, problems)).collect(),
            groups: groups.into_iter().map(|it| groups::read(it, problems)).collect(),
            listeners: listeners.into_iter().map(|it| listeners::read(it, problems)).collect(),
            subnets: subnets.into_iter().map(|it| subnets::read(it, problems)).collect(),
            prefix_lists: lists.into_iter().map(|it| security::read_list(it, problems)).collect(),
            security_groups: security_groups.into_iter().map(|it| security::read(it, problems)).collect(),
            connectors: connectors.into_iter().map(|it| connectors::read(it, problems)).collect(),
            slots: slots.into_iter().map(|it| slots::read(it, problems)).collect(),
        }
    }

    /// Where each connector is in the file.
    pub(crate) fn connector_places(&self) -> BTreeMap<&str, usize> {
        let connectors = self.connectors.iter().enumerate();
        connectors.filter_map(|(place, it)| Some((it.name.as_ref()?.value.as_str(), place))).collect()
    }
}

impl SandboxDraft {
    /// Whether sandboxes have IPv6 addresses, as far as can be told.
    pub(crate) const fn has_v6(&self) -> bool {
        self.address6.is_some() || self.gateway6.is_some() || self.has_bad_v6
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
    let tenant = section.optional(problems, "tenant", values::name);
    let routes = section.sections(problems, "route", "[[vpc.route]]");
    section.finish(problems);
    VpcDraft { name, tenant, routes: routes.into_iter().map(|it| routes::read(it, problems)).collect() }
}
