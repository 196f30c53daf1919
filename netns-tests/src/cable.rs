//! A wire between TAP devices, whose middle is this process: it can do what no veth does.
//!
//! ```text
//!              ┌─ no tag ── another device, untagged
//!   trunk ─────┼─ VLAN 7 ── another one, untagged: this process puts the tag on and takes it off, as a switch does
//!              └─ VLAN 8 ── …
//! ```

use std::sync::Arc;

use weir_path::packet::VlanTag;

use crate::error::Error;
use crate::netns::End;
use crate::tap::{Offload, Tap, Workers};

/// Where the tag lies, behind the MACs.
const TAG: usize = 12;
/// The ethertype of a tag (IEEE 802.1Q).
const TAGGED: [u8; 2] = [0x81, 0];

/// A wire, until it is dropped; its devices go with it.
#[derive(Debug)]
pub struct Cable(#[expect(dead_code, reason = "it is there to be dropped")] Workers);

impl Cable {
    /// Makes both devices. With [`Offload::All`] frames cross as two kernels leave them to each other: segments are not
    /// cut, and checksums not summed up.
    pub fn plug(one: End<'_>, other: End<'_>, offload: Offload) -> Result<Self, Error> {
        let taps = [Tap::make(one, offload)?, Tap::make(other, offload)?].map(Arc::new);
        let mut workers = Workers::default();
        for (from, to) in [(0, 1), (1, 0)] {
            let (Some(from), Some(to)) = (taps.get(from).cloned(), taps.get(to).cloned()) else { continue };
            workers.begin(move |ends| from.serve(ends, |frame| to.send(frame)));
        }
        Ok(Self(workers))
    }

    /// Makes a device that carries several VLANs, and one for each of them.
    pub fn trunk(trunk: End<'_>, ends: &[(VlanTag, End<'_>)]) -> Result<Self, Error> {
        let trunk = Arc::new(Tap::make(trunk, Offload::None)?);
        let taps = ends.iter().map(|(tag, end)| Ok((*tag, Arc::new(Tap::make(*end, Offload::None)?))));
        let taps = taps.collect::<Result<Vec<_>, Error>>()?;
        let mut workers = Workers::default();
        for (tag, tap) in taps.clone() {
            let trunk = Arc::clone(&trunk);
            workers.begin(move |ends| {
                tap.serve(ends, |frame| {
                    put_on(frame, tag);
                    trunk.send(frame);
                });
            });
        }
        workers.begin(move |ends| {
            trunk.serve(ends, |frame| {
                let tag = take_off(frame);
                taps.iter().filter(|(of, _)| *of == tag).for_each(|(_, tap)| tap.send(frame));
            });
        });
        Ok(Self(workers))
    }
}

fn put_on(frame: &mut Vec<u8>, tag: VlanTag) {
    if tag != VlanTag::NONE && frame.len() > TAG {
        let [t0, t1] = TAGGED;
        let [v0, v1] = tag.0.to_be_bytes();
        frame.splice(TAG..TAG, [t0, t1, v0, v1]);
    }
}

fn take_off(frame: &mut Vec<u8>) -> VlanTag {
    let Some([t0, t1, v0, v1]) = frame.get(TAG..).and_then(|rest| rest.first_chunk()).copied() else {
        return VlanTag::NONE;
    };
    if [t0, t1] != TAGGED {
        return VlanTag::NONE;
    }
    frame.drain(TAG..TAG + 4);
    VlanTag::of_tci(u16::from_be_bytes([v0, v1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_was_put_on_comes_off_again() {
        let plain: Vec<u8> = (0..60).collect();
        let mut frame = plain.clone();
        put_on(&mut frame, VlanTag(7));
        assert_eq!(frame[12..18], [0x81, 0, 0, 7, 12, 13]);
        assert_eq!((take_off(&mut frame), frame.clone()), (VlanTag(7), plain.clone()));
        assert_eq!((take_off(&mut frame), frame), (VlanTag::NONE, plain));
    }
}
