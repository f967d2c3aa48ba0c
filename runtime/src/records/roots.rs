//! Where everything of one node is kept.
//!
//! ```text
//! ROOT/                            survives a reboot
//!   images/                        skep_image::ImageStore
//!   networks/                      skep_net::Net
//!   volumes/<name>/_data           see crate::records::volumes
//!   containers/names/<name>        symbolic link to the id; made with O_EXCL: the reservation
//!   containers/<id>/               64 hexadecimal digits
//!     lock                         flock(2): held by the command that changes the container
//!     config.json                  what the user asked for and what the image added; replaced by rename and update only
//!     state.json                   life cycle; written by the shim while it lives, else under `lock`
//!     <id>-json.log[.N]            output, docker's json-file format; written by the shim
//!     hostname hosts resolv.conf   shown inside the container
//!     upper/ work/                 writable layer
//! RUN_ROOT/                        lost at a reboot
//!   containers/<id>/
//!     launch.json                  the KernelConfig in force: what exec, restart and clean-up work from
//!     shim.sock                    control socket of the shim, mode 0600
//!     rootfs/ bundle/ state/       mount point and libcontainer's own files
//!   filters/                       compiled seccomp filters
//!   netns/ net/ dns/               skep_net::Net
//!   boot_id                        boot for which `recover` has been done
//!   recover.json                   boot and ids of what `recover` is starting
//! ```

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;

/// The places and the cgroup that make up one node; several nodes can live on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Survives a reboot (`--root`, /var/lib/skep).
    pub root: PathBuf,
    /// Lost at a reboot (`--run-root`, /run/skep).
    pub run_root: PathBuf,
    /// Cgroup below which containers' cgroups are made (`--cgroup-parent`, /skep). Absolute.
    pub cgroup_parent: String,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/skep"),
            run_root: PathBuf::from("/run/skep"),
            cgroup_parent: "/skep".to_owned(),
        }
    }
}

impl Roots {
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.containers().join("names")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn filters(&self) -> PathBuf {
        self.run_root.join("filters")
    }

    pub(crate) fn boot_marker(&self) -> PathBuf {
        self.run_root.join("boot_id")
    }

    pub(crate) fn recovery_plan(&self) -> PathBuf {
        self.run_root.join("recover.json")
    }

    pub(crate) fn container(&self, id: &str) -> ContainerPaths {
        ContainerPaths { directory: self.containers().join(id), run: self.run_containers().join(id), id: id.to_owned() }
    }

    pub(crate) fn run_containers(&self) -> PathBuf {
        self.run_root.join("containers")
    }
}

/// The files of one container.
#[derive(Debug, Clone)]
pub(crate) struct ContainerPaths {
    pub(crate) directory: PathBuf,
    pub(crate) run: PathBuf,
    id: String,
}

impl ContainerPaths {
    pub(crate) fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// What config.json is called once removal has begun. The name says whether the anonymous
    /// volumes go, too: whoever carries the removal on has to know.
    pub(crate) fn removing(&self, volumes: bool) -> PathBuf {
        self.directory.join(if volumes { "removing-volumes.json" } else { "removing.json" })
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join(format!("{}-json.log", self.id))
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.directory.join("hostname")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.directory.join("hosts")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.directory.join("resolv.conf")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub(crate) fn launch(&self) -> PathBuf {
        self.run.join("launch.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("shim.sock")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.run.join("rootfs")
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }

    pub(crate) fn kernel_state(&self) -> PathBuf {
        self.run.join("state")
    }

    /// Removes the live directory. The mount point is never descended into: whatever might still be
    /// mounted there is the user's.
    pub(crate) fn remove_run_directory(&self) -> Result<()> {
        files::remove_replaced(&self.launch())?;
        files::remove_file(&self.socket())?;
        files::remove_tree(&self.bundle())?;
        files::remove_tree(&self.kernel_state())?;
        for directory in [&self.rootfs(), &self.run.join("empty"), &self.run] {
            match std::fs::remove_dir(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", directory)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A log file that rotation moved away; 1 is the youngest.
    pub(crate) fn rotated(log: &Path, index: u32) -> PathBuf {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{index}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_does_not_keep_the_run_directory() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        let paths = ContainerPaths { directory: directory.path().join("container"), run, id: "c".to_owned() };
        std::fs::create_dir(&paths.run).unwrap();
        std::fs::write(paths.launch(), "{}").unwrap();
        std::fs::write(paths.run.join(".launch.json.tmp"), "{").unwrap();
        paths.remove_run_directory().unwrap();
        assert!(!paths.run.exists());
    }
}
