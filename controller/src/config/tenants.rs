//! `[[tenant]]`: read, and who is one.

use super::check::{unique, unknown};
use super::draft::Draft;
use super::model::{At, Tenant};
use super::reader::{Problems, Section};
use super::values;
use std::collections::BTreeSet;
use weir_path::tables::Quota;

pub(crate) struct TenantDraft {
    pub(super) name: Option<At<String>>,
    all: Quota,
    each: Quota,
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> TenantDraft {
    let name = section.required(problems, "name", "\"acme\"", values::name);
    let all = read_quota(&mut section, problems);
    let sandbox = section.section(problems, "sandbox", "[tenant.sandbox]");
    section.finish(problems);
    let each = sandbox.map(|mut sandbox| {
        let each = read_quota(&mut sandbox, problems);
        sandbox.finish(problems);
        each
    });
    TenantDraft { name, all, each: each.unwrap_or_default() }
}

/// The most of each; 0, which is no limit, where nothing is said.
fn read_quota(section: &mut Section<'_>, problems: &mut Problems) -> Quota {
    let mut most = |key, what| {
        let read = section.optional(problems, key, |it| values::number_of(it, what, 1, u32::MAX));
        read.map_or(0, |it| it.value)
    };
    Quota {
        flows: most("max_flows", "flows"),
        half_open: most("max_half_open", "half-open flows"),
        ports: most("max_ports", "ports"),
        opened_a_second: most("max_new_flows", "new flows a second"),
    }
}

/// The tenants, as far as each is right by itself.
pub(super) fn check(draft: &Draft, problems: &mut Problems) -> Vec<Option<Tenant>> {
    unique(problems, "tenant", draft.tenants.iter().filter_map(|it| it.name.as_ref()));
    let checked = |it: &TenantDraft| Some(Tenant { name: it.name.clone()?, all: it.all, each: it.each });
    draft.tenants.iter().map(checked).collect()
}

/// Where any tenant is written down, only those are tenants: a slip of the finger must not make one without limits.
pub(super) fn check_known(name: &At<String>, draft: &Draft, problems: &mut Problems) {
    let known: Option<BTreeSet<&str>> =
        draft.tenants.iter().map(|it| Some(it.name.as_ref()?.value.as_str())).collect();
    // One whose name is wrong may be the one.
    let Some(known) = known.filter(|known| !known.is_empty()) else { return };
    if !known.contains(name.value.as_str()) {
        problems.add(unknown(name, "tenant", "[[tenant]]", &known));
    }
}
