//! Names to addresses, without the C library.
//!
//! A static binary must not call `getaddrinfo`: it loads NSS modules at run time. This asks `/etc/hosts`
//! and then the name servers of `/etc/resolv.conf`, over UDP and, for truncated answers, TCP (RFC 1035).
//! Addresses written as such need none of it: the HTTP client never asks for them.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use reqwest::dns::{Addrs, Resolve, Resolving};
use skep_common::resolv_conf::ResolvConf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const ATTEMPTS: usize = 2;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const DATAGRAM_BYTES_MAX: usize = 4096;

/// Resolves names with the files of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    hosts: PathBuf,
    configuration: PathBuf,
    /// Names of this machine, and of its cloud's services, lead nowhere.
    outside_only: bool,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver { hosts: "/etc/hosts".into(), configuration: "/etc/resolv.conf".into(), outside_only: false }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let resolver = self.clone();
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let mut addresses = resolver.lookup(&name).await?;
            if resolver.outside_only {
                addresses.retain(|address| !is_internal(*address));
                if addresses.is_empty() {
                    return Err(format!("{name} is an address of this machine").into());
                }
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

type LookupError = Box<dyn StdError + Send + Sync>;

/// Whether an address is this machine's alone, or that of services next to it.
pub(super) fn is_internal(address: IpAddr) -> bool {
    let four = |address: Ipv4Addr| address.is_loopback() || address.is_link_local() || address.is_unspecified();
    match address {
        IpAddr::V4(address) => four(address),
        IpAddr::V6(address) => {
            let mapped = address.to_ipv4_mapped().is_some_and(four);
            address.is_loopback() || address.is_unspecified() || mapped || address.is_unicast_link_local()
        }
    }
}

impl Resolver {
    /// One for places that a stranger names.
    pub(super) fn outside() -> Resolver {
        Resolver { outside_only: true, ..Resolver::default() }
    }

    /// Whether a name leads inside.
    pub(super) async fn leads_inside(&self, name: &str) -> bool {
        self.lookup(name).await.is_ok_and(|addresses| addresses.into_iter().any(is_internal))
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let plain = name.trim_end_matches('.').to_ascii_lowercase();
        let hosts = fs::read_to_string(&self.hosts).unwrap_or_default();
        let listed = addresses_in_hosts(&hosts, &plain);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if plain == "localhost" || plain.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let text = fs::read_to_string(&self.configuration).unwrap_or_default();
        let configuration = ResolvConf::parse(&text);
        let servers = configuration.socket_addresses();
        let mut last: LookupError = format!("no such host: {name}").into();
        for candidate in configuration.candidates(name) {
            match ask(&servers, &candidate).await {
                Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                Ok(_) => {}
                Err(error) => last = format!("cannot look {name} up: {error}").into(),
            }
        }
        Err(last)
    }
}

fn addresses_in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// All addresses of a name, IPv4 first. None is an answer too.
async fn ask(servers: &[SocketAddr], name: &str) -> io::Result<Vec<IpAddr>> {
    let (four, six) = tokio::join!(query(servers, name, RecordType::A), query(servers, name, RecordType::AAAA));
    match (four, six) {
        (Err(error), Err(_)) => Err(error),
        (four, six) => Ok(four.unwrap_or_default().into_iter().chain(six.unwrap_or_default()).collect()),
    }
}

async fn query(servers: &[SocketAddr], name: &str, kind: RecordType) -> io::Result<Vec<IpAddr>> {
    let mut last = io::Error::other("no name server");
    for _ in 0..ATTEMPTS {
        for server in servers {
            match query_server(*server, name, kind).await {
                Ok(addresses) => return Ok(addresses),
                Err(error) => last = io::Error::new(error.kind(), format!("name server {}: {error}", server.ip())),
            }
        }
    }
    Err(last)
}

async fn query_server(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Vec<IpAddr>> {
    let query = Query::query(Name::from_ascii(name).map_err(io::Error::other)?, kind);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let request = message.to_vec().map_err(io::Error::other)?;
    let answer = over_udp(server, &request, message.metadata.id, &query).await?;
    let answer = if answer.metadata.truncation {
        let answer = with_deadline(over_tcp(server, &request)).await?;
        check(&answer, message.metadata.id, &query)?;
        answer
    } else {
        answer
    };
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(io::Error::other(format!("answered {code}"))),
    }
    // Aliases come with what they lead to: a recursive server follows them.
    let addresses: BTreeSet<IpAddr> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .collect();
    Ok(addresses.into_iter().collect())
}

async fn with_deadline<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")))
}

async fn over_udp(server: SocketAddr, request: &[u8], id: u16, query: &Query) -> io::Result<Message> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Connected, so that only the server's answers arrive.
    socket.connect(server).await?;
    socket.send(request).await?;
    with_deadline(async {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // What does not answer the question may be forged: the real answer may still come.
            if let Ok(answer) = Message::from_vec(&buffer[..length])
                && check(&answer, id, query).is_ok()
            {
                return Ok(answer);
            }
        }
    })
    .await
}

async fn over_tcp(server: SocketAddr, request: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(request).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

fn check(answer: &Message, id: u16, query: &Query) -> io::Result<()> {
    let asked = answer.queries.first().is_some_and(|asked| asked == query);
    if answer.metadata.id == id && asked { Ok(()) } else { Err(io::Error::other("answered another question")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn hosts_are_read() {
        let hosts = "127.0.0.1 localhost\n10.1.2.3\tMirror.local mirror # comment mirror2\nfd00::1 mirror\nx y\n";
        assert_eq!(
            addresses_in_hosts(hosts, "mirror"),
            ["10.1.2.3".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
        );
        assert!(addresses_in_hosts(hosts, "mirror2").is_empty());
    }

    #[tokio::test]
    async fn localhost_needs_no_files() {
        let nowhere = || PathBuf::from("/nonexistent");
        let resolver = Resolver { hosts: nowhere(), configuration: nowhere(), outside_only: false };
        assert_eq!(resolver.lookup("localhost").await.unwrap().len(), 2);
        assert_eq!(resolver.lookup("10.0.0.1").await.unwrap(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn from_outside_no_name_leads_inside() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hosts = "169.254.169.254 cloud\n127.0.0.1 both self\n::ffff:127.0.0.1 mapped\n10.1.2.3 both mirror\n";
        fs::write(file.path(), hosts).unwrap();
        let mut resolver =
            Resolver { hosts: file.path().into(), configuration: "/nonexistent".into(), outside_only: true };
        let ask = async |resolver: &Resolver, name: &str| {
            let found = resolver.resolve(name.parse().unwrap()).await;
            found.map(|addresses| addresses.map(|address| address.ip()).collect::<Vec<_>>())
        };
        for name in ["cloud", "self", "mapped", "localhost"] {
            assert!(ask(&resolver, name).await.unwrap_err().to_string().contains("of this machine"), "{name}");
            assert!(resolver.leads_inside(name).await, "{name}");
        }
        let outside = [IpAddr::from([10, 1, 2, 3])];
        assert_eq!(ask(&resolver, "both").await.unwrap(), outside);
        assert_eq!(ask(&resolver, "mirror").await.unwrap(), outside);
        assert!(!resolver.leads_inside("mirror").await);
        resolver.outside_only = false;
        assert_eq!(ask(&resolver, "self").await.unwrap(), [IpAddr::from([127, 0, 0, 1])]);
    }

    /// A name server that answers A with one address, preceded by a forgery; over UDP always truncated.
    async fn serve(udp: UdpSocket, tcp: TcpListener) {
        let answer = |request: &[u8], truncated: bool| {
            let request = Message::from_vec(request).unwrap();
            let mut message = Message::response(request.metadata.id, OpCode::Query);
            message.add_queries(request.queries.clone());
            message.metadata.truncation = truncated;
            let query = &request.queries[0];
            if query.query_type() == RecordType::A && !truncated {
                let data = RData::A(A(Ipv4Addr::new(10, 9, 8, 7)));
                message.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            }
            message.to_vec().unwrap()
        };
        let datagrams = async {
            let mut buffer = [0; 512];
            loop {
                let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
                let mut forged = answer(&buffer[..length], false);
                forged[0] ^= 0xff;
                udp.send_to(&forged, peer).await.unwrap();
                udp.send_to(&answer(&buffer[..length], true), peer).await.unwrap();
            }
        };
        let streams = async {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut request = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut request).await.unwrap();
                let answer = answer(&request, false);
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        };
        tokio::join!(datagrams, streams);
    }

    #[tokio::test]
    async fn a_truncated_answer_is_asked_for_again_and_a_forged_one_ignored() {
        let (udp, tcp, address) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = udp.local_addr().unwrap();
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp, address);
            }
        };
        let server = tokio::spawn(serve(udp, tcp));
        assert_eq!(ask(&[address], "mirror.local.").await.unwrap(), ["10.9.8.7".parse::<IpAddr>().unwrap()]);
        server.abort();
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_named() {
        let error = ask(&["127.0.0.1:1".parse().unwrap()], "mirror.local.").await.unwrap_err().to_string();
        assert!(error.starts_with("name server 127.0.0.1: "), "{error}");
    }
}
