//! When a certificate has to be renewed: at a random point between 50 and 80 % of its life.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CaError;
use crate::surroundings::Chance;

/// From when to when the first certificate of a chain (PEM) is valid.
///
/// # Errors
/// If it is not a certificate.
pub(crate) fn validity(chain_pem: &[u8]) -> Result<Range<SystemTime>, CaError> {
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

/// Why a certificate with this validity cannot be used at `now`, if so, in words for the user of the node that has it.
pub(crate) fn trouble(validity: &Range<SystemTime>, now: SystemTime) -> Option<String> {
    match now {
        now if now >= validity.end => Some(format!(
            "the node's certificate expired at {} (it is {} now): leave the swarm and join it again",
            written(validity.end),
            written(now)
        )),
        now if now < validity.start => Some(format!(
            "the node's certificate is valid from {} on (it is {} now): set the clock of this node right",
            written(validity.start),
            written(now)
        )),
        _ => None,
    }
}

/// Looks at a chain (PEM) that a manager has just issued: it must not take the place of one that can be used.
///
/// # Errors
/// If the chain cannot be read, or is not valid at `now`: then the manager's clock or this node's is wrong.
pub(crate) fn check_current(chain_pem: &[u8], now: SystemTime) -> Result<(), CaError> {
    let validity = validity(chain_pem)?;
    match validity.contains(&now) {
        true => Ok(()),
        false => Err(CaError::Clock { from: written(validity.start), until: written(validity.end), now: written(now) }),
    }
}

fn written(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time).replace_nanosecond(0);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// From when on a certificate with this validity is to be renewed.
pub(crate) fn renewal_due(validity: &Range<SystemTime>, chance: &dyn Chance) -> SystemTime {
    let whole = validity.end.duration_since(validity.start).unwrap_or_default();
    validity.start + whole.mul_f64(chance.within(0.5..0.8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::SystemChance;

    #[test]
    fn a_certificate_of_another_time_is_named_with_both_times() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let validity = start..start + Duration::from_secs(3600);
        assert_eq!(trouble(&validity, start), None);
        assert_eq!(
            trouble(&validity, validity.end).unwrap(),
            "the node's certificate expired at 2001-09-09T02:46:40Z (it is 2001-09-09T02:46:40Z now): leave the swarm \
             and join it again"
        );
        assert!(trouble(&validity, SystemTime::UNIX_EPOCH).unwrap().ends_with("set the clock of this node right"));
    }

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
