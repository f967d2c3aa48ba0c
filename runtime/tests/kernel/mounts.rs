//! The mount tree: what is there, what the user adds, and hostile images.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use skep_runtime::kernel::{FileBind, Mount, MountKind, Propagation, Shm};

use crate::Case;
use crate::lab::Lab;

pub(crate) const CASES: &[Case] = &[
    ("mounts::standard_tree_is_complete", standard_tree_is_complete),
    ("mounts::binds_of_directories_and_files", binds_of_directories_and_files),
    ("mounts::read_only_reaches_what_is_mounted_below", read_only_reaches_what_is_mounted_below),
    ("mounts::later_mounts_travel_only_if_asked_for", later_mounts_travel_only_if_asked_for),
    ("mounts::tmpfs_and_shm", tmpfs_and_shm),
    ("mounts::below_sys_and_over_dev", below_sys_and_over_dev),
    ("mounts::read_only_root", read_only_root),
    ("mounts::second_start_keeps_files_and_nothing_else", second_start_keeps_files_and_nothing_else),
    ("mounts::volatile_root_can_be_mounted_again", volatile_root_can_be_mounted_again),
    ("mounts::many_layers", many_layers),
    ("mounts::links_for_kernel_directories_are_refused", links_for_kernel_directories_are_refused),
    ("mounts::links_out_of_the_container_stay_inside", links_out_of_the_container_stay_inside),
    ("mounts::bad_mounts_are_refused_with_a_reason", bad_mounts_are_refused_with_a_reason),
];

fn bind(source: impl Into<PathBuf>, target: &str, read_only: bool) -> Mount {
    Mount {
        target: target.to_owned(),
        read_only,
        kind: MountKind::Bind {
            source: source.into(),
            propagation: Propagation::Rprivate,
            recursive: true,
            nosuid: false,
            noexec: false,
        },
    }
}

fn tmpfs(target: &str, options: &str) -> Mount {
    Mount { target: target.to_owned(), read_only: false, kind: MountKind::Tmpfs { options: options.to_owned() } }
}

fn standard_tree_is_complete(lab: &Lab) {
    let outcome = lab.script("cut -d' ' -f1-4 /proc/mounts");
    let mounts: Vec<&str> = outcome.text().lines().collect();
    let has = |start: &str, flags: &[&str]| {
        let line = mounts.iter().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no {start} in {mounts:#?}"));
        let options: Vec<&str> = line.rsplit(' ').next().unwrap().split(',').collect();
        for flag in flags {
            assert!(options.contains(flag), "{flag} of {line}");
        }
    };
    let quiet = ["rw", "nosuid", "nodev", "noexec"];
    has("overlay / overlay", &["rw"]);
    has("proc /proc proc", &quiet);
    has("tmpfs /dev tmpfs", &["rw", "nosuid", "mode=755", "size=65536k"]);
    has("devpts /dev/pts devpts", &["rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]);
    has("mqueue /dev/mqueue mqueue", &quiet);
    has("tmpfs /dev/shm tmpfs", &["rw", "nosuid", "nodev", "noexec", "size=65536k"]);
    has("sysfs /sys sysfs", &["ro", "nosuid", "nodev", "noexec"]);
    has("proc /proc/sys proc", &["ro", "nosuid", "nodev", "noexec"]);
    assert!(mounts.iter().any(|line| line.contains(" /sys/fs/cgroup")), "{mounts:#?}");
    // Nothing of the host's tree, and nothing twice.
    let base = lab.directory.path().display().to_string();
    let others = mounts.iter().filter(|line| !line.starts_with("overlay / "));
    assert_eq!(others.filter(|line| line.contains(&base)).count(), 0, "{mounts:#?}");
    assert_eq!(mounts.iter().filter(|line| line.contains(" / ")).count(), 1);
    assert_eq!(mounts.iter().filter(|line| line.contains(" /proc proc")).count(), 1);
    let links = "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done";
    assert_eq!(lab.script(links).text(), "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx");
}

fn binds_of_directories_and_files(lab: &Lab) {
    let host = lab.path("host");
    fs::create_dir_all(host.join("sub")).unwrap();
    fs::write(host.join("file"), "from the host").unwrap();
    fs::write(host.join("resolv.conf"), "nameserver 127.0.0.11").unwrap();
    let mut config = lab.config(&[
        "sh",
        "-c",
        "cat /data/file /deep/er/file /run/file /etc/resolv.conf; echo in > /data/written; \
         echo x > /ro/written || echo refused; echo x > /etc/hosts || echo refused; pwd",
    ]);
    config.mounts = vec![
        // In the wrong order on purpose: a parent comes before what is below it.
        tmpfs("/data/sub", ""),
        bind(&host, "/data", false),
        bind(&host, "/ro", true),
        bind(host.join("file"), "/deep/er/file", false),
        // Through a link of the image.
        bind(host.join("file"), "/var/run/file", true),
    ];
    let file =
        |target: &str, read_only| FileBind { source: host.join("resolv.conf"), target: target.to_owned(), read_only };
    config.files = vec![file("/etc/resolv.conf", false), file("/etc/hosts", true)];
    let outcome = lab.run(&config);
    assert_eq!(
        outcome.text(),
        "from the hostfrom the hostfrom the hostnameserver 127.0.0.11refused\nrefused\n/",
        "{outcome:?}"
    );
    assert_eq!(fs::read_to_string(host.join("written")).unwrap(), "in\n");
    // Open to users that are not root, whatever mask the caller had.
    config.process.user.spec = "web".to_owned();
    config.process.args[2] = "cat /deep/er/file".to_owned();
    assert_eq!(lab.run(&config).text(), "from the host");
    // Made for the mount, in the container's own layer only.
    assert!(config.rootfs.upper.join("deep/er/file").exists());
}

/// A file system mounted below a directory of the host, for as long as it lives.
struct Below(PathBuf);

impl Below {
    fn new(lab: &Lab, name: &str) -> (PathBuf, Self) {
        let parent = lab.path(name);
        let below = parent.join("below");
        fs::create_dir_all(&below).unwrap();
        let guard = Self(below.clone());
        guard.mount();
        (parent, guard)
    }

    fn mount(&self) {
        nix::mount::mount(Some("tmpfs"), &self.0, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
        fs::write(self.0.join("seen"), "").unwrap();
    }

    fn unmount(&self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn read_only_reaches_what_is_mounted_below(lab: &Lab) {
    let (parent, _below) = Below::new(lab, "recursive");
    let mut config =
        lab.config(&["sh", "-c", "ls /m/below; touch /m/below/x || echo refused; touch /m/y || echo refused"]);
    config.mounts = vec![bind(&parent, "/m", true)];
    assert_eq!(lab.run(&config).text(), "seen\nrefused\nrefused");
    let mut single = bind(&parent, "/m", false);
    if let MountKind::Bind { recursive, .. } = &mut single.kind {
        *recursive = false;
    }
    config.mounts = vec![single];
    config.process.args[2] = "ls /m/below".to_owned();
    assert_eq!(lab.run(&config).text(), "");
}

fn later_mounts_travel_only_if_asked_for(lab: &Lab) {
    let (parent, below) = Below::new(lab, "travel");
    below.unmount();
    // The host's tree has to be shared for anything to travel; make this part of it so.
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&parent), &parent, None::<&str>, flags, None::<&str>).unwrap();
    let shared = nix::mount::MsFlags::MS_SHARED;
    nix::mount::mount(None::<&str>, &parent, None::<&str>, shared, None::<&str>).unwrap();
    let with = |wanted: Propagation| {
        let mut config = lab.config(&["sleep", "600"]);
        let mut mount = bind(&parent, "/m", false);
        if let MountKind::Bind { propagation, .. } = &mut mount.kind {
            *propagation = wanted;
        }
        config.mounts = vec![mount];
        lab.start(&config).up()
    };
    let (private, slave) = (with(Propagation::Rprivate), with(Propagation::Rslave));
    below.mount();
    assert_eq!(private.exec_script("ls /m/below").text(), "");
    assert_eq!(slave.exec_script("ls /m/below").text(), "seen");
    below.unmount();
    assert_eq!(slave.exec_script("ls /m/below").text(), "");
    private.stop();
    slave.stop();
    drop(below);
    nix::mount::umount2(&parent, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

fn tmpfs_and_shm(lab: &Lab) {
    let mut config =
        lab.config(&["sh", "-c", "grep -E ' /(t|u|dev/shm) ' /proc/mounts | cut -d' ' -f2-4; touch /dev/shm/x"]);
    config.mounts = vec![tmpfs("/t", "size=1m,mode=1777"), tmpfs("/u", "exec,ro")];
    config.shm = Shm::Private(2 << 20);
    let outcome = lab.run(&config);
    let text = outcome.text();
    assert!(text.contains("/t tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k"), "{text}");
    assert!(text.contains("/u tmpfs ro,nosuid,nodev,relatime"), "{text}");
    assert!(text.contains("/dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=2048k"), "{text}");
    let shared = lab.path("shm");
    fs::create_dir_all(&shared).unwrap();
    config.shm = Shm::Path(shared.clone());
    assert_eq!(lab.run(&config).code, Some(0));
    assert!(shared.join("x").exists());
}

fn below_sys_and_over_dev(lab: &Lab) {
    let host = lab.path("late");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("file"), "late").unwrap();
    let mut config = lab.config(&[
        "sh",
        "-c",
        "cat /sys/fs/cgroup/file; ls -A /dev | grep skep; grep -c ' /sys/fs/cgroup' /proc/mounts",
    ]);
    config.mounts = vec![bind(&host, "/sys/fs/cgroup", true)];
    assert_eq!(lab.run(&config).text(), "late1");
    config.mounts = vec![bind("/dev", "/dev", false)];
    config.process.args[2] = "test -e /dev/kmsg && ls -A /dev | grep skep; echo > /dev/null && echo null".to_owned();
    assert_eq!(lab.run(&config).text(), "null");
    assert!(!std::path::Path::new("/dev/.skep").exists());
    config.mounts = vec![tmpfs("/dev/mqueue", "")];
    config.process.args[2] = "grep ' /dev/mqueue' /proc/mounts | cut -d' ' -f1".to_owned();
    assert_eq!(lab.run(&config).text(), "tmpfs");
}

fn read_only_root(lab: &Lab) {
    let mut config = lab.config(&[
        "sh",
        "-c",
        "touch /x || echo refused; touch /etc/hosts; touch /run/x && touch /dev/shm/x && echo written",
    ]);
    config.rootfs.read_only = true;
    config.process.cwd = "/made/anyway".to_owned();
    config.mounts = vec![tmpfs("/run", "")];
    assert_eq!(lab.run(&config).text(), "refused\nwritten");
}

fn second_start_keeps_files_and_nothing_else(lab: &Lab) {
    let mut config = lab.config(&["sh", "-c", "echo $(cat /kept 2>/dev/null); echo again >> /kept"]);
    assert_eq!(lab.run(&config).text(), "");
    assert_eq!(lab.run(&config).text(), "again");
    assert_eq!(lab.run(&config).text(), "again again");
    let names = |directory: &str| {
        let mut names: Vec<String> = fs::read_dir(config.rootfs.upper.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    // Only mount points: no device node, link or file of ours in the image's layer.
    assert_eq!(names(""), ["dev", "kept", "proc", "sys"]);
    assert!(names("dev").is_empty() && names("proc").is_empty() && names("sys").is_empty());
    config.process.args[2] = "rm /kept".to_owned();
    assert_eq!(lab.run(&config).code, Some(0));
}

fn volatile_root_can_be_mounted_again(lab: &Lab) {
    let mut config =
        lab.config(&["sh", "-c", "echo x >> /kept; cat /kept; grep -c '^overlay / .*volatile' /proc/mounts"]);
    config.rootfs.volatile = true;
    assert_eq!(lab.run(&config).text(), "x\n1");
    assert_eq!(lab.run(&config).text(), "x\nx\n1");
    let mut running = lab.start(&{
        let mut sleeping = config.clone();
        sleeping.process = crate::lab::process(&["sleep", "600"]);
        sleeping
    });
    running.started();
    running.kill_shim();
    assert_eq!(lab.run(&config).text(), "x\nx\nx\n1");
}

fn many_layers(lab: &Lab) {
    let mut config = lab.config(&["cat", "/number"]);
    for number in 0..120 {
        let name = format!("many,:{number}");
        fs::create_dir_all(lab.path("layers").join(&name)).unwrap();
        fs::write(lab.path("layers").join(&name).join("number"), number.to_string()).unwrap();
        config.rootfs.lower.insert(0, name);
    }
    assert_eq!(lab.run(&config).text(), "119");
}

fn links_for_kernel_directories_are_refused(lab: &Lab) {
    for name in ["proc", "sys", "dev"] {
        let layer = lab.path("layers").join(format!("link-{name}"));
        fs::create_dir_all(&layer).unwrap();
        drop(fs::remove_file(layer.join(name)));
        symlink("/tmp", layer.join(name)).unwrap();
        let mut config = lab.config(&["true"]);
        config.rootfs.lower.insert(0, format!("link-{name}"));
        let outcome = lab.run(&config);
        assert_eq!(outcome.failure(), format!("/{name} inside the container is a symbolic link, which is not allowed"));
    }
}

fn links_out_of_the_container_stay_inside(lab: &Lab) {
    let outside = lab.path("outside");
    fs::create_dir_all(&outside).unwrap();
    let layer = lab.path("layers/hostile");
    fs::create_dir_all(&layer).unwrap();
    symlink(&outside, layer.join("absolute")).unwrap();
    let dots = format!("../../../../../../../..{}", outside.display());
    symlink(dots, layer.join("relative")).unwrap();
    symlink("etc/nothing", layer.join("dangling")).unwrap();
    let mut config = lab.config(&["sh", "-c", "ls /absolute/made /relative/too /dangling; pwd"]);
    config.rootfs.lower.insert(0, "hostile".to_owned());
    let source = lab.path("host-file");
    fs::write(&source, "").unwrap();
    config.mounts = vec![
        bind(&source, "/absolute/made/file", false),
        bind(&source, "/relative/too/file", false),
        bind(&source, "/dangling", false),
    ];
    config.process.cwd = "/relative/cwd".to_owned();
    let outcome = lab.run(&config);
    assert!(outcome.text().starts_with("/dangling\n\n/absolute/made:\nfile\n"), "{outcome:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made on the host");
}

fn bad_mounts_are_refused_with_a_reason(lab: &Lab) {
    let failure = |mount: Mount| {
        let mut config = lab.config(&["true"]);
        config.mounts = vec![mount];
        lab.run(&config).failure().to_owned()
    };
    let missing = lab.path("missing");
    assert!(failure(bind(&missing, "/m", false)).contains(&missing.display().to_string()));
    assert!(failure(bind("/tmp", "/proc/sys", false)).contains("below /proc"));
    assert!(failure(bind("/tmp", "/", false)).contains("cannot be a mount target"));
    assert!(failure(bind("/tmp", "relative", false)).contains("not an absolute path"));
    assert!(failure(bind("/tmp", "/a/../../b", false)).contains("\"..\""));
    assert!(failure(bind("/tmp", "/etc/passwd", false)).contains("/etc/passwd"));
    assert!(failure(tmpfs("/t", "nonsense=1")).contains("/t"));
}
