//! The health check: the user's, field by field over the image's, and docker's defaults.
//!
//! Called by [`super::resolve`].

use skep_common::HealthCheck;
use skep_image::ImageConfig;

use crate::error::{Error, Result};

/// What is left of both checks; `None` when there is none or it is switched off.
///
/// # Errors
/// [`Error::InvalidConfig`]: the test is of no known kind, or a time is too short.
pub(super) fn health(user: Option<&HealthCheck>, image: &ImageConfig) -> Result<Option<HealthCheck>> {
    let from_image = image.healthcheck.clone();
    let mut check = match (user, from_image) {
        (Some(user), from_image) => {
            let base = from_image.unwrap_or_default();
            let pick = |own: i64, other: i64| if own == 0 { other } else { own };
            HealthCheck {
                test: if user.test.is_empty() { base.test } else { user.test.clone() },
                interval_ns: pick(user.interval_ns, base.interval_ns),
                timeout_ns: pick(user.timeout_ns, base.timeout_ns),
                start_period_ns: pick(user.start_period_ns, base.start_period_ns),
                start_interval_ns: pick(user.start_interval_ns, base.start_interval_ns),
                retries: pick(user.retries, base.retries),
            }
        }
        (None, Some(from_image)) => from_image,
        (None, None) => return Ok(None),
    };
    match check.test.first().map(String::as_str) {
        None | Some("NONE") => return Ok(None),
        Some("CMD" | "CMD-SHELL") if check.test.len() > 1 => {}
        Some(other) => {
            return Err(Error::InvalidConfig(format!(
                "Unknown healthcheck type {other:?} (expected CMD or CMD-SHELL with a command)"
            )));
        }
    }
    let (second, minimum) = (1_000_000_000, 1_000_000);
    let names =
        [("Interval", check.interval_ns), ("Timeout", check.timeout_ns), ("StartPeriod", check.start_period_ns)];
    if let Some((name, _)) = names.iter().find(|(_, value)| *value != 0 && *value < minimum) {
        return Err(Error::InvalidConfig(format!("{name} in Healthcheck cannot be less than 1ms")));
    }
    let or_default = |value: i64, default: i64| if value == 0 { default } else { value };
    check.interval_ns = or_default(check.interval_ns, 30 * second);
    check.timeout_ns = or_default(check.timeout_ns, 30 * second);
    check.start_interval_ns = or_default(check.start_interval_ns, 5 * second);
    check.retries = or_default(check.retries, 3);
    Ok(Some(check))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use skep_common::HealthCheck;
    use skep_image::ImageConfig;

    use crate::records::config::ContainerConfig;
    use crate::records::resolve::fixtures::{image, strings};
    use crate::records::resolve::resolve;

    #[test]
    fn health_checks_merge_field_by_field() {
        let with_check = ImageConfig {
            healthcheck: Some(HealthCheck {
                test: strings(&["CMD", "/probe"]),
                interval_ns: 7_000_000,
                ..Default::default()
            }),
            ..image()
        };
        let user = HealthCheck { retries: 5, ..Default::default() };
        let config = ContainerConfig { health: Some(user), ..Default::default() };
        let check = resolve(&config, &with_check).unwrap().health.unwrap();
        assert_eq!((check.test[1].as_str(), check.interval_ns, check.retries), ("/probe", 7_000_000, 5));
        assert_eq!(check.timeout_ns, 30_000_000_000);
        let off = HealthCheck { test: strings(&["NONE"]), ..Default::default() };
        let config = ContainerConfig { health: Some(off), ..Default::default() };
        assert_eq!(resolve(&config, &with_check).unwrap().health, None);
        let short = HealthCheck { test: strings(&["CMD", "x"]), interval_ns: 5, ..Default::default() };
        assert!(resolve(&ContainerConfig { health: Some(short), ..Default::default() }, &image()).is_err());
    }
}
