//! `--network` of containers and services.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::csv;

/// One network to join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkSpec {
    /// Name or id; `host`, `none`, `bridge` or `container:ID` have meanings of their own.
    pub name: String,
    /// More names by which the container is found there.
    pub aliases: Vec<String>,
    /// The address to have.
    pub address: Option<Ipv4Addr>,
    /// The MAC address to have.
    pub mac_address: Option<String>,
    /// Driver options of the endpoint.
    pub driver_options: BTreeMap<String, String>,
    /// The leg with the highest has the default route.
    pub gateway_priority: i32,
}

/// One `--network`, short (`NAME`) or long (`name=NAME,alias=…`).
pub(crate) fn network(text: &str) -> Result<NetworkSpec, String> {
    let mut network = NetworkSpec::default();
    if !text.contains('=') {
        network.name = text.to_owned();
        return match text {
            "" => Err("network name cannot be empty".to_owned()),
            _ => Ok(network),
        };
    }
    for field in csv::fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "name" => network.name = value.to_owned(),
            "alias" => network.aliases.push(value.to_owned()),
            "ip" => network.address = Some(address(value)?),
            "mac-address" => network.mac_address = Some(value.to_owned()),
            "driver-opt" => {
                let (key, value) = value.split_once('=').ok_or("invalid key value pair format in driver options")?;
                network.driver_options.insert(key.to_owned(), value.to_owned());
            }
            "gw-priority" => {
                network.gateway_priority = value.parse().map_err(|_| format!("invalid gw-priority ({value})"))?;
            }
            "ip6" | "link-local-ip" => return Err(format!("{key} is not supported: networks are IPv4 only")),
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if network.name.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(network)
}

/// An IPv4 address of a flag.
pub(crate) fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("invalid IPv4 address: {text}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        assert_eq!(network("app").unwrap().name, "app");
        let long = network("name=app,alias=db,alias=db2,ip=10.0.0.7,driver-opt=a=b,gw-priority=3").unwrap();
        assert_eq!(long.aliases, ["db", "db2"]);
        assert_eq!(long.address, Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(long.gateway_priority, 3);
        assert_eq!(network("name=foo,bar").unwrap_err(), "invalid field bar");
        assert_eq!(network("name=foo,x=y").unwrap_err(), "invalid field key x");
        assert_eq!(network("alias=foo").unwrap_err(), "network name/id is not specified");
        assert!(network("").is_err());
    }
}
