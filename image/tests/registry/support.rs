//! A registry in this process that can be told to misbehave, and images to put into it.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};
use skep_image::{Digest, ImageStore, LayerEvent, Progress, PullOptions, Reference, RegistrySettings, Timeouts};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A request as the registry saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What a fault may do with a request: answer it, or let it be served.
type Fault = Box<dyn Fn(&Seen, &Content) -> Option<Response> + Send + Sync>;

/// Blobs and manifests, by digest and by tag.
#[derive(Default)]
pub(crate) struct Content {
    pub blobs: HashMap<String, Vec<u8>>,
    pub manifests: HashMap<String, (String, Vec<u8>)>,
}

#[derive(Default)]
struct Shared {
    content: Mutex<Content>,
    seen: Mutex<Vec<Seen>>,
    fault: Mutex<Option<Fault>>,
}

/// A running registry; it stops when dropped.
pub(crate) struct Registry {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Registry {
    pub(crate) async fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Registry::serve(listener, address)
    }

    pub(crate) fn serve<L>(listener: L, address: SocketAddr) -> Registry
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
    {
        let shared = Arc::new(Shared::default());
        let router = axum::Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Registry { address, shared, server }
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn fault(&self, fault: impl Fn(&Seen, &Content) -> Option<Response> + Send + Sync + 'static) {
        *self.shared.fault.lock().unwrap() = Some(Box::new(fault));
    }

    pub(crate) fn heal(&self) {
        *self.shared.fault.lock().unwrap() = None;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget_seen(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// How often a path was asked for with GET.
    pub(crate) fn gets(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == "GET" && seen.path.contains(part)).count()
    }

    pub(crate) fn blob(&self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.shared.content.lock().unwrap().blobs.insert(digest.to_string(), bytes);
        digest
    }

    /// Stores a manifest under its digest and the given tags.
    pub(crate) fn manifest(&self, media_type: &str, manifest: &Value, tags: &[&str]) -> Digest {
        self.manifest_bytes(media_type, serde_json::to_vec(manifest).unwrap(), tags)
    }

    pub(crate) fn manifest_bytes(&self, media_type: &str, bytes: Vec<u8>, tags: &[&str]) -> Digest {
        let digest = Digest::of(&bytes);
        let mut content = self.shared.content.lock().unwrap();
        for name in tags.iter().map(|tag| (*tag).to_owned()).chain([digest.to_string()]) {
            content.manifests.insert(name, (media_type.into(), bytes.clone()));
        }
        digest
    }

    /// An image of layers that are given as archives, plain or compressed.
    pub(crate) fn image(&self, layers: &[(Vec<u8>, Vec<u8>)], tags: &[&str]) -> Digest {
        let diff_ids: Vec<Digest> = layers.iter().map(|(plain, _)| Digest::of(plain)).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let mut listed = Vec::new();
        for (_, compressed) in layers {
            let digest = self.blob(compressed.clone());
            listed.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": compressed.len()}));
        }
        let size = config.len();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": listed,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.blob(config), "size": size},
        });
        self.manifest(OCI_MANIFEST, &manifest, tags)
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let header =
        |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        authorization: header(header::AUTHORIZATION),
        range: header(header::RANGE),
    };
    shared.seen.lock().unwrap().push(seen.clone());
    let content = shared.content.lock().unwrap();
    let fault = shared.fault.lock().unwrap();
    let faulty = fault.as_ref().and_then(|fault| fault(&seen, &content));
    faulty.unwrap_or_else(|| good(&seen, &content))
}

/// What an honest registry answers.
pub(crate) fn good(seen: &Seen, content: &Content) -> Response {
    if seen.path == "/v2/" {
        return text(StatusCode::OK, "{}");
    }
    let name = seen.path.rsplit('/').next().unwrap_or_default();
    if seen.path.contains("/manifests/") {
        return match content.manifests.get(name) {
            Some((media_type, bytes)) => Response::builder()
                .header(header::CONTENT_TYPE, media_type)
                .header("docker-content-digest", Digest::of(bytes).to_string())
                .body(Body::from(bytes.clone()))
                .unwrap(),
            None => registry_error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"),
        };
    }
    match content.blobs.get(name) {
        Some(bytes) => blob_from(bytes, start_of(seen)),
        None => registry_error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry"),
    }
}

pub(crate) fn start_of(seen: &Seen) -> usize {
    let range = seen.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
    range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0)
}

fn blob_from(bytes: &[u8], start: usize) -> Response {
    let end = bytes.len();
    let response = Response::builder();
    let response = if start > 0 {
        let range = format!("bytes {start}-{}/{end}", end.saturating_sub(1));
        response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range)
    } else {
        response
    };
    response.body(Body::from(bytes[start..].to_vec())).unwrap()
}

pub(crate) fn text(status: StatusCode, body: &str) -> Response {
    Response::builder().status(status).body(Body::from(body.to_owned())).unwrap()
}

pub(crate) fn registry_error(status: StatusCode, code: &str, message: &str) -> Response {
    text(status, &json!({"errors": [{"code": code, "message": message}]}).to_string())
}

/// Announces all bytes from `start`, sends some, and then breaks the connection or falls silent.
pub(crate) fn part_of(bytes: &[u8], start: usize, sent: usize, silent: bool) -> Response {
    let piece = Bytes::copy_from_slice(&bytes[start..(start + sent).min(bytes.len())]);
    let first = stream::once(async move { Ok::<_, std::io::Error>(piece) });
    let rest = stream::once(async move {
        // The piece has to leave before the connection is closed.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if silent {
            std::future::pending::<()>().await;
        }
        Err(std::io::Error::other("broken"))
    });
    let response = Response::builder().header(header::CONTENT_LENGTH, bytes.len() - start);
    let response = if start > 0 {
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range)
    } else {
        response
    };
    response.body(Body::from_stream(first.chain(rest))).unwrap()
}

pub(crate) fn redirect(location: &str) -> Response {
    Response::builder().status(307).header(header::LOCATION, location).body(Body::empty()).unwrap()
}

pub(crate) fn challenge(value: &str) -> Response {
    let mut response = registry_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    *response.headers_mut() = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value.parse().unwrap())]);
    response
}

/// Counts calls, for faults that go away.
pub(crate) fn counter() -> impl Fn() -> usize + Send + Sync {
    let count = AtomicUsize::new(0);
    move || count.fetch_add(1, Ordering::Relaxed)
}

/// An archive of one kind of entries: name and content, `None` for a directory.
pub(crate) fn archive(entries: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
        header.set_mode(0o755);
        header.set_size(content.map_or(0, |content| content.len() as u64));
        builder.append_data(&mut header, name, content.unwrap_or_default()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An archive of one entry as it would be refused by honest writers.
pub(crate) fn raw_archive(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, link) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A layer of one file, gzipped.
pub(crate) fn layer(name: &str, content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let plain = archive(&[(name, Some(content))]);
    let compressed = gzip(&plain);
    (plain, compressed)
}

pub(crate) struct Store {
    pub directory: tempfile::TempDir,
    pub store: ImageStore,
}

pub(crate) fn store() -> Store {
    // In memory: a busy disk would make the tests wait for others' data.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    Store { directory, store }
}

/// A store on a file system of its own, of so many bytes.
pub(crate) struct SmallStore {
    directory: tempfile::TempDir,
    pub store: ImageStore,
}

impl SmallStore {
    pub(crate) fn new(bytes: u64) -> SmallStore {
        let directory = tempfile::tempdir().unwrap();
        let size = std::ffi::CString::new(format!("size={bytes},mode=700")).unwrap();
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), size.as_c_str()).unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        SmallStore { directory, store }
    }

    pub(crate) fn grow(&self, bytes: u64) {
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        rustix::mount::mount_remount(self.directory.path(), MountFlags::empty(), size.as_c_str()).unwrap();
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for SmallStore {
    fn drop(&mut self) {
        rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH).unwrap();
    }
}

impl Store {
    pub(crate) fn count(&self, directory: &str) -> usize {
        std::fs::read_dir(self.directory.path().join(directory)).unwrap().count()
    }

    /// Nothing of an image is here, and no unfinished file either.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert!(self.store.list().unwrap().is_empty());
        assert_eq!((self.count("layers"), self.count("l"), self.count("work")), (0, 0, 0));
    }
}

/// Options for a registry that answers quickly or never.
pub(crate) fn options() -> PullOptions {
    PullOptions {
        platform: "linux/amd64".parse().unwrap(),
        settings: RegistrySettings {
            timeouts: Timeouts {
                connect: Duration::from_secs(3),
                stall: Duration::from_secs(2),
                attempts: 3,
                retry_first: Duration::from_millis(5),
                retry_after_max: Duration::from_secs(2),
            },
            ..RegistrySettings::default()
        },
        ..PullOptions::default()
    }
}

/// Remembers what was told.
#[derive(Default)]
pub(crate) struct Recorder {
    events: Mutex<Vec<LayerEvent>>,
    messages: Mutex<Vec<String>>,
}

impl Progress for Recorder {
    fn layer(&self, _digest: &Digest, event: LayerEvent) {
        self.events.lock().unwrap().push(event);
    }

    fn message(&self, text: &str) {
        self.messages.lock().unwrap().push(text.into());
    }
}

impl Recorder {
    pub(crate) fn events(&self) -> Vec<LayerEvent> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }
}

/// An error with its causes, as the command line shows it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = format!("{text}: {current}");
        cause = current.source();
    }
    text
}
