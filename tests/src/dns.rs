//! DNS as the tests speak it: a name server on the lab's switch, and a client that looks at what it is answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::namespace::Namespace;
use crate::wait::slow;

const HEADER: usize = 12;
/// What a UDP answer may hold for a client that says nothing about its buffer.
const UDP_MAX: usize = 512;
const TRUNCATED: u8 = 0x02;
const NO_SUCH_NAME: u8 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// An answer to a question for addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether there is more than fits.
    pub is_truncated: bool,
    /// The response code.
    pub code: u8,
    /// The addresses, in the order they came.
    pub addresses: Vec<Ipv4Addr>,
}

/// Asks `server` for the addresses of `name` over UDP.
///
/// # Errors
/// When no answer comes within ten seconds (stretched on slow machines).
pub fn ask_udp(server: SocketAddr, name: &str) -> Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(slow(Duration::from_secs(10))))?;
    socket.send_to(&question(name), server)?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).with_context(|| format!("no answer from {server} about {name}"))?;
    parse(buffer.get(..length).unwrap_or_default())
}

/// The same over TCP.
///
/// # Errors
/// As [`ask_udp`].
pub fn ask_tcp(server: SocketAddr, name: &str) -> Result<Answer> {
    let limit = slow(Duration::from_secs(10));
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write_message(&mut stream, &question(name))?;
    parse(&read_message(&mut stream)?)
}

/// A question for the addresses of `name`.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// A name at `at`, and where it ends. One that is a pointer is only skipped.
fn name_at(message: &[u8], mut at: usize) -> Result<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at).context("a name without an end")?);
        if length & 0xc0 == 0xc0 {
            return Ok((labels.join("."), at + 2));
        }
        at += 1;
        if length == 0 {
            return Ok((labels.join("."), at));
        }
        let label = message.get(at..at + length).context("a label without an end")?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}

fn number_at(message: &[u8], at: usize) -> Result<usize> {
    match message.get(at..at + 2) {
        Some([high, low]) => Ok(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => bail!("a message of {} octets has no number at {at}", message.len()),
    }
}

fn parse(message: &[u8]) -> Result<Answer> {
    ensure!(message.len() >= HEADER && message.starts_with(&[0x12, 0x34]), "not an answer to our question");
    let (_, end) = name_at(message, HEADER)?;
    let mut at = end + 4;
    let mut addresses = Vec::new();
    for _ in 0..number_at(message, 6)? {
        let (_, end) = name_at(message, at)?;
        let (kind, length) = (number_at(message, end)?, number_at(message, end + 8)?);
        let data = message.get(end + 10..end + 10 + length).context("a record without its data")?;
        if let (1, Ok(octets)) = (kind, <[u8; 4]>::try_from(data)) {
            addresses.push(Ipv4Addr::from(octets));
        }
        at = end + 10 + length;
    }
    let flags = message.get(2..4).context("a message without flags")?;
    Ok(Answer { is_truncated: flags[0] & TRUNCATED != 0, code: flags[1] & 0x0f, addresses })
}

fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let mut framed = u16::try_from(message.len())?.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    Ok(stream.write_all(&framed)?)
}

/// A name server that knows one name and remembers what it was asked. It ends when it is dropped.
pub struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What a name server knows.
#[derive(Clone)]
struct Known {
    name: String,
    addresses: Vec<Ipv4Addr>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Starts one on `address` in `namespace` that knows `name`.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(namespace: &Namespace, address: SocketAddr, name: &str, addresses: &[Ipv4Addr]) -> Result<Self> {
        let (udp, tcp) = namespace
            .inside(move || Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?)))
            .with_context(|| format!("cannot serve names at {address}"))?;
        udp.set_read_timeout(Some(PAUSE))?;
        tcp.set_nonblocking(true)?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let known = Known { name: name.to_lowercase(), addresses: addresses.to_vec(), asked: Arc::clone(&asked) };
        let is_over = Arc::new(AtomicBool::new(false));
        let (over_udp, over_tcp, known_udp) = (Arc::clone(&is_over), Arc::clone(&is_over), known.clone());
        let threads = vec![
            thread::spawn(move || {
                while !over_udp.load(Ordering::Relaxed) {
                    known_udp.serve_udp(&udp);
                }
            }),
            thread::spawn(move || {
                while !over_tcp.load(Ordering::Relaxed) {
                    match tcp.accept() {
                        Ok((stream, _)) => drop(known.serve_tcp(stream)),
                        Err(_) => thread::sleep(PAUSE),
                    }
                }
            }),
        ];
        Ok(Self { asked, is_over, threads })
    }

    /// The names it was asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Known {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
        let Ok(mut answer) = self.answer(buffer.get(..length).unwrap_or_default()) else { return };
        if answer.len() > UDP_MAX {
            // The question alone, as servers do it.
            answer.truncate(length);
            for (at, bits) in [(2, answer[2] | TRUNCATED), (6, 0), (7, 0)] {
                answer[at] = bits;
            }
        }
        socket.send_to(&answer, from).ok();
    }

    fn serve_tcp(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(slow(Duration::from_secs(5))))?;
        let question = read_message(&mut stream)?;
        write_message(&mut stream, &self.answer(&question)?)
    }

    fn answer(&self, question: &[u8]) -> Result<Vec<u8>> {
        let (name, end) = name_at(question, HEADER)?;
        let is_known = name == self.name;
        let addresses = if is_known && number_at(question, end)? == 1 { self.addresses.as_slice() } else { &[] };
        let mut answer = question.get(..end + 4).context("a question without a class")?.to_vec();
        let count = u16::try_from(addresses.len())?.to_be_bytes();
        let header = [0x81, if is_known { 0x80 } else { 0x80 | NO_SUCH_NAME }, 0, 1, count[0], count[1], 0, 0, 0, 0];
        answer.get_mut(2..HEADER).context("a question without a header")?.copy_from_slice(&header);
        for address in addresses {
            answer.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend_from_slice(&address.octets());
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        Ok(answer)
    }
}
