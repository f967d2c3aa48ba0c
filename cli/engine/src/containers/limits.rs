//! What a container may use, checked as docker's engine checks it.

use skep_runtime::config::Limits;

use crate::docker::create::Resources;
use crate::docker::refuse;
use crate::error::{Error, Result};

/// Docker's lower limit of a container's memory, bytes.
const MEMORY_MIN_BYTES: i64 = 6 << 20;

/// The limits of a container that is to be made. Nought is none, everywhere.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`] for what cannot be, [`crate::ErrorKind::NotSupported`] for limits that skep does
/// not have.
pub fn of_request(resources: &Resources) -> Result<Limits> {
    refuse_unknown(resources)?;
    check(resources)?;
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    check_cpus(resources.nano_cpus, available)?;
    let limits = given(resources);
    if limits.nano_cpus.is_some() && (limits.cpu_quota.is_some() || limits.cpu_period.is_some()) {
        return Err(Error::bad_argument("Conflicting options: Nano CPUs and CPU Period cannot both be set."));
    }
    if let Some(swap) = limits.memory_swap.filter(|swap| *swap > 0) {
        let memory = limits.memory.unwrap_or(0);
        if memory == 0 {
            let missing = "You should always set the Memory limit when using Memoryswap limit, see usage";
            return Err(Error::bad_argument(missing));
        }
        if swap < memory {
            let small = "Minimum memoryswap limit should be larger than memory limit, see usage";
            return Err(Error::bad_argument(small));
        }
    }
    Ok(limits)
}

/// The limits that a container is to have from now on; those that are missing stay as they are.
///
/// # Errors
/// As [`of_request`].
pub fn of_update(resources: &Resources) -> Result<Limits> {
    refuse_unknown(resources)?;
    check(resources)?;
    // Nought is no number of processes: it takes the limit away.
    Ok(Limits { pids: resources.pids_limit.flatten(), ..given(resources) })
}

fn given(resources: &Resources) -> Limits {
    let nonzero = |value: Option<i64>| value.filter(|value| *value != 0);
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value != 0);
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Limits {
        memory: nonzero(resources.memory),
        memory_reservation: nonzero(resources.memory_reservation),
        memory_swap: nonzero(resources.memory_swap),
        nano_cpus: nonzero(resources.nano_cpus),
        cpu_quota: nonzero(resources.cpu_quota),
        cpu_period: positive(resources.cpu_period),
        cpu_shares: positive(resources.cpu_shares),
        cpuset_cpus: text(&resources.cpuset_cpus),
        cpuset_mems: text(&resources.cpuset_mems),
        pids: nonzero(resources.pids_limit.flatten()),
        blkio_weight: resources.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: resources.oom_kill_disable.flatten().unwrap_or(false),
    }
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
    check_memory(resources.memory)?;
    check_reservation(resources.memory, resources.memory_reservation)?;
    check_set(resources.cpuset_cpus.as_deref(), &online("cpu"), "CPUs", "cpuset cpus")?;
    check_set(resources.cpuset_mems.as_deref(), &online("node"), "memory nodes", "cpuset mems")
}

/// Refuses a memory limit under docker's minimum; 0 is none.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`].
pub fn check_memory(bytes: Option<i64>) -> Result<()> {
    match bytes {
        Some(limit) if limit != 0 && limit < MEMORY_MIN_BYTES => {
            Err(Error::bad_argument("Minimum memory limit allowed is 6MB"))
        }
        _ => Ok(()),
    }
}

/// Refuses a reservation above the limit; 0 is none.
///
/// # Errors
/// [`crate::ErrorKind::BadArgument`].
pub fn check_reservation(memory: Option<i64>, reservation: Option<i64>) -> Result<()> {
    match (memory.unwrap_or(0), reservation.unwrap_or(0)) {
        (_, reservation) if reservation > 0 && reservation < MEMORY_MIN_BYTES => {
            Err(Error::bad_argument("Minimum memory reservation allowed is 6MB"))
        }
        (memory, reservation) if memory > 0 && memory < reservation => {
            Err(Error::bad_argument("Minimum memory limit can not be less than memory reservation limit, see usage"))
        }
        _ => Ok(()),
    }
}

/// Refuses processors or memory nodes that are not among those `available`, a list as the kernel writes it; an empty
/// one is not known. `what` and `flag` are docker's names for them.
fn check_set(wanted: Option<&str>, available: &str, what: &str, flag: &str) -> Result<()> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(()) };
    let ranges = ranges(wanted).ok_or_else(|| Error::bad_argument(format!("Invalid value {wanted} for {flag}")))?;
    let Some(there) = self::ranges(available).filter(|there| !there.is_empty()) else { return Ok(()) };
    let is_there = |number: u32| there.iter().any(|(first, last)| (*first..=*last).contains(&number));
    match ranges.iter().all(|(first, last)| (*first..=*last).all(is_there)) {
        true => Ok(()),
        false => Err(Error::bad_argument(format!(
            "Requested {what} are not available - requested {wanted}, available: {available}"
        ))),
    }
}

/// `0-3,7`, as the kernel reads it.
fn ranges(text: &str) -> Option<Vec<(u32, u32)>> {
    const NUMBER_MAX: u32 = 8192;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (first <= last && last <= NUMBER_MAX).then_some((first, last))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(range).collect()
}

/// What the kernel lists under /sys/devices/system: `cpu` or `node`.
fn online(kind: &str) -> String {
    let path = format!("/sys/devices/system/{kind}/online");
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Refuses what the machine does not have.
fn check_cpus(nano_cpus: Option<i64>, available: usize) -> Result<()> {
    let most = i64::try_from(available).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    match nano_cpus {
        Some(nano) if nano > 0 && !(10_000_000..=most).contains(&nano) => Err(Error::bad_argument(format!(
            "range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn refuses_too_little_memory() {
        let error = check_memory(Some(5 << 20)).unwrap_err();
        assert_eq!(error.to_string(), "Minimum memory limit allowed is 6MB");
        check_memory(Some(6 << 20)).unwrap();
        check_memory(Some(0)).unwrap();
        check_memory(None).unwrap();
    }

    #[test]
    fn refuses_a_reservation_above_the_limit() {
        let error = check_reservation(Some(100 << 20), Some(500 << 20)).unwrap_err().to_string();
        assert_eq!(error, "Minimum memory limit can not be less than memory reservation limit, see usage");
        assert!(check_reservation(None, Some(1 << 20)).is_err());
        for (memory, reservation) in [(None, Some(7 << 20)), (Some(0), Some(7 << 20)), (Some(7 << 20), None)] {
            check_reservation(memory, reservation).unwrap();
        }
    }

    #[test]
    fn refuses_processors_that_are_not_there() {
        let check = |wanted: &str, available: &str| check_set(Some(wanted), available, "CPUs", "cpuset cpus");
        let error = check("77", "0-1").unwrap_err().to_string();
        assert_eq!(error, "Requested CPUs are not available - requested 77, available: 0-1");
        assert!(check("0-2", "0-1").is_err());
        assert_eq!(check("a", "0-1").unwrap_err().to_string(), "Invalid value a for cpuset cpus");
        for bad in ["1-0", "0-99999999", "-1"] {
            assert!(check(bad, "0-1").unwrap_err().to_string().starts_with("Invalid value"), "{bad}");
        }
        for good in ["", "0", "0-1", "0,1", "1,0-1"] {
            check(good, "0-1").unwrap();
        }
        check("0,5", "0-3,5").unwrap();
        check("77", "").unwrap();
    }

    #[test]
    fn refuses_processors_in_excess() {
        assert!(check_cpus(Some(3_000_000_000), 2).is_err());
        assert!(check_cpus(Some(1_000_000), 2).is_err());
        check_cpus(Some(2_000_000_000), 2).unwrap();
        check_cpus(Some(0), 2).unwrap();
    }

    #[test]
    fn nought_is_none_but_of_processes_that_are_changed() {
        let asked = Resources { memory: Some(0), pids_limit: Some(Some(0)), ..Resources::default() };
        assert_eq!(of_request(&asked).unwrap(), Limits::default());
        assert_eq!(of_update(&asked).unwrap(), Limits { pids: Some(0), ..Limits::default() });
    }

    #[test]
    fn what_skep_does_not_have_is_refused_by_name() {
        let asked = Resources { kernel_memory: Some(1), ..Resources::default() };
        assert_eq!(of_request(&asked).unwrap_err().to_string(), "KernelMemory is not supported: 1");
        let asked = Resources { memory_swappiness: Some(Some(-1)), ..Resources::default() };
        of_request(&asked).unwrap();
    }
}
