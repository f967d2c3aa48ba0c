//! The files of a node that is in a swarm: `state.json`, `certificates/`, the key of the raft files.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::NodeError;
use super::layout::{context, make_dir, write_private};
use crate::api::ManagerPeer;
use crate::ca::{Issued, NodeKey};
use crate::model::NodeAvailability;
use crate::raft::DiskKey;
use crate::surroundings::Clock;
use crate::wire::Credentials;

const VERSION: u32 = 1;

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Of this format.
    pub version: u32,
    pub node_id: String,
    pub cluster_id: String,
    /// Where a manager listens.
    pub listen_addr: String,
    /// HOST:PORT at which the others reach it.
    pub advertise_addr: String,
    /// Address (no port) to which the others send VXLAN.
    pub data_path_addr: String,
    /// HOST:PORT and node id of the managers known last.
    pub managers: Vec<Manager>,
}

/// A manager as it was known last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manager {
    #[serde(default)]
    pub node_id: String,
    pub addr: String,
}

impl State {
    pub(super) fn new(issued: &Issued, addresses: super::setup::Addresses, managers: Vec<Manager>) -> Self {
        Self {
            version: VERSION,
            node_id: issued.node_id.clone(),
            cluster_id: issued.cluster_id.clone(),
            listen_addr: addresses.listen,
            advertise_addr: addresses.advertise,
            data_path_addr: addresses.data_path,
            managers,
        }
    }

    pub(super) fn peers(&self) -> Vec<ManagerPeer> {
        self.managers.iter().map(|m| ManagerPeer { node_id: m.node_id.clone(), addr: m.addr.clone() }).collect()
    }
}

/// The directory with these files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn raft_dir(&self) -> PathBuf {
        self.dir.join("raft")
    }

    pub(super) fn worker_dir(&self) -> PathBuf {
        self.dir.join("worker")
    }

    pub(super) fn bootstrap(&self) -> PathBuf {
        self.dir.join("bootstrap")
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join("certificates").join(name)
    }

    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub(super) fn load_state(&self) -> Result<State, NodeError> {
        let path = self.dir.join("state.json");
        let text = std::fs::read(&path).map_err(context("read", &path))?;
        let damaged = |reason: String| NodeError::Damaged { path: path.clone(), reason };
        let state: State = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if state.version > VERSION {
            return Err(damaged(format!("version {} was written by a newer release", state.version)));
        }
        Ok(state)
    }

    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save_state(&self, state: &State) -> Result<(), NodeError> {
        let path = self.dir.join("state.json");
        let text = serde_json::to_vec_pretty(state)
            .map_err(|error| NodeError::Damaged { path: path.clone(), reason: error.to_string() })?;
        write_private(&path, &text)
    }

    /// The files of a new member; `state.json` comes last.
    ///
    /// # Errors
    /// If one of the files cannot be written.
    pub(super) fn create(
        &self,
        root_pem: &[u8],
        key: &NodeKey,
        chain_pem: &[u8],
        state: &State,
    ) -> Result<(), NodeError> {
        make_dir(&self.dir.join("certificates"))?;
        write_private(&self.certificate("root-ca.crt"), root_pem)?;
        write_private(&self.certificate("raft.key"), &DiskKey::generate())?;
        self.save_certificate(key, chain_pem)?;
        self.save_state(state)
    }

    /// A renewed certificate. Key and chain are one file, so that a crash cannot leave those of two.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save_certificate(&self, key: &NodeKey, chain_pem: &[u8]) -> Result<(), NodeError> {
        let mut both = key.key_pem.clone().into_bytes();
        both.extend_from_slice(chain_pem);
        write_private(&self.certificate("node.pem"), &both)
    }

    /// # Errors
    /// If the file cannot be read.
    pub(super) fn root_pem(&self) -> Result<Vec<u8>, NodeError> {
        let path = self.certificate("root-ca.crt");
        std::fs::read(&path).map_err(context("read", &path))
    }

    /// The chain with its key, PEM.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn node_pem(&self) -> Result<Vec<u8>, NodeError> {
        let path = self.certificate("node.pem");
        std::fs::read(&path).map_err(context("read", &path))
    }

    /// # Errors
    /// If the files cannot be read, or are not what they should be.
    pub(super) fn credentials(&self, clock: &Arc<dyn Clock>) -> Result<Credentials, NodeError> {
        let node = self.node_pem()?;
        Ok(Credentials::from_pem(&self.root_pem()?, &node, &node, clock)?)
    }

    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub(super) fn disk_key(&self) -> Result<Arc<DiskKey>, NodeError> {
        let path = self.certificate("raft.key");
        let bytes = std::fs::read(&path).map_err(context("read", &path))?;
        let key = DiskKey::new(&bytes).map_err(|error| NodeError::Damaged { path, reason: error.to_string() })?;
        Ok(Arc::new(key))
    }
}

/// What to ask for at the first certificate.
pub(super) fn availability(value: i32) -> NodeAvailability {
    NodeAvailability::try_from(value).unwrap_or_default()
}
