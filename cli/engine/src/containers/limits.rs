//! What a container may use, checked as docker's engine checks it.

use skep_common::limits;
use skep_common::procfs::processor_count;
use skep_runtime::config::{CgroupLimits, Limits};

use crate::docker::create::Resources;
use crate::docker::refuse;
use crate::error::{Error, Result};

/// The limits of a container that is to be made. Nought is none, everywhere.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`] for what cannot be, [`crate::ErrorKind::NotSupported`] for limits that skep does
/// not have.
pub(crate) fn of_request(resources: &Resources) -> Result<Limits> {
    refuse_unknown(resources)?;
    check(resources)?;
    limits::check_cpus(resources.nano_cpus, processor_count())?;
    let asked = given(resources);
    if asked.nano_cpus.is_some() && (asked.cgroup.cpu_quota.is_some() || asked.cgroup.cpu_period.is_some()) {
        return Err(Error::bad_argument("Conflicting options: Nano CPUs and CPU Period cannot both be set."));
    }
    limits::check_swap(asked.cgroup.memory, asked.cgroup.memory_swap)?;
    Ok(asked)
}

/// The limits that a container is to have from now on; those that are missing stay as they are.
///
/// # Errors
/// As [`of_request`].
pub(crate) fn of_update(resources: &Resources) -> Result<Limits> {
    refuse_unknown(resources)?;
    check(resources)?;
    // Nought is no number of processes: it takes the limit away.
    let mut limits = given(resources);
    limits.cgroup.pids = resources.pids_limit.flatten();
    Ok(limits)
}

fn given(resources: &Resources) -> Limits {
    let nonzero = |value: Option<i64>| value.filter(|value| *value != 0);
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value != 0);
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let cgroup = CgroupLimits {
        memory: nonzero(resources.memory),
        memory_reservation: nonzero(resources.memory_reservation),
        memory_swap: nonzero(resources.memory_swap),
        cpu_quota: nonzero(resources.cpu_quota),
        cpu_period: positive(resources.cpu_period),
        cpu_shares: positive(resources.cpu_shares),
        cpuset_cpus: text(&resources.cpuset_cpus),
        cpuset_mems: text(&resources.cpuset_mems),
        pids: nonzero(resources.pids_limit.flatten()),
        blkio_weight: resources.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: resources.oom_kill_disable.flatten().unwrap_or(false),
    };
    Limits { nano_cpus: nonzero(resources.nano_cpus), cgroup }
}

/// Refuses limits that skep does not have, where they are asked for.
fn refuse_unknown(resources: &Resources) -> Result<()> {
    refuse("BlkioWeightDevice", &resources.blkio_weight_device)?;
    refuse("BlkioDeviceReadBps", &resources.blkio_device_read_bps)?;
    refuse("BlkioDeviceWriteBps", &resources.blkio_device_write_bps)?;
    refuse("BlkioDeviceReadIOps", &resources.blkio_device_read_iops)?;
    refuse("BlkioDeviceWriteIOps", &resources.blkio_device_write_iops)?;
    refuse("CpuRealtimePeriod", &resources.cpu_realtime_period)?;
    refuse("CpuRealtimeRuntime", &resources.cpu_realtime_runtime)?;
    refuse("DeviceRequests", &resources.device_requests)?;
    refuse("KernelMemory", &resources.kernel_memory)?;
    refuse("KernelMemoryTCP", &resources.kernel_memory_tcp)?;
    // -1 is docker's client's word for "as it is".
    refuse("MemorySwappiness", &resources.memory_swappiness.flatten().filter(|value| *value != -1))?;
    refuse("CpuCount", &resources.cpu_count)?;
    refuse("CpuPercent", &resources.cpu_percent)?;
    refuse("IOMaximumIOps", &resources.io_maximum_iops)?;
    refuse("IOMaximumBandwidth", &resources.io_maximum_bandwidth)
}

fn check(resources: &Resources) -> Result<()> {
    limits::check_memory(resources.memory)?;
    limits::check_reservation(resources.memory, resources.memory_reservation)?;
    limits::check_cpuset_cpus(resources.cpuset_cpus.as_deref(), &limits::online("cpu"))?;
    Ok(limits::check_cpuset_mems(resources.cpuset_mems.as_deref(), &limits::online("node"))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nought_is_none_but_of_processes_that_are_changed() {
        let asked = Resources { memory: Some(0), pids_limit: Some(Some(0)), ..Resources::default() };
        assert_eq!(of_request(&asked).unwrap(), Limits::default());
        let unlimited = CgroupLimits { pids: Some(0), ..CgroupLimits::default() };
        assert_eq!(of_update(&asked).unwrap(), Limits { nano_cpus: None, cgroup: unlimited });
    }

    #[test]
    fn what_skep_does_not_have_is_refused_by_name() {
        let asked = Resources { kernel_memory: Some(1), ..Resources::default() };
        assert_eq!(of_request(&asked).unwrap_err().to_string(), "KernelMemory is not supported: 1");
        let asked = Resources { memory_swappiness: Some(Some(-1)), ..Resources::default() };
        of_request(&asked).unwrap();
    }
}
