//! The `--…-add` and `--…-rm` flags of `service update`.

use anyhow::{Result, anyhow};
use skep_engine::containers::mounts::to_docker;
use skep_engine::docker::service::{PortConfig, ServiceSpec};
use skep_engine::services::edit::{Change, Edit, Host};

use super::spec;
use crate::args::service::Ports;
use crate::args::update::Update;
use crate::parse::env;

/// What the flags ask for.
pub(crate) fn of_flags(args: &Update) -> Result<Edit> {
    let mut set = ServiceSpec::default();
    spec::common(&mut set, &args.common)?;
    let container = set.task_template.container_spec.get_or_insert_default();
    container.image.clone_from(&args.image);
    container.args.clone_from(&args.args);
    let preferences = |texts: &[String]| {
        texts.iter().map(|text| spec::preference(text).map_err(|error| anyhow!(error))).collect::<Result<Vec<_>>>()
    };
    let networks = args.network_add.iter().map(|network| spec::network(network).map_err(|error| anyhow!(error)));
    let addresses = |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    Ok(Edit {
        set,
        labels: pairs(&args.label_rm, &args.label_add),
        ports: Change { removed: ports(&args.publish_rm), added: ports(&args.publish_add) },
        constraints: list(&args.constraint_rm, &args.constraint_add),
        spread: Change {
            removed: preferences(&args.placement_pref_rm)?,
            added: preferences(&args.placement_pref_add)?,
        },
        networks: Change { removed: args.network_rm.clone(), added: networks.collect::<Result<_>>()? },
        container_labels: pairs(&args.container_label_rm, &args.container_label_add),
        env: Change { removed: args.env_rm.clone(), added: env::resolved(&args.env_add, env::of_process) },
        groups: list(&args.group_rm, &args.group_add),
        dns_nameservers: Change { removed: addresses(&args.dns_rm), added: addresses(&args.dns_add) },
        dns_search: list(&args.dns_search_rm, &args.dns_search_add),
        dns_options: list(&args.dns_option_rm, &args.dns_option_add),
        hosts: Change {
            removed: args.host_rm.iter().map(|text| removed_host(text)).collect(),
            added: args.host_add.iter().map(|(name, address)| host(name, address)).collect(),
        },
        sysctls: pairs(&args.sysctl_rm, &args.sysctl_add),
        ulimits: Change { removed: args.ulimit_rm.clone(), added: args.ulimit_add.iter().map(spec::ulimit).collect() },
        cap_add: args.common.cap_add.clone(),
        cap_drop: args.common.cap_drop.clone(),
        mounts: Change { removed: args.mount_rm.clone(), added: args.mount_add.iter().map(to_docker).collect() },
        replicas: args.common.replicas,
        force: args.force,
    })
}

fn list(removed: &[String], added: &[String]) -> Change<String, String> {
    Change { removed: removed.to_vec(), added: added.to_vec() }
}

fn pairs(removed: &[String], added: &[String]) -> Change<String, (String, String)> {
    Change { removed: removed.to_vec(), added: env::pairs(added).into_iter().collect() }
}

fn ports(ports: &[Ports]) -> Vec<PortConfig> {
    ports.iter().flatten().cloned().collect()
}

fn host(name: &str, address: &str) -> Host {
    Host { name: name.to_owned(), address: address.to_owned() }
}

/// `HOST`, `HOST:ADDRESS` or `HOST=ADDRESS`
fn removed_host(text: &str) -> Host {
    let (name, address) = text.split_once([':', '=']).unwrap_or((text, ""));
    host(name, address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::args::{Command, service, usage};

    fn read(line: &str) -> Edit {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        match usage::parse(&words).unwrap().command {
            Some(Command::Service(service::Command::Update(args))) => of_flags(&args).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_changes() {
        let edit = read(
            "skep service update --env-add A=3 --env-add C=4 --env-rm B --mount-rm /a --publish-add 9090:80 --publish-rm 80 \
             --host-rm db:10.0.0.1 --host-rm old --label-add x=y --constraint-add node.role==worker --network-rm app \
             --placement-pref-add spread=node.labels.zone --replicas 3 --force --image nginx:2 --user 7 web",
        );
        assert_eq!((edit.env.removed.as_slice(), edit.env.added.len()), (["B".to_owned()].as_slice(), 2));
        let numbers = |port: &PortConfig| (port.target_port, port.published_port);
        assert_eq!(numbers(&edit.ports.removed[0]), (Some(80), Some(0)));
        assert_eq!(numbers(&edit.ports.added[0]), (Some(80), Some(9090)));
        assert_eq!(edit.hosts.removed, [host("db", "10.0.0.1"), host("old", "")]);
        assert_eq!(edit.labels.added, [("x".to_owned(), "y".to_owned())]);
        assert_eq!(edit.constraints.added, ["node.role==worker"]);
        assert_eq!(edit.spread.added, ["node.labels.zone"]);
        assert_eq!((edit.networks.removed, edit.mounts.removed), (vec!["app".to_owned()], vec!["/a".to_owned()]));
        assert_eq!((edit.replicas, edit.force), (Some(3), true));
        let set = edit.set.task_template.container_spec.unwrap();
        assert_eq!((set.image.as_deref(), set.user.as_deref(), set.args), (Some("nginx:2"), Some("7"), None));
    }

    #[test]
    fn no_flags_change_nothing() {
        let edit = read("skep service update web");
        let asked = serde_json::to_value(&edit.set).unwrap();
        let nothing = serde_json::json!({
            "Labels": null, "Mode": {},
            "TaskTemplate": {"ContainerSpec": {}, "ForceUpdate": 0, "Resources": {"Limits": {}, "Reservations": {}}},
        });
        assert_eq!(asked, nothing);
        assert_eq!(Edit { set: ServiceSpec::default(), ..edit }, Edit::default());
    }
}
