//! The registry protocol (distribution-spec), as much of it as pulling needs.
//!
//! Requests are sent with reqwest rather than with oci-client's `Client`, of which only the document types
//! (`manifest`) serve here: that client reads manifests of any size into memory, follows redirects wherever they
//! lead, and hides the headers by which a registry asks for patience.

mod challenge;
mod error;
mod resolver;
mod settings;
mod tls;
mod transport;

pub use error::RegistryError;
pub use settings::{Credentials, RegistrySettings, Timeouts};
pub use tls::install_crypto_provider;

pub(crate) use transport::Transport;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::digest::Digest;
use crate::manifest::{ACCEPTED, Descriptor, MANIFEST_BYTES_MAX};
use crate::reference::Reference;
use crate::registries::Endpoint;
use transport::{Answer, Refusal};

const DIGEST_HEADER: &str = "docker-content-digest";
/// A connection that breaks again and again is given up after so many, even if each brings a little.
const BLOB_ATTEMPTS_MAX: u32 = 50;

/// One repository and all the places that may have it, the first that answered in front.
pub(crate) struct Repository {
    reference: Reference,
    transports: Vec<Transport>,
    /// Why credentials may be missing, for the error of a refusal.
    hint: Option<String>,
    /// What the user may want to know although it was overcome.
    notes: Mutex<Vec<String>>,
}

/// A tag or a digest within a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    Tag(&'a str),
    Digest(&'a Digest),
}

/// What happens to a blob's download, for whoever shows it.
pub(crate) enum BlobEvent {
    Received(u64),
    Retrying(Duration),
}

impl Repository {
    /// The places for a reference. No connection is made yet.
    pub(crate) fn new(
        reference: &Reference,
        endpoints: Vec<Endpoint>,
        credentials: impl Fn(&Endpoint) -> Option<Credentials>,
        hint: Option<String>,
        settings: &RegistrySettings,
    ) -> Result<Repository, RegistryError> {
        let make = |endpoint: Endpoint| {
            let credentials = credentials(&endpoint);
            Transport::new(endpoint, credentials, settings)
        };
        let transports = endpoints.into_iter().map(make).collect::<Result<_, _>>()?;
        Ok(Repository { reference: reference.clone(), transports, hint, notes: Mutex::default() })
    }

    /// The digest that a tag stands for, without fetching it; `None` if the registry does not say.
    pub(crate) async fn head(&self, target: Target<'_>) -> Result<Option<Digest>, RegistryError> {
        let headers = accept();
        let path = |transport: &Transport| manifest_path(transport, target);
        let (_, response) = self.ask(Method::HEAD, path, &headers, Some(target)).await?;
        let digest = response.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(digest)
    }

    /// A manifest's bytes and digest, verified.
    pub(crate) async fn manifest(&self, target: Target<'_>) -> Result<(Digest, Vec<u8>), RegistryError> {
        let headers = accept();
        let path = |transport: &Transport| manifest_path(transport, target);
        let (transport, response) = self.ask(Method::GET, path, &headers, Some(target)).await?;
        let stated = response.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = transport.body(response, "manifest", MANIFEST_BYTES_MAX as usize).await?;
        let actual = Digest::of(&bytes);
        let expected = match target {
            Target::Digest(digest) => Some(*digest),
            Target::Tag(_) => stated,
        };
        match expected {
            Some(expected) if expected != actual => {
                Err(RegistryError::WrongDigest { host: transport.host(), what: "manifest", expected, actual })
            }
            _ => Ok((actual, bytes)),
        }
    }

    /// A small blob's bytes, verified.
    pub(crate) async fn small_blob(
        &self,
        blob: &Descriptor,
        what: &'static str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let path = |transport: &Transport| blob_path(transport, &blob.digest);
        let (transport, response) = self.ask(Method::GET, path, &HeaderMap::new(), None).await?;
        let host = transport.host();
        if blob.size > bytes_max {
            return Err(RegistryError::TooLarge { host, what, bytes_max });
        }
        let bytes = transport.body(response, what, bytes_max as usize).await?;
        if bytes.len() as u64 != blob.size {
            let (expected, received) = (blob.size, bytes.len() as u64);
            return Err(RegistryError::WrongSize { host, digest: blob.digest, expected, received });
        }
        let actual = Digest::of(&bytes);
        if actual != blob.digest {
            return Err(RegistryError::WrongDigest { host, what, expected: blob.digest, actual });
        }
        Ok(bytes)
    }

    /// Streams a blob into a channel. A broken connection is taken up where it broke, elsewhere if need
    /// be. Not more than the blob's size is sent; the receiver verifies the digest. Returns who sent it.
    ///
    /// If the receiver goes away, this stops without an error: the receiver has one.
    pub(crate) async fn stream_blob(
        &self,
        blob: &Descriptor,
        sender: mpsc::Sender<Bytes>,
        mut progress: impl FnMut(BlobEvent),
    ) -> Result<String, RegistryError> {
        let mut received = 0;
        let mut last: Option<RegistryError> = None;
        for transport in &self.transports {
            let mut without_progress = 0;
            for attempt in 1.. {
                let before = received;
                let mut sink = Sink { sender: &sender, received: &mut received, progress: &mut progress };
                match self.blob_part(transport, blob, &mut sink).await {
                    Ok(()) => return Ok(transport.host()),
                    Err(error) => {
                        without_progress = if received > before { 1 } else { without_progress + 1 };
                        let hopeless = !error.is_retryable() || matches!(error, RegistryError::Refused { .. });
                        tracing::debug!(%error, blob = %blob.digest, received, "blob broke off");
                        last = Some(better(last, error));
                        if hopeless || without_progress >= transport.timeouts.attempts || attempt >= BLOB_ATTEMPTS_MAX {
                            break;
                        }
                    }
                }
                let wait = transport.timeouts.back_off(without_progress);
                progress(BlobEvent::Retrying(wait));
                sleep(wait).await;
            }
        }
        Err(last.unwrap_or_else(|| self.nowhere()))
    }

    /// One connection's worth of a blob.
    async fn blob_part<F: FnMut(BlobEvent)>(
        &self,
        transport: &Transport,
        blob: &Descriptor,
        sink: &mut Sink<'_, F>,
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        let offset = *sink.received;
        if offset > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            headers.insert(RANGE, range);
        }
        let path = blob_path(transport, &blob.digest);
        let mut response = match transport.request(Method::GET, &path, &headers).await? {
            Answer::Good(response) => response,
            Answer::Refused(refusal) => return Err(self.explain(transport, refusal, None)),
        };
        let start = range_start(&response);
        let wrong = |received| RegistryError::WrongSize {
            host: transport.host(),
            digest: blob.digest,
            expected: blob.size,
            received,
        };
        if start > offset {
            let (host, reason) = (transport.host(), "it sent another part than was asked for".into());
            return Err(RegistryError::Broken { host, reason });
        }
        if let Some(length) = response.content_length()
            && start.saturating_add(length) != blob.size
        {
            return Err(wrong(start.saturating_add(length)));
        }
        // A server that does not know ranges begins anew: what is here already is passed over.
        let mut skip = offset - start;
        while let Some(mut piece) = transport.piece(&mut response).await? {
            let skipped = skip.min(piece.len() as u64);
            skip -= skipped;
            let piece = piece.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
            if piece.is_empty() {
                continue;
            }
            let total = *sink.received + piece.len() as u64;
            if total > blob.size {
                return Err(wrong(total));
            }
            if sink.sender.send(piece).await.is_err() {
                return Ok(());
            }
            *sink.received = total;
            (sink.progress)(BlobEvent::Received(total));
        }
        if *sink.received < blob.size {
            let (host, digest) = (transport.host(), blob.digest);
            return Err(RegistryError::Truncated { host, digest, expected: blob.size, received: *sink.received });
        }
        Ok(())
    }

    /// Asks one place after the other, until one has it.
    async fn ask(
        &self,
        method: Method,
        path: impl Fn(&Transport) -> String,
        headers: &HeaderMap,
        target: Option<Target<'_>>,
    ) -> Result<(&Transport, Response), RegistryError> {
        let mut answered = BTreeSet::new();
        let mut last: Option<RegistryError> = None;
        for transport in &self.transports {
            // The second scheme of an insecure place is for when the first is not spoken there.
            if answered.contains(&transport.endpoint.host) {
                continue;
            }
            let error = match transport.request(method.clone(), &path(transport), headers).await {
                Ok(Answer::Good(response)) => return Ok((transport, response)),
                Ok(Answer::Refused(refusal)) => self.explain(transport, refusal, target),
                Err(RegistryError::Unauthorized { detail, .. }) => self.denied(detail),
                Err(error) => error,
            };
            if error.is_answer() {
                answered.insert(transport.endpoint.host.clone());
            }
            if transport.endpoint.is_mirror {
                tracing::info!(mirror = %transport.endpoint.host, %error, "mirror could not be used");
                self.note(format!("mirror {}: {error}", transport.endpoint.host));
            }
            last = Some(better(last, error));
        }
        Err(last.unwrap_or_else(|| self.nowhere()))
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// What was noted since this was called last.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn nowhere(&self) -> RegistryError {
        let host = self.reference.domain().to_owned();
        RegistryError::Unreachable { host, reason: "no place is configured for it".into() }
    }

    fn denied(&self, detail: String) -> RegistryError {
        let detail = match &self.hint {
            Some(hint) => format!("{detail} ({hint})"),
            None => detail,
        };
        RegistryError::Denied { name: self.reference.familiar_name(), detail }
    }

    /// Docker's words for a refusal.
    fn explain(&self, transport: &Transport, refusal: Refusal, target: Option<Target<'_>>) -> RegistryError {
        let detail =
            |default: &str| if refusal.detail.is_empty() { default.to_owned() } else { refusal.detail.clone() };
        match (refusal.status, target) {
            (401, _) => self.denied(detail("unauthorized: authentication required")),
            (403, _) => self.denied(detail("denied: requested access to the resource is denied")),
            (404, Some(_)) if refusal.code == "NAME_UNKNOWN" => {
                RegistryError::NameUnknown { name: self.reference.familiar_name(), detail: refusal.detail }
            }
            (404, Some(target)) => {
                let reference = match target {
                    Target::Tag(_) => self.reference.familiar(),
                    Target::Digest(digest) => self.reference.only_digest(*digest).familiar(),
                };
                RegistryError::ManifestUnknown { reference, detail: detail("manifest unknown: manifest unknown") }
            }
            _ => transport.refused(refusal),
        }
    }
}

struct Sink<'a, F> {
    sender: &'a mpsc::Sender<Bytes>,
    received: &'a mut u64,
    progress: &'a mut F,
}

/// Asks a registry whether it accepts the credentials.
pub(crate) async fn check_login(
    transports: impl Iterator<Item = Result<Transport, RegistryError>>,
) -> Result<(), RegistryError> {
    let mut last: Option<RegistryError> = None;
    for transport in transports {
        let mut transport = transport?;
        transport.for_login();
        let error = match transport.request(Method::GET, "", &HeaderMap::new()).await {
            Ok(Answer::Good(_)) => return Ok(()),
            Ok(Answer::Refused(refusal)) if matches!(refusal.status, 401 | 403) => {
                let host = transport.host();
                return Err(RegistryError::Unauthorized { host, detail: "incorrect username or password".into() });
            }
            Ok(Answer::Refused(refusal)) => transport.refused(refusal),
            Err(error) => error,
        };
        let answered = error.is_answer();
        last = Some(better(last, error));
        if answered {
            break;
        }
    }
    let nowhere = || RegistryError::Unreachable { host: String::new(), reason: "no place is configured".into() };
    Err(last.unwrap_or_else(nowhere))
}

/// The error that says more; of equals the later one, as mirrors are asked before the real place.
fn better(previous: Option<RegistryError>, error: RegistryError) -> RegistryError {
    match previous {
        Some(previous) if previous.weight() > error.weight() => previous,
        _ => error,
    }
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter(HeaderValue::from_str(&ACCEPTED.join(", ")).ok().map(|accepted| (ACCEPT, accepted)))
}

fn manifest_path(transport: &Transport, target: Target<'_>) -> String {
    let repository = &transport.endpoint.repository;
    match target {
        Target::Tag(tag) => format!("{repository}/manifests/{tag}"),
        Target::Digest(digest) => format!("{repository}/manifests/{digest}"),
    }
}

fn blob_path(transport: &Transport, digest: &Digest) -> String {
    format!("{}/blobs/{digest}", transport.endpoint.repository)
}

/// Where a partial answer begins: `Content-Range: bytes 100-199/200`.
fn range_start(response: &Response) -> u64 {
    if response.status() != reqwest::StatusCode::PARTIAL_CONTENT {
        return 0;
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    start.unwrap_or(u64::MAX)
}
