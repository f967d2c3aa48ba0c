//! How long a container takes, for comparison with another runtime on the same machine.
//!
//! Not a test: `kernel __bench LAYER NUMBER [volatile]` prints the median and the minimum, in
//! microseconds, of create + start + end + delete of /bin/true, after the first.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use skep_runtime::kernel::{self, CgroupPath, KernelConfig, Rootfs, Shm, Stdio};

use crate::lab::process;

/// Prints the times.
pub(crate) fn run(arguments: &[String]) {
    kernel::prepare_process().unwrap();
    let layer = PathBuf::from(&arguments[0]);
    let number: usize = arguments[1].parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let volatile = arguments.get(2).is_some_and(|word| word == "volatile");
    once(&layer, directory.path(), volatile);
    let mut times: Vec<Duration> = (0..number).map(|_| once(&layer, directory.path(), volatile)).collect();
    times.sort();
    let microseconds = |at: usize| times[at].as_micros();
    println!("median {} minimum {}", microseconds(number / 2), microseconds(0));
}

fn once(layer: &std::path::Path, base: &std::path::Path, volatile: bool) -> Duration {
    let path = |name: &str| base.join(name);
    let config = KernelConfig {
        id: "rtk-bench".to_owned(),
        state_dir: path("state"),
        filter_dir: path("filters"),
        rootfs: Rootfs {
            lower_base: layer.parent().unwrap().to_owned(),
            lower: vec![layer.file_name().unwrap().to_str().unwrap().to_owned()],
            upper: path("upper"),
            work: path("work"),
            merged: path("merged"),
            read_only: false,
            volatile,
        },
        process: process(&["/bin/true"]),
        hostname: Some("bench".to_owned()),
        domainname: None,
        namespaces: Default::default(),
        mounts: Vec::new(),
        files: Vec::new(),
        shm: Shm::default(),
        masked_paths: kernel::default_masked_paths(),
        read_only_paths: kernel::default_read_only_paths(),
        seccomp: Default::default(),
        devices: Vec::new(),
        privileged: false,
        resources: Default::default(),
        cgroup: CgroupPath { parent: "/rtk-kernel-bench".to_owned(), name: "rtk-bench".to_owned() },
        sysctls: Default::default(),
    };
    std::fs::create_dir_all(path("bundle")).unwrap();
    let stdio = Stdio::Fds { stdin: None, stdout: None, stderr: None };
    let began = Instant::now();
    let mut created = kernel::create(&config, &path("bundle"), stdio).unwrap();
    kernel::start(&mut created).unwrap();
    waitpid(Pid::from_raw(created.init_pid), None).unwrap();
    kernel::delete(&config).unwrap();
    began.elapsed()
}
