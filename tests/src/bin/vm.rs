//! Runs the network and swarm tests in a virtual machine with Debian's cloud kernel: `make test-vm`.
//!
//! QEMU emulates the processor in software, so no hypervisor is needed. The kernel is unpacked from Debian's package,
//! never installed; a small initial RAM disk finds the real root, an ext4 image holding the tests, `skep`, and the
//! handful of Debian's programs that the lab calls. There is cgroup v2, IPVS and every capability.
//!
//! Arguments choose tests of the front door by their names (default: those that another kernel may change, and what is
//! about the kernel itself).
#![allow(clippy::print_stdout, reason = "this is a program for people")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skep_tests::Lab;
use skep_tests::images::tutorial::libraries;
use skep_tests::lab::PREPARED;
use skep_tests::program::{bound_to_us, run, tool};
use skep_tests::skep;

const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
/// The line the guest prints last, followed by the exit code of the tests.
const RESULT: &str = "VM-RESULT:";
/// The line it begins with.
const BOOTED: &str = "VM-KERNEL:";
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Where a virtio disk needs them, in the order of their dependencies.
const DISK_MODULES: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"];
/// What a machine loads at boot before skep is used on it.
const BOOT_MODULES: &str = "overlay veth bridge br_netfilter vxlan nf_tables nft_chain_nat nft_numgen ip_vs ip_vs_rr";
/// Debian's programs that the lab calls; the rest is busybox.
const PROGRAMS: [&str; 11] =
    ["nsenter", "setsid", "ip", "bridge", "nft", "ipvsadm", "tcpdump", "strace", "nginx", "docker-registry", "kmod"];

fn main() -> ExitCode {
    match test() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(code) => {
            println!("the tests failed in the virtual machine with {code}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The tests of the front door that meet another kernel here than on the machine itself: its addresses, IPVS, cgroup v2.
/// Who may join, and whose images may be pulled, is no business of a kernel.
const ABOUT_THE_KERNEL: [&str; 3] = ["network::", "swarm::the_tutorial", "swarm::services_follow_their_nodes"];

/// A test program, and how it is run in the machine.
struct Run {
    test: &'static str,
    /// How many tests at a time. Most of a test is waiting, even where the processor is emulated.
    threads: u8,
    /// Parts of the names of the tests that are run; none: all.
    filters: Vec<String>,
}

fn test() -> Result<i32> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let door = |filters| Run { test: "front_door", threads: 2, filters };
    let runs = match chosen.is_empty() {
        true => vec![
            door(ABOUT_THE_KERNEL.map(ToOwned::to_owned).to_vec()),
            // The last one, and alone: it spoils the machine.
            Run { test: "kernel", threads: 1, filters: Vec::new() },
        ],
        false => vec![door(chosen)],
    };
    let directory = target()?.join("vm");
    fs::create_dir_all(&directory)?;
    let kernel = Kernel::unpack(&directory)?;
    let names: Vec<&str> = runs.iter().map(|run| run.test).collect();
    let tests: Vec<(PathBuf, Run)> = build_tests(&names)?.into_iter().zip(runs).collect();
    let ram_disk = ram_disk(&directory, &kernel)?;
    let disk = disk(&directory, &kernel, &tests)?;
    boot(&kernel, &ram_disk, &disk)
}

fn target() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
    fs::create_dir_all(&target)?;
    Ok(target.canonicalize()?)
}

/// Debian's kernel package, unpacked.
struct Kernel {
    image: PathBuf,
    version: String,
    modules: PathBuf,
}

impl Kernel {
    fn unpack(directory: &Path) -> Result<Self> {
        let tree = directory.join("kernel");
        if !tree.join("complete").exists() {
            fs::remove_dir_all(&tree).ok();
            fs::create_dir_all(&tree)?;
            Self::download(&tree)?;
            File::create(tree.join("complete"))?;
        }
        let modules = only_entry(&tree.join("lib/modules"))?;
        let version = modules
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .context("a kernel without a version")?;
        Ok(Self { image: tree.join(format!("boot/vmlinuz-{version}")), version, modules })
    }

    fn download(tree: &Path) -> Result<()> {
        let package = match newest_kernel() {
            Ok(package) => package,
            Err(_) => {
                tool(&["apt-get", "update", "-q"])?;
                newest_kernel()?
            }
        };
        println!("unpacking {package}");
        let mut download = Command::new("apt-get");
        // Its own sandbox cannot write into a directory of root's.
        download.args(["download", "-q", "-o", "APT::Sandbox::User=root", &package]);
        run(download.current_dir(tree))?.success()?;
        let archive = fs::read_dir(tree)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded nothing")?;
        run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(tree))?.success()?;
        fs::remove_file(archive)?;
        let modules = only_entry(&tree.join("lib/modules"))?;
        let version = modules.file_name().context("a kernel without a version")?;
        run(Command::new("depmod").arg("-b").arg(tree).arg(version))?.success()?;
        Ok(())
    }

    fn module(&self, name: &str) -> Result<PathBuf> {
        let index = fs::read_to_string(self.modules.join("modules.dep"))?;
        let file = format!("/{name}.ko:");
        index
            .lines()
            .filter_map(|line| line.split_inclusive(':').next())
            .find(|path| path.ends_with(&file))
            .map(|path| self.modules.join(path.trim_end_matches(':')))
            .with_context(|| format!("this kernel has no module {name}"))
    }
}

fn newest_kernel() -> Result<String> {
    let depends = tool(&["apt-cache", "depends", KERNEL_PACKAGE])?;
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(ToOwned::to_owned)
        .with_context(|| format!("apt knows no {KERNEL_PACKAGE}"))
}

fn only_entry(directory: &Path) -> Result<PathBuf> {
    fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .next()
        .with_context(|| format!("{} is empty", directory.display()))
}

/// The compiled test binaries called `names`, in that order.
fn build_tests(names: &[&str]) -> Result<Vec<PathBuf>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["test", "--locked", "--no-run", "-p", "skep-tests"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    for name in names {
        command.args(["--test", name]);
    }
    let built = command.output().context("cannot start cargo")?;
    if !built.status.success() {
        bail!("the tests do not compile");
    }
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let name = message.pointer("/target/name").and_then(|name| name.as_str());
        let executable = message.get("executable").and_then(|path| path.as_str());
        if let (Some(name), Some(executable)) = (name, executable)
            && names.contains(&name)
        {
            binaries.push(PathBuf::from(executable));
        }
    }
    if binaries.len() != names.len() {
        bail!("cargo built {binaries:?} for {names:?}");
    }
    let file = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    binaries.sort_by_key(|path| names.iter().position(|name| file(path).starts_with(&format!("{name}-"))));
    Ok(binaries)
}

/// The initial RAM disk: busybox, the modules of the disk, and a script that goes on to the disk.
fn ram_disk(directory: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let tree = directory.join("initrd");
    fs::remove_dir_all(&tree).ok();
    for inside in ["bin", "dev", "proc", "new"] {
        fs::create_dir_all(tree.join(inside))?;
    }
    fs::copy(which("busybox")?, tree.join("bin/busybox"))?;
    let mut script = "#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n".to_owned();
    for module in DISK_MODULES {
        fs::copy(kernel.module(module)?, tree.join(format!("{module}.ko")))?;
        script.push_str(&format!("/bin/busybox insmod /{module}.ko\n"));
    }
    script.push_str(&format!(
        "/bin/busybox mount -t ext4 /dev/vda /new && exec /bin/busybox switch_root /new /init\n\
         echo '{RESULT} 125'\n/bin/busybox poweroff -f\n"
    ));
    write_program(&tree.join("init"), &script)?;
    let archive = directory.join("initrd.cpio");
    let pack = format!("find . | cpio --quiet -o -H newc > '{}'", archive.display());
    run(Command::new("sh").arg("-c").arg(pack).current_dir(&tree))?.success()?;
    Ok(archive)
}

/// The root disk of the machine.
fn disk(directory: &Path, kernel: &Kernel, tests: &[(PathBuf, Run)]) -> Result<PathBuf> {
    let tree = directory.join("root");
    fs::remove_dir_all(&tree).ok();
    for inside in [
        "bin",
        "dev",
        "etc",
        "lib/modules",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tests",
        "tmp",
        "usr/bin",
        "usr/sbin",
        "var/lib/nginx",
        "var/log/nginx",
        "var/tmp",
    ] {
        fs::create_dir_all(tree.join(inside))?;
    }
    run(Command::new("cp").arg("-a").arg(&kernel.modules).arg(tree.join("lib/modules")))?.success()?;
    let mut placed = BTreeSet::new();
    for name in PROGRAMS {
        place(&tree, &which(name)?, &mut placed)?;
    }
    symlink("../usr/bin/kmod", tree.join("sbin/modprobe"))?;
    fs::create_dir_all(tree.join("etc/nginx"))?;
    fs::copy("/etc/nginx/mime.types", tree.join("etc/nginx/mime.types"))?;
    let busybox = which("busybox")?;
    fs::copy(&busybox, tree.join("usr/bin/busybox"))?;
    for applet in tool(&["busybox", "--list"])?.lines() {
        let elsewhere = ["usr/bin", "usr/sbin", "sbin"];
        if !elsewhere.iter().any(|place| tree.join(place).join(applet).exists()) {
            symlink("/usr/bin/busybox", tree.join("bin").join(applet))?;
        }
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\nwww-data:x:33:\n")?;
    fs::write(tree.join("etc/resolv.conf"), "nameserver 127.0.0.1\n")?;
    fs::copy(skep::binary()?, tree.join("usr/bin/skep"))?;
    let lab = Lab::new(0)?;
    let images = lab.directory().join("registry/data");
    run(Command::new("cp").arg("-a").arg(images).arg(tree.join("images")))?.success()?;
    drop(lab);
    let mut runs = String::new();
    for (path, run) in tests {
        let name = path.file_name().context("a test without a name")?;
        fs::copy(path, tree.join("tests").join(name))?;
        let arguments: String = run.filters.iter().map(|word| format!(" '{word}'")).collect();
        runs.push_str(&format!(
            "echo; echo '     Running {0} in the virtual machine'\n\
             /tests/{0} --test-threads={1}{arguments} || result=$?\n",
            name.to_string_lossy(),
            run.threads
        ));
    }
    write_program(&tree.join("init"), &init(&kernel.version, &runs))?;
    image(directory, &tree)
}

fn init(version: &str, runs: &str) -> String {
    format!(
        "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb\n\
         mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n\
         mkdir -p /dev/pts /dev/shm\nmount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts\n\
         mount -t tmpfs run /run\nmount -t tmpfs -o mode=1777 shm /dev/shm\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         ln -sf /proc/self/fd /dev/fd; ln -sf /proc/self/mounts /etc/mtab\n\
         echo {BOOTED} {version}, cgroup v2: $(cat /sys/fs/cgroup/cgroup.controllers)\n\
         for module in {BOOT_MODULES}; do modprobe $module || echo \"no module $module\"; done\n\
         ip link set lo up\nhostname vm\nulimit -n 65536\n\
         export SKEP_BIN=/usr/bin/skep SKEP_TEST_SLOW=8 {PREPARED}=/images RUST_BACKTRACE=0\n\
         result=0\n{runs}\
         echo; echo \"the machine was up for $(cut -d' ' -f1 /proc/uptime) seconds\"\n\
         sync\necho \"{RESULT} $result\"\npoweroff -f\n"
    )
}

fn image(directory: &Path, tree: &Path) -> Result<PathBuf> {
    let disk = directory.join("disk.img");
    fs::remove_file(&disk).ok();
    File::create(&disk)?.set_len(6 << 30)?;
    let mut make = Command::new(which("mkfs.ext4")?);
    make.args(["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-d"]);
    run(make.arg(tree).arg(&disk))?.success()?;
    Ok(disk)
}

/// Copies `program` and what it needs to the same places below `tree`.
fn place(tree: &Path, program: &Path, placed: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut files = libraries(program)?;
    files.push(program.to_owned());
    for file in files {
        if placed.insert(file.clone()) {
            let inside = tree.join(file.strip_prefix("/")?);
            if let Some(parent) = inside.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(&file, &inside).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    Ok(())
}

fn which(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .with_context(|| format!("{name} is missing: run `make deps`"))
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Boots the machine, prints what it prints, and returns the exit code of its tests.
fn boot(kernel: &Kernel, ram_disk: &Path, disk: &Path) -> Result<i32> {
    // A machine that outlives us would go on for as long as its tests take.
    let mut command = bound_to_us("qemu-system-x86_64");
    command
        .args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3G"])
        .args(["-nographic", "-no-reboot", "-nic", "none", "-append"])
        .arg("console=ttyS0 quiet panic=-1 mitigations=off no_timer_check random.trust_cpu=on")
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(ram_disk)
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    println!("booting {} in QEMU", kernel.version);
    let mut machine = command.spawn().context("cannot start QEMU: run `make deps`")?;
    let console = machine.stdout.take().context("a machine without a console")?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(machine.id())?);
    let over = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&over);
    thread::spawn(move || {
        let deadline = Instant::now() + LIMIT;
        while !watched.load(Ordering::Relaxed) {
            if Instant::now() > deadline {
                println!("the virtual machine takes longer than {LIMIT:?}: switched off");
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
                return;
            }
            thread::sleep(Duration::from_millis(200));
        }
    });
    let mut result = None;
    // What the firmware says is of interest only if nothing follows it.
    let mut firmware = Vec::new();
    let mut booted = false;
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        let line = line.trim_end();
        if let Some(at) = line.find(BOOTED) {
            booted = true;
            println!("{}", line.get(at..).unwrap_or_default());
        } else if !booted {
            firmware.push(line.to_owned());
        } else if let Some(code) = line.strip_prefix(RESULT) {
            result = code.trim().parse().ok();
        } else {
            println!("{line}");
            std::io::stdout().flush()?;
        }
    }
    machine.wait()?;
    over.store(true, Ordering::Relaxed);
    if !booted {
        bail!("the virtual machine does not boot:\n{}", firmware.join("\n"));
    }
    result.context("the virtual machine ended without a result")
}
