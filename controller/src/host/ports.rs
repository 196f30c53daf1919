//! Ports that the host leaves free: those of an address that it shares with an ENI.
//!
//! What the kernel gives out by itself, and what any local socket has, stays the kernel's. Of the rest, the longest
//! piece of whole [`PortBlock`]s is the ENI's.

use super::HostError;
use crate::pool::FreePorts;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use weir_path::addr::L4Port;
use weir_path::tables::PortBlock;

/// What the kernel gives sockets that name no port (ip(7)); of the namespace of the thread that reads it.
const GIVEN_OUT: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// What it never gives out, and keeps for those who name it (ip(7)).
const KEPT: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// Every socket with a local port, of that namespace (proc_net_tcp(5)).
const SOCKETS: [&str; 4] = [
    "/proc/thread-self/net/tcp",
    "/proc/thread-self/net/tcp6",
    "/proc/thread-self/net/udp",
    "/proc/thread-self/net/udp6",
];

/// The longest piece of the port space that the host uses nothing of at present, in the calling thread's namespace.
///
/// # Errors
/// [`HostError::Ports`].
pub fn free_ports() -> Result<FreePorts, HostError> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|source| HostError::Ports { path: path.to_owned(), source })
    };
    let text = read(GIVEN_OUT)?;
    let given_out = range(&text).ok_or_else(|| HostError::Ports {
        path: GIVEN_OUT.into(),
        source: io::Error::other(format!("{:?} is not two port numbers", text.trim())),
    })?;
    let text = read(KEPT)?;
    let kept = ranges(&text).ok_or_else(|| HostError::Ports {
        path: KEPT.into(),
        source: io::Error::other(format!("{:?} is not a list of ports and ranges", text.trim())),
    })?;
    let mut used: BTreeSet<PortBlock> = kept.into_iter().flat_map(blocks).collect();
    for path in SOCKETS {
        match read(path) {
            Ok(text) => used.extend(text.lines().filter_map(local_port).map(|port| PortBlock::of(port).0)),
            // A kernel without IPv6 has no sockets of it.
            Err(HostError::Ports { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(longest(&given_out, &used))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// Ports and ranges of ports, as the kernel lists them: `8080,9148-9200`.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let pieces = text.trim().split(',').filter(|piece| !piece.is_empty());
    let range = |piece: &str| {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    pieces.map(range).collect()
}

/// The blocks that a range of ports touches.
fn blocks(range: RangeInclusive<u16>) -> impl Iterator<Item = PortBlock> {
    let (first, last) = (*range.start().max(&PortBlock::FIRST_PORT), *range.end());
    let block = |port| PortBlock::of(L4Port::new(port)).0.0;
    // Those below the first block are in none.
    let all = if last < first { 0..0 } else { block(first)..block(last) + 1 };
    all.map(PortBlock)
}

/// The local port of a line, from the first port of the first block on: `   0: 0100007F:1F90 00000000:0000 0A …`.
fn local_port(line: &str) -> Option<L4Port> {
    let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (port >= PortBlock::FIRST_PORT).then(|| L4Port::new(port))
}

/// The longest run of blocks that lie outside of the range, and that no socket has a port of. Of two, the first one.
fn longest(given_out: &RangeInclusive<u16>, used: &BTreeSet<PortBlock>) -> FreePorts {
    let is_free = |block: PortBlock| {
        let last = block.port(PortBlock::PORTS - 1).number();
        let is_outside = last < *given_out.start() || block.port(0).number() > *given_out.end();
        is_outside && !used.contains(&block)
    };
    let mut longest = FreePorts::default();
    let mut here = FreePorts::default();
    for block in (0..PortBlock::COUNT).map(PortBlock) {
        if !is_free(block) {
            here.blocks = 0;
            continue;
        }
        if here.blocks == 0 {
            here.first = block;
        }
        here.blocks += 1;
        if here.blocks > longest.blocks {
            longest = here;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(given_out: RangeInclusive<u16>, sockets: &[u16]) -> (u16, u16) {
        let used = sockets.iter().map(|port| PortBlock::of(L4Port::new(*port)).0).collect();
        let FreePorts { first, blocks } = longest(&given_out, &used);
        (first.port(0).number(), blocks)
    }

    #[test]
    fn the_longest_piece_lies_outside_of_what_the_kernel_gives_out() {
        assert_eq!(piece(32_768..=60_999, &[]), (1_024, 496));
        assert_eq!(piece(1_024..=9_000, &[]), (9_024, 883));
    }

    #[test]
    fn a_socket_takes_its_whole_block_out() {
        assert_eq!(piece(32_768..=60_999, &[8_080]), (8_128, 385));
        assert_eq!(piece(32_768..=60_999, &[1_024, 32_767]), (1_088, 494));
    }

    #[test]
    fn ports_that_the_kernel_keeps_are_not_free() {
        let kept = ranges("22,8080,9148-9300\n").unwrap();
        assert_eq!(kept, [22..=22, 8_080..=8_080, 9_148..=9_300]);
        let touched: Vec<_> = kept.into_iter().flat_map(blocks).map(|it| it.port(0).number()).collect();
        assert_eq!(touched, [8_064, 9_088, 9_152, 9_216, 9_280]);
        assert_eq!((ranges("\n"), ranges("x")), (Some(vec![]), None));
        assert_eq!(blocks(1..=1_023).count() + blocks(9..=1_024).count(), 1);
    }

    #[test]
    fn where_the_kernel_gives_out_everything_nothing_is_free() {
        assert_eq!(piece(1_024..=65_535, &[]).1, 0);
    }

    #[test]
    fn lines_of_the_kernel_are_read_and_ports_below_1024_are_nobodys() {
        let line = |port: &str| format!("   0: 0100007F:{port} 00000000:0000 0A 00000000:00000000");
        assert_eq!(local_port(&line("1F90")), Some(L4Port::new(8_080)));
        assert_eq!(local_port(&line("0016")), None);
        assert_eq!(local_port("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
    }
}
