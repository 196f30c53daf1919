//! A client's side of a conversation that lasts: sockets of this process, made in a namespace.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::netns::Netns;

/// How long an answer may take: longer than the first retransmissions of a lost packet.
const ANSWER: Duration = Duration::from_secs(5);

/// A TCP connection to an echo server.
#[derive(Debug)]
pub struct Conversation(TcpStream);

impl Conversation {
    /// Connects.
    pub fn begin(from: &Netns, to: SocketAddr) -> Result<Self, Error> {
        let stream = from.enter(move || TcpStream::connect_timeout(&to, ANSWER))?;
        let stream = stream.map_err(Error::io(format!("connect to {to} from {}", from.name())))?;
        stream.set_read_timeout(Some(ANSWER)).map_err(Error::io("set a time limit on a socket"))?;
        stream.set_nodelay(true).map_err(Error::io("turn off Nagle's algorithm"))?;
        Ok(Self(stream))
    }

    /// The client's end, as the client sees it.
    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        self.0.local_addr().map_err(Error::io("ask for a socket's address"))
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
            spoken.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(heard)
        })
        .map_err(Error::io(format!("echo {} bytes", words.len())))?;
        Ok(answer == words)
    }
}

/// Sends a datagram and returns the answer. One from any other address than `to` would not be heard.
pub fn ask_by_udp(from: &Netns, to: SocketAddr, words: &[u8]) -> Result<Vec<u8>, Error> {
    let socket = from.enter(|| UdpSocket::bind("0.0.0.0:0"))?.map_err(Error::io("make a UDP socket"))?;
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
