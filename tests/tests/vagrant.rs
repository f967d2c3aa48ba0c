//! The machines of `vagrant/`: the provisioning script's logic, and the Vagrantfile where vagrant is installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_tests::{Finished, program, skep};

fn vagrant() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../vagrant")).canonicalize().unwrap()
}

fn provision(source: &Path, destination: &Path) -> Finished {
    let mut command = Command::new(vagrant().join("provision.sh"));
    command.env("DESTDIR", destination).env("SKEP_SOURCE", source);
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
    let said = provision(&source, &destination);
    let firewall = !said.stderr.contains("no firewalld here");
    said.ok();
    let first = fs::read_to_string(&repository).unwrap();
    provision(&source, &destination).ok();
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
    if firewall {
        let zone = fs::read_to_string(destination.join("etc/firewalld/zones/public.xml")).unwrap();
        for words in [r#"<port port="2377" protocol="tcp"/>"#, r#"<port port="4789" protocol="udp"/>"#, "<masquerade/>"]
        {
            assert!(zone.contains(words), "{zone}");
        }
    }
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
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "vagrant validate: {said}");
        }
        // Ruby is all it takes to see that the file can be read, and not even that is everywhere.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}
