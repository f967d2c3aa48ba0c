//! Makes root and node certificates. Pure but for randomness and the clock given by the caller.

use std::time::{Duration, SystemTime};

use rand::Rng;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};

use super::CaError;
use crate::model::NodeRole;
use crate::wire::Caller;

const ROOT_VALIDITY: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Clocks of nodes differ.
const BACKDATE: Duration = Duration::from_secs(3600);

/// A root certificate with its key, PEM.
#[derive(Clone)]
pub struct RootKey {
    /// The certificate.
    pub cert_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

/// A new root: EC P-256, valid for 20 years.
///
/// # Errors
/// If the library cannot make it.
pub fn new_root(now: SystemTime) -> Result<RootKey, CaError> {
    let error = |source| CaError::Make { what: "the root certificate", source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(error)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "swarm-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial());
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + ROOT_VALIDITY).into();
    let certificate = params.self_signed(&key).map_err(error)?;
    Ok(RootKey { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

/// Signs the public key of a request for `node`; all the rest of the request is ignored. PEM.
///
/// # Errors
/// If the request or the root is not what it should be.
pub fn sign_node(
    root: &RootKey,
    request_pem: &str,
    node: &Caller,
    validity: Duration,
    now: SystemTime,
) -> Result<String, CaError> {
    let error = |source| CaError::Make { what: "the node's certificate", source };
    let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(error)?;
    let key = KeyPair::from_pem(&root.key_pem).map_err(error)?;
    let issuer = Issuer::from_ca_cert_pem(&root.cert_pem, key).map_err(error)?;

    let unit = crate::wire::unit_of(node.role);
    let mut names = vec![node.node_id.to_string(), crate::wire::unit_of(NodeRole::Worker).to_owned()];
    if node.role == NodeRole::Manager {
        names.push(unit.to_owned());
    }
    let mut params = CertificateParams::new(names).map_err(error)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, node.cluster_id.clone());
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    params.distinguished_name.push(DnType::CommonName, node.node_id.clone());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + validity.max(super::NODE_VALIDITY_MIN)).into();
    let certificate = params.signed_by(&request.public_key, &issuer).map_err(error)?;
    Ok(certificate.pem())
}

fn serial() -> SerialNumber {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    // Positive, and never shortened.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::ca::{NODE_VALIDITY, NodeKey};
    use crate::surroundings::Surroundings;
    use crate::wire::{Credentials, identity_of};

    #[test]
    fn a_signed_certificate_names_its_node_and_works_for_tls() {
        let clock = Surroundings::system().clock;
        let now = clock.now();
        let root = new_root(now).unwrap();
        let key = NodeKey::generate().unwrap();
        let node = Caller { node_id: "n1".into(), role: NodeRole::Manager, cluster_id: "c1".into(), addr: None };
        let chain = sign_node(&root, &key.request_pem, &node, NODE_VALIDITY, now).unwrap();
        assert_eq!(identity_of(&CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap(), node);
        let credentials =
            Credentials::from_pem(root.cert_pem.as_bytes(), chain.as_bytes(), key.key_pem.as_bytes(), &clock).unwrap();
        assert_eq!(credentials.identity, node);
        let other = NodeKey::generate().unwrap();
        assert!(
            Credentials::from_pem(root.cert_pem.as_bytes(), chain.as_bytes(), other.key_pem.as_bytes(), &clock)
                .is_err()
        );
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        let now = SystemTime::now();
        let root = new_root(now).unwrap();
        let node = Caller { node_id: "n1".into(), role: NodeRole::Worker, cluster_id: "c1".into(), addr: None };
        for bad in ["", "x", &root.cert_pem] {
            assert!(sign_node(&root, bad, &node, NODE_VALIDITY, now).is_err());
        }
    }
}
