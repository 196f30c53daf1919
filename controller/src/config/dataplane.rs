//! `[dataplane]`: where the daemon keeps its things, and how large the flow tables are.

use super::draft::top;
use super::model::{At, DataplaneSection};
use super::problem::Problem;
use super::reader::{Problems, Section};
use super::values;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeTable;
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::flow::store::Room;
use weir_path::layout::HALF_OPEN_SHARE;

/// Fewer flows are no use to anybody.
const MIN_FLOWS: u32 = 1 << 10;
/// Some 5 GiB of IPv4 tables.
const MAX_FLOWS: u32 = 1 << 24;
/// Each CPU takes places from a pot of its own, so there must be some in each.
const MIN_HALF_OPEN: u32 = 4 * Room::MAX_POTS;

const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/weir";
const DEFAULT_STATE_DIR: &str = "/var/lib/weir";

impl Default for DataplaneSection {
    fn default() -> Self {
        Self {
            pin_dir: PathBuf::from(DEFAULT_PIN_DIR),
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            sizes: Sizes::default(),
            hash_key: None,
        }
    }
}

/// The section by itself.
pub(crate) fn alone(root: &Spanned<DeTable<'_>>, problems: &mut Problems) -> DataplaneSection {
    let mut file = Section::new(root.get_ref(), "the file", top(root));
    let section = file.section(problems, "dataplane", "[dataplane]");
    section.map(|it| read(it, problems)).unwrap_or_default()
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems) -> DataplaneSection {
    let default = DataplaneSection::default();
    let pin_dir = section.optional(problems, "pin_dir", |it| values::folder(it, DEFAULT_PIN_DIR));
    let state_dir = section.optional(problems, "state_dir", |it| values::folder(it, DEFAULT_STATE_DIR));
    let v4 = ["max_flows", "max_half_open"];
    let v6 = ["max_flows_v6", "max_half_open_v6"];
    let sizes = Sizes {
        v4: family(&mut section, v4, default.sizes.v4, problems),
        v6: family(&mut section, v6, default.sizes.v6, problems),
    };
    let hash_key = section.optional(problems, "hash_key", values::hash_key);
    section.finish(problems);
    DataplaneSection {
        pin_dir: pin_dir.map_or(default.pin_dir, |it| it.value),
        state_dir: state_dir.map_or(default.state_dir, |it| it.value),
        sizes,
        hash_key: hash_key.map(|it| it.value),
    }
}

/// One family's sizes, under these keys: how many flows, and how many of them half-open.
fn family(
    section: &mut Section<'_>,
    [flows_key, half_open_key]: [&'static str; 2],
    default: FamilySizes,
    problems: &mut Problems,
) -> FamilySizes {
    let flows = section.optional(problems, flows_key, |it| values::number(it, MIN_FLOWS, MAX_FLOWS));
    let half_open =
        section.optional(problems, half_open_key, |it| values::number(it, MIN_HALF_OPEN, MAX_FLOWS));
    let flows = flows.map_or(default.flows, |it| it.value);
    if let Some(At { value, at }) = half_open.filter(|it| it.value > flows) {
        problems.add(Problem::new(
            at,
            format!("{half_open_key} is {value}, but only {flows} flows fit ({flows_key})"),
            "more half-open flows than flows",
            format!("write a whole number from {MIN_HALF_OPEN} to {flows}, or a larger {flows_key}"),
        ));
    }
    FamilySizes { flows, half_open: half_open.map_or(flows / HALF_OPEN_SHARE, |it| it.value) }
}
