//! Everything that is known of one container, for whoever shows it.

use std::path::PathBuf;

use skep_net::{Sandbox, SandboxId};

use crate::error::Result;
use crate::records::config::ContainerRecord;
use crate::records::state::ContainerState;
use crate::runtime::Runtime;

/// A container.
#[derive(Debug, Clone)]
pub struct ContainerDetails {
    /// What was asked for, and what became of it.
    pub record: ContainerRecord,
    /// How it stands.
    pub state: ContainerState,
    /// Its networks, while it runs.
    pub sandbox: Option<Sandbox>,
    /// Where its files are.
    pub files: ContainerFiles,
    /// The cgroup below which its own is.
    pub cgroup_parent: String,
}

/// Where a container's files are, whether they are there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFiles {
    /// Its /etc/resolv.conf.
    pub resolv_conf: PathBuf,
    /// Its /etc/hostname.
    pub hostname: PathBuf,
    /// Its /etc/hosts.
    pub hosts: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// What it has written, above the image.
    pub upper: PathBuf,
    /// Overlayfs' own.
    pub work: PathBuf,
    /// Where its root is mounted, in its own mount namespace.
    pub rootfs: PathBuf,
}

impl Runtime {
    /// Everything that is known of a container, after healing.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchContainer`], [`crate::Error::AmbiguousId`].
    pub fn details(&self, name_or_id: &str) -> Result<ContainerDetails> {
        let (record, state) = self.record(name_or_id)?;
        let sandbox = match state.status.is_active() {
            true => self.net().sandbox(&SandboxId::new(&record.id)?)?,
            false => None,
        };
        let cgroup_parent = self.cgroup(&record).parent;
        Ok(ContainerDetails { files: self.files(&record.id), record, state, sandbox, cgroup_parent })
    }

    /// Where the files of the container with this id are.
    pub fn files(&self, id: &str) -> ContainerFiles {
        let paths = self.paths(id);
        ContainerFiles {
            resolv_conf: paths.resolv_conf(),
            hostname: paths.hostname(),
            hosts: paths.hosts(),
            log: paths.log(),
            upper: paths.upper(),
            work: paths.work(),
            rootfs: paths.rootfs(),
        }
    }
}
