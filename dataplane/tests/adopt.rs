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
use weir_dataplane::flows::{FlowState, SideState};
use weir_dataplane::image::Image;
use weir_dataplane::{AttachPoint, Attachment, Dataplane, Error, Options, Origin, Sizes, Tables, release};
use weir_path::addr::{IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac, Zone};
use weir_path::flow::end::End;
use weir_path::flow::{Ends, Hop, Key, Key4, Key6, Life, Meta, Phase, RecordId, Side, Stamp, V4, V6};
use weir_path::hash::HashKey;
use weir_path::tables::{Egress, Interface};
use weir_path::time::{Now, Seconds};

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
        let options = Options { pin_dir, sizes: Sizes::small(1024) };
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
    let kept = {
        let first = Dataplane::open(&bed.options).unwrap();
        let kept = flow(0, [key4(7, 1), key4(7, 2)], now(first.tables()));
        first.tables().set_interface(&interface).unwrap();
        first.tables().insert_flows::<V4>(&[kept]).unwrap();
        let image = Image { hash_key: HashKey([7; 16]), ..Image::default() };
        assert_eq!(first.tables().apply(&image).unwrap(), 1);
        kept
    };
    let second = Dataplane::open(&bed.options).unwrap();
    assert_eq!(second.tables().interfaces().unwrap(), [interface]);
    assert_eq!(second.tables().flow_states::<V4>().unwrap(), [kept]);
    assert_eq!(second.tables().epoch().unwrap(), 1);
    let (flows, half_open) = second.tables().max_flows::<V6>();
    assert!(flows == 1024 && half_open > 1000, "{half_open} half-open flows are about 1,024");
}

fn key4(vpc: u32, host: u8) -> Key4 {
    let ends = Ends {
        src: Ip4([10, 0, 0, host]),
        dst: Ip4([10, 0, 1, 1]),
        sport: L4Port::new(1),
        dport: L4Port::new(2),
    };
    Key4::new(ends, 6, Zone::of_vpc(vpc).unwrap())
}

fn key6(vpc: u32, host: u8) -> Key6 {
    let ip = |last| Ip6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    let ends = Ends { src: ip(host), dst: ip(255), sport: L4Port::new(1), dport: L4Port::new(2) };
    Key6::new(ends, 6, Zone::of_vpc(vpc).unwrap())
}

/// An established flow, just heard: the timer that runs must not end it.
fn flow<K: Key>(record: u32, [original, reply]: [K; 2], now: Now) -> FlowState<K> {
    const FIRST: u16 = 1;
    let record = RecordId(record);
    let side = |side| SideState {
        hop: Hop::new(InterfaceId(1), Mac([2, 0, 0, 0, 0, 1])),
        stamp: Stamp::new(record, FIRST, side, now),
        ..SideState::default()
    };
    FlowState {
        record,
        life: Life::new(Phase::Established, FIRST, now),
        keys: [original, reply],
        meta: Meta { opened: now, idle: Seconds(350), ..Meta::default() },
        sides: [side(Side::Original), side(Side::Reply)],
    }
}

/// The time, once the dataplane's timer has written it down.
fn now(tables: &Tables) -> Now {
    loop {
        match tables.now() {
            Now(0) => std::thread::yield_now(),
            now => return now,
        }
    }
}

#[test]
fn ending_a_zones_flows_takes_both_directions_and_no_other_flow() {
    let bed = Bed::new("zone");
    let mut dataplane = Dataplane::open(&bed.options).unwrap();
    let now = now(dataplane.tables());
    let [kept, ended] = [[key4(7, 1), key4(7, 2)], [key4(8, 3), key4(7, 4)]];
    let [kept, ended] = [flow(0, kept, now), flow(1, ended, now)];
    let [kept_6, ended_6] = [[key6(7, 1), key6(7, 2)], [key6(7, 3), key6(8, 4)]];
    let [kept_6, ended_6] = [flow(0, kept_6, now), flow(1, ended_6, now)];
    dataplane.tables().insert_flows::<V4>(&[kept, ended]).unwrap();
    dataplane.tables().insert_flows::<V6>(&[kept_6, ended_6]).unwrap();
    let gone = Zone::of_vpc(8).unwrap();
    assert_eq!(dataplane.end_flows(End::Removed, |flow| flow.zones.contains(&gone)).unwrap(), 2);
    let tables = dataplane.tables();
    assert_eq!(tables.flow_states::<V4>().unwrap(), [kept]);
    assert_eq!(tables.flow_states::<V6>().unwrap(), [kept_6]);
    assert_eq!(tables.flow_keys::<V4>().unwrap().len(), 2, "no direction is left alone");
    assert_eq!(tables.flow_keys::<V6>().unwrap().len(), 2, "no direction is left alone");
    assert_eq!(tables.counters().unwrap().ended.get(&End::Removed), Some(&2));
}

#[test]
fn a_flow_table_of_another_size_is_refused_with_both_sizes() {
    let bed = Bed::new("size");
    drop(Dataplane::open(&bed.options).unwrap());
    let other = Options { sizes: Sizes::small(2048), ..bed.options.clone() };
    let Err(error) = Dataplane::open(&other) else { panic!("it was adopted") };
    assert!(matches!(error, Error::Layout { found: 2048, expected: 4096, .. }), "{error}");
    assert!(error.to_string().contains("set max_flows"), "{error}");
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
    let options = Options { pin_dir: std::env::temp_dir().join("weir-not-bpffs"), sizes: Sizes::small(1024) };
    let Err(error) = Dataplane::open(&options) else { panic!("it was opened") };
    assert!(error.to_string().contains("mount -t bpf"), "{error}");
    assert!(!options.pin_dir.exists());
}

#[test]
fn a_folder_with_a_dot_in_its_name_is_refused_by_name() {
    let options = Options { pin_dir: "/sys/fs/bpf/weir.dotted".into(), sizes: Sizes::small(1024) };
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
