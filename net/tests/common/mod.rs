//! A host of its own for every test: a thread in a fresh network and mount namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use skep_net::{Net, NetPaths, SandboxId, in_namespace};

/// Runs a test body as the only inhabitant of a machine.
pub(crate) fn on_a_host(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().spawn(move || {
        isolate();
        body();
    });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn isolate() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    run("ip", &["link", "set", "lo", "up"]);
}

/// Whether bridged frames pass the rules for routed packets, where the kernel can do that.
pub(crate) fn filter_bridged(value: &str) {
    let path = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if path.exists() {
        std::fs::write(path, value).unwrap();
    }
}

/// Test set-up only: the product calls no program.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Networks in a temporary directory.
pub(crate) struct Machine {
    pub net: Net,
    pub directory: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("skep-net-test-").tempdir().unwrap();
        // A mount of its own, so that namespaces bound in it go with it.
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let net = Net::open(NetPaths::new(directory.path().join("root"), directory.path().join("run"))).unwrap();
        Self { net, directory }
    }

    pub(crate) fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.net.paths().namespaces())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.directory.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A container's id from a number.
pub(crate) fn id(number: u32) -> SandboxId {
    SandboxId::new(format!("{number:012x}{:052x}", 0)).unwrap()
}

/// A TCP server that answers each connection with its name and the peer's address.
pub(crate) struct Server {
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    /// Listens in the namespace at `path`.
    pub(crate) fn start(path: &Path, port: u16, name: &str) -> Self {
        let listener = in_namespace(path, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).unwrap();
        Self::serve(listener, name)
    }

    /// Listens in the namespace of the calling thread.
    pub(crate) fn start_here(address: Ipv4Addr, port: u16, name: &str) -> Self {
        Self::serve(TcpListener::bind((address, port)).unwrap(), name)
    }

    fn serve(listener: TcpListener, name: &str) -> Self {
        let name = name.to_owned();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let name = name.clone();
                std::thread::spawn(move || {
                    let peer = stream.peer_addr().unwrap();
                    let _ = write!(stream, "{name} {}", peer.ip());
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = stream.read(&mut [0; 16]);
                });
            }
        });
        Self { connections }
    }
}

/// What a server at this address answers, or why none does.
pub(crate) fn ask(address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let target = SocketAddr::V4(SocketAddrV4::new(address, port));
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The same, asked in a namespace.
pub(crate) fn ask_in(path: &Path, address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    in_namespace(path, || ask(address, port)).unwrap()
}

/// Asks until there is an answer: a link's carrier and a bridge's port take a moment.
pub(crate) fn ask_patiently(path: Option<&Path>, address: Ipv4Addr, port: u16) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = match path {
            Some(path) => ask_in(path, address, port),
            None => ask(address, port),
        };
        match answer {
            Ok(answer) => return answer,
            Err(failure) if Instant::now() > end => panic!("{address}:{port} {path:?}: {failure}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A second machine, joined to this one by a cable: a namespace with an address and no more.
pub(crate) struct Outside {
    pub path: PathBuf,
}

impl Outside {
    /// The cable's near end is named `up0` here and has `here`; the far one `eth0` and `there`.
    pub(crate) fn new(machine: &Machine, here: &str, there: &str) -> Self {
        let path = machine.directory.path().join("outside");
        make_namespace(&path);
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "far0"]);
        move_link("far0", &path);
        run("ip", &["addr", "add", here, "dev", "up0"]);
        run("ip", &["link", "set", "up0", "up"]);
        inside(&path, "ip", &["link", "set", "lo", "up"]);
        inside(&path, "ip", &["link", "set", "far0", "name", "eth0"]);
        inside(&path, "ip", &["addr", "add", there, "dev", "eth0"]);
        inside(&path, "ip", &["link", "set", "eth0", "up"]);
        Self { path }
    }
}

pub(crate) fn make_namespace(path: &Path) {
    std::fs::File::create(path).unwrap();
    let path = path.to_owned();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    })
    .join()
    .unwrap();
}

/// Runs a program in a namespace.
pub(crate) fn inside(path: &Path, program: &str, arguments: &[&str]) -> String {
    in_namespace(path, || run(program, arguments)).unwrap()
}

/// Moves a link of this namespace into another. `ip` takes a process for it.
pub(crate) fn move_link(link: &str, path: &Path) {
    let mut sleeper = in_namespace(path, || Command::new("sleep").arg("60").spawn().unwrap()).unwrap();
    run("ip", &["link", "set", link, "netns", &sleeper.id().to_string()]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}
