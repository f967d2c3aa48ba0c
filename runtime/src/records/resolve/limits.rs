//! Limits of memory, CPU and processes.
//!
//! Called by `create` (to check), at each start, and by `update`.

use skep_common::limits;

use crate::error::{Error, Result};
use crate::kernel::{CgroupLimits, Resources};
use crate::records::config::Limits;

/// Length of the period that a number of CPUs is a quota of, microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Limits as the kernel takes them.
///
/// # Errors
/// A value is out of its range, or two contradict each other.
pub(crate) fn resources(wanted: &Limits, device_rules: &[String], cpus: usize) -> Result<Resources> {
    let invalid = |message: String| Err(Error::InvalidConfig(message));
    let refused = |error: limits::LimitError| Error::InvalidConfig(error.to_string());
    let asked = &wanted.cgroup;
    let memory = asked.memory.filter(|bytes| *bytes != 0);
    let memory_swap = asked.memory_swap.filter(|bytes| *bytes != 0);
    limits::check_memory(memory).map_err(refused)?;
    limits::check_reservation(memory, asked.memory_reservation).map_err(refused)?;
    limits::check_swap(memory, memory_swap).map_err(refused)?;
    let memory_swap = memory_swap.or(memory.map(|memory| memory.saturating_mul(2)));
    let (mut cpu_quota, mut cpu_period) = (asked.cpu_quota, asked.cpu_period);
    if let Some(nano) = wanted.nano_cpus.filter(|nano| *nano != 0) {
        if cpu_quota.is_some() || cpu_period.is_some() {
            return invalid("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set".to_owned());
        }
        limits::check_cpus(Some(nano), cpus).map_err(refused)?;
        cpu_period = Some(CPU_PERIOD);
        cpu_quota = Some(nano * CPU_PERIOD as i64 / limits::NANO_CPUS_PER_CPU);
    }
    let limits = CgroupLimits {
        memory,
        memory_reservation: asked.memory_reservation.filter(|bytes| *bytes != 0),
        memory_swap,
        cpu_quota,
        cpu_period,
        cpu_shares: asked.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: asked.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()),
        cpuset_mems: asked.cpuset_mems.clone().filter(|nodes| !nodes.is_empty()),
        pids: asked.pids.filter(|pids| *pids != 0),
        blkio_weight: asked.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: asked.oom_kill_disable,
    };
    Ok(Resources { limits, device_rules: device_rules.to_vec() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::resources;
    use crate::kernel::CgroupLimits;
    use crate::records::config::Limits;

    #[test]
    fn limits_are_checked_and_converted() {
        let limits = |nano_cpus: Option<i64>, cgroup: CgroupLimits| {
            resources(&Limits { nano_cpus, cgroup }, &[], 2).map(|resources| resources.limits)
        };
        let none = CgroupLimits::default();
        let memory = |bytes: i64| CgroupLimits { memory: Some(bytes), ..CgroupLimits::default() };
        let made = limits(Some(1_500_000_000), memory(64 << 20)).unwrap();
        assert_eq!((made.memory, made.memory_swap), (Some(64 << 20), Some(128 << 20)));
        assert_eq!((made.cpu_quota, made.cpu_period), (Some(150_000), Some(100_000)));
        let quota = CgroupLimits { cpu_quota: Some(150_000), ..none.clone() };
        assert!(limits(Some(1_500_000_000), quota).unwrap_err().to_string().starts_with("Conflicting options"));
        assert_eq!(limits(None, memory(1024)).unwrap_err().to_string(), "Minimum memory limit allowed is 6MB");
        let error = limits(Some(3_000_000_000), none.clone()).unwrap_err().to_string();
        assert!(error.contains("only 2 CPUs available"), "{error}");
        assert!(limits(None, CgroupLimits { memory_swap: Some(1 << 30), ..none }).is_err());
    }
}
