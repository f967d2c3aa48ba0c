//! The types with which openraft is used.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::store::ApplyError;

/// A raft member's number: random, never used again.
pub(crate) type RaftId = u64;

openraft::declare_raft_types!(
    /// openraft with our types.
    pub(crate) TypeConfig:
        D = Transaction,
        R = Outcome,
        NodeId = RaftId,
        Node = Node,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// An encoded `StoreTransaction`. It stays encoded on its way through log and network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Transaction(pub Bytes);

impl Serialize for Transaction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Transaction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(|bytes| Self(bytes.into())).map_err(de::Error::custom)
    }
}

/// What applying an entry came to. It goes to the proposer on the same machine only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Why the transaction was not applied.
    #[serde(skip)]
    pub refused: Option<ApplyError>,
}

/// A manager, as the membership names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Node id.
    pub node_id: String,
    /// HOST:PORT.
    pub addr: String,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.node_id, self.addr)
    }
}
