//! The manager's listening port: accepts TCP, shakes hands in TLS, and hands the connection with its peer to gRPC.
//!
//! A connection that is not TLS, or whose certificate is not of this swarm, ends here with a logged reason.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::server::Connected;
use tonic::transport::{Error, Server};
use tower::Service;

use super::{Caller, Tls, identity_of};
use crate::surroundings::Clock;
use crate::timing::Timing;

/// Handshakes at the same time; more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 64;
/// Connections at the same time, so that an attacker without a certificate cannot take all descriptors.
const CONNECTIONS_MAX: usize = 8192;
/// Of those, how many may show no certificate.
const ANONYMOUS_MAX: usize = 512;
const STREAMS_MAX: u32 = 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// What requests under way get to end when the server stops; then their connections are cut.
const DRAIN: Duration = Duration::from_millis(500);

/// Who is at the other end of a connection. In the extensions of every request.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// From the certificate; `None` when the peer showed none.
    pub caller: Option<Caller>,
    /// Where from.
    pub addr: Option<SocketAddr>,
}

/// An accepted connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// When it is to end whatever it does.
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    _permit: OwnedSemaphorePermit,
    _anonymous: Option<OwnedSemaphorePermit>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves `service` on `listener` until `stop`. Every request carries a [`Peer`] in its extensions.
///
/// # Errors
/// If the server fails other than with single connections.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    tls: Arc<Tls>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    service: S,
    stop: CancellationToken,
) -> Result<(), Error>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<Result<Connection, io::Error>>(HANDSHAKES_MAX);
    let cut = CancellationToken::new();
    let entrance = Entrance { tls, timing, clock: clock.clone() };
    #[expect(clippy::disallowed_methods, reason = "aborted below, when the server has ended")]
    let accepting = tokio::spawn(accept_loop(listener, entrance, sender, stop.clone(), cut.clone()));
    #[expect(clippy::disallowed_methods, reason = "aborted below, when the server has ended")]
    let cutting = tokio::spawn({
        let (stop, cut) = (stop.clone(), cut.clone());
        async move {
            stop.cancelled().await;
            clock.sleep(DRAIN).await;
            cut.cancel();
        }
    });
    let result = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(timing.connect()))
        .serve_with_incoming_shutdown(service, ReceiverStream::new(receiver), stop.clone().cancelled_owned())
        .await;
    stop.cancel();
    cut.cancel();
    cutting.abort();
    if let Err(error) = accepting.await {
        tracing::error!(%error, "the accepting task failed");
    }
    result
}

/// What each connection has to get through.
#[derive(Debug, Clone)]
struct Entrance {
    tls: Arc<Tls>,
    timing: Timing,
    clock: Arc<dyn Clock>,
}

async fn accept_loop(
    listener: TcpListener,
    entrance: Entrance,
    sender: mpsc::Sender<Result<Connection, io::Error>>,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let anonymous = Arc::new(Semaphore::new(ANONYMOUS_MAX));
    // Aborted with this loop: nobody is left to take the connections.
    let mut handshaking = JoinSet::new();
    loop {
        let Ok(handshake) = handshakes.clone().acquire_owned().await else { return };
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        // Cancel safe: a connection is taken out of the queue only when `accept` returns it.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                entrance.clock.sleep(entrance.timing.scale(100)).await;
                continue;
            }
        };
        let (entrance, sender, cut, anonymous) = (entrance.clone(), sender.clone(), cut.clone(), anonymous.clone());
        while handshaking.try_join_next().is_some() {}
        handshaking.spawn(async move {
            let admitted = shake_hands(stream, addr, &entrance).await;
            match admitted.and_then(|(stream, peer)| admit(stream, peer, permit, &anonymous, cut, &entrance)) {
                // The server has stopped.
                Ok(connection) => drop(sender.send(Ok(connection)).await),
                Err(reason) => tracing::warn!(%addr, reason, "refused a connection"),
            }
            drop(handshake);
        });
    }
}

/// A connection without a certificate is for one or two requests: there are few of them, and none stays.
fn admit(
    stream: TlsStream<TcpStream>,
    peer: Peer,
    permit: OwnedSemaphorePermit,
    anonymous: &Arc<Semaphore>,
    cut: CancellationToken,
    entrance: &Entrance,
) -> Result<Connection, String> {
    if peer.caller.is_some() {
        let cut = Box::pin(cut.cancelled_owned());
        return Ok(Connection { stream, peer, cut, _permit: permit, _anonymous: None });
    }
    let Ok(anonymous) = anonymous.clone().try_acquire_owned() else {
        return Err("there are too many connections without a certificate".into());
    };
    let (limit, clock) = (entrance.timing.anonymous(), entrance.clock.clone());
    let cut = Box::pin(async move { _ = clock.limit(limit, cut.cancelled_owned()).await });
    Ok(Connection { stream, peer, cut, _permit: permit, _anonymous: Some(anonymous) })
}

async fn shake_hands(
    stream: TcpStream,
    addr: SocketAddr,
    entrance: &Entrance,
) -> Result<(TlsStream<TcpStream>, Peer), String> {
    let _ = stream.set_nodelay(true);
    let credentials = entrance.tls.current();
    let handshake = TlsAcceptor::from(credentials.server.clone()).accept(stream);
    let stream = match entrance.clock.limit(entrance.timing.connect(), handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(reason(&error)),
        Err(_) => return Err("no TLS handshake in time".into()),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = match certificate {
        Some(certificate) => {
            let mut caller = identity_of(certificate).map_err(|error| error.to_string())?;
            if caller.cluster_id != credentials.identity.cluster_id {
                return Err(format!("the certificate is of another swarm ({})", caller.cluster_id));
            }
            caller.addr = Some(addr);
            Some(caller)
        }
        None => None,
    };
    Ok((stream, Peer { caller, addr: Some(addr) }))
}

fn reason(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => "it is not TLS".into(),
        // All swarms' roots have one name: a foreign one is found by its signature.
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::BadSignature | rustls::CertificateError::UnknownIssuer,
        )) => "its certificate is not of this swarm".into(),
        Some(rustls::Error::InvalidCertificate(inner)) => format!("its certificate is refused: {inner:?}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tonic::service::Routes;

    use super::*;
    use crate::api::GetRootCaRequest;
    use crate::api::NodeRole;
    use crate::api::ca_client::CaClient;
    use crate::api::ca_server::CaServer;
    use crate::ca::{CaService, NODE_VALIDITY, NodeKey, RootKey, new_root, sign_node};
    use crate::store::MemoryStore;
    use crate::surroundings::Surroundings;
    use crate::wire::{Credentials, Peers};

    const HOUR: Duration = Duration::from_secs(3600);

    fn credentials(root: &RootKey, cluster: &str, validity: Duration, now: SystemTime) -> Credentials {
        trusting(root.cert_pem.as_bytes(), root, cluster, validity, now)
    }

    /// A node of `root`'s that trusts `roots`.
    fn trusting(roots: &[u8], root: &RootKey, cluster: &str, validity: Duration, now: SystemTime) -> Credentials {
        let key = NodeKey::generate().unwrap();
        let node = Caller { node_id: "n".into(), role: NodeRole::Manager, cluster_id: cluster.into(), addr: None };
        let chain = sign_node(root, &key.request_pem, &node, validity, now).unwrap();
        Credentials::from_pem(roots, chain.as_bytes(), key.key_pem.as_bytes(), &Surroundings::system().clock).unwrap()
    }

    async fn ask(tls: &Arc<Tls>, addr: SocketAddr) -> Result<(), tonic::Status> {
        let channel = Peers::new(tls.clone(), Timing::default(), Surroundings::system().clock)
            .channel(&addr.to_string())
            .unwrap();
        CaClient::new(channel).get_root_ca(GetRootCaRequest {}).await.map(drop)
    }

    #[tokio::test]
    async fn certificates_of_another_swarm_or_time_get_no_connection_and_renewed_ones_are_used_at_once() {
        let now = SystemTime::now();
        let root = new_root(now - HOUR * 24).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Arc::new(Tls::new(credentials(&root, "c", NODE_VALIDITY, now)));
        let ca = CaService::new(Arc::new(MemoryStore::new()), Surroundings::system(), b"root".to_vec());
        let routes = Routes::new(CaServer::new(ca)).prepare();
        let (stop, clock) = (CancellationToken::new(), Surroundings::system().clock);
        let serving = tokio::spawn(serve(listener, server.clone(), Timing::default(), clock, routes, stop.clone()));

        let client = Arc::new(Tls::new(credentials(&root, "c", NODE_VALIDITY, now)));
        ask(&client, addr).await.unwrap();
        client.replace(credentials(&root, "other", NODE_VALIDITY, now));
        ask(&client, addr).await.unwrap_err();
        client.replace(credentials(&root, "c", HOUR, now - HOUR * 2));
        ask(&client, addr).await.unwrap_err();
        // Renewed while the server runs: the next connection shows it.
        client.replace(credentials(&root, "c", HOUR, now));
        ask(&client, addr).await.unwrap();
        server.replace(credentials(&root, "c", HOUR, now - HOUR * 2));
        ask(&client, addr).await.unwrap_err();
        server.replace(credentials(&root, "c", HOUR, now));
        ask(&client, addr).await.unwrap();
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    /// What the server says of a connection, and what the client reads: a TLS error or the bytes.
    async fn handshake(
        server: Credentials,
        client: impl AsyncFnOnce(TcpStream) -> Result<Vec<u8>, io::Error>,
    ) -> (Result<(), String>, Result<Vec<u8>, String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tls = Arc::new(Tls::new(server));
        let entrance = Entrance { tls, timing: Timing::default(), clock: Surroundings::system().clock };
        let serving = async {
            let (stream, addr) = listener.accept().await.unwrap();
            shake_hands(stream, addr, &entrance).await.map(drop)
        };
        let asking = async {
            let read = client(TcpStream::connect(addr).await.unwrap()).await;
            read.map_err(|error| reason(&error))
        };
        tokio::join!(serving, asking)
    }

    async fn in_tls(stream: TcpStream, client: Credentials) -> Result<Vec<u8>, io::Error> {
        let name = rustls_pki_types::ServerName::try_from(super::super::tls::MANAGER_NAME).unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(client.client).connect(name, stream).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.map(|_| read)
    }

    #[tokio::test]
    async fn each_side_of_a_refused_connection_knows_why() {
        let now = SystemTime::now();
        let (root, foreign) = (new_root(now).unwrap(), new_root(now).unwrap());
        let mut both = root.cert_pem.clone();
        both.push_str(&foreign.cert_pem);
        let server = || credentials(&root, "c", NODE_VALIDITY, now);

        let plain = async |mut stream: TcpStream| {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.map(|_| read)
        };
        let (said, read) = handshake(server(), plain).await;
        assert_eq!(said, Err("it is not TLS".into()));
        // A fatal alert of TLS and nothing else.
        let read = read.unwrap();
        assert_eq!((read[0], read.len(), read[5]), (21, 7, 2), "{read:?}");

        let client = trusting(both.as_bytes(), &foreign, "c", NODE_VALIDITY, now);
        let (said, read) = handshake(server(), async |stream| in_tls(stream, client).await).await;
        assert_eq!(said, Err("its certificate is not of this swarm".into()));
        assert_eq!(read, Err("received fatal alert: DecryptError".into()));

        let client = credentials(&foreign, "c", NODE_VALIDITY, now);
        let (said, read) = handshake(server(), async |stream| in_tls(stream, client).await).await;
        assert_eq!(said, Err("received fatal alert: DecryptError".into()));
        assert_eq!(read, Err("its certificate is not of this swarm".into()));

        let client = credentials(&root, "other", NODE_VALIDITY, now);
        let (said, _) = handshake(server(), async |stream| in_tls(stream, client).await).await;
        assert_eq!(said, Err("the certificate is of another swarm (other)".into()));
    }
}
