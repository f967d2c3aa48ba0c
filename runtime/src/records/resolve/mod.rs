//! Container + image → what is stored; what is stored → what the kernel is to see. Pure.
//!
//! The rules are docker's, one group to a file, each tested where it stands. `create` asks in this
//! order: [`resolve`] (`command`, `environment`, `labels`, `ports`, `health`), whose answer is
//! written down. At each start the written is turned into what the kernel takes: [`process`]
//! (again `environment`, and capabilities), [`security`], [`mounts`], [`resources`] and
//! [`log_limits`]; `create` asks these too, so that what is wrong is refused at once.

mod command;
mod environment;
mod health;
mod labels;
mod limits;
mod logging;
mod mounts;
mod ports;
mod process;
mod security;

use skep_common::signal;
use skep_image::ImageConfig;

pub(crate) use self::limits::resources;
pub(crate) use self::logging::log_limits;
pub(crate) use self::mounts::mounts;
pub(crate) use self::process::process;
pub(crate) use self::security::security;
use crate::error::{Error, Result};
use crate::records::config::{ContainerConfig, ResolvedConfig};

/// Joins what the user asked for with what the image brings.
///
/// # Errors
/// [`Error::NoCommand`], [`Error::InvalidSignal`], [`Error::InvalidConfig`].
pub(crate) fn resolve(config: &ContainerConfig, image: &ImageConfig) -> Result<ResolvedConfig> {
    let (entrypoint, cmd) = command::command(config, image);
    if entrypoint.is_empty() && cmd.is_empty() {
        return Err(Error::NoCommand);
    }
    let stop_signal = config.stop_signal.clone().or_else(|| image.stop_signal.clone());
    let stop_signal = stop_signal.unwrap_or_else(|| "SIGTERM".to_owned());
    signal::parse(&stop_signal)?;
    let exposed_ports = ports::exposed(config, image);
    Ok(ResolvedConfig {
        entrypoint,
        cmd,
        env: environment::merge(&config.env, &image.env),
        working_dir: first_filled(config.working_dir.as_deref(), &image.working_dir).unwrap_or("/").to_owned(),
        user: first_filled(config.user.as_deref(), &image.user).unwrap_or_default().to_owned(),
        labels: labels::labels(&config.labels, &image.labels),
        stop_signal,
        stop_timeout: config.stop_timeout.or(image.stop_timeout_seconds).unwrap_or(10),
        health: health::health(config.health.as_ref(), image)?,
        ports: ports::published(config, &exposed_ports),
        exposed_ports,
    })
}

fn first_filled<'a>(first: Option<&'a str>, second: &'a str) -> Option<&'a str> {
    first.filter(|text| !text.is_empty()).or((!second.is_empty()).then_some(second))
}

/// What the tests of several files begin with.
#[cfg(test)]
mod fixtures {
    use skep_image::ImageConfig;

    pub(super) fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    pub(super) fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["serve", "-v"]),
            env: strings(&["PATH=/image", "LANG=C"]),
            exposed_ports: strings(&["80/tcp", "53/udp"]),
            working_dir: "/srv".to_owned(),
            user: "www".to_owned(),
            labels: [("a".to_owned(), "image".to_owned()), ("b".to_owned(), "image".to_owned())].into(),
            stop_signal: Some("SIGQUIT".to_owned()),
            ..ImageConfig::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use skep_image::ImageConfig;

    use super::fixtures::{image, strings};
    use super::resolve;
    use crate::error::Error;
    use crate::records::config::ContainerConfig;

    #[test]
    fn the_rest_of_the_image_fills_what_is_not_given() {
        let mut config = ContainerConfig::default();
        config.labels.insert("a".to_owned(), "user".to_owned());
        let resolved = resolve(&config, &image()).unwrap();
        assert_eq!((resolved.working_dir.as_str(), resolved.user.as_str()), ("/srv", "www"));
        assert_eq!((resolved.stop_signal.as_str(), resolved.stop_timeout), ("SIGQUIT", 10));
        assert_eq!((resolved.labels["a"].as_str(), resolved.labels["b"].as_str()), ("user", "image"));
        assert_eq!(
            resolve(&config, &ImageConfig { cmd: strings(&["x"]), ..Default::default() }).unwrap().working_dir,
            "/"
        );
        let bad = ContainerConfig { stop_signal: Some("NOPE".to_owned()), ..Default::default() };
        assert!(matches!(resolve(&bad, &image()), Err(Error::InvalidSignal(_))));
    }
}
