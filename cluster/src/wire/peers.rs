//! Connections to managers by address, made when first used and again when they break.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::tls::MANAGER_NAME;
use super::{Tls, WireError};
use crate::surroundings::Clock;
use crate::timing::Timing;

/// Dead connections are noticed within interval and timeout together, also where packets vanish silently.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// One multiplexed connection for each address.
#[derive(Debug)]
pub struct Peers {
    tls: Arc<Tls>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    channels: Mutex<HashMap<String, Channel>>,
}

impl Peers {
    /// Connections that show the certificate in `tls`.
    pub fn new(tls: Arc<Tls>, timing: Timing, clock: Arc<dyn Clock>) -> Self {
        Self { tls, timing, clock, channels: Mutex::default() }
    }

    /// The connection to the manager at `addr`. It is made by its first request, whose error tells if it cannot be.
    ///
    /// # Errors
    /// If the address is none.
    pub fn channel(&self, addr: &str) -> Result<Channel, WireError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(addr) {
            return Ok(channel.clone());
        }
        let tls = self.tls.clone();
        let channel = lazy(addr, self.timing, self.clock.clone(), move || tls.current().client.clone())?;
        channels.insert(addr.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Forgets the connection to `addr`; a new one is made by the next request.
    pub(crate) fn forget(&self, addr: &str) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(addr);
    }

    /// Forgets all connections, so that new ones show the new certificate.
    pub(crate) fn forget_all(&self) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection with a fixed configuration: for what a node does before it has a certificate.
///
/// # Errors
/// If the address is none.
pub fn channel_with(
    addr: &str,
    timing: Timing,
    clock: &Arc<dyn Clock>,
    config: Arc<ClientConfig>,
) -> Result<Channel, WireError> {
    lazy(addr, timing, clock.clone(), move || config.clone())
}

fn lazy(
    addr: &str,
    timing: Timing,
    clock: Arc<dyn Clock>,
    config: impl Fn() -> Arc<ClientConfig> + Send + 'static,
) -> Result<Channel, WireError> {
    let target = super::parse_address(addr, crate::DEFAULT_PORT)?;
    // The scheme is http because TLS is the connector's business.
    let uri = Uri::builder()
        .scheme("http")
        .authority(target.to_string())
        .path_and_query("/")
        .build()
        .map_err(|_| WireError::Address(addr.to_owned()))?;
    let endpoint = Endpoint::from(uri)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(timing.connect())
        .keep_alive_while_idle(true);
    let limit = timing.connect();
    let connector = tower::service_fn(move |_: Uri| {
        let (config, clock) = (config(), clock.clone());
        async move {
            match clock.limit(limit, connect(target, config)).await {
                Ok(result) => result.map(TokioIo::new),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{target} did not answer in time"))),
            }
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

async fn connect(target: std::net::SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(MANAGER_NAME).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}
