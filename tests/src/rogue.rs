//! A registry that misbehaves on purpose, or asks for credentials.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;

use crate::images::Image;
use crate::namespace::Namespace;

/// What a [`RogueRegistry`] does wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Answers everything with this status.
    Status(u16),
    /// Changes one byte of every blob.
    WrongDigest,
    /// Announces whole blobs and hangs up after half of each.
    Truncated,
    /// Accepts connections and never says a word.
    Silent,
    /// Sends blobs in small pieces with pauses, about 300 kB in a second.
    Slow,
    /// Wants HTTP basic authentication with this user and password.
    Basic(String, String),
    /// Wants a bearer token, given by its own `/token` for this user and password.
    Bearer(String, String),
}

/// A registry in a thread of this process.
pub struct RogueRegistry {
    /// Where it listens, inside the lab's switch.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

struct Shelf {
    items: BTreeMap<String, (String, Vec<u8>)>,
    fault: Fault,
    address: SocketAddr,
}

const TOKEN: &str = "a-token-of-the-lab";

impl RogueRegistry {
    /// Serves `images` with `fault` on `address` in `namespace`, until dropped.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(namespace: &Namespace, address: SocketAddr, images: &[Image], fault: Fault) -> Result<Self> {
        let listener = namespace.inside(move || Ok(TcpListener::bind(address)?))?;
        listener.set_nonblocking(true)?;
        let shelf = Arc::new(Shelf { items: shelve(images), fault, address });
        let registry = Self { address, requests: Arc::default(), stop: Arc::default() };
        let (requests, stop) = (Arc::clone(&registry.requests), Arc::clone(&registry.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let (shelf, requests, stop) = (Arc::clone(&shelf), Arc::clone(&requests), Arc::clone(&stop));
                thread::spawn(move || {
                    serve(&stream, &shelf, &requests, &stop).ok();
                });
            }
        });
        Ok(registry)
    }

    /// Every request so far, as `METHOD path`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RogueRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn shelve(images: &[Image]) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut items = BTreeMap::new();
    for image in images {
        let base = format!("/v2/{}", image.repository);
        for blob in &image.blobs {
            let content = ("application/octet-stream".to_owned(), blob.bytes.clone());
            items.insert(format!("{base}/blobs/{}", blob.digest), content);
        }
        for manifest in &image.manifests {
            let content = (manifest.media_type.to_owned(), manifest.blob.bytes.clone());
            items.insert(format!("{base}/manifests/{}", image.tag), content.clone());
            items.insert(format!("{base}/manifests/{}", manifest.blob.digest), content);
        }
    }
    items
}

fn serve(stream: &TcpStream, shelf: &Shelf, requests: &Mutex<Vec<String>>, stop: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut authorization = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            value.trim().clone_into(&mut authorization);
        }
    }
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {target}"));
    if shelf.fault == Fault::Silent {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        return Ok(());
    }
    if let Some(refusal) = shelf.refusal(path, &authorization) {
        return answer(stream, &refusal, method, &[], stop, false);
    }
    shelf.deliver(stream, method, path, stop)
}

impl Shelf {
    fn refusal(&self, path: &str, authorization: &str) -> Option<Head> {
        let basic = |user: &str, password: &str| {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            authorization == format!("Basic {pair}")
        };
        match &self.fault {
            Fault::Status(code) => Some(Head::new(*code)),
            Fault::Basic(user, password) if !basic(user, password) => {
                Some(Head::new(401).with("WWW-Authenticate", "Basic realm=\"lab\""))
            }
            Fault::Bearer(user, password) if path == "/token" => {
                if basic(user, password) {
                    let mut head = Head::new(200).with("Content-Type", "application/json");
                    head.body = format!("{{\"token\":\"{TOKEN}\",\"expires_in\":300}}").into_bytes();
                    Some(head)
                } else {
                    Some(Head::new(401))
                }
            }
            Fault::Bearer(..) if authorization != format!("Bearer {TOKEN}") => {
                let challenge = format!(
                    "Bearer realm=\"http://{}/token\",service=\"lab\",scope=\"repository:library/busybox:pull\"",
                    self.address
                );
                Some(Head::new(401).with("WWW-Authenticate", &challenge))
            }
            _ => None,
        }
    }

    fn deliver(&self, stream: &TcpStream, method: &str, path: &str, stop: &AtomicBool) -> Result<()> {
        if path == "/v2/" {
            return answer(stream, &Head::new(200), method, b"{}", stop, false);
        }
        let Some((media_type, bytes)) = self.items.get(path) else {
            let mut head = Head::new(404).with("Content-Type", "application/json");
            head.body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.to_vec();
            return answer(stream, &head, method, &[], stop, false);
        };
        let blob = path.contains("/blobs/");
        let mut bytes = bytes.clone();
        let mut head = Head::new(200).with("Content-Type", media_type);
        head.length = Some(bytes.len());
        if !blob {
            head = head.with("Docker-Content-Digest", &crate::images::digest(&bytes));
        } else if self.fault == Fault::WrongDigest {
            if let Some(last) = bytes.last_mut() {
                *last ^= 0xff;
            }
        } else if self.fault == Fault::Truncated {
            bytes.truncate(bytes.len() / 2);
        }
        answer(stream, &head, method, &bytes, stop, blob && self.fault == Fault::Slow)
    }
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    length: Option<usize>,
    body: Vec<u8>,
}

impl Head {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), length: None, body: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn answer(
    mut stream: &TcpStream,
    head: &Head,
    method: &str,
    body: &[u8],
    stop: &AtomicBool,
    slowly: bool,
) -> Result<()> {
    let body = if body.is_empty() { &head.body } else { body };
    let length = head.length.unwrap_or(body.len());
    let mut text = format!("HTTP/1.1 {} Lab\r\nConnection: close\r\nContent-Length: {length}\r\n", head.status);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    if !slowly {
        stream.write_all(body)?;
        return Ok(());
    }
    for piece in body.chunks(16 * 1024) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(piece)?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
