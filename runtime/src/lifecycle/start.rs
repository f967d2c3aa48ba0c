//! `start`: gives a container its network and its files, and hands it to a new shim.
//!
//! Called by `cli` and the swarm's executor, from any thread. The container's lock is held from
//! before the first change until the shim has put its name into state.json: the lock's descriptor
//! travels to the shim, so that there is no moment at which a kill leaves both out.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use skep_common::signal;
use skep_image::ImageId;
use skep_net::{DnsPorts, SandboxId};

use crate::error::{DisplayChain, Error, Result};
use crate::files::{self, FileLock};
use crate::kernel::{
    self, CgroupPath, FileBind, KernelConfig, Namespace, Namespaces, Rootfs, Seccomp, Shm, descriptors,
};
use crate::lifecycle::hosts::{self, Dns, Hosts, Resolver};
use crate::lifecycle::launch::{Launch, LogSettings};
use crate::lifecycle::network::Joined;
use crate::records::allowed::Verb;
use crate::records::config::{self, ContainerRecord, NetworkMode};
use crate::records::resolve;
use crate::records::state::{ContainerState, ProcessId};
use crate::runtime::Runtime;
use crate::streams::attach::Attach;
use crate::streams::control::{self, Order, StartReport};
use crate::streams::session::Session;

/// How long a shim may take to go, or to start its container.
pub(crate) const SETTLE_PATIENCE: Duration = Duration::from_secs(60);

impl Runtime {
    /// Starts a container. Returns once its program runs, with what the user should know. One that
    /// runs already is left as it is.
    ///
    /// # Errors
    /// [`Error::Start`] with docker's words and exit code; [`Error::StartPaused`].
    pub fn start(&self, name_or_id: &str) -> Result<Vec<String>> {
        Ok(self.launch(name_or_id, None, false)?.warnings)
    }

    /// Starts a container and connects to its streams before its program runs: nothing it prints
    /// is missed.
    ///
    /// # Errors
    /// As [`Runtime::start`].
    pub fn start_attached(&self, name_or_id: &str, attach: Attach) -> Result<Session> {
        match self.launch(name_or_id, Some(attach), false)?.session {
            Some(session) => Ok(session),
            None => self.attach(name_or_id, attach),
        }
    }

    /// Starts a container, unless it runs already.
    pub(crate) fn launch(&self, name_or_id: &str, attach: Option<Attach>, restarted: bool) -> Result<Launched> {
        let id = self.resolve(name_or_id)?;
        let lock = self.lock(&id)?;
        self.heal_locked(&id)?;
        let missing = || Error::NoSuchContainer(name_or_id.to_owned());
        let status = self.settle(&id)?.ok_or_else(missing)?.status;
        if status.is_started() {
            return Ok(Launched::default());
        }
        Verb::Start.require(status, name_or_id)?;
        let (record, _) = self.load(&id)?.ok_or_else(missing)?;
        let attach = attach.map(|attach| Attach { stdin: attach.stdin && record.config.stdin_open, ..attach });
        tracing::info!(container.id = %id, "starting");
        let started = self.set_up(&record).and_then(|dns| self.spawn_shim(&record, &lock, attach, dns, restarted));
        match started {
            Ok((stream, warnings)) => {
                let Some((socket, attach)) = stream.zip(attach) else {
                    return Ok(Launched { session: None, warnings });
                };
                let shim = self.state(&id).ok().flatten().and_then(|state| state.shim);
                let session = Session::of_container(self.clone(), id, shim, socket)?;
                let session = session.with(record.config.tty, attach.stdin, warnings.clone());
                Ok(Launched { session: Some(session), warnings })
            }
            Err(error) => Err(self.start_failed(&record, error)),
        }
    }

    /// Undoes what is left, and says so in state.json. The lock is held.
    fn start_failed(&self, record: &ContainerRecord, error: Error) -> Error {
        let error = match error {
            Error::Start { .. } => error,
            other => Error::Start {
                name: record.name.clone(),
                message: DisplayChain(&other).to_string(),
                // 1 is said of another container, whose namespaces were to be shared.
                exit_code: other.exit_code().max(125),
            },
        };
        let Error::Start { message, exit_code, .. } = &error else { return error };
        // The shim removes a container that is to be removed, and what it held of the kernel.
        if !self.paths(&record.id).record().exists() {
            return error;
        }
        if let Err(failure) = self.tear_down(&record.id, record.config.auto_remove) {
            tracing::warn!(container.id = %record.id, error = %DisplayChain(&failure), "not everything was undone");
        }
        if !record.config.auto_remove {
            let mut state = self.state(&record.id).ok().flatten().unwrap_or_default();
            state.error.clone_from(message);
            state.exit_code = *exit_code;
            state.shim = None;
            state.init = None;
            files::store(&self.paths(&record.id).state(), &state).ok();
        }
        error
    }

    /// Everything that is there before the shim: network, files, launch.json.
    fn set_up(&self, record: &ContainerRecord) -> Result<Option<DnsSockets>> {
        let cgroup = self.cgroup(record);
        kernel::check_host(&cgroup)?;
        let paths = self.paths(&record.id);
        for directory in [&paths.bundle(), &paths.kernel_state(), &self.roots().filters()] {
            files::make_directory(directory)?;
        }
        let joined = self.join_networks(record)?;
        let shared = joined.shared.as_ref().and_then(|shared| shared.hostname.clone());
        let hostname = shared.unwrap_or_else(|| hostname(record));
        self.write_files(record, &joined, &hostname)?;
        let mut launch = self.launch_of(record, &joined, cgroup, &hostname)?;
        let sockets = match (&launch.dns, &joined.sandbox) {
            (Some(_), Some(sandbox)) => Some(self.dns_sockets(&record.id, &sandbox.namespace)?),
            _ => None,
        };
        if sockets.is_none() {
            launch.dns = None;
        }
        files::store_for_now(&paths.launch(), &launch)?;
        Ok(sockets)
    }

    fn dns_sockets(&self, id: &str, namespace: &std::path::Path) -> Result<DnsSockets> {
        let local = (Ipv4Addr::new(127, 0, 0, 11), 0);
        let opened = skep_net::in_namespace(namespace, || -> std::io::Result<(UdpSocket, TcpListener)> {
            Ok((UdpSocket::bind(local)?, TcpListener::bind(local)?))
        })?;
        let (udp, tcp) = opened.map_err(Error::system("open the container's name server"))?;
        let port = |address: std::io::Result<SocketAddr>| {
            address.map(|address| address.port()).map_err(Error::system("read a socket's address"))
        };
        let ports = DnsPorts { udp: port(udp.local_addr())?, tcp: port(tcp.local_addr())? };
        self.net().redirect_dns(&SandboxId::new(id)?, ports)?;
        Ok(DnsSockets { udp: udp.into(), tcp: tcp.into() })
    }

    pub(crate) fn cgroup(&self, record: &ContainerRecord) -> CgroupPath {
        let parent = record.config.cgroup_parent.clone().filter(|parent| parent.starts_with('/'));
        CgroupPath { parent: parent.unwrap_or_else(|| self.roots().cgroup_parent.clone()), name: record.id.clone() }
    }

    fn write_files(&self, record: &ContainerRecord, joined: &Joined, hostname: &str) -> Result<()> {
        let (paths, config) = (self.paths(&record.id), &record.config);
        let write = |path: std::path::PathBuf, text: &str| files::replace_for_now(&path, text.as_bytes(), 0o644);
        write(paths.hostname(), &format!("{hostname}\n"))?;
        let host_network = config.network == NetworkMode::Host;
        let base = host_network.then(|| std::fs::read_to_string("/etc/hosts").unwrap_or_default());
        let names = match &config.domainname {
            Some(domain) => format!("{hostname}.{domain} {hostname}"),
            None => hostname.to_owned(),
        };
        let own = joined.addresses(config).into_iter().map(|address| (address, names.clone())).collect();
        let text = Hosts { extra: &config.extra_hosts, host_gateway: joined.host_gateway, own };
        write(paths.hosts(), &hosts::hosts(base.as_deref(), &text))?;
        let dns = Dns { servers: &config.dns, search: &config.dns_search, options: &config.dns_options };
        let resolver = match (host_network, joined.has_names()) {
            (true, _) => Resolver::Host,
            (false, true) => Resolver::Embedded,
            (false, false) => Resolver::Filtered,
        };
        let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        write(paths.resolv_conf(), &hosts::resolv_conf(&host, &dns, resolver))
    }

    fn launch_of(
        &self,
        record: &ContainerRecord,
        joined: &Joined,
        cgroup: CgroupPath,
        hostname: &str,
    ) -> Result<Launch> {
        let (config, resolved) = (&record.config, &record.resolved);
        let security = resolve::security(config)?;
        let paths = self.paths(&record.id);
        let open = config.privileged || security.system_paths_unconfined;
        let (max_size, max_files) = resolve::log_limits(&config.log.driver, &config.log.options)?;
        let (namespaces, joined_processes) = self.namespaces(record, joined)?;
        let own_hostname = namespaces.uts == Namespace::Private;
        let container = KernelConfig {
            id: record.id.clone(),
            state_dir: paths.kernel_state(),
            filter_dir: self.roots().filters(),
            rootfs: self.rootfs(record)?,
            process: resolve::process(config, resolved, hostname)?,
            hostname: own_hostname.then(|| hostname.to_owned()),
            domainname: config.domainname.clone().filter(|_| own_hostname),
            namespaces,
            mounts: resolve::mounts(&record.mounts, |name| self.volumes().data(name))?,
            files: self.file_binds(record, joined),
            shm: match config.ipc_mode.as_str() {
                "host" => Shm::Path("/dev/shm".into()),
                _ => Shm::Private(config.shm_size.unwrap_or(64 << 20)),
            },
            masked_paths: if open { Vec::new() } else { kernel::default_masked_paths() },
            read_only_paths: if open { Vec::new() } else { kernel::default_read_only_paths() },
            seccomp: if config.privileged { Seccomp::Unconfined } else { security.seccomp },
            devices: config.devices.clone(),
            privileged: config.privileged,
            resources: resolve::resources(
                &config.limits,
                &config.device_rules,
                skep_common::procfs::processor_count(),
            )?,
            cgroup,
            sysctls: joined.other_sysctls(config),
        };
        Ok(Launch {
            version: config::VERSION,
            container,
            joined: joined_processes,
            restart: config.restart,
            auto_remove: config.auto_remove,
            stdin_open: config.stdin_open,
            stdin_once: config.stdin_once,
            stop_signal: signal::parse(&resolved.stop_signal)?,
            stop_timeout: resolved.stop_timeout,
            health: resolved.health.clone(),
            log: LogSettings { path: (config.log.driver != "none").then(|| paths.log()), max_size, max_files },
            dns: joined.dns_settings(self.net(), config),
        })
    }

    fn rootfs(&self, record: &ContainerRecord) -> Result<Rootfs> {
        let paths = self.paths(&record.id);
        let id: ImageId = record
            .image_id
            .parse()
            .map_err(|_| Error::InvalidConfig(format!("invalid image id {:?}", record.image_id)))?;
        let (mut lower_base, mut lower) = self.images().image(&id)?.overlay_lowers();
        if lower.is_empty() {
            files::make_directory(&paths.run.join("empty"))?;
            (lower_base, lower) = (paths.run.clone(), vec!["empty".to_owned()]);
        }
        Ok(Rootfs {
            lower_base,
            lower,
            upper: paths.upper(),
            work: paths.work(),
            merged: paths.rootfs(),
            read_only: record.config.read_only,
            volatile: record.config.auto_remove,
        })
    }

    /// What is put over the image's files. A mount of the user's at the same place wins.
    fn file_binds(&self, record: &ContainerRecord, joined: &Joined) -> Vec<FileBind> {
        let paths = self.paths(&record.id);
        let own = [
            (paths.resolv_conf(), "/etc/resolv.conf"),
            (paths.hostname(), "/etc/hostname"),
            (paths.hosts(), "/etc/hosts"),
        ];
        let own = own.map(|(source, target)| FileBind { source, target: target.to_owned(), read_only: false });
        let generated = joined.shared.as_ref().map_or(own.to_vec(), |shared| shared.files.clone());
        let replaced = |file: &FileBind| record.mounts.iter().any(|point| point.target == file.target);
        generated.into_iter().filter(|file| !replaced(file)).collect()
    }

    /// The namespaces, and the processes whose namespaces are among them.
    fn namespaces(&self, record: &ContainerRecord, joined: &Joined) -> Result<(Namespaces, Vec<ProcessId>)> {
        let config = &record.config;
        let mut processes = Vec::new();
        let mut of_mode = |mode: &str, kind: &str| -> Result<Namespace> {
            match mode.split_once(':') {
                _ if mode == "host" => Ok(Namespace::Host),
                Some(("container", other)) => {
                    let (other, state) = self.record(other)?;
                    let init = state.init.ok_or(Error::NotRunning(other.id))?;
                    processes.push(init);
                    Ok(Namespace::Path(format!("/proc/{}/ns/{kind}", init.pid).into()))
                }
                _ if matches!(mode, "" | "private" | "shareable" | "none") => Ok(Namespace::Private),
                _ => Err(Error::InvalidConfig(format!("invalid {kind} mode: {mode}"))),
            }
        };
        let namespaces = Namespaces {
            network: joined.namespace.clone(),
            pid: of_mode(&config.pid_mode, "pid")?,
            ipc: of_mode(&config.ipc_mode, "ipc")?,
            uts: of_mode(&config.uts_mode, "uts")?,
            cgroup: of_mode(&config.cgroupns_mode, "cgroup")?,
        };
        Ok((namespaces, processes))
    }

    /// Starts the shim and waits for its report.
    fn spawn_shim(
        &self,
        record: &ContainerRecord,
        lock: &FileLock,
        attach: Option<Attach>,
        dns: Option<DnsSockets>,
        restarted: bool,
    ) -> Result<(Option<UnixStream>, Vec<String>)> {
        let failed = |source| Error::SpawnShim { path: "/proc/self/exe".into(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let client = match attach {
            Some(attach) => {
                let (mut near, far) = UnixStream::pair().map_err(failed)?;
                control::send_request(&mut near, &attach.request()).map_err(failed)?;
                Some((near, far))
            }
            None => None,
        };
        // The shim lives in a mount namespace of its own; its clean-up has to be done in ours.
        let mounts = std::fs::File::open("/proc/self/ns/mnt").map_err(failed)?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![lock.as_fd(), mounts.as_fd()];
        fds.extend(client.iter().map(|(_, far)| far.as_fd()));
        fds.extend(dns.iter().flat_map(|sockets| [sockets.udp.as_fd(), sockets.tcp.as_fd()]));
        let order = Order { attach: client.is_some(), dns: dns.is_some(), restarted };
        let order = serde_json::to_vec(&order).unwrap_or_default();
        descriptors::send(&ours, &order, &fds).map_err(failed)?;
        drop(fds);
        drop(dns);
        let mut child = Command::new("/proc/self/exe")
            .arg0("skep-shim")
            .arg("__shim")
            .args([&self.roots().root, &self.roots().run_root])
            .args([&self.roots().cgroup_parent, &record.id])
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        let read = BufReader::new(&ours).read_line(&mut line);
        // The process we started ends as soon as the shim proper is on its own.
        child.wait().map_err(failed)?;
        read.map_err(failed)?;
        match serde_json::from_str(&line) {
            Ok(StartReport::Started { warnings }) => Ok((client.map(|(near, _)| near), warnings)),
            Ok(StartReport::Failed { message, exit_code }) => {
                Err(Error::Start { name: record.name.clone(), message, exit_code })
            }
            Err(_) => Err(Error::ShimLost(record.id.clone())),
        }
    }

    /// Waits until a container that neither runs nor is without a shim is one or the other: its
    /// shim is about to go, or (when the starter was killed) about to start it. The lock is held.
    pub(crate) fn settle(&self, id: &str) -> Result<Option<ContainerState>> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            let Some(state) = self.state(id)? else { return Ok(None) };
            match state.shim {
                Some(shim) if !state.status.is_active() && shim.is_alive() => {}
                _ => return Ok(Some(state)),
            }
            if Instant::now() >= deadline {
                return Err(Error::Busy(id.to_owned()));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// A container that was started.
#[derive(Debug, Default)]
pub(crate) struct Launched {
    /// `None` when nobody wants one, or the container runs already.
    session: Option<Session>,
    /// What the user should know.
    warnings: Vec<String>,
}

struct DnsSockets {
    udp: OwnedFd,
    tcp: OwnedFd,
}

/// What the container calls itself.
fn hostname(record: &ContainerRecord) -> String {
    let own = || skep_common::names::short_id(&record.id).to_owned();
    match &record.config.hostname {
        Some(hostname) => hostname.clone(),
        None if record.config.network == NetworkMode::Host || record.config.uts_mode == "host" => {
            nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(own)
        }
        None => own(),
    }
}
