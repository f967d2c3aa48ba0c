//! What docker's types hold where its JSON has nothing: the zero values of the fields that are left out when empty.

use gotmpl::Value as Item;

const POINTERS: [&str; 26] = [
    "BindOptions",
    "CompletedAt",
    "ContainerStatus",
    "DNSConfig",
    "EndpointSpec",
    "Global",
    "Health",
    "Healthcheck",
    "Init",
    "JobStatus",
    "Limits",
    "LogDriver",
    "ManagerStatus",
    "Placement",
    "PreviousSpec",
    "Replicated",
    "Reservations",
    "Resources",
    "RestartPolicy",
    "RollbackConfig",
    "ServiceStatus",
    "StopTimeout",
    "TmpfsOptions",
    "UpdateConfig",
    "UpdateStatus",
    "VolumeOptions",
];

const LISTS: [&str; 22] = [
    "Aliases",
    "Args",
    "CapabilityAdd",
    "CapabilityDrop",
    "Command",
    "Configs",
    "Constraints",
    "Env",
    "Groups",
    "Hosts",
    "Mounts",
    "Nameservers",
    "Networks",
    "NetworksAttachments",
    "Platforms",
    "Ports",
    "Preferences",
    "Search",
    "Secrets",
    "Test",
    "Ulimits",
    "VirtualIPs",
];

const MAPS: [&str; 3] = ["DriverOpts", "Labels", "Sysctls"];

const STRINGS: [&str; 12] = [
    "AllocationError",
    "Comment",
    "Created",
    "Dir",
    "Err",
    "Gateway",
    "Hostname",
    "IPRange",
    "Message",
    "NodeID",
    "StopSignal",
    "User",
];

const NUMBERS: [&str; 9] =
    ["MaxReplicas", "MemoryBytes", "NanoCPUs", "OomScoreAdj", "Pids", "PublishedPort", "Retries", "SizeBytes", "Slot"];

const FLAGS: [&str; 4] = ["Leader", "OpenStdin", "ReadOnly", "TTY"];

/// Lists that JSON may have as null.
const NULL_LISTS: [&str; 27] = [
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "MaskedPaths",
    "OnBuild",
    "ReadonlyPaths",
    "SecurityOpt",
    "Shell",
    "VolumesFrom",
];

/// Maps that JSON may have as null.
const NULL_MAPS: [&str; 6] = ["ExposedPorts", "LogOpts", "Options", "PortBindings", "Tmpfs", "Volumes"];

/// How a field that is null is printed: Go knows whether it is one of no elements.
pub(super) fn printed(name: &str) -> Item {
    let text = match name {
        _ if LISTS.contains(&name) || NULL_LISTS.contains(&name) => "[]",
        _ if MAPS.contains(&name) || NULL_MAPS.contains(&name) => "map[]",
        _ => "<nil>",
    };
    Item::String(text.into())
}

/// The value of a field that the map is without, if docker's type has the field; nil for lists and maps too, unless it
/// is to be printed.
pub(super) fn of(map: &Item, name: &str, printed: bool) -> Option<Item> {
    let shown = |text: &str| if printed { Item::String(text.into()) } else { Item::Nil };
    // A mount has a name and a driver if it is of a volume.
    let mount = map.field("Destination").is_some() && matches!(name, "Name" | "Driver" | "Source");
    Some(match name {
        _ if mount || STRINGS.contains(&name) => Item::String("".into()),
        _ if NUMBERS.contains(&name) => Item::Int(0),
        _ if FLAGS.contains(&name) => Item::Bool(false),
        _ if LISTS.contains(&name) => shown("[]"),
        _ if MAPS.contains(&name) => shown("map[]"),
        _ if POINTERS.contains(&name) => Item::Nil,
        // The one name that differs between docker's type and its JSON, and that scripts ask for.
        "APIVersion" => return map.field("ApiVersion").cloned(),
        _ => return None,
    })
}
