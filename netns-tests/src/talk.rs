//! A client's side of a conversation that lasts: sockets of this process, made in a namespace.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::error::Error;
use crate::netns::{Door, Netns};

/// How long an answer may take: longer than the first retransmissions of a lost packet.
const ANSWER: Duration = Duration::from_secs(5);

/// A TCP connection to an echo server.
#[derive(Debug)]
pub struct Conversation(TcpStream);

impl Conversation {
    /// Connects.
    pub fn begin(from: &Netns, to: SocketAddr) -> Result<Self, Error> {
        Self::begin_by(&from.door(), to)
    }

    /// Connects from the namespace that a door leads to.
    pub fn begin_by(door: &Door, to: SocketAddr) -> Result<Self, Error> {
        let stream = door.enter(move || TcpStream::connect_timeout(&to, ANSWER))?;
        Self::over(stream.map_err(Error::io(format!("connect to {to}")))?)
    }

    /// Connects from a port of the client, at once again after the last connection from there.
    pub fn begin_from(from: &Netns, port: u16, to: impl Into<SocketAddr>) -> Result<Self, Error> {
        Self::over(connect_from(from, port, to.into())?)
    }

    fn over(stream: TcpStream) -> Result<Self, Error> {
        stream.set_read_timeout(Some(ANSWER)).map_err(Error::io("set a time limit on a socket"))?;
        stream.set_nodelay(true).map_err(Error::io("turn off Nagle's algorithm"))?;
        Ok(Self(stream))
    }

    /// The client's end, as the client sees it.
    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        self.0.local_addr().map_err(Error::io("ask for a socket's address"))
    }

    /// Ends the connection by a RST, as a program does that does not care any more (SO_LINGER of no time).
    pub fn reset(self) -> Result<(), Error> {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.0, sockopt::Linger, &at_once).map_err(Error::io("set SO_LINGER"))
    }

    /// Waits until the other side says that it is done.
    pub fn hear_the_end(&mut self) -> Result<bool, Error> {
        self.0.read(&mut [0]).map(|len| len == 0).map_err(Error::io("wait for the end of a connection"))
    }

    /// Says something, and hears whether just that comes back.
    pub fn exchange(&mut self, words: &[u8]) -> Result<bool, Error> {
        self.0.write_all(words).map_err(Error::io("speak on a long connection"))?;
        let mut answer = vec![0; words.len()];
        self.0.read_exact(&mut answer).map_err(Error::io("hear the answer on a long connection"))?;
        Ok(answer == words)
    }

    /// Speaks and listens at once, for more than any buffer holds.
    pub fn exchange_bulk(&mut self, words: &[u8]) -> Result<bool, Error> {
        let mut speaker = self.0.try_clone().map_err(Error::io("clone a socket"))?;
        let mut answer = vec![0; words.len()];
        thread::scope(|scope| {
            let spoken = scope.spawn(move || speaker.write_all(words));
            let heard = self.0.read_exact(&mut answer);
            if heard.is_err() {
                // Else the speaker would wait for ever for somebody to take what it says.
                let _: std::io::Result<()> = self.0.shutdown(Shutdown::Both);
            }
            heard.and(spoken.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
        .map_err(Error::io(format!("echo {} bytes", words.len())))?;
        Ok(answer == words)
    }
}

/// A connection from a port of the client, at once again after the last one from there.
pub fn connect_from(from: &Netns, port: u16, to: SocketAddr) -> Result<TcpStream, Error> {
    let stream = from.enter(move || {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        // Of connect, too.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(ANSWER.as_secs() as i64, 0))?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any_port(to).ip(), port)))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        Ok(TcpStream::from(socket))
    })?;
    let what = format!("connect to {to} from port {port} of {}", from.name());
    stream.map_err(Error::io::<nix::errno::Errno>(what))
}

/// Sends a datagram and returns the answer. One from any other address than `to` would not be heard.
pub fn ask_by_udp(from: &Netns, to: SocketAddr, words: &[u8]) -> Result<Vec<u8>, Error> {
    let socket =
        from.enter(move || UdpSocket::bind(any_port(to)))?.map_err(Error::io("make a UDP socket"))?;
    let what = format!("ask {to} by UDP from {}", from.name());
    let asked = socket
        .connect(to)
        .and_then(|()| socket.set_read_timeout(Some(ANSWER)))
        .and_then(|()| socket.send(words))
        .and_then(|_| {
            let mut answer = vec![0; 2 * words.len()];
            let len = socket.recv(&mut answer)?;
            answer.truncate(len);
            Ok(answer)
        });
    asked.map_err(Error::io(what))
}

/// What to bind to for a conversation with `to`, where the own address and port do not matter.
#[must_use]
pub fn any_port(to: SocketAddr) -> SocketAddr {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, 0)
}

/// What becomes of an attempt to connect: nothing special, or the error that the kernel was told of.
pub fn refusal_by_tcp(from: &Netns, to: SocketAddr) -> Result<Option<ErrorKind>, Error> {
    let refused = from.enter(move || TcpStream::connect_timeout(&to, ANSWER))?;
    Ok(refused.err().map(|error| error.kind()))
}

/// What becomes of a datagram that is sent and answered, or not: the error that the kernel was told of.
pub fn refusal_by_udp(from: &Netns, to: SocketAddr) -> Result<Option<ErrorKind>, Error> {
    let socket =
        from.enter(move || UdpSocket::bind(any_port(to)))?.map_err(Error::io("make a UDP socket"))?;
    let asked = socket
        .connect(to)
        .and_then(|()| socket.set_read_timeout(Some(ANSWER)))
        .and_then(|()| socket.send(b"who is there?"))
        .and_then(|_| socket.recv(&mut [0]));
    Ok(asked.err().map(|error| error.kind()))
}
