//! The machines of `vagrant/`: the Vagrantfile as vagrant sees it, and the provisioning script on a directory. That the
//! boxes come up is not looked at here: they would have to be downloaded, and need a hypervisor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_tests::{Finished, program, skep};

fn vagrant() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../vagrant")).canonicalize().unwrap()
}

/// Programs of CentOS that the script calls, each writing down how it was called.
struct Stubs(tempfile::TempDir);

impl Stubs {
    fn new(names: &[&str]) -> Self {
        let stubs = Self(tempfile::tempdir().unwrap());
        let calls = stubs.0.path().join("calls");
        for name in names {
            let path = stubs.0.path().join(name);
            fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>'{}'\n", calls.display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        stubs
    }

    fn path(&self) -> String {
        format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap())
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
        calls.lines().map(ToOwned::to_owned).collect()
    }
}

/// What has to be opened, after the words that every call of the tool begins with.
fn openings(tool: &str) -> Vec<String> {
    let arguments = [
        "--zone=public --add-port=2377/tcp",
        "--zone=public --add-port=4789/udp",
        "--zone=public --add-masquerade",
        "--zone=trusted --add-interface=skep0",
        "--zone=trusted --add-interface=skep_gwbridge",
    ];
    arguments.iter().map(|arguments| format!("{tool} {arguments}")).collect()
}

fn provision(stubs: &Stubs, source: &Path, destination: &Path) -> Finished {
    let mut command = Command::new(vagrant().join("provision.sh"));
    command.env("DESTDIR", destination).env("SKEP_SOURCE", source).env("PATH", stubs.path());
    program::run(&mut command).unwrap()
}

#[test]
fn provisioning_puts_everything_in_place_and_may_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    let destination = directory.path().join("destination");
    let repositories = destination.join("etc/yum.repos.d");
    fs::create_dir_all(&source).unwrap();
    fs::create_dir_all(&repositories).unwrap();
    fs::copy(skep::binary().unwrap(), source.join("skep")).unwrap();
    fs::copy(vagrant().join("skep-agent.service"), source.join("skep-agent.service")).unwrap();
    let repository = repositories.join("CentOS-Linux-BaseOS.repo");
    fs::write(
        &repository,
        "[baseos]\nmirrorlist=http://mirrorlist.centos.org/?release=$releasever\n\
         #baseurl=http://mirror.centos.org/$contentdir/$releasever/BaseOS/$basearch/os/\n",
    )
    .unwrap();
    let stubs = Stubs::new(&["firewall-offline-cmd"]);
    provision(&stubs, &source, &destination).ok();
    let configuration = destination.join("etc/firewalld");
    assert_eq!(stubs.calls(), openings(&format!("firewall-offline-cmd --system-config={}", configuration.display())));
    assert!(configuration.is_dir());
    let first = fs::read_to_string(&repository).unwrap();
    provision(&stubs, &source, &destination).ok();
    assert_eq!(fs::read_to_string(&repository).unwrap(), first, "the second time changes nothing");

    assert!(
        first.contains("\n#mirrorlist=") && first.contains("\nbaseurl=https://vault.centos.org/$contentdir/"),
        "{first}"
    );
    let binary = destination.join("usr/local/bin/skep");
    assert_eq!(binary.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::canonicalize(destination.join("usr/bin/skep")).unwrap(), fs::canonicalize(&binary).unwrap());
    let said = program::run(Command::new(&binary).arg("--version")).unwrap().ok();
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let unit = fs::read_to_string(destination.join("etc/systemd/system/skep-agent.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/skep agent\n") && unit.contains("KillMode=process\n"), "{unit}");
    let modules = fs::read_to_string(destination.join("etc/modules-load.d/skep.conf")).unwrap();
    for module in ["overlay", "br_netfilter", "vxlan", "ip_vs", "ip_vs_rr", "nf_tables"] {
        assert!(modules.lines().any(|line| line == module), "{module} is missing:\n{modules}");
    }
    let sysctls = fs::read_to_string(destination.join("etc/sysctl.d/90-skep.conf")).unwrap();
    for line in sysctls.lines().filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(" = ").unwrap();
        assert!(value.parse::<u32>().is_ok(), "{line}");
        // Keys of a module that is not loaded, or of another network namespace, are not there to be looked up.
        let known = Path::new("/proc/sys").join(key.replace('.', "/"));
        assert!(known.exists() || key.contains("bridge-nf") || key.contains("gc_thresh"), "{key}");
    }
}

#[test]
fn the_firewall_of_the_running_machine_is_opened_and_loaded() {
    // The functions alone: what calls them changes the machine.
    let script = fs::read_to_string(vagrant().join("provision.sh")).unwrap();
    let (functions, calls) = script.split_once("\nuse_the_vault\n").unwrap();
    assert!(calls.lines().any(|line| line == "open_firewall"), "{calls}");
    let run = |stubs: &Stubs, path: &str| {
        let mut bash = Command::new("/bin/bash");
        bash.arg("-c").arg(format!("{functions}\nopen_firewall")).env_remove("DESTDIR").env("PATH", path);
        (program::run(&mut bash).unwrap(), stubs.calls())
    };
    let stubs = Stubs::new(&["systemctl", "firewall-cmd"]);
    let (said, calls) = run(&stubs, &stubs.path());
    said.ok();
    let mut wanted = vec!["systemctl is-active -q firewalld".to_owned()];
    wanted.extend(openings("firewall-cmd --permanent"));
    wanted.push("firewall-cmd --reload".to_owned());
    assert_eq!(calls, wanted);
    // A machine without firewalld is told of, and is no failure.
    let stubs = Stubs::new(&["systemctl"]);
    let (said, calls) = run(&stubs, &stubs.0.path().display().to_string());
    assert!(said.stderr.contains("no firewalld here"), "{said}");
    assert!(said.code == 0 && calls.is_empty(), "{said}\n{calls:?}");
}

#[test]
fn the_vagrantfile_is_valid() {
    let text = fs::read_to_string(vagrant().join("Vagrantfile")).unwrap();
    for file in ["skep-agent.service", "provision.sh"] {
        assert!(text.contains(file) && vagrant().join(file).exists(), "{file}");
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new("vagrant");
    command
        .args(["validate", "--ignore-provider"])
        .current_dir(vagrant())
        .env("VAGRANT_HOME", scratch.path())
        .env("VAGRANT_DOTFILE_PATH", scratch.path())
        .env("SKEP_BIN", skep::binary().unwrap());
    program::run(&mut command).unwrap().ok();
}
