//! Who a node is, as its certificate says: CN = node id, OU = role, O = cluster id.

use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::{NodeId, NodeRole};

/// Organisational unit in a manager's certificate.
pub(super) const MANAGER_UNIT: &str = "swarm-manager";
/// Organisational unit in a worker's certificate.
pub(super) const WORKER_UNIT: &str = "swarm-worker";

/// The node that made a request, whichever manager passed it on. In the extensions of every authenticated request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Node id.
    pub node_id: NodeId,
    /// The role which the certificate grants.
    pub role: NodeRole,
    /// Cluster id.
    pub cluster_id: String,
    /// Where the connection came from; absent for the node's own unix socket.
    pub addr: Option<SocketAddr>,
}

impl Caller {
    /// Whether the caller is a manager.
    pub(crate) fn is_manager(&self) -> bool {
        self.role == NodeRole::Manager
    }
}

/// Why a certificate does not name a node.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is not X.509.
    #[error("not an X.509 certificate: {0}")]
    Malformed(String),
    /// A part of the subject is missing or not one we know.
    #[error("the certificate's subject has no valid {0}")]
    Subject(&'static str),
}

/// Reads the node out of a certificate which the TLS layer has verified. `addr` is left out.
///
/// # Errors
/// If it does not name a node.
pub(crate) fn identity_of(certificate: &CertificateDer<'_>) -> Result<Caller, IdentityError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| IdentityError::Malformed(error.to_string()))?;
    let subject = certificate.subject();
    let node_id = single(subject.iter_common_name()).ok_or(IdentityError::Subject("node id (CN)"))?;
    let unit = single(subject.iter_organizational_unit()).ok_or(IdentityError::Subject("role (OU)"))?;
    let cluster_id = single(subject.iter_organization()).ok_or(IdentityError::Subject("cluster id (O)"))?;
    let role = match unit {
        MANAGER_UNIT => NodeRole::Manager,
        WORKER_UNIT => NodeRole::Worker,
        _ => return Err(IdentityError::Subject("role (OU)")),
    };
    Ok(Caller { node_id: node_id.into(), role, cluster_id: cluster_id.to_owned(), addr: None })
}

/// The organisational unit of a role.
pub(crate) fn unit_of(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => MANAGER_UNIT,
        NodeRole::Worker => WORKER_UNIT,
    }
}

fn single<'a>(
    mut values: impl Iterator<Item = &'a x509_parser::prelude::AttributeTypeAndValue<'a>>,
) -> Option<&'a str> {
    let value = values.next()?.as_str().ok()?;
    (values.next().is_none() && !value.is_empty()).then_some(value)
}
