//! Limits of memory, CPU and processes.
//!
//! Called by `create` (to check), at each start, and by `update`.

use skep_common::limits;

use crate::error::{Error, Result};
use crate::kernel::Resources;
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
    let memory = wanted.memory.filter(|bytes| *bytes != 0);
    let memory_swap = wanted.memory_swap.filter(|bytes| *bytes != 0);
    limits::check_memory(memory).map_err(refused)?;
    limits::check_reservation(memory, wanted.memory_reservation).map_err(refused)?;
    limits::check_swap(memory, memory_swap).map_err(refused)?;
    let memory_swap = memory_swap.or(memory.map(|memory| memory.saturating_mul(2)));
    let (mut cpu_quota, mut cpu_period) = (wanted.cpu_quota, wanted.cpu_period);
    if let Some(nano) = wanted.nano_cpus.filter(|nano| *nano != 0) {
        if cpu_quota.is_some() || cpu_period.is_some() {
            return invalid("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set".to_owned());
        }
        limits::check_cpus(Some(nano), cpus).map_err(refused)?;
        cpu_period = Some(CPU_PERIOD);
        cpu_quota = Some(nano * CPU_PERIOD as i64 / limits::NANO_CPUS_PER_CPU);
    }
    Ok(Resources {
        memory,
        memory_reservation: wanted.memory_reservation.filter(|bytes| *bytes != 0),
        memory_swap,
        cpu_quota,
        cpu_period,
        cpu_shares: wanted.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: wanted.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()),
        cpuset_mems: wanted.cpuset_mems.clone().filter(|nodes| !nodes.is_empty()),
        pids: wanted.pids.filter(|pids| *pids != 0),
        blkio_weight: wanted.blkio_weight.filter(|weight| *weight != 0),
        oom_kill_disable: wanted.oom_kill_disable,
        device_rules: device_rules.to_vec(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::resources;
    use crate::records::config::Limits;

    #[test]
    fn limits_are_checked_and_converted() {
        let limits = |limits: Limits| resources(&limits, &[], 2);
        let made =
            limits(Limits { memory: Some(64 << 20), nano_cpus: Some(1_500_000_000), ..Default::default() }).unwrap();
        assert_eq!((made.memory, made.memory_swap), (Some(64 << 20), Some(128 << 20)));
        assert_eq!((made.cpu_quota, made.cpu_period), (Some(150_000), Some(100_000)));
        let message = |given: Limits| limits(given).unwrap_err().to_string();
        assert_eq!(message(Limits { memory: Some(1024), ..Default::default() }), "Minimum memory limit allowed is 6MB");
        assert!(
            message(Limits { nano_cpus: Some(3_000_000_000), ..Default::default() }).contains("only 2 CPUs available")
        );
        assert!(limits(Limits { memory_swap: Some(1 << 30), ..Default::default() }).is_err());
    }
}
