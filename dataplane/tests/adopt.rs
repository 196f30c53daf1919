//! A dataplane outlives its process, and the next one takes it over. On real devices:
//!
//! ```text
//!   a network namespace of the test's own:   weir-a ◄──veth──► weir-b
//!                                            XDP      TCX
//! ```
//!
//! Needs root, Linux 6.6, a bpffs at /sys/fs/bpf and `ip`; fails where they are missing.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by stopping")]

use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use weir_dataplane::image::Image;
use weir_dataplane::{AttachPoint, Attachment, Dataplane, Error, Options, Origin, Tables, release};
use weir_path::addr::{IfIndex, InterfaceId, Zone};
use weir_path::flow::{Flow, FlowKey};
use weir_path::hash::HashKey;
use weir_path::tables::{Egress, Interface};

/// A namespace with a veth pair, and a pin folder. The namespace goes with the thread, the folder on drop.
struct Bed {
    options: Options,
    uplink: IfIndex,
    slot: IfIndex,
}

impl Bed {
    fn new(name: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace takes root");
        let made = Command::new("ip")
            .args(["link", "add", "weir-a", "type", "veth", "peer", "name", "weir-b"])
            .status()
            .unwrap();
        assert!(made.success());
        let index = |name: &str| IfIndex(nix::net::if_::if_nametoindex(name).unwrap());
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/weir-adopt-{name}-{}", std::process::id()));
        let options = Options { pin_dir, max_flows: 1024 };
        Self { options, uplink: index("weir-a"), slot: index("weir-b") }
    }

    fn attachments(&self) -> [Attachment; 2] {
        [
            Attachment { ifindex: self.uplink, point: AttachPoint::UplinkXdpNative },
            Attachment { ifindex: self.slot, point: AttachPoint::SlotTc },
        ]
    }

    fn pin_dir(&self) -> &Path {
        &self.options.pin_dir
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        release(&self.options.pin_dir).unwrap();
        assert!(!self.options.pin_dir.exists(), "the pin folder is left behind");
    }
}

/// The id of the XDP program on a device, as the kernel tells it.
fn xdp_program(device: &str) -> Option<u64> {
    let output = Command::new("ip").args(["-j", "-d", "link", "show", "dev", device]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = text.split_once("\"prog\":{\"id\":")?;
    rest.split(',').next()?.parse().ok()
}

#[test]
fn programs_stay_attached_when_their_process_lets_go_and_the_next_one_swaps_them_in_place() {
    let bed = Bed::new("swap");
    let mut first = Dataplane::open(&bed.options).unwrap();
    assert_eq!(first.origin(), Origin::New);
    for attachment in bed.attachments() {
        assert_eq!(first.attach(attachment).unwrap(), Origin::New);
    }
    drop(first);
    let before = xdp_program("weir-a").expect("the program must outlive its loader");

    let mut second = Dataplane::open(&bed.options).unwrap();
    assert_eq!(second.origin(), Origin::Adopted);
    assert_eq!(second.attachments().unwrap(), {
        let mut all = bed.attachments();
        all.sort_by_key(|it| it.point != AttachPoint::SlotTc);
        all
    });
    for attachment in bed.attachments() {
        assert_eq!(second.attach(attachment).unwrap(), Origin::Adopted);
    }
    let after = xdp_program("weir-a").expect("the program must have been replaced, not removed");
    assert_ne!(before, after, "the link must have been given the new program");
}

#[test]
fn what_was_written_is_there_for_the_next_process() {
    let bed = Bed::new("tables");
    let interface = Interface {
        egress: Egress { ifindex: bed.uplink, id: InterfaceId(3), ..Egress::default() },
        zone: Zone::of_vpc(7).unwrap(),
        ..Interface::default()
    };
    let key = FlowKey { protocol: 6, zone: Zone::of_vpc(7).unwrap(), ..FlowKey::default() };
    let flow = Flow { other: FlowKey { zone: Zone::of_binding(1).unwrap(), ..key }, ..Flow::default() };
    {
        let first = Dataplane::open(&bed.options).unwrap();
        first.tables().set_interface(&interface).unwrap();
        first.tables().insert_flow(&key, &flow).unwrap();
        let image = Image { hash_key: HashKey([7; 16]), ..Image::default() };
        assert_eq!(first.tables().apply(&image).unwrap(), 1);
    }
    let second = Dataplane::open(&bed.options).unwrap();
    assert_eq!(second.tables().interfaces().unwrap(), [interface]);
    assert_eq!(second.tables().flows().unwrap(), [(key, flow)]);
    assert_eq!(second.tables().epoch().unwrap(), 1);
    assert_eq!(second.tables().max_flows().unwrap(), 1024);
}

#[test]
fn ending_a_zone_takes_both_directions_of_its_flows_and_no_others() {
    let bed = Bed::new("zone");
    let dataplane = Dataplane::open(&bed.options).unwrap();
    let tables = dataplane.tables();
    for binding in [1, 2] {
        let wire = FlowKey { protocol: binding as u8, zone: Zone::of_vpc(7).unwrap(), ..FlowKey::default() };
        let slot = FlowKey { zone: Zone::of_binding(binding).unwrap(), ..wire };
        tables.insert_flow(&wire, &Flow { other: slot, ..Flow::default() }).unwrap();
        tables.insert_flow(&slot, &Flow { other: wire, ..Flow::default() }).unwrap();
    }
    assert_eq!(tables.forget_zone(Zone::of_binding(1).unwrap()).unwrap(), 2);
    let left: Vec<_> = tables.flows().unwrap().into_iter().map(|(key, _)| key.protocol).collect();
    assert_eq!(left, [2, 2]);
}

#[test]
fn a_flow_table_of_another_size_is_refused_with_both_sizes() {
    let bed = Bed::new("size");
    drop(Dataplane::open(&bed.options).unwrap());
    let other = Options { max_flows: 2048, ..bed.options.clone() };
    let Err(error) = Dataplane::open(&other) else { panic!("it was adopted") };
    assert!(matches!(error, Error::Layout { found: 2048, expected: 4096, .. }), "{error}");
    assert!(error.to_string().contains("set max_flows back"), "{error}");
}

#[test]
fn tables_of_another_schema_are_refused_and_left_alone() {
    let bed = Bed::new("schema");
    let strange = bed.pin_dir().join("v999");
    fs::create_dir_all(&strange).unwrap();
    let Err(error) = Dataplane::open(&bed.options) else { panic!("it was opened") };
    assert!(matches!(&error, Error::OtherSchema { found, .. } if found == "v999"), "{error}");
    assert!(strange.exists());
}

#[test]
fn a_folder_that_is_not_on_a_bpffs_is_refused_with_the_remedy() {
    let options = Options { pin_dir: std::env::temp_dir().join("weir-not-bpffs"), max_flows: 1024 };
    let Err(error) = Dataplane::open(&options) else { panic!("it was opened") };
    assert!(error.to_string().contains("mount -t bpf"), "{error}");
    assert!(!options.pin_dir.exists());
}

#[test]
fn a_folder_with_a_dot_in_its_name_is_refused_by_name() {
    let options = Options { pin_dir: "/sys/fs/bpf/weir.dotted".into(), max_flows: 1024 };
    let Err(error) = Dataplane::open(&options) else { panic!("it was opened") };
    assert!(matches!(error, Error::Dotted { .. }), "{error}");
}

#[test]
fn tables_that_nobody_made_are_not_running() {
    let Err(error) = Tables::open(Path::new("/sys/fs/bpf/weir-nobody")) else { panic!("it was opened") };
    assert!(matches!(error, Error::NotRunning { .. }), "{error}");
}

#[test]
fn a_device_that_is_gone_is_forgotten() {
    let bed = Bed::new("gone");
    let mut dataplane = Dataplane::open(&bed.options).unwrap();
    for attachment in bed.attachments() {
        dataplane.attach(attachment).unwrap();
    }
    assert!(Command::new("ip").args(["link", "del", "weir-a"]).status().unwrap().success());
    assert_eq!(dataplane.attachments().unwrap(), []);
    let error = dataplane.attach(bed.attachments()[0]).unwrap_err();
    assert!(matches!(error, Error::NoDevice { .. }), "{error}");
}

#[test]
fn a_device_made_again_under_the_same_index_is_attached_anew() {
    let bed = Bed::new("again");
    let mut dataplane = Dataplane::open(&bed.options).unwrap();
    for attachment in bed.attachments() {
        dataplane.attach(attachment).unwrap();
    }
    let (uplink, slot) = (bed.uplink.to_string(), bed.slot.to_string());
    let ip = |words: &[&str]| assert!(Command::new("ip").args(words).status().unwrap().success());
    ip(&["link", "del", "weir-a"]);
    ip(&[
        "link", "add", "weir-a", "index", &uplink, "type", "veth", "peer", "name", "weir-b", "index", &slot,
    ]);
    for attachment in bed.attachments() {
        assert_eq!(dataplane.attach(attachment).unwrap(), Origin::New);
    }
    assert!(xdp_program("weir-a").is_some());
}

#[test]
fn detaching_is_done_when_it_returns() {
    let bed = Bed::new("detach");
    let mut dataplane = Dataplane::open(&bed.options).unwrap();
    let [uplink, _] = bed.attachments();
    let generic = Attachment { point: AttachPoint::UplinkXdpGeneric, ..uplink };
    for _ in 0..20 {
        // A device holds one XDP program: the second mode is refused while the first is there.
        dataplane.attach(uplink).unwrap();
        dataplane.detach(uplink).unwrap();
        assert_eq!(xdp_program("weir-a"), None);
        dataplane.attach(generic).unwrap();
        dataplane.detach(generic).unwrap();
    }
}

#[test]
fn a_pin_folder_has_one_process() {
    let bed = Bed::new("busy");
    let first = Dataplane::open(&bed.options).unwrap();
    let Err(error) = Dataplane::open(&bed.options) else { panic!("two processes drive one dataplane") };
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(matches!(release(bed.pin_dir()), Err(Error::Busy { .. })));
    drop(first);
    Dataplane::open(&bed.options).unwrap();
}

#[test]
fn ending_an_interfaces_flows_leaves_those_of_others() {
    let bed = Bed::new("interface");
    let dataplane = Dataplane::open(&bed.options).unwrap();
    let tables = dataplane.tables();
    for id in [1, 2] {
        let wire = FlowKey { protocol: id as u8, zone: Zone::of_vpc(7).unwrap(), ..FlowKey::default() };
        let slot = FlowKey { zone: Zone::of_binding(id).unwrap(), ..wire };
        let out = |id| Egress { id: InterfaceId(id), ..Egress::default() };
        tables.insert_flow(&wire, &Flow { other: slot, egress: out(9), ..Flow::default() }).unwrap();
        tables.insert_flow(&slot, &Flow { other: wire, egress: out(id), ..Flow::default() }).unwrap();
    }
    assert_eq!(tables.forget_interface(InterfaceId(1)).unwrap(), 2);
    assert!(tables.flows().unwrap().iter().all(|(key, _)| key.protocol == 2));
}
