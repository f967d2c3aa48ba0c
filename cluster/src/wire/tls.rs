//! TLS configurations made of the node's certificate, replaceable while connections are being served.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ConfigBuilder, Error, RootCertStore, ServerConfig, WantsVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use skep_common::tls::AnyServer;
use tokio::sync::watch;

use super::{Caller, WireError, identity_of};
use crate::surroundings::Clock;

/// Every manager's certificate carries this name, whatever its address.
pub(super) const MANAGER_NAME: &str = "swarm-manager";
const ALPN: &[u8] = b"h2";

/// A node's certificate, ready for both sides of a connection.
#[derive(Debug)]
pub struct Credentials {
    /// Who we are.
    pub identity: Caller,
    /// For connections that we accept.
    pub server: Arc<ServerConfig>,
    /// For connections that we make.
    pub client: Arc<ClientConfig>,
}

impl Credentials {
    /// From the PEM texts of the root certificate(s), of the node's certificate chain and of its key. Peers' certificates
    /// have to be valid by `clock`.
    ///
    /// # Errors
    /// If one of them is not what it should be, or the key is not the certificate's.
    pub fn from_pem(root: &[u8], chain: &[u8], key: &[u8], clock: &Arc<dyn Clock>) -> Result<Self, WireError> {
        let roots = Arc::new(roots(root)?);
        let chain = certificates("the node's certificate", chain)?;
        let first = chain.first().ok_or(WireError::Credentials(Error::NoCertificatesPresented))?;
        let identity = identity_of(first)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| WireError::Pem { what: "the node's private key", source })?;

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .allow_unauthenticated()
            .build()
            .map_err(no_verifier)?;
        let mut server = ServerConfig::builder_with_details(provider(), time(clock))
            .with_safe_default_protocol_versions()
            .map_err(WireError::Credentials)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(WireError::Credentials)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would outlive the certificate that it began with.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let client = client(clock)?
            .with_webpki_verifier(managers_of(roots)?)
            .with_client_auth_cert(chain, key)
            .map_err(WireError::Credentials)?;
        Ok(Self { identity, server: Arc::new(server), client: finished(client) })
    }
}

/// The node's present credentials. Connections made or accepted after `Tls::replace` use the new ones.
#[derive(Debug)]
pub struct Tls {
    current: watch::Sender<Arc<Credentials>>,
}

impl Tls {
    /// Begins with `credentials`.
    pub fn new(credentials: Credentials) -> Self {
        Self { current: watch::Sender::new(Arc::new(credentials)) }
    }

    /// The present ones.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        self.current.borrow().clone()
    }

    /// Takes a renewed certificate into use.
    pub(crate) fn replace(&self, credentials: Credentials) {
        self.current.send_replace(Arc::new(credentials));
    }

    /// Signals every replacement.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Credentials>> {
        self.current.subscribe()
    }
}

/// A client without a certificate which trusts `root` (PEM): for the request of the first certificate.
///
/// # Errors
/// If the root is not what it should be.
pub fn pinned_client(root: &[u8], clock: &Arc<dyn Clock>) -> Result<Arc<ClientConfig>, WireError> {
    let verifier = managers_of(Arc::new(roots(root)?))?;
    Ok(finished(client(clock)?.with_webpki_verifier(verifier).with_no_client_auth()))
}

/// A client which trusts whoever answers: only to fetch the root certificate, which is then compared with the join
/// token's digest before anything is sent.
///
/// # Errors
/// If the library refuses its own defaults.
pub(crate) fn bootstrap_client(clock: &Arc<dyn Clock>) -> Result<Arc<ClientConfig>, WireError> {
    let verifier = Arc::new(AnyServer::new(provider()));
    Ok(finished(client(clock)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

fn client(clock: &Arc<dyn Clock>) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, WireError> {
    ClientConfig::builder_with_details(provider(), time(clock))
        .with_safe_default_protocol_versions()
        .map_err(WireError::Credentials)
}

fn finished(mut client: ClientConfig) -> Arc<ClientConfig> {
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Arc::new(client)
}

/// Trusts whom `roots` vouch for.
fn managers_of(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, WireError> {
    WebPkiServerVerifier::builder_with_provider(roots, provider()).build().map_err(no_verifier)
}

fn no_verifier(error: VerifierBuilderError) -> WireError {
    WireError::Credentials(Error::General(error.to_string()))
}

/// The clock as rustls asks it.
#[derive(Debug)]
struct TlsTime(Arc<dyn Clock>);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

fn time(clock: &Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(TlsTime(clock.clone()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, WireError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|source| WireError::Pem { what, source })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, WireError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("the root certificate", pem)? {
        store.add(certificate).map_err(WireError::Credentials)?;
    }
    Ok(store)
}
