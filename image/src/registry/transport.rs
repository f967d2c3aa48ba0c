//! Requests to one endpoint: log in, follow redirects, wait and try again, give up in time.
//!
//! Invariants:
//! - Credentials go to the endpoint and to the token server that it names, nowhere else.
//! - Every wait has a limit, and so has the number of attempts.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::challenge::{self, Challenge};
use super::error::{CONNECTING, RegistryError};
use super::resolver::{self, Resolver};
use super::settings::{Credentials, RegistrySettings, Timeouts};
use super::tls;
use crate::registries::{Endpoint, Scheme};

const REDIRECTS_MAX: usize = 5;
const ERROR_BYTES_MAX: usize = 64 << 10;
const TOKEN_BYTES_MAX: usize = 1 << 20;
const DETAIL_CHARACTERS_MAX: usize = 300;

/// A connection pool to one endpoint, and how we are known there.
pub(crate) struct Transport {
    pub(super) endpoint: Endpoint,
    pub(super) timeouts: Timeouts,
    client: reqwest::Client,
    /// For where a registry that is outside redirects to.
    outside: reqwest::Client,
    credentials: Option<Credentials>,
    scope: Option<String>,
    session: Mutex<Session>,
}

/// The `Authorization` header in use, and how often it was replaced.
#[derive(Default)]
struct Session {
    header: Option<HeaderValue>,
    generation: u64,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The distribution specification's error document.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// A request that was refused: the status, and what the registry says about it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The first code, such as `MANIFEST_UNKNOWN`.
    pub(super) code: String,
    /// In docker's form: `manifest unknown: manifest unknown`.
    pub(super) detail: String,
    request: String,
}

/// What came back.
pub(super) enum Answer {
    Good(Response),
    Refused(Refusal),
}

impl Transport {
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: Option<Credentials>,
        settings: &RegistrySettings,
    ) -> Result<Transport, RegistryError> {
        let failed = |reason: String| RegistryError::Client { host: endpoint.host.clone(), reason };
        let verify = endpoint.scheme != Scheme::HttpsUnverified;
        let tls = tls::client_config(&endpoint.host, settings, verify).map_err(failed)?;
        let client = |resolver| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(resolver)
                .connect_timeout(settings.timeouts.connect)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .user_agent(concat!("skep/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| failed(error.to_string()))
        };
        let (client, outside) = (client(Resolver::default())?, client(Resolver::outside())?);
        let header =
            credentials.as_ref().and_then(|credentials| credentials.registry_token.as_deref()).and_then(bearer);
        let scope = (!endpoint.repository.is_empty()).then(|| format!("repository:{}:pull", endpoint.repository));
        let session = Mutex::new(Session { header, generation: 0 });
        Ok(Transport { endpoint, timeouts: settings.timeouts.clone(), client, outside, credentials, scope, session })
    }

    /// Asks for no repository: the registry itself says what a login needs.
    pub(super) fn for_login(&mut self) {
        self.scope = None;
    }

    pub(super) fn host(&self) -> String {
        self.endpoint.host.clone()
    }

    /// Whether someone on the way could read what is sent.
    fn is_plain(&self) -> bool {
        self.endpoint.scheme != Scheme::Https
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let scheme = if self.endpoint.scheme == Scheme::Http { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{path}", self.endpoint.host);
        let invalid =
            |error| RegistryError::Client { host: self.host(), reason: format!("{text:?} is no address: {error}") };
        Url::parse(&text).map_err(invalid)
    }

    /// Sends a request until it is answered with success or a refusal, or the attempts are used up.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, RegistryError> {
        let url = self.url(path)?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let result = self.authorized(&method, &url, headers).await;
            let (error, wait) = match result {
                Ok(Answer::Refused(refusal)) if refusal.status >= 500 || refusal.status == 408 => {
                    (self.refused(refusal), None)
                }
                Err(Failure::Busy { seconds, refusal }) => (self.refused(refusal), Some(Duration::from_secs(seconds))),
                Err(Failure::Error(error)) if error.is_retryable() => (error, None),
                Err(Failure::Error(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            };
            let attempts = self.attempts_for(&error);
            let wait = wait.unwrap_or_else(|| self.timeouts.back_off(attempt));
            if wait > self.timeouts.retry_after_max {
                return Err(self.too_long(error, wait));
            }
            if attempt >= attempts {
                return Err(error);
            }
            tracing::debug!(registry = %self.endpoint.host, %error, ?wait, "request is tried again");
            sleep(wait).await;
        }
    }

    fn attempts_for(&self, error: &RegistryError) -> u32 {
        match error {
            // Nothing listens, and that will not change within seconds.
            RegistryError::Refused { .. } => 1,
            RegistryError::Unreachable { .. } | RegistryError::Timeout { .. } => self.timeouts.attempts.min(2),
            _ => self.timeouts.attempts,
        }
    }

    fn too_long(&self, error: RegistryError, wait: Duration) -> RegistryError {
        match error {
            RegistryError::Status { host, detail, .. } => {
                RegistryError::TooManyRequests { host, detail, seconds: wait.as_secs() }
            }
            other => other,
        }
    }

    /// Turns a refusal that no caller has better words for into an error.
    pub(super) fn refused(&self, refusal: Refusal) -> RegistryError {
        let detail = if refusal.detail.is_empty() { String::new() } else { format!(" ({})", refusal.detail) };
        RegistryError::Status { host: self.host(), request: refusal.request, status: refusal.status, detail }
    }

    /// One attempt, logging in when asked to.
    async fn authorized(&self, method: &Method, url: &Url, headers: &HeaderMap) -> Result<Answer, Failure> {
        for round in 0.. {
            let (header, generation) = {
                let session = self.session.lock().await;
                (session.header.clone(), session.generation)
            };
            let response = self.follow(method, url, headers, header).await?;
            let status = response.status().as_u16();
            // A place that was redirected to may not ask for credentials: they are not for it.
            let own = response.url().origin() == url.origin();
            if status == 401 && round < 2 && own {
                let challenges: Vec<Challenge> = {
                    let values = response.headers().get_all(WWW_AUTHENTICATE);
                    challenge::parse(values.iter().filter_map(|value| value.to_str().ok()))
                };
                if self.renew(&challenges, generation).await? {
                    continue;
                }
            }
            let stated = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            if status == 429 || (status == 503 && stated.is_some()) {
                let refusal = self.refusal(method, url, response).await;
                return Err(match stated {
                    Some(seconds) => Failure::Busy { seconds, refusal },
                    None => Failure::Error(self.refused(refusal)),
                });
            }
            if (200..300).contains(&status) {
                return Ok(Answer::Good(response));
            }
            return Ok(Answer::Refused(self.refusal(method, url, response).await));
        }
        Err(Failure::Error(RegistryError::Challenge { host: self.host(), reason: "it keeps asking".into() }))
    }

    /// One request and its redirects. Past another host, port or scheme, credentials are left out for good.
    async fn follow(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        mut authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut url = url.clone();
        let mut client = &self.client;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let response = self.send(request, "the answer").await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let refused = |reason| RegistryError::Redirect { host: self.host(), location: shorten(location), reason };
            let next = url.join(location).map_err(|_| refused("it is no address"))?;
            check_redirect(&url, &next).map_err(refused)?;
            if next.origin() != url.origin() {
                authorization = None;
            }
            if next.host_str() != url.host_str() && !leads_inside(&url).await {
                client = &self.outside;
            }
            url = next;
        }
        let location = shorten(url.as_str());
        Err(RegistryError::Redirect { host: self.host(), location, reason: "there are too many redirects" })
    }

    async fn send(&self, request: reqwest::RequestBuilder, waiting: &'static str) -> Result<Response, RegistryError> {
        // The client's own limit covers the connection alone.
        let limit = self.timeouts.stall.max(self.timeouts.connect);
        match timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_timeout() => Err(self.timed_out(CONNECTING, self.timeouts.connect)),
            Ok(Err(error)) => Err(RegistryError::from_client(&self.endpoint.host, &error)),
            Err(_) => Err(self.timed_out(waiting, limit)),
        }
    }

    fn timed_out(&self, waiting: &'static str, limit: Duration) -> RegistryError {
        RegistryError::Timeout { host: self.host(), waiting, seconds: limit.as_secs_f64() }
    }

    /// The next piece of a body; `None` at its end.
    pub(super) async fn piece(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, RegistryError> {
        match timeout(self.timeouts.stall, response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(RegistryError::from_client(&self.endpoint.host, &error)),
            Err(_) => Err(self.timed_out("the next bytes", self.timeouts.stall)),
        }
    }

    /// A whole body of at most so many bytes.
    pub(super) async fn body(
        &self,
        mut response: Response,
        what: &'static str,
        bytes_max: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge { host: self.host(), what, bytes_max: bytes_max as u64 };
        if response.content_length().is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            if body.len() + piece.len() > bytes_max {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    async fn refusal(&self, method: &Method, url: &Url, response: Response) -> Refusal {
        let status = response.status();
        let request = format!("{method} {}", url.path());
        let body = self.body(response, "error", ERROR_BYTES_MAX).await.unwrap_or_default();
        let parsed = serde_json::from_slice::<Errors>(&body).ok();
        let (code, detail) = match parsed.and_then(|errors| errors.errors.into_iter().next()) {
            Some(entry) => {
                let code = entry.code.to_lowercase().replace('_', " ");
                let message = entry.message.filter(|message| !message.is_empty()).unwrap_or_else(|| code.clone());
                (entry.code, shorten(&format!("{code}: {message}")))
            }
            None => (String::new(), shorten(String::from_utf8_lossy(&body).lines().next().unwrap_or_default().trim())),
        };
        Refusal { status: status.as_u16(), code, detail, request }
    }

    /// Gets a new `Authorization` header. False if nothing better can be sent than what was refused.
    async fn renew(&self, challenges: &[Challenge], refused_generation: u64) -> Result<bool, RegistryError> {
        let mut session = self.session.lock().await;
        if session.generation != refused_generation {
            // Another request did it in the meantime.
            return Ok(true);
        }
        let bearer_challenge = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let header = match (bearer_challenge, &self.credentials) {
            (Some(Challenge::Bearer { realm, service, scope }), credentials) => {
                let token = self.fetch_token(realm, service.as_deref(), scope.as_deref(), credentials.as_ref()).await?;
                bearer(&token)
            }
            (_, Some(credentials)) if challenges.contains(&Challenge::Basic) && session.header.is_none() => {
                HeaderValue::from_str(&format!("Basic {}", credentials.to_basic())).ok()
            }
            _ => None,
        };
        let Some(mut header) = header else { return Ok(false) };
        header.set_sensitive(true);
        session.header = Some(header);
        session.generation += 1;
        Ok(true)
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        credentials: Option<&Credentials>,
    ) -> Result<String, RegistryError> {
        let bad = |reason: String| RegistryError::Challenge { host: self.host(), reason };
        let mut url = Url::parse(realm).map_err(|_| bad(format!("its token server {realm:?} is no address")))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(bad(format!("its token server {realm:?} is not reached by http")));
        }
        if credentials.is_some() && url.scheme() == "http" && !self.is_plain() {
            return Err(bad(format!("its token server {realm:?} would be sent the password unencrypted")));
        }
        let scope = self.scope.as_deref().or(scope);
        let refresh = credentials.and_then(|credentials| credentials.identity_token.as_deref());
        let parameters = [("service", service), ("scope", scope)];
        let parameters = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let request = match refresh {
            Some(token) => {
                let fixed = [("grant_type", "refresh_token"), ("client_id", "skep"), ("refresh_token", token)];
                let mut form = Url::parse("form:").map_err(|error| bad(error.to_string()))?;
                form.query_pairs_mut().extend_pairs(fixed.into_iter().chain(parameters));
                let body = form.query().unwrap_or_default().to_owned();
                self.client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body)
            }
            None => {
                url.query_pairs_mut().extend_pairs(parameters);
                let request = self.client.get(url);
                match credentials.filter(|credentials| !credentials.username.is_empty()) {
                    Some(credentials) => request.header(AUTHORIZATION, format!("Basic {}", credentials.to_basic())),
                    None => request,
                }
            }
        };
        self.read_token(self.send(request, "a token").await?).await
    }

    async fn read_token(&self, response: Response) -> Result<String, RegistryError> {
        let status = response.status().as_u16();
        let (method, url) = (Method::GET, response.url().clone());
        if matches!(status, 401 | 403) {
            let refusal = self.refusal(&method, &url, response).await;
            let detail =
                if refusal.detail.is_empty() { "incorrect username or password".into() } else { refusal.detail };
            return Err(RegistryError::Unauthorized { host: self.host(), detail });
        }
        if !(200..300).contains(&status) {
            let mut refusal = self.refusal(&method, &url, response).await;
            refusal.request = format!("its token server's {}", refusal.request);
            return Err(self.refused(refusal));
        }
        let body = self.body(response, "token", TOKEN_BYTES_MAX).await?;
        let token: Option<Token> = serde_json::from_slice(&body).ok();
        let token = token.and_then(|token| token.token.filter(|token| !token.is_empty()).or(token.access_token));
        token.ok_or_else(|| RegistryError::Challenge {
            host: self.host(),
            reason: "its token server sent no token".into(),
        })
    }
}

/// Why one attempt did not succeed.
enum Failure {
    Error(RegistryError),
    Busy { seconds: u64, refusal: Refusal },
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        Failure::Error(error)
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn shorten(text: &str) -> String {
    let printable = text.chars().filter(|character| !character.is_control());
    printable.take(DETAIL_CHARACTERS_MAX).collect()
}

/// Where a redirect may lead: never to less protection, never into this machine or its cloud's services.
fn check_redirect(from: &Url, to: &Url) -> Result<(), &'static str> {
    match (from.scheme(), to.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err("it gives up encryption"),
        _ => return Err("it is not reached by http"),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it contains credentials");
    }
    if to.host_str() != from.host_str() && is_internal(to) && !is_internal(from) {
        return Err("it is an address of this machine");
    }
    Ok(())
}

/// Whether an address as it is written is inside. Where names lead is for the resolver to see.
fn is_internal(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => resolver::is_internal(address),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

async fn leads_inside(url: &Url) -> bool {
    is_internal(url) || Resolver::default().leads_inside(url.host_str().unwrap_or_default()).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, allowed: bool) {
        let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
        assert_eq!(check_redirect(&from, &to).is_ok(), allowed, "{from} to {to}");
    }

    #[test]
    fn redirects_lead_out_but_not_in() {
        check("https://a.io/x", "https://cdn.io/y", true);
        check("http://10.0.0.1:5000/x", "http://10.0.0.2/y", true);
        check("http://127.0.0.1:5000/x", "http://127.0.0.1:6000/y", true);
        check("https://a.io/x", "http://a.io/x", false);
        check("https://a.io/x", "ftp://a.io/x", false);
        check("https://a.io/x", "https://user:pw@a.io/x", false);
        for inside in
            ["169.254.169.254", "127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "[fe80::1]", "0.0.0.0"]
        {
            check("http://a.io/x", &format!("http://{inside}/x"), false);
        }
    }
}
