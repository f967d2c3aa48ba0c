//! The networks of a container that is to be made: `NetworkMode` and `EndpointsConfig` of the request.

use skep_runtime::config::{EndpointConfig, NetworkMode};

use crate::docker::create::{CreateRequest, EndpointSettings};
use crate::docker::{Named, refuse};
use crate::error::{Error, Result};

/// The network that is docker's default.
const DEFAULT: &str = "bridge";

/// Which network the container has. Which of them are the swarm's is found out later, by `leases`.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`], [`crate::ErrorKind::NotSupported`].
pub(super) fn of_request(request: &CreateRequest) -> Result<(NetworkMode, Vec<EndpointConfig>)> {
    let mode = request.host_config.as_ref().map_or("", |host| host.network_mode.as_str());
    let none = Named::default();
    let asked = request.networking_config.as_ref().and_then(|config| config.endpoints_config.as_ref()).unwrap_or(&none);
    if request.config.network_disabled == Some(true) {
        return Ok((NetworkMode::None, Vec::new()));
    }
    if let Some(alone) = alone(mode) {
        if asked.names().any(|name| name != mode) {
            return Err(Error::bad_argument(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        if asked.iter().any(|(_, settings)| settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty())) {
            return Err(aliases_refused());
        }
        return Ok((alone, Vec::new()));
    }
    let mut endpoints = Vec::new();
    let is_default = matches!(mode, "" | "default" | DEFAULT);
    if asked.get(mode).is_none() && !is_default {
        endpoints.push(endpoint(mode, &EndpointSettings::default())?);
    }
    for (name, settings) in asked.iter() {
        if alone(name).is_some() {
            return Err(Error::bad_argument(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        endpoints.push(endpoint(name, settings)?);
    }
    // The one that is the mode has eth0.
    endpoints.sort_by_key(|endpoint| endpoint.network != mode);
    if let Some(mac) = request.config.mac_address.as_ref().filter(|mac| !mac.is_empty()) {
        if endpoints.is_empty() {
            endpoints.push(EndpointConfig { network: DEFAULT.to_owned(), ..EndpointConfig::default() });
        }
        if let Some(first) = endpoints.first_mut() {
            first.mac.get_or_insert_with(|| mac.clone());
        }
    }
    Ok((NetworkMode::Endpoints, endpoints))
}

/// A mode that leaves no room for networks.
fn alone(mode: &str) -> Option<NetworkMode> {
    match mode {
        "host" => Some(NetworkMode::Host),
        "none" => Some(NetworkMode::None),
        name => name.strip_prefix("container:").map(|other| NetworkMode::Container(other.to_owned())),
    }
}

fn aliases_refused() -> Error {
    Error::bad_argument("network-scoped alias is supported only for containers in user defined networks")
}

fn endpoint(name: &str, settings: &EndpointSettings) -> Result<EndpointConfig> {
    let network = if matches!(name, "" | "default") { DEFAULT } else { name };
    refuse("Links", &settings.links)?;
    refuse("DriverOpts", &settings.driver_opts)?;
    let addresses = settings.ipam_config.clone().unwrap_or_default();
    refuse("IPv6Address", &addresses.ipv6_address)?;
    refuse("LinkLocalIPs", &addresses.link_local_ips)?;
    let aliases = settings.aliases.clone().unwrap_or_default();
    if network == DEFAULT && !aliases.is_empty() {
        return Err(aliases_refused());
    }
    let address = match addresses.ipv4_address.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(_) if network == DEFAULT => {
            return Err(Error::bad_argument(
                "invalid config for network bridge: user specified IP address is supported on user defined networks \
                 only",
            ));
        }
        Some(text) => Some(text.parse().map_err(|_| Error::bad_argument(format!("invalid IPv4 address: {text}")))?),
    };
    Ok(EndpointConfig {
        network: network.to_owned(),
        address,
        mac: Some(settings.mac_address.clone()).filter(|mac| !mac.is_empty()),
        aliases,
        gateway_priority: settings.gw_priority.unwrap_or(0),
        ..EndpointConfig::default()
    })
}

/// What is said about ports that nothing can be published of.
pub(super) fn mode_name(mode: &NetworkMode) -> &'static str {
    match mode {
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        NetworkMode::Container(_) => "container",
        NetworkMode::Endpoints => DEFAULT,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(mode: &str, endpoints: &str) -> Result<(NetworkMode, Vec<String>)> {
        let body = format!(
            r#"{{"HostConfig":{{"NetworkMode":"{mode}"}},"NetworkingConfig":{{"EndpointsConfig":{endpoints}}}}}"#
        );
        let (mode, endpoints) = of_request(&serde_json::from_str(&body).unwrap())?;
        Ok((mode, endpoints.into_iter().map(|endpoint| endpoint.network).collect()))
    }

    #[test]
    fn the_mode_is_the_first_network() {
        assert_eq!(read("default", "{}").unwrap(), (NetworkMode::Endpoints, vec![]));
        assert_eq!(read("default", r#"{"default":{}}"#).unwrap().1, ["bridge"]);
        assert_eq!(read("app", "{}").unwrap().1, ["app"]);
        assert_eq!(read("app", r#"{"db":{},"app":{}}"#).unwrap().1, ["app", "db"]);
        assert_eq!(read("default", r#"{"app":{}}"#).unwrap().1, ["app"]);
        assert_eq!(read("container:x", "{}").unwrap().0, NetworkMode::Container("x".to_owned()));
    }

    #[test]
    fn refuses_in_dockers_words() {
        for (mode, endpoints, words) in [
            ("host", r#"{"app":{}}"#, "cannot attach both user-defined and non-user-defined network-modes"),
            ("app", r#"{"app":{},"host":{}}"#, "cannot attach both user-defined and non-user-defined network-modes"),
            ("default", r#"{"default":{"Aliases":["x"]}}"#, "only for containers in user defined networks"),
            ("host", r#"{"host":{"Aliases":["x"]}}"#, "only for containers in user defined networks"),
            ("bridge", r#"{"bridge":{"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}"#, "on user defined networks only"),
            ("app", r#"{"app":{"IPAMConfig":{"IPv6Address":"::1"}}}"#, "IPv6Address is not supported"),
            ("app", r#"{"app":{"Links":["x"]}}"#, "Links is not supported"),
        ] {
            let error = read(mode, endpoints).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
