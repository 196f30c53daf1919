//! A client's side of a conversation that lasts: sockets of this process, made in a namespace.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::Error;
use crate::netns::Netns;
use crate::waiting::{PATIENCE, until};

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

/// A conversation that goes on without a pause, in a thread of its own.
#[derive(Debug)]
pub struct Chat {
    ends: Arc<AtomicBool>,
    exchanges: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Chat {
    /// Begins to talk.
    #[must_use]
    pub fn begin(mut conversation: Conversation) -> Self {
        let (ends, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&ends), Arc::clone(&exchanges));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let words = count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                if !conversation.exchange(&words)? {
                    let source = io::Error::other(format!("{words:?} came back as something else"));
                    return Err(Error::Io { what: "hear an echo".into(), source });
                }
            }
            Ok(())
        });
        Self { ends, exchanges, thread }
    }

    /// Waits until something more was said and heard.
    pub fn wait_for_more(&self) -> Result<(), Error> {
        // One may be on its way already, so the second one from here is surely new.
        let enough = self.exchanges.load(Ordering::Relaxed) + 2;
        until("another exchange on a long connection", PATIENCE, String::new, || {
            let is_over = self.thread.is_finished();
            Ok((is_over || self.exchanges.load(Ordering::Relaxed) >= enough).then_some(()))
        })
    }

    /// Ends the conversation. An error if anything was lost or changed.
    pub fn end(self) -> Result<(), Error> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
