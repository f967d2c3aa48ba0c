//! The node's side: its key, the request for a certificate, and the way to a manager that it does not know yet.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{CaError, JoinToken, digest_of};
use crate::api::ca_client::CaClient;
use crate::api::{GetRootCaRequest, IssueCertificateRequest};
use crate::error::{Error, kind_of};
use crate::model::{NodeAvailability, NodeRole};
use crate::surroundings::Clock;
use crate::timing::Timing;
use crate::wire::{bootstrap_client, channel_with};

/// A node's key and the request that goes with it, PEM.
pub struct NodeKey {
    /// PKCS #8.
    pub key_pem: String,
    /// PKCS #10; only its public key is used.
    pub request_pem: String,
}

impl NodeKey {
    /// A new EC P-256 key.
    ///
    /// # Errors
    /// If the library cannot make it.
    pub fn generate() -> Result<Self, CaError> {
        let error = |source| CaError::Make { what: "the node's key", source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(error)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(error)?;
        Ok(Self { key_pem: key.serialize_pem(), request_pem: request.pem().map_err(error)? })
    }
}

/// What a manager answered to a request.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// The id of this node.
    pub node_id: String,
    /// The role of the token.
    pub role: NodeRole,
    /// The certificate chain, PEM.
    pub chain_pem: Vec<u8>,
    /// The swarm.
    pub cluster_id: String,
}

/// Fetches the root certificate (PEM) of the swarm at `addr` and compares it with the token.
///
/// # Errors
/// If nobody answers there, or the certificate is not the token's.
pub(crate) async fn fetch_root(
    addr: &str,
    token: &JoinToken,
    timing: Timing,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<u8>, CaError> {
    let channel = channel_with(addr, timing, clock, bootstrap_client(clock)?)?;
    let call = CaClient::new(channel).get_root_ca(GetRootCaRequest {}).await;
    let root = call.map_err(|status| refused(addr, &status))?.into_inner().cert_pem;
    if digest_of(&root)? != token.digest {
        return Err(CaError::Fingerprint { expected: token.digest.clone() });
    }
    Ok(root)
}

/// What a node brings to get its first certificate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Application {
    /// The join token.
    pub token: String,
    /// The availability that it wants.
    pub availability: NodeAvailability,
    /// Why it could not be a manager, if so.
    pub unable_to_manage: String,
}

/// Asks for a certificate over `channel`: for the first one with an application, for another with the present one.
///
/// # Errors
/// If no manager could be reached, or one refused.
pub(crate) async fn request_certificate(
    channel: Channel,
    addr: &str,
    key: &NodeKey,
    application: Application,
    timing: Timing,
) -> Result<Issued, CaError> {
    let mut request = tonic::Request::new(IssueCertificateRequest {
        csr_pem: key.request_pem.clone().into_bytes(),
        token: application.token,
        availability: application.availability.into(),
        unable_to_manage: application.unable_to_manage,
    });
    request.set_timeout(timing.request() + timing.leader_wait());
    let call = CaClient::new(channel).issue_certificate(request).await;
    let answer = call.map_err(|status| refused(addr, &status))?.into_inner();
    let role = answer.role();
    Ok(Issued { node_id: answer.node_id, role, chain_pem: answer.cert_chain_pem, cluster_id: answer.cluster_id })
}

fn refused(addr: &str, status: &Status) -> CaError {
    let reason = crate::wire::explain(status);
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled => {
            CaError::Unreachable { addr: addr.to_owned(), reason }
        }
        _ => CaError::Refused(Error::new(kind_of(status), reason)),
    }
}
