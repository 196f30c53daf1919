//! Conversations through a NAT, packet by packet: what is said on one side, and whether it is heard on the other.

use std::net::{IpAddr, SocketAddr};

use crate::error::Error;
use crate::nat::packet::{protocol, tcp};
use crate::nat::{Heard, Inside, Nat, Packet, Trouble};

impl Nat {
    /// A sandbox sends a datagram. Where it comes from as the remote hears it, if the remote does.
    pub fn datagram(&self, inside: Inside, remote: SocketAddr) -> Result<Option<SocketAddr>, Error> {
        Ok(self.datagram_heard(inside, remote)?.map(|it| it.from))
    }

    /// The same; all that the remote hears.
    pub fn datagram_heard(&self, inside: Inside, remote: SocketAddr) -> Result<Option<Heard>, Error> {
        let words = self.fresh_words();
        let packet = Packet::udp([inside.at, remote], &words);
        self.say_inside(inside.sandbox, &packet.bytes(), remote.ip())?;
        Ok(self.hear_outside(|it| it.to == remote && it.words() == words))
    }

    /// A remote sends a datagram to where a sandbox's came from. What the sandbox hears, if it does.
    pub fn answer(
        &self,
        remote: SocketAddr,
        external: SocketAddr,
        inside: Inside,
    ) -> Result<Option<Heard>, Error> {
        let words = self.fresh_words();
        let packet = Packet::udp([remote, external], &words);
        self.say_outside(&packet.bytes(), [remote.ip(), external.ip()])?;
        let is_meant = |it: &Heard| it.from == remote && it.to == inside.at && it.words() == words;
        Ok(self.hear_inside(inside.sandbox, is_meant))
    }

    /// Whether the sandbox hears such an answer.
    pub fn is_answered(
        &self,
        remote: SocketAddr,
        external: SocketAddr,
        inside: Inside,
    ) -> Result<bool, Error> {
        self.answer(remote, external, inside).map(|it| it.is_some())
    }

    /// A sandbox sends an echo request; the identifier is its port. Where it comes from, as the remote hears it.
    pub fn echo(&self, inside: Inside, remote: IpAddr) -> Result<Option<SocketAddr>, Error> {
        let (words, to) = (self.fresh_words(), SocketAddr::new(remote, 0));
        let packet = Packet::echo([inside.at, to], true, &words);
        self.say_inside(inside.sandbox, &packet.bytes(), remote)?;
        Ok(self.hear_outside(|it| it.to == to && it.words() == words).map(|it| it.from))
    }

    /// A remote answers an echo request. Whether the sandbox hears it.
    pub fn is_echo_answered(
        &self,
        remote: IpAddr,
        external: SocketAddr,
        inside: Inside,
    ) -> Result<bool, Error> {
        let (words, from) = (self.fresh_words(), SocketAddr::new(remote, 0));
        let packet = Packet::echo([from, external], false, &words);
        self.say_outside(&packet.bytes(), [remote, external.ip()])?;
        let heard = self.hear_inside(inside.sandbox, |it| it.to == inside.at && it.words() == words);
        Ok(heard.is_some())
    }

    /// Somebody outside sends an error about a packet that was heard there. What the sandbox hears.
    pub fn error_inwards(
        &self,
        from: IpAddr,
        what: Trouble,
        about: &Heard,
        inside: Inside,
    ) -> Result<Option<Heard>, Error> {
        let to = SocketAddr::new(about.from.ip(), 0);
        let packet = Packet::error([SocketAddr::new(from, 0), to], what, &about.bytes);
        self.say_outside(&packet.bytes(), [from, to.ip()])?;
        let kind = what.kind(to.is_ipv4());
        let is_about = |it: &Heard| it.quoted().is_some_and(|quoted| quoted.from == inside.at);
        Ok(self.hear_inside(inside.sandbox, |it| it.kind() == Some(kind) && is_about(it)))
    }

    /// What a sandbox is told of a packet of its own: the ICMP error, or the RST.
    #[must_use]
    pub fn told(&self, inside: Inside, remote: SocketAddr) -> Option<Heard> {
        let is_error = |it: &Heard| it.quoted().is_some_and(|it| it.from == inside.at && it.to == remote);
        let is_reset = |it: &Heard| it.from == remote && it.to == inside.at && it.flags() & tcp::RST != 0;
        self.hear_inside(inside.sandbox, |it| is_error(it) || is_reset(it))
    }

    /// A connection whose handshake has ended.
    pub fn connected(&self, inside: Inside, remote: SocketAddr) -> Result<Option<Connection>, Error> {
        let Some(mut connection) = self.begun(inside, remote)? else { return Ok(None) };
        let is_well = connection.say(self, Side::Remote, tcp::SYN | tcp::ACK, b"")?
            && connection.say(self, Side::Sandbox, tcp::ACK, b"")?;
        Ok(is_well.then_some(connection))
    }

    /// A connection whose SYN got out.
    pub fn begun(&self, inside: Inside, remote: SocketAddr) -> Result<Option<Connection>, Error> {
        let mut connection = Connection { inside, remote, external: None, next: self.fresh_numbers() };
        Ok(connection.say(self, Side::Sandbox, tcp::SYN, b"")?.then_some(connection))
    }
}

/// An end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The sandbox.
    Sandbox,
    /// The remote.
    Remote,
}

/// A connection, as far as it has come.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The sandbox's end.
    pub inside: Inside,
    /// The remote's.
    pub remote: SocketAddr,
    external: Option<SocketAddr>,
    next: [u32; 2],
}

impl Connection {
    /// Where it comes from as the remote hears it.
    #[must_use]
    pub fn external(&self) -> SocketAddr {
        self.external.unwrap_or(self.inside.at)
    }

    /// One end says something, with the right numbers. Whether the other one hears it.
    pub fn say(&mut self, nat: &Nat, side: Side, flags: u8, words: &[u8]) -> Result<bool, Error> {
        Ok(self.heard(nat, side, flags, words)?.is_some())
    }

    /// The same; what the other end hears.
    pub fn heard(&mut self, nat: &Nat, side: Side, flags: u8, words: &[u8]) -> Result<Option<Heard>, Error> {
        let [mine, theirs] = match side {
            Side::Sandbox => [0, 1],
            Side::Remote => [1, 0],
        };
        let number = |it: usize| self.next.get(it).copied().unwrap_or_default();
        let acknowledges = if flags & tcp::ACK != 0 { number(theirs) } else { 0 };
        let numbers = [number(mine), acknowledges];
        if let Some(next) = self.next.get_mut(mine) {
            let is_numbered = flags & (tcp::SYN | tcp::FIN) != 0;
            *next = next.wrapping_add(words.len() as u32 + u32::from(is_numbered));
        }
        self.heard_with(nat, side, flags, numbers, words)
    }

    /// The same with other numbers, and nothing is remembered.
    pub fn heard_with(
        &mut self,
        nat: &Nat,
        side: Side,
        flags: u8,
        numbers: [u32; 2],
        words: &[u8],
    ) -> Result<Option<Heard>, Error> {
        let (inside, remote, external) = (self.inside, self.remote, self.external);
        let is_meant = |it: &Heard| {
            it.protocol == protocol::TCP
                && it.flags() == flags
                && it.numbers() == numbers
                && it.words() == words
        };
        if side == Side::Sandbox {
            let packet = Packet::tcp([inside.at, remote], flags, numbers, words);
            nat.say_inside(inside.sandbox, &packet.bytes(), remote.ip())?;
            let is_from = |it: &Heard| external.is_none_or(|external| it.from == external);
            let heard = nat.hear_outside(|it| it.to == remote && is_from(it) && is_meant(it));
            self.external = external.or(heard.as_ref().map(|it| it.from));
            return Ok(heard);
        }
        let to = self.external();
        let packet = Packet::tcp([remote, to], flags, numbers, words);
        nat.say_outside(&packet.bytes(), [remote.ip(), to.ip()])?;
        Ok(nat.hear_inside(inside.sandbox, |it| it.from == remote && it.to == inside.at && is_meant(it)))
    }

    /// A sentence that the other end has not heard yet. Whether it hears it.
    pub fn speaks(&mut self, nat: &Nat, side: Side) -> Result<bool, Error> {
        let words = nat.fresh_words();
        self.say(nat, side, tcp::ACK, &words)
    }

    /// The numbers that come next: of the sandbox, and of the remote.
    #[must_use]
    pub fn next(&self) -> [u32; 2] {
        self.next
    }
}
