//! What limits of memory and processors docker's engine allows, in its words.
//!
//! In all of them 0 and nothing are the same: no limit. Pure, but for [`online`].

use std::fs;

/// Least memory that a container can be limited to, bytes.
pub const MEMORY_BYTES_MIN: i64 = 6 << 20;
/// A whole processor, in billionths.
pub const NANO_CPUS_PER_CPU: i64 = 1_000_000_000;
/// Least part of a processor that a container can be limited to, in billionths.
const NANO_CPUS_MIN: i64 = NANO_CPUS_PER_CPU / 100;
/// Most that a count of processors is read as, in billionths: a million processors.
const NANO_CPUS_MAX: f64 = 1e15;
/// Highest number of a processor or memory node (CONFIG_NR_CPUS of the largest kernels).
const SET_NUMBER_MAX: u32 = 8192;

/// A limit that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too little memory.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryTooSmall,
    /// Too little memory is reserved.
    #[error("Minimum memory reservation allowed is 6MB")]
    ReservationTooSmall,
    /// More is reserved than allowed.
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveLimit,
    /// Memory and swap together are limited, but memory is not.
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapWithoutMemory,
    /// Memory and swap together are less than memory.
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    /// Not a number.
    #[error("failed to parse {0} as a rational number")]
    NotANumber(String),
    /// More digits than billionths have.
    #[error("value is too precise")]
    TooPrecise,
    /// No machine has that.
    #[error("{0} is not a possible number of CPUs")]
    Impossible(String),
    /// This machine does not have that.
    #[error("range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    CpusOutOfRange(usize),
    /// Not a list of numbers and ranges.
    #[error("Invalid value {value} for {flag}")]
    InvalidSet {
        /// The text.
        value: String,
        /// What it is for, as docker calls it: `cpuset cpus`.
        flag: &'static str,
    },
    /// The machine does not have them.
    #[error("Requested {what} are not available - requested {wanted}, available: {available}")]
    SetUnavailable {
        /// `CPUs` or `memory nodes`.
        what: &'static str,
        /// Those asked for.
        wanted: String,
        /// Those that are there.
        available: String,
    },
}

/// Refuses a memory limit under docker's minimum. Bytes.
///
/// # Errors
/// [`LimitError::MemoryTooSmall`].
pub fn check_memory(memory: Option<i64>) -> Result<(), LimitError> {
    match memory {
        Some(limit) if limit != 0 && limit < MEMORY_BYTES_MIN => Err(LimitError::MemoryTooSmall),
        _ => Ok(()),
    }
}

/// Refuses a reservation under docker's minimum, and one above the limit. Bytes.
///
/// # Errors
/// [`LimitError::ReservationTooSmall`], [`LimitError::ReservationAboveLimit`].
pub fn check_reservation(memory: Option<i64>, reservation: Option<i64>) -> Result<(), LimitError> {
    match (memory.unwrap_or(0), reservation.unwrap_or(0)) {
        (_, reservation) if reservation > 0 && reservation < MEMORY_BYTES_MIN => Err(LimitError::ReservationTooSmall),
        (memory, reservation) if memory > 0 && memory < reservation => Err(LimitError::ReservationAboveLimit),
        _ => Ok(()),
    }
}

/// Refuses a limit of memory and swap together that says less than that of memory alone. Bytes; -1 is without limit.
///
/// # Errors
/// [`LimitError::SwapWithoutMemory`], [`LimitError::SwapBelowMemory`].
pub fn check_swap(memory: Option<i64>, memory_and_swap: Option<i64>) -> Result<(), LimitError> {
    match (memory.unwrap_or(0), memory_and_swap.unwrap_or(0)) {
        (0, swap) if swap > 0 => Err(LimitError::SwapWithoutMemory),
        (memory, swap) if swap > 0 && swap < memory => Err(LimitError::SwapBelowMemory),
        _ => Ok(()),
    }
}

/// Billionths of a processor from `1.5`.
///
/// # Errors
/// [`LimitError::NotANumber`], [`LimitError::TooPrecise`], [`LimitError::Impossible`].
pub fn parse_cpus(text: &str) -> Result<i64, LimitError> {
    let not_a_number = || LimitError::NotANumber(text.to_owned());
    let cpus: f64 = text.parse().map_err(|_| not_a_number())?;
    if !cpus.is_finite() {
        return Err(not_a_number());
    }
    let nanos = cpus * NANO_CPUS_PER_CPU as f64;
    if (nanos - nanos.round()).abs() > 1e-3 {
        return Err(LimitError::TooPrecise);
    }
    if cpus < 0.0 || nanos > NANO_CPUS_MAX {
        return Err(LimitError::Impossible(text.to_owned()));
    }
    Ok(nanos.round() as i64)
}

/// Refuses more processors than are `available`, and less than a hundredth of one. Billionths.
///
/// # Errors
/// [`LimitError::CpusOutOfRange`].
pub fn check_cpus(nano_cpus: Option<i64>, available: usize) -> Result<(), LimitError> {
    let nano_cpus = nano_cpus.unwrap_or(0);
    let there = i64::try_from(available).unwrap_or(i64::MAX).saturating_mul(NANO_CPUS_PER_CPU);
    match nano_cpus == 0 || (NANO_CPUS_MIN..=there).contains(&nano_cpus) {
        true => Ok(()),
        false => Err(LimitError::CpusOutOfRange(available)),
    }
}

/// Refuses processors that are not among those `available`, a list as [`online`] gives it; an empty one is not known.
///
/// # Errors
/// [`LimitError::InvalidSet`], [`LimitError::SetUnavailable`].
pub fn check_cpuset_cpus(wanted: Option<&str>, available: &str) -> Result<(), LimitError> {
    check_set(wanted, available, "CPUs", "cpuset cpus")
}

/// Refuses memory nodes that are not among those `available`, a list as [`online`] gives it; an empty one is not known.
///
/// # Errors
/// [`LimitError::InvalidSet`], [`LimitError::SetUnavailable`].
pub fn check_cpuset_mems(wanted: Option<&str>, available: &str) -> Result<(), LimitError> {
    check_set(wanted, available, "memory nodes", "cpuset mems")
}

fn check_set(wanted: Option<&str>, available: &str, what: &'static str, flag: &'static str) -> Result<(), LimitError> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(()) };
    let invalid = || LimitError::InvalidSet { value: wanted.to_owned(), flag };
    let ranges = parse_set(wanted).ok_or_else(invalid)?;
    let Some(there) = parse_set(available).filter(|there| !there.is_empty()) else { return Ok(()) };
    let is_there = |number: u32| there.iter().any(|(first, last)| (*first..=*last).contains(&number));
    match ranges.iter().all(|(first, last)| (*first..=*last).all(is_there)) {
        true => Ok(()),
        false => Err(LimitError::SetUnavailable { what, wanted: wanted.to_owned(), available: available.to_owned() }),
    }
}

/// `0-3,7`, as the kernel reads it.
fn parse_set(text: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (first <= last && last <= SET_NUMBER_MAX).then_some((first, last))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(range).collect()
}

/// What the kernel has switched on of a kind of device under `/sys/devices/system` (`cpu` or `node`), as in `0-3`;
/// empty where it does not tell.
pub fn online(kind: &str) -> String {
    let path = format!("/sys/devices/system/{kind}/online");
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_little_memory_is_refused() {
        assert_eq!(check_memory(Some(5 << 20)).unwrap_err().to_string(), "Minimum memory limit allowed is 6MB");
        assert!(check_memory(Some(-1)).is_err());
        for good in [Some(6 << 20), Some(0), None] {
            check_memory(good).unwrap();
        }
    }

    #[test]
    fn a_reservation_above_the_limit_is_refused() {
        let error = check_reservation(Some(100 << 20), Some(500 << 20)).unwrap_err();
        assert_eq!(error.to_string(), "Minimum memory limit can not be less than memory reservation limit, see usage");
        assert_eq!(check_reservation(None, Some(1 << 20)), Err(LimitError::ReservationTooSmall));
        for (memory, reservation) in [(None, Some(7 << 20)), (Some(0), Some(7 << 20)), (Some(7 << 20), None)] {
            check_reservation(memory, reservation).unwrap();
        }
    }

    #[test]
    fn swap_includes_memory() {
        assert_eq!(check_swap(None, Some(7 << 20)), Err(LimitError::SwapWithoutMemory));
        assert_eq!(check_swap(Some(8 << 20), Some(7 << 20)), Err(LimitError::SwapBelowMemory));
        for (memory, swap) in
            [(Some(7 << 20), Some(7 << 20)), (Some(7 << 20), Some(-1)), (None, Some(-1)), (None, None)]
        {
            check_swap(memory, swap).unwrap();
        }
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        let error = check_cpuset_cpus(Some("77"), "0-1").unwrap_err();
        assert_eq!(error.to_string(), "Requested CPUs are not available - requested 77, available: 0-1");
        let error = check_cpuset_mems(Some("1"), "0").unwrap_err();
        assert_eq!(error.to_string(), "Requested memory nodes are not available - requested 1, available: 0");
        assert!(check_cpuset_cpus(Some("0-2"), "0-1").is_err());
        assert_eq!(check_cpuset_cpus(Some("a"), "0-1").unwrap_err().to_string(), "Invalid value a for cpuset cpus");
        for bad in ["1-0", "0-99999999", "-1"] {
            assert!(matches!(check_cpuset_cpus(Some(bad), "0-1"), Err(LimitError::InvalidSet { .. })), "{bad}");
        }
        for good in ["", "0", "0-1", "0,1", "1,0-1"] {
            check_cpuset_cpus(Some(good), "0-1").unwrap();
        }
        check_cpuset_cpus(Some("0,5"), "0-3,5").unwrap();
        check_cpuset_cpus(Some("77"), "").unwrap();
        check_cpuset_cpus(None, "0-1").unwrap();
        assert!(parse_set(&online("cpu")).is_some());
    }

    #[test]
    fn counts_of_processors_are_read() {
        assert_eq!(parse_cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(parse_cpus("abc").unwrap_err().to_string(), "failed to parse abc as a rational number");
        assert_eq!(parse_cpus("0.0000000001"), Err(LimitError::TooPrecise));
        for bad in ["-1", "2000000", "inf", "nan"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
        let error = check_cpus(Some(3_000_000_000), 2).unwrap_err();
        assert_eq!(error.to_string(), "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available");
        assert!(check_cpus(Some(1), 2).is_err() && check_cpus(Some(-1), 2).is_err());
        for good in [Some(2_000_000_000), Some(10_000_000), Some(0), None] {
            check_cpus(good, 2).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_too_strange(text in ".{0,12}") {
            parse_cpus(&text).ok();
            check_cpuset_cpus(Some(&text), "0-1").ok();
        }
    }
}
