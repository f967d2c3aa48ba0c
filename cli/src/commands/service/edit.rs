//! The `--…-add` and `--…-rm` flags of `service update`: what is removed goes first, then what is added comes.

use skep_cluster::api::{PortConfig, ServiceSpec};
use skep_engine::mount;

use super::spec;
use crate::args::update::Update;
use crate::parse::env;

/// Changes a specification as the flags say; pure.
pub fn apply(wanted: &mut ServiceSpec, args: &Update) -> Result<(), String> {
    let labels = &mut wanted.annotations.get_or_insert_default().labels;
    for key in &args.label_rm {
        labels.remove(key);
    }
    labels.extend(env::pairs(&args.label_add));

    ports(&mut wanted.endpoint.get_or_insert_default().ports, args);

    let task = wanted.task.get_or_insert_default();
    let placement = task.placement.get_or_insert_default();
    replace(&mut placement.constraints, &args.constraint_rm, &args.constraint_add);
    let preferences = |texts: &[String]| texts.iter().map(|text| spec::preference(text)).collect::<Result<Vec<_>, _>>();
    replace(&mut placement.spread, &preferences(&args.placement_pref_rm)?, &preferences(&args.placement_pref_add)?);
    for network in &args.network_add {
        task.networks.retain(|attached| attached.target != network.name);
        task.networks.push(spec::network(network)?);
    }
    container(task.container.get_or_insert_default(), args)
}

fn container(container: &mut skep_cluster::api::ContainerSpec, args: &Update) -> Result<(), String> {
    if let Some(words) = &args.args {
        container.args.clone_from(words);
    }
    for key in &args.container_label_rm {
        container.labels.remove(key);
    }
    container.labels.extend(env::pairs(&args.container_label_add));
    let name = |variable: &str| variable.split_once('=').map_or(variable, |(name, _)| name).to_owned();
    container.env.retain(|variable| !args.env_rm.iter().any(|removed| *removed == name(variable)));
    let added = env::resolved(&args.env_add, env::of_process);
    container.env = env::overridden(container.env.drain(..).chain(added).collect());
    replace(&mut container.groups, &args.group_rm, &args.group_add);
    let texts = |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    replace(&mut container.dns_nameservers, &texts(&args.dns_rm), &texts(&args.dns_add));
    replace(&mut container.dns_search, &args.dns_search_rm, &args.dns_search_add);
    replace(&mut container.dns_options, &args.dns_option_rm, &args.dns_option_add);
    for removed in &args.host_rm {
        let (host, address) = removed.split_once([':', '=']).unwrap_or((removed, ""));
        container.hosts.retain(|line| {
            let mut words = line.split_whitespace();
            let (own_address, own_host) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            own_host != host || !address.is_empty() && own_address != address
        });
    }
    container.hosts.extend(args.host_add.iter().map(|(host, address)| format!("{address} {host}")));
    for key in &args.sysctl_rm {
        container.sysctls.remove(key);
    }
    container.sysctls.extend(env::pairs(&args.sysctl_add));
    let replaced = |name: &str| {
        args.ulimit_rm.iter().any(|removed| removed == name) || args.ulimit_add.iter().any(|added| added.name == name)
    };
    container.ulimits.retain(|limit| !replaced(&limit.name));
    container.ulimits.extend(args.ulimit_add.iter().map(spec::ulimit));
    container.cap_add.extend(args.common.cap_add.iter().cloned());
    container.cap_add.retain(|name| !args.common.cap_drop.contains(name));
    container.cap_drop.extend(args.common.cap_drop.iter().cloned());
    container.cap_drop.retain(|name| !args.common.cap_add.contains(name));
    let same_place = |one: &str, other: &str| mount::normalised(one) == mount::normalised(other);
    container.mounts.retain(|old| {
        !args.mount_rm.iter().any(|target| same_place(target, &old.target))
            && !args.mount_add.iter().any(|new| same_place(&new.target, &old.target))
    });
    container.mounts.extend(spec::mounts(&args.mount_add)?);
    Ok(())
}

fn ports(ports: &mut Vec<PortConfig>, args: &Update) {
    let removed: Vec<&PortConfig> = args.publish_rm.iter().flatten().collect();
    ports.retain(|port| {
        !removed.iter().any(|removed| {
            removed.target_port == port.target_port
                && removed.protocol == port.protocol
                && (removed.published_port == 0 || removed.published_port == port.published_port)
        })
    });
    for added in args.publish_add.iter().flatten() {
        let same = |port: &PortConfig| {
            port.protocol == added.protocol
                && port.target_port == added.target_port
                && (port.published_port == added.published_port || added.published_port == 0)
        };
        ports.retain(|port| !same(port));
        ports.push(added.clone());
    }
}

fn replace(list: &mut Vec<String>, removed: &[String], added: &[String]) {
    list.retain(|item| !removed.contains(item) && !added.contains(item));
    list.extend(added.iter().cloned());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::args::{Command, service, usage};
    use skep_cluster::api::{ContainerSpec, EndpointSpec, Mount, TaskSpec};

    fn edited(line: &str, mut spec: ServiceSpec) -> ServiceSpec {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        match usage::parse(&words).unwrap().command {
            Some(Command::Service(service::Command::Update(args))) => apply(&mut spec, &args).unwrap(),
            other => panic!("{other:?}"),
        }
        spec
    }

    #[test]
    fn adds_and_removes() {
        let spec = ServiceSpec {
            endpoint: Some(EndpointSpec {
                ports: vec![PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() }],
                ..EndpointSpec::default()
            }),
            task: Some(TaskSpec {
                container: Some(ContainerSpec {
                    env: vec!["A=1".to_owned(), "B=2".to_owned()],
                    mounts: vec![Mount { target: "/a".to_owned(), ..Mount::default() }],
                    hosts: vec!["10.0.0.1 db".to_owned()],
                    ..ContainerSpec::default()
                }),
                ..TaskSpec::default()
            }),
            ..ServiceSpec::default()
        };
        let spec = edited(
            "skep service update --env-add A=3 --env-add C=4 --env-rm B --mount-rm /a --publish-add 9090:80 --publish-rm 80 \
             --host-rm db --label-add x=y --constraint-add node.role==worker web",
            spec,
        );
        let task = spec.task.unwrap();
        let container = task.container.unwrap();
        assert_eq!(container.env, ["A=3", "C=4"]);
        assert!(container.mounts.is_empty() && container.hosts.is_empty());
        assert_eq!(spec.endpoint.unwrap().ports.len(), 1);
        assert_eq!(spec.annotations.unwrap().labels["x"], "y");
        assert_eq!(task.placement.unwrap().constraints, ["node.role==worker"]);
    }
}
