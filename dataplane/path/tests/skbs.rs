//! skbs that are not plain: of many segments, with a tag or a partial checksum, refused by the kernel; and what is found
//! where.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by stopping")]

use weir_path::addr::Address;
use weir_path::checksum::Sum as PathSum;
use weir_path::frame::Frame;
use weir_path::packet::VlanTag;
use weir_path::reason::Class;
use weir_path::{Reason, Verdict};
use weir_testkit::anatomy::Anatomy;
use weir_testkit::executor::{End, Executor, Slice, Walk};
use weir_testkit::faults::Skb;
use weir_testkit::fixtures::{self, Fixture};
use weir_testkit::laws;
use weir_testkit::oracle::{Sum, checksums, residues, sum16};
use weir_testkit::packets::{flag, is_tagged, tcp, untagged};
use weir_testkit::town::{self, CLIENT, FLEET, PROD, SLOT_2, SLOT_3, WEB, web_flow};
use weir_testkit::world::Change;

// ---- a kernel that refuses ----

/// Room for what an answer or a tag needs in front.
const ROOM: usize = 128;

/// The fixture's packet as an skb, in the fixture's world.
fn run(fixture: &Fixture, prepare: impl FnOnce(&mut Skb<'_>)) -> (Slice, Verdict, Vec<u8>) {
    let mut checks = |_: &Skb<'_>| ();
    run_and_see(fixture, prepare, &mut checks)
}

fn run_and_see(
    fixture: &Fixture,
    prepare: impl FnOnce(&mut Skb<'_>),
    see: &mut impl FnMut(&Skb<'_>),
) -> (Slice, Verdict, Vec<u8>) {
    let mut slice = Slice::default();
    slice.load(&fixture.world);
    let mut buffer = fixture.packet.clone();
    buffer.resize(fixture.packet.len() + ROOM, 0);
    let mut skb = Skb::new(Frame::new(&mut buffer, fixture.packet.len()).unwrap());
    prepare(&mut skb);
    let verdict = slice.walk(fixture.walk, fixture.arrival, &mut skb);
    see(&skb);
    (slice, verdict, skb.on_wire())
}

/// All but those with a tag behind the tag: the frame that stands for an skb's bytes would take it for its own.
fn all() -> Vec<Fixture> {
    let all = fixtures::all().into_iter();
    all.filter(|fixture| !is_tagged(&untagged(&fixture.packet))).collect()
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
        assert!(refusals >= 5, "{}: only {refusals} changes can be refused", fixture.says);
    }
}

// ---- skbs ----

/// What the path makes itself is one packet, whatever it answers; what is turned round or sent on keeps its segments.
fn is_made_anew(why: Reason) -> bool {
    why.class() == Class::Answered && !matches!(why, Reason::AnsweredArp | Reason::AnsweredEcho)
}

#[test]
fn a_packet_of_many_segments_counts_as_many_but_an_answer_to_it_is_one() {
    for fixture in all() {
        let (mut slice, ..) = run(&fixture, |skb| skb.segments = 17);
        let state = slice.state();
        assert_eq!(state.walks[&fixture.walk].entered, 17, "{}", fixture.says);
        assert_eq!(state.left(fixture.why), 17, "{}", fixture.says);
        let sent = match fixture.to {
            None => 0,
            Some(_) if is_made_anew(fixture.why) => 1,
            Some(_) => 17,
        };
        assert_eq!(state.sent.values().sum::<u64>(), sent, "{}", fixture.says);
    }
}

#[test]
fn each_segment_of_a_packet_of_many_must_fit_not_all_of_them_together() {
    let packet = tcp(CLIENT, WEB).payload(&[7; 9_000]).bytes();
    let why = |segment_payload| {
        let mut slice = Slice::default();
        slice.load(&town::world().with_flow(web_flow()));
        let mut buffer = packet.clone();
        let mut skb = Skb::new(Frame::new(&mut buffer, packet.len()).unwrap());
        (skb.segments, skb.segment_payload) = (7, segment_payload);
        slice.walk(Walk::FromUplink, PROD.egress.ifindex, &mut skb);
        slice.witness().unwrap().why
    };
    // 1,500 bytes are two headers of twenty bytes, and the rest.
    assert_eq!(why(1_460), Reason::ToSlot);
    assert_eq!(why(1_461), Reason::AnsweredTooBig);
}

/// A VLAN that no uplink here is in.
const OTHER: VlanTag = VlanTag(77);

#[test]
fn a_tag_beside_the_bytes_is_a_tag() {
    for fixture in all() {
        let (slice, verdict, bytes) = run(&fixture, |skb| skb.vlan = OTHER);
        let expected = match fixture.walk {
            Walk::FromUplink => Reason::OtherVlan,
            Walk::FromSlot => Reason::SlotProtocol,
        };
        assert_eq!(slice.witness().unwrap().why, expected, "{}", fixture.says);
        assert_eq!(untagged(&bytes), untagged(&fixture.packet), "{}", fixture.says);
        assert_eq!(End::from(verdict) == End::Pass, expected.class() == Class::Passed);
    }
}

#[test]
fn what_is_true_of_a_tag_in_the_bytes_is_true_of_one_beside_them() {
    // Two tags, of which one stays in the bytes, or a tag whose priority is lost: what is not sent on is not written.
    for fixture in all().into_iter().filter(|fixture| is_tagged(&fixture.packet) || is_tagged(&fixture.bytes))
    {
        let (slice, verdict, bytes) = run(&fixture, |_| ());
        assert_eq!(slice.witness().unwrap().why, fixture.why, "{}", fixture.says);
        assert_eq!(End::from(verdict), fixture.end, "{}", fixture.says);
        if fixture.end == End::Send {
            assert_eq!(untagged(&bytes), untagged(&fixture.bytes), "{}", fixture.says);
            assert_eq!(vlan(&bytes), vlan(&fixture.bytes), "{}", fixture.says);
        }
    }
}

/// The number of a frame's VLAN; 0 where it is in none.
fn vlan(frame: &[u8]) -> u16 {
    if is_tagged(frame) { u16::from_be_bytes([frame[14], frame[15]]) & 0xfff } else { 0 }
}

const IP: usize = 14;

/// Where the checksum field of TCP or UDP lies; `None` for what has no pseudo header, or is a piece.
fn field_of(bytes: &[u8]) -> Option<(Anatomy, usize)> {
    let parts = Anatomy::of(bytes).filter(|parts| !parts.is_fragment && parts.is_whole(bytes))?;
    match parts.protocol {
        6 => Some((parts, parts.l4_at + 16)),
        17 => Some((parts, parts.l4_at + 6)),
        _ => None,
    }
}

/// The packet as a local socket hands it over: the checksum field holds the pseudo header's sum alone.
fn made_partial(mut bytes: Vec<u8>, (parts, field): (Anatomy, usize)) -> Vec<u8> {
    let mut pseudo = parts.addresses(&bytes).concat();
    pseudo.extend([0, parts.protocol]);
    pseudo.extend(((parts.end - parts.l4_at) as u16).to_be_bytes());
    bytes[field..field + 2].copy_from_slice(&sum16(&pseudo).to_be_bytes());
    bytes
}

/// What the hardware does at the end: it sums all from the segment's start on, the field included, and writes the
/// complement. The kernel has its numbers from the socket, so they hold wherever the segment lies by now.
fn completed(mut bytes: Vec<u8>, at: usize, field: usize, end: usize, protocol: u8) -> Vec<u8> {
    let sum = match !sum16(&bytes[at..end]) {
        0 if protocol == 17 => 0xffff,
        sum => sum,
    };
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn is_right(bytes: &[u8]) -> bool {
    checksums(bytes).l4 == Sum::Right
}

/// Fixtures whose packet can be one of a local socket, with where its checksum is.
fn of_sockets() -> impl Iterator<Item = (Fixture, Anatomy, usize)> {
    sent().filter_map(|fixture| {
        let (parts, field) = field_of(&fixture.packet).filter(|_| is_right(&fixture.packet))?;
        let partial = Fixture { packet: made_partial(fixture.packet.clone(), (parts, field)), ..fixture };
        Some((partial, parts, field))
    })
}

#[test]
fn a_partial_checksum_is_completed_to_the_right_one_after_any_translation_or_reset() {
    let mut seen = [0; 2];
    for (fixture, before, _) in of_sockets() {
        let expected = untagged(&fixture.bytes);
        let Some((parts, field)) = field_of(&expected).filter(|_| is_right(&expected)) else { continue };
        let (_, _, bytes) = run(&fixture, |skb| skb.is_partial = true);
        let completed = completed(untagged(&bytes), parts.l4_at, field, parts.end, parts.protocol);
        assert_eq!(completed, expected, "{}", fixture.says);
        seen[usize::from(before.is_v6)] += 1;
    }
    assert!(seen.iter().all(|times| *times > 30), "{seen:?}: too few have a checksum that can be partial");
}

#[test]
fn an_error_about_a_packet_with_a_partial_checksum_is_right_once_that_is_completed() {
    let mut seen = [0; 2];
    for (fixture, before, field) in of_sockets() {
        let Some(after) = Anatomy::of(&fixture.bytes).filter(|parts| parts.is_error(&fixture.bytes)) else {
            continue;
        };
        let (_, _, bytes) = run(&fixture, |skb| skb.is_partial = true);
        assert_eq!(bytes.len(), fixture.bytes.len(), "{}", fixture.says);
        // The quoted packet moved back by two headers.
        let moved = after.l4_at + 8 - before.at;
        let end = bytes.len();
        let completed = completed(bytes, before.l4_at + moved, field + moved, end, before.protocol);
        assert!(is_right(&completed), "{}", fixture.says);
        seen[usize::from(before.is_v6)] += 1;
    }
    assert!(seen.iter().all(|times| *times >= 5), "{seen:?}: too few errors about what sockets send");
}

#[test]
fn the_sum_of_a_whole_packet_follows_every_translation() {
    let sum =
        |bytes: &[u8]| bytes.chunks_exact(2).fold(PathSum::default(), |sum, two| sum.add2([two[0], two[1]]));
    let same = |one: PathSum, other: PathSum| {
        // Both forms of zero are one number.
        let number = |sum: PathSum| u16::from_ne_bytes(sum.fold()) % 0xffff;
        number(one) == number(other)
    };
    let mut seen = [0; 2];
    // Where a datagram has no checksum, nobody looks at the sum of the packet either.
    let is_told = |frame: &[u8]| residues(frame).l4.is_some() && frame.len().is_multiple_of(2);
    for fixture in sent().filter(|it| it.why.class() == Class::Forwarded && is_told(&it.packet)) {
        let behind_ethernet = sum(&untagged(&fixture.packet)[IP..]);
        run_and_see(&fixture, |skb| skb.complete = Some(behind_ethernet), &mut |skb| {
            let is = sum(&skb.frame.bytes()[IP..]);
            assert!(skb.complete.is_some_and(|kept| same(kept, is)), "{}", fixture.says);
        });
        seen[usize::from(Anatomy::of(&fixture.packet).is_some_and(|parts| parts.is_v6))] += 1;
    }
    assert!(seen.iter().all(|times| *times > 20), "{seen:?}");
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
