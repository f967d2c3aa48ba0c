//! When a certificate has to be renewed: at a random point between 50 and 80 % of its life.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CaError;
use crate::surroundings::Chance;

/// From when to when the first certificate of a chain (PEM) is valid.
pub fn validity(chain_pem: &[u8]) -> Result<Range<SystemTime>, CaError> {
    let malformed = || CaError::Malformed { what: "the node's certificate" };
    let der = CertificateDer::from_pem_slice(chain_pem).map_err(|_| malformed())?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| malformed())?;
    let at = |seconds: i64| {
        u64::try_from(seconds).ok().and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)))
    };
    let validity = certificate.validity();
    let from = at(validity.not_before.timestamp()).ok_or_else(malformed)?;
    let until = at(validity.not_after.timestamp()).ok_or_else(malformed)?;
    Ok(from..until)
}

/// From when on a certificate with this validity is to be renewed.
pub fn renewal_due(validity: &Range<SystemTime>, chance: &dyn Chance) -> SystemTime {
    let whole = validity.end.duration_since(validity.start).unwrap_or_default();
    validity.start + whole.mul_f64(chance.within(0.5..0.8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::SystemChance;

    #[test]
    fn renewal_falls_between_half_and_four_fifths_of_the_life() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let validity = start..start + Duration::from_secs(1000);
        for _ in 0..50 {
            let due = renewal_due(&validity, &SystemChance).duration_since(start).unwrap();
            assert!(due >= Duration::from_secs(500) && due <= Duration::from_secs(800));
        }
    }
}
