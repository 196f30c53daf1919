//! skbs that are not plain: of many segments, with a tag or a partial checksum, refused by the kernel; and what is found
//! where.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by stopping")]

use weir_path::addr::Address;
use weir_path::frame::Frame;
use weir_path::packet::VlanTag;
use weir_path::{Reason, Verdict};
use weir_testkit::executor::{End, Executor, Slice, Walk};
use weir_testkit::faults::Skb;
use weir_testkit::fixtures::{Fixture, all};
use weir_testkit::laws;
use weir_testkit::oracle::{Sum, checksums, sum16};
use weir_testkit::packets::{flag, tcp};
use weir_testkit::town::{self, CLIENT, FLEET, PROD, SLOT_2, SLOT_3, WEB, web_flow};
use weir_testkit::world::Change;

// ---- a kernel that refuses ----

/// The fixture's packet as an skb, in the fixture's world.
fn run(fixture: &Fixture, prepare: impl FnOnce(&mut Skb<'_>)) -> (Slice, Verdict, Vec<u8>) {
    let mut slice = Slice::default();
    slice.load(&fixture.world);
    let mut buffer = fixture.packet.clone();
    let mut skb = Skb::new(Frame::new(&mut buffer, fixture.packet.len()).unwrap());
    prepare(&mut skb);
    let verdict = slice.walk(fixture.walk, fixture.arrival, &mut skb);
    let bytes = skb.frame.bytes().to_vec();
    (slice, verdict, bytes)
}

fn sent() -> impl Iterator<Item = Fixture> {
    all().into_iter().filter(|fixture| fixture.end == End::Send)
}

#[test]
fn whichever_change_the_kernel_refuses_the_packet_is_dropped_by_name_and_goes_nowhere() {
    for fixture in sent() {
        let mut refusals = 0;
        loop {
            let (mut slice, verdict, _) = run(&fixture, |skb| skb.changes_left = Some(refusals));
            if verdict != Verdict::Drop {
                break;
            }
            let state = slice.state();
            assert_eq!(state.left(Reason::Unchangeable), 1, "{}, change {refusals}", fixture.says);
            assert!(state.sent.is_empty(), "{}, change {refusals}", fixture.says);
            laws::both_or_neither(&state).unwrap();
            laws::conservation(&state).unwrap();
            refusals += 1;
        }
        assert!(refusals >= 6, "{}: only {refusals} changes can be refused", fixture.says);
    }
}

// ---- skbs ----

#[test]
fn a_packet_of_many_segments_counts_as_many_but_a_reset_of_it_is_one() {
    for fixture in all() {
        let (mut slice, ..) = run(&fixture, |skb| skb.segments = 17);
        let state = slice.state();
        assert_eq!(state.walks[&fixture.walk].entered, 17, "{}", fixture.says);
        assert_eq!(state.left(fixture.why), 17, "{}", fixture.says);
        let sent = match fixture.why {
            Reason::AnsweredReset => 1,
            _ if fixture.to.is_some() => 17,
            _ => 0,
        };
        assert_eq!(state.sent.values().sum::<u64>(), sent, "{}", fixture.says);
    }
}

#[test]
fn a_tag_beside_the_bytes_is_a_tag() {
    for fixture in all() {
        let (slice, verdict, bytes) = run(&fixture, |skb| skb.vlan = VlanTag::PRIORITY);
        let expected = match fixture.walk {
            Walk::FromUplink => Reason::OtherVlan,
            Walk::FromSlot => Reason::SlotProtocol,
        };
        assert_eq!(slice.witness().unwrap().why, expected, "{}", fixture.says);
        assert_eq!(bytes, fixture.packet, "{}", fixture.says);
        assert_eq!(End::from(verdict) == End::Pass, expected.class() == weir_path::reason::Class::Passed);
    }
}

const IP: usize = 14;

fn is_v6(bytes: &[u8]) -> bool {
    bytes[12..14] == [0x86, 0xdd]
}

fn protocol(bytes: &[u8]) -> u8 {
    if is_v6(bytes) { bytes[IP + 6] } else { bytes[IP + 9] }
}

/// Where the L4 header and its checksum field lie; `None` for what has no pseudo header.
fn l4(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = IP + if is_v6(bytes) { 40 } else { 4 * usize::from(bytes[IP] & 0x0f) };
    match protocol(bytes) {
        6 => Some((at, at + 16)),
        17 => Some((at, at + 6)),
        _ => None,
    }
}

fn end_of_ip(bytes: &[u8]) -> usize {
    let word = |at| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    if is_v6(bytes) { IP + 40 + word(IP + 4) } else { IP + word(IP + 2) }
}

/// The packet as a local socket hands it over: the checksum field holds the pseudo header's sum alone.
fn made_partial(mut bytes: Vec<u8>, (at, field): (usize, usize)) -> Vec<u8> {
    let addresses = if is_v6(&bytes) { IP + 8..IP + 40 } else { IP + 12..IP + 20 };
    let mut pseudo = bytes[addresses].to_vec();
    pseudo.extend([0, protocol(&bytes)]);
    pseudo.extend(((end_of_ip(&bytes) - at) as u16).to_be_bytes());
    bytes[field..field + 2].copy_from_slice(&sum16(&pseudo).to_be_bytes());
    bytes
}

/// What the hardware does at the end: it sums the segment, the field included, and writes the complement.
fn completed(mut bytes: Vec<u8>, (at, field): (usize, usize)) -> Vec<u8> {
    let end = end_of_ip(&bytes);
    let sum = match !sum16(&bytes[at..end]) {
        0 if protocol(&bytes) == 17 => 0xffff,
        sum => sum,
    };
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn a_partial_checksum_is_completed_to_the_right_one_after_any_translation_or_answer() {
    let mut seen = 0;
    let whole = |bytes: &[u8]| checksums(bytes).l4 == Sum::Right;
    for fixture in sent().filter(|fixture| whole(&fixture.packet) && whole(&fixture.bytes)) {
        let Some(before) = l4(&fixture.packet) else { continue };
        let Some(after) = l4(&fixture.bytes) else { continue };
        let partial = Fixture { packet: made_partial(fixture.packet.clone(), before), ..fixture.clone() };
        let (_, _, bytes) = run(&partial, |skb| skb.is_partial = true);
        assert_eq!(completed(bytes, after), fixture.bytes, "{}", fixture.says);
        seen += 1;
    }
    assert!(seen > 30, "only {seen} fixtures have a checksum that can be partial");
}

// ---- what is found where ----

#[test]
fn a_flow_of_one_slot_is_not_found_from_another_whatever_its_packets_say() {
    let world = town::world().with_flow(web_flow());
    let mut slice = Slice::default();
    for slot in [SLOT_2, SLOT_3] {
        slice.load(&world);
        let stolen =
            tcp(town::SANDBOX, town::CLIENT_INSIDE).flags(flag::ACK | flag::PSH).payload(b"stolen").bytes();
        slice.run(Walk::FromSlot, slot.egress.ifindex, &stolen);
        assert_eq!(slice.witness().unwrap().why, Reason::AnsweredReset);
        assert_eq!(slice.witness().unwrap().to, Some(slot.egress));
    }
}

#[test]
fn a_new_configuration_is_read_whole_and_the_old_half_not_at_all() {
    let mut slice = Slice::default();
    slice.load(&town::world());
    let mut image = town::image();
    image.vips.retain(|vip| vip.address != WEB.ip.mapped());
    image.listeners.retain(|listener, _| listener.vip.address != WEB.ip.mapped());
    slice.change(&Change::Apply(image));
    slice.run(Walk::FromUplink, PROD.egress.ifindex, &tcp(CLIENT, FLEET).syn().bytes());
    assert_eq!(slice.witness().unwrap().why, Reason::OtherAddress);
    slice.change(&Change::Apply(town::image()));
    slice.run(Walk::FromUplink, PROD.egress.ifindex, &tcp(CLIENT, FLEET).syn().bytes());
    assert_eq!(slice.witness().unwrap().why, Reason::Opened);
}

#[test]
fn the_forbidden_blocks_of_sources_end_exactly_where_they_should() {
    let why_from = |source: [u8; 4]| {
        let mut slice = Slice::default();
        slice.load(&town::world());
        let [a, b, c, d] = source;
        slice.run(Walk::FromUplink, PROD.egress.ifindex, &tcp(CLIENT.ip(a, b, c, d), WEB).syn().bytes());
        slice.witness().unwrap().why
    };
    for good in [[1, 0, 0, 0], [126, 255, 255, 255], [128, 0, 0, 0], [223, 255, 255, 255]] {
        assert_eq!(why_from(good), Reason::Opened, "{good:?}");
    }
    for bad in [[0, 255, 255, 255], [127, 0, 0, 0], [127, 255, 255, 255], [224, 0, 0, 0], [255; 4]] {
        assert_eq!(why_from(bad), Reason::BadSource, "{bad:?}");
    }
}
