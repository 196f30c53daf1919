//! The one thing that netlink can't do here: device features by ioctl (include/uapi/linux/ethtool.h).

use std::ffi::c_char;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// `struct ifreq` with a pointer in its union, padded to the union's full size.
#[repr(C)]
struct Request {
    name: [c_char; libc::IFNAMSIZ],
    value: *mut EthtoolValue,
    rest: [u8; 16],
}

fn ethtool(name: &str, command: u32, data: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { command, data };
    let mut request = Request { name: [0; libc::IFNAMSIZ], value: &raw mut value, rest: [0; 16] };
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is longer than a device's can be"));
    }
    request.name.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte as c_char);
    // Any socket will do; it is of the namespace that the thread is in.
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    // SAFETY: `request` has the size and layout of `struct ifreq`, its name ends in a zero, and its pointer
    // is to a live `struct ethtool_value`, which is what these two commands read and write.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}

/// Whether GRO is on.
pub(super) fn gro(name: &str) -> io::Result<bool> {
    ethtool(name, ETHTOOL_GGRO, 0).map(|on| on != 0)
}

/// Turns GRO on. Says whether it was off.
pub(super) fn enable_gro(name: &str) -> io::Result<bool> {
    if gro(name)? {
        return Ok(false);
    }
    ethtool(name, ETHTOOL_SGRO, 1).map(|_| true)
}
