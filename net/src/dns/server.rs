//! The name server of one container: sockets, clients and questions under way. Called by the shim's loop.
//!
//! Invariants: it never blocks; what it holds is bounded; an answer from elsewhere than the server
//! that was asked cannot reach a client (connected socket, fresh port and id for every question).

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use super::answer::{self, Outcome, Transport};
use super::stream::Stream;
use super::upstream::Upstream;
use super::zones::Zones;

/// Questions under way at other servers; one more is answered SERVFAIL at once.
const FORWARDS_MAX: usize = 256;
/// Clients connected by TCP; one more is hung up on.
const CLIENTS_MAX: usize = 64;
/// How long one server has to answer before the next one is asked.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// How long a TCP client may be silent (RFC 7766, section 6.2.3 asks for seconds).
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages handled in one go, so that the shim's other work gets its turn.
const BURST: usize = 64;

const TOKEN_UDP: u64 = 0;
const TOKEN_LISTENER: u64 = 1;
const TOKEN_FIRST_FREE: u64 = 2;

/// What a server answers from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Record files (RUN_ROOT/dns/NETWORK.json) of the container's networks, in order. They need not exist yet.
    pub record_files: Vec<PathBuf>,
    /// Who knows the other names.
    pub upstream: Upstream,
}

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A socket could not be prepared.
    #[error("cannot {action} for the container's name server")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A container's name server.
#[derive(Debug)]
pub struct Server {
    upstream: Upstream,
    zones: Zones,
    epoll: Epoll,
    udp: UdpSocket,
    listener: TcpListener,
    clients: HashMap<u64, Client>,
    forwards: HashMap<u64, Forward>,
    next_token: u64,
    turn: usize,
}

#[derive(Debug)]
struct Client {
    stream: Stream,
    deadline: Instant,
}

#[derive(Debug)]
struct Forward {
    origin: Origin,
    /// As the client sent it.
    question: Vec<u8>,
    message: Message,
    /// The id under which it is out.
    id: u16,
    /// Servers still to ask; the one being asked is not among them.
    servers: Vec<SocketAddr>,
    socket: Asked,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Origin {
    Udp(SocketAddr),
    Tcp(u64),
}

impl Origin {
    fn is_client(self, token: u64) -> bool {
        matches!(self, Self::Tcp(client) if client == token)
    }

    fn transport(self) -> Transport {
        match self {
            Self::Udp(_) => Transport::Udp,
            Self::Tcp(_) => Transport::Tcp,
        }
    }
}

/// How a question is out: by the transport by which it came.
#[derive(Debug)]
enum Asked {
    Udp(UdpSocket),
    Tcp(Stream),
}

impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp(stream) => stream.socket().as_fd(),
        }
    }
}

impl AsFd for Server {
    /// Readable when [`Server::run`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Server {
    /// A server on sockets that were bound inside the container's network namespace.
    ///
    /// # Errors
    /// When the sockets cannot be made non-blocking or watched.
    pub fn new(config: Config, udp: UdpSocket, listener: TcpListener) -> Result<Self, ServerError> {
        let failed = |action| move |source| ServerError::Socket { action, source };
        udp.set_nonblocking(true).map_err(failed("make a socket non-blocking"))?;
        listener.set_nonblocking(true).map_err(failed("make a socket non-blocking"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(io::Error::from)
            .map_err(failed("create an epoll instance"))?;
        let server = Self {
            upstream: config.upstream,
            zones: Zones::new(config.record_files),
            epoll,
            udp,
            listener,
            clients: HashMap::new(),
            forwards: HashMap::new(),
            next_token: TOKEN_FIRST_FREE,
            // Containers that start together must not all begin with the same address of a service.
            turn: usize::try_from(random() >> 33).unwrap_or_default(),
        };
        watch(&server.epoll, &server.udp, TOKEN_UDP, EpollFlags::EPOLLIN).map_err(failed("watch a socket"))?;
        watch(&server.epoll, &server.listener, TOKEN_LISTENER, EpollFlags::EPOLLIN)
            .map_err(failed("watch a socket"))?;
        Ok(server)
    }

    /// When [`Server::run`] has to be called even if nothing is readable.
    pub fn deadline(&self) -> Option<Instant> {
        let forwards = self.forwards.values().map(|f| f.deadline);
        forwards.chain(self.clients.values().map(|c| c.deadline)).min()
    }

    /// Handles what is ready and what has run out of time. Never blocks.
    pub fn run(&mut self, now: Instant) {
        self.zones.refresh();
        let mut events = [EpollEvent::empty(); BURST];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                TOKEN_UDP => self.on_questions(now),
                TOKEN_LISTENER => self.on_connections(now),
                token if self.clients.contains_key(&token) => self.on_client(token, event.events(), now),
                token => self.on_forward(token, now),
            }
        }
        self.expire(now);
    }

    fn on_questions(&mut self, now: Instant) {
        let mut buffer = [0; 4096];
        for _ in 0..BURST {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => self.on_question(&buffer[..length], Origin::Udp(from), now),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    fn on_question(&mut self, question: &[u8], origin: Origin, now: Instant) {
        self.turn = self.turn.wrapping_add(1);
        match answer::answer(question, &self.zones, self.turn, origin.transport()) {
            Outcome::Reply(bytes) => self.reply(origin, &bytes),
            Outcome::Drop => {}
            Outcome::Forward(message) => self.forward(question, message, origin, now),
        }
    }

    fn reply(&mut self, origin: Origin, bytes: &[u8]) {
        match origin {
            // A client that does not take its answer asks again.
            Origin::Udp(to) => drop(self.udp.send_to(bytes, to)),
            Origin::Tcp(token) => match self.clients.get_mut(&token) {
                // Of a client that takes no answers no more is asked, but what was, is answered meanwhile.
                Some(client) if client.stream.is_backlogged() => drop(self.clients.remove(&token)),
                Some(client) => client.stream.queue(bytes),
                None => {}
            },
        }
    }

    fn forward(&mut self, question: &[u8], message: Message, origin: Origin, now: Instant) {
        let servers = self.upstream.servers();
        if servers.is_empty() {
            // With nobody to ask, what we do not know does not exist.
            return self.reply(origin, &answer::failure(&message, ResponseCode::NXDomain, origin.transport()));
        }
        let mut servers: Vec<_> = std::iter::repeat_n(servers, ROUNDS).flatten().collect();
        servers.reverse();
        self.ask_next(question.to_vec(), message, origin, servers, now);
    }

    fn ask_next(
        &mut self,
        question: Vec<u8>,
        message: Message,
        origin: Origin,
        mut servers: Vec<SocketAddr>,
        now: Instant,
    ) {
        if self.forwards.len() < FORWARDS_MAX {
            while let Some(server) = servers.pop() {
                let id = random() as u16;
                let Ok(socket) = ask(server, &question, id, origin.transport()) else { continue };
                let token = self.take_token();
                let interest = match &socket {
                    Asked::Udp(_) => EpollFlags::EPOLLIN,
                    Asked::Tcp(_) => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
                };
                if watch(&self.epoll, &socket, token, interest).is_err() {
                    continue;
                }
                let deadline = now + TRY_TIMEOUT;
                let forward = Forward { origin, question, message, id, servers, socket, deadline };
                self.forwards.insert(token, forward);
                return;
            }
        }
        self.reply(origin, &answer::failure(&message, ResponseCode::ServFail, origin.transport()));
    }

    fn on_forward(&mut self, token: u64, now: Instant) {
        let Some(forward) = self.forwards.get_mut(&token) else { return };
        match forward.receive(&self.epoll, token) {
            Ok(None) => {}
            Ok(Some(mut bytes)) => {
                bytes[..2].copy_from_slice(&forward.message.metadata.id.to_be_bytes());
                let origin = forward.origin;
                self.forwards.remove(&token);
                self.reply(origin, &bytes);
                self.serve_again(origin, now);
            }
            Err(_) => self.retry(token, now),
        }
    }

    fn retry(&mut self, token: u64, now: Instant) {
        if let Some(forward) = self.forwards.remove(&token) {
            self.ask_next(forward.question, forward.message, forward.origin, forward.servers, now);
            self.serve_again(forward.origin, now);
        }
    }

    /// After an answer from elsewhere.
    fn serve_again(&mut self, origin: Origin, now: Instant) {
        if let Origin::Tcp(token) = origin {
            self.serve(token, now);
        }
    }

    fn on_connections(&mut self, now: Instant) {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.clients.len() >= CLIENTS_MAX || socket.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.take_token();
            if watch(&self.epoll, &socket, token, EpollFlags::EPOLLIN).is_ok() {
                self.clients.insert(token, Client { stream: Stream::new(socket), deadline: now + IDLE_TIMEOUT });
            }
        }
    }

    fn on_client(&mut self, token: u64, ready: EpollFlags, now: Instant) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let is_broken = ready.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if is_broken || (ready.contains(EpollFlags::EPOLLIN) && client.stream.read().is_err()) {
            self.clients.remove(&token);
            return;
        }
        self.serve(token, now);
    }

    /// Sends a client what waits for it and answers what it has asked, as long as it takes the answers.
    fn serve(&mut self, token: u64, now: Instant) {
        for _ in 0..BURST {
            let Some(client) = self.clients.get_mut(&token) else { return };
            match client.stream.flush() {
                Ok(true) => client.deadline = now + IDLE_TIMEOUT,
                Ok(false) => {}
                Err(_) => return drop(self.clients.remove(&token)),
            }
            if client.stream.is_backlogged() {
                break;
            }
            let Some(question) = client.stream.take_message() else { break };
            client.deadline = now + IDLE_TIMEOUT;
            self.on_question(&question, Origin::Tcp(token), now);
        }
        let Some(client) = self.clients.get(&token) else { return };
        let (stream, mut interest) = (&client.stream, EpollFlags::empty());
        // Questions that are left over are taken up as soon as the client takes more answers.
        let holds_question = stream.holds_message();
        interest.set(EpollFlags::EPOLLOUT, stream.wants_write() || holds_question);
        interest.set(EpollFlags::EPOLLIN, !stream.is_closed() && !stream.is_backlogged() && !holds_question);
        let is_over = interest.is_empty() && !self.forwards.values().any(|forward| forward.origin.is_client(token));
        if is_over || rewatch(&self.epoll, stream.socket(), token, interest).is_err() {
            self.clients.remove(&token);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.clients.retain(|_, client| client.deadline > now);
        let late: Vec<u64> = self.forwards.iter().filter(|(_, f)| f.deadline <= now).map(|(token, _)| *token).collect();
        for token in late {
            self.retry(token, now);
        }
    }

    fn take_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}

impl Forward {
    /// The answer to this question, once it is there.
    fn receive(&mut self, epoll: &Epoll, token: u64) -> io::Result<Option<Vec<u8>>> {
        let messages = match &mut self.socket {
            Asked::Udp(socket) => {
                let mut buffer = vec![0; 4096];
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        buffer.truncate(length);
                        vec![buffer]
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Vec::new(),
                    Err(error) => return Err(error),
                }
            }
            Asked::Tcp(stream) => {
                if let Some(error) = stream.socket().take_error()? {
                    return Err(error);
                }
                stream.flush()?;
                if !stream.wants_write() {
                    rewatch(epoll, stream.socket(), token, EpollFlags::EPOLLIN)?;
                }
                stream.receive()?
            }
        };
        Ok(messages.into_iter().find(|bytes| self.is_answer(bytes)))
    }

    /// Right id, a response, and to the question that was asked.
    fn is_answer(&self, bytes: &[u8]) -> bool {
        let asked = self.message.queries.first();
        Message::from_vec(bytes).is_ok_and(|answer| {
            answer.metadata.id == self.id
                && answer.metadata.message_type == hickory_proto::op::MessageType::Response
                && (answer.queries.is_empty() || answer.queries.first() == asked)
        })
    }
}

/// Sends the question from a fresh port under the id given.
fn ask(server: SocketAddr, question: &[u8], id: u16, transport: Transport) -> io::Result<Asked> {
    let mut bytes = question.to_vec();
    bytes.get_mut(..2).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(&id.to_be_bytes());
    match transport {
        Transport::Udp => {
            let any = match server {
                SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(server)?;
            socket.send(&bytes)?;
            Ok(Asked::Udp(socket))
        }
        Transport::Tcp => {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&server.into()) {
                Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
                _ => {}
            }
            let mut stream = Stream::new(TcpStream::from(socket));
            stream.queue(&bytes);
            Ok(Asked::Tcp(stream))
        }
    }
}

fn watch(epoll: &Epoll, fd: impl AsFd, token: u64, interest: EpollFlags) -> io::Result<()> {
    epoll.add(fd, EpollEvent::new(interest, token)).map_err(io::Error::from)
}

fn rewatch(epoll: &Epoll, fd: impl AsFd, token: u64, interest: EpollFlags) -> io::Result<()> {
    epoll.modify(fd, &mut EpollEvent::new(interest, token)).map_err(io::Error::from)
}

/// Unpredictable to others: SipHash under a key that the kernel's random source gave.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::records::{self, RecordFile};
    use super::super::stream::OUTGOING_MAX;
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::{Name, RecordType};
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Running {
        address: SocketAddr,
        is_stopped: Arc<AtomicBool>,
        thread: Option<std::thread::JoinHandle<()>>,
        _directory: tempfile::TempDir,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.is_stopped.store(true, Ordering::Relaxed);
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn start(upstream: Upstream) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n.json");
        let mut file = RecordFile::new("app");
        (0..200).for_each(|last| file.add("tasks.web", Ipv4Addr::new(10, 0, 2, last)));
        file.add("web", Ipv4Addr::new(10, 0, 1, 2));
        records::store(&path, &file).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let mut server = Server::new(Config { record_files: vec![path], upstream }, udp, listener).unwrap();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = is_stopped.clone();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut fds = [nix::poll::PollFd::new(server.as_fd(), nix::poll::PollFlags::POLLIN)];
                nix::poll::poll(&mut fds, 20_u16).unwrap();
                server.run(Instant::now());
            }
        });
        Running { address, is_stopped, thread: Some(thread), _directory: directory }
    }

    fn question(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 4242;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    fn ask_udp(to: SocketAddr, name: &str) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.send_to(&question(name), to).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    fn ask_tcp(to: SocketAddr, name: &str) -> Message {
        let mut stream = TcpStream::connect(to).unwrap();
        let bytes = question(name);
        let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(bytes);
        // In two pieces: a message may come in any number of segments.
        stream.write_all(&framed[..5]).unwrap();
        stream.flush().unwrap();
        stream.write_all(&framed[5..]).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        Message::from_vec(&answer).unwrap()
    }

    #[test]
    fn answers_over_udp_and_what_does_not_fit_over_tcp() {
        let server = start(Upstream::None);
        assert_eq!(ask_udp(server.address, "web.").answers.len(), 1);
        assert!(ask_udp(server.address, "tasks.web.").metadata.truncation);
        assert_eq!(ask_tcp(server.address, "tasks.web.").answers.len(), 200);
    }

    /// Asks over TCP as fast as it can, and takes no answers for as long as it can ask.
    #[test]
    fn a_client_that_takes_no_answers_is_not_answered_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n.json");
        let mut file = RecordFile::new("app");
        (0..200).for_each(|last| file.add("tasks.web", Ipv4Addr::new(10, 0, 2, last)));
        records::store(&path, &file).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Small, so that little of it waits in the kernel.
        socket2::SockRef::from(&listener).set_recv_buffer_size(64 << 10).unwrap();
        socket2::SockRef::from(&listener).set_send_buffer_size(64 << 10).unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let config = Config { record_files: vec![path], upstream: Upstream::None };
        let mut server = Server::new(config, udp, listener).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        socket2::SockRef::from(&client).set_recv_buffer_size(64 << 10).unwrap();
        socket2::SockRef::from(&client).set_send_buffer_size(64 << 10).unwrap();
        client.set_nonblocking(true).unwrap();
        let bytes = question("tasks.web.");
        let framed = [u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec(), bytes].concat();
        let (mut asked, mut refused) = (0, 0);
        while refused < 200 {
            match client.write(&framed[asked % framed.len()..]) {
                Ok(sent) => (asked, refused) = (asked + sent, 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => refused += 1,
                Err(error) => panic!("{error}"),
            }
            server.run(Instant::now());
            let held = server.clients.values().map(|client| client.stream.held()).max().unwrap_or_default();
            assert!(held < (OUTGOING_MAX + 3 * 65_536), "{held} octets wait after {asked} octets of questions");
        }
        // It comes back to its senses, and has missed nothing.
        let (mut answers, mut buffer) = (0, [0; 65_536]);
        let wanted = asked / framed.len();
        let length = usize::from(ask_length(&server, &framed[2..])) + 2;
        while answers / length < wanted {
            match client.read(&mut buffer) {
                Ok(count) => {
                    assert!(count > 0, "hung up on after {answers} octets of answers");
                    answers += count;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            server.run(Instant::now());
        }
    }

    /// The length of the answer to a question over TCP.
    fn ask_length(server: &Server, question: &[u8]) -> u16 {
        match answer::answer(question, &server.zones, 0, Transport::Tcp) {
            Outcome::Reply(bytes) => u16::try_from(bytes.len()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_that_asks_and_says_no_more_is_answered() {
        let other = start(Upstream::None);
        let server = start(Upstream::Servers(vec![other.address]));
        let mut stream = TcpStream::connect(server.address).unwrap();
        for name in ["web.other.", "web."] {
            let bytes = question(name);
            stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        let first = usize::from(u16::from_be_bytes([answers[0], answers[1]])) + 2;
        let second = usize::from(u16::from_be_bytes([answers[first], answers[first + 1]])) + 2;
        assert_eq!(answers.len(), first + second);
    }

    #[test]
    fn nothing_is_forwarded_from_internal_networks() {
        let server = start(Upstream::None);
        assert_eq!(ask_udp(server.address, "example.org.").metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn unknown_names_are_forwarded_by_udp_and_tcp() {
        // The other server is one of ours, that knows the name; the first in the list does not answer at all.
        let other = start(Upstream::None);
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = vec![silent.local_addr().unwrap(), other.address];
        let directory = start(Upstream::Servers(servers));
        // `web.other` is unknown here, since no network has that name; the other answers NXDOMAIN, not SERVFAIL.
        let answer = ask_udp(directory.address, "web.other.");
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (4242, ResponseCode::NXDomain));
        let answer = ask_tcp(directory.address, "web.other.");
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (4242, ResponseCode::NXDomain));
    }

    #[test]
    fn servers_that_are_down_lead_to_servfail() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = start(Upstream::Servers(vec![closed]));
        assert_eq!(ask_udp(server.address, "example.org.").metadata.response_code, ResponseCode::ServFail);
        assert_eq!(ask_tcp(server.address, "example.org.").metadata.response_code, ResponseCode::ServFail);
    }
}
