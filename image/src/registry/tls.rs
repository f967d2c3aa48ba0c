//! Whom to trust: the system's certificate authorities, and those kept for one registry.
//!
//! The bundle of the settings, or the first of the system's that exists, or Mozilla's list as compiled in. For HOST also every
//! `*.crt` in `/etc/containers/certs.d/HOST` and `/etc/docker/certs.d/HOST`, and from there a client
//! certificate `*.cert` with its `*.key` (containers-certs.d(5)).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use skep_common::tls::AnyServer;

use super::settings::RegistrySettings;

const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The TLS configuration for one host. The error names the file at fault.
pub(super) fn client_config(host: &str, settings: &RegistrySettings, verify: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let own: Vec<PathBuf> = settings.certificate_directories.iter().map(|directory| directory.join(host)).collect();
    let builder = if verify {
        builder.with_root_certificates(roots(settings.certificate_bundle.as_deref(), &own)?)
    } else {
        // The registry is marked insecure: whoever answers is believed.
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer::new(provider)))
    };
    match client_certificate(&own)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string()),
    }
}

fn roots(bundle: Option<&Path>, own: &[PathBuf]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let bundle = bundle.map(Path::to_owned);
    let bundle = bundle.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
    if let Some(bundle) = bundle {
        // Bundles contain old certificates that are no use; the others count.
        store.add_parsable_certificates(certificates(&bundle)?);
    }
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for path in own.iter().flat_map(|directory| files(directory, "crt")) {
        for certificate in certificates(&path)? {
            store.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(store)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(own: &[PathBuf]) -> Result<Option<Identity>, String> {
    let Some(path) = own.iter().flat_map(|directory| files(directory, "cert")).next() else { return Ok(None) };
    let key_path = path.with_extension("key");
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|error| format!("{}: {error}", key_path.display()))?;
    Ok(Some((certificates(&path)?, key)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| format!("{}: {error}", path.display()))
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// Makes ring the TLS library's default, for code in other crates that asks for one.
pub fn install_crypto_provider() {
    // Whoever was first has installed the same: no other is compiled in.
    let _ = CryptoProvider::install_default(ring::default_provider());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn settings(certificate_directories: Vec<PathBuf>) -> RegistrySettings {
        RegistrySettings { certificate_directories, ..RegistrySettings::default() }
    }

    #[test]
    fn a_configuration_is_made_with_and_without_files() {
        assert!(client_config("a.io", &settings(vec!["/nonexistent".into()]), true).is_ok());
        assert!(client_config("a.io", &settings(Vec::new()), false).is_ok());
    }

    #[test]
    fn a_broken_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("a.io:5000")).unwrap();
        let path = directory.path().join("a.io:5000/ca.crt");
        fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let directories = [directory.path().to_owned()];
        let error = client_config("a.io:5000", &settings(directories.to_vec()), true).unwrap_err();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(client_config("b.io", &settings(directories.to_vec()), true).is_ok());
    }
}
