//! Sizes in bytes, and CPU counts.

/// Docker's lower limit of a container's memory.
const MEMORY_MIN: i64 = 6 << 20;

/// Bytes from `6m`, `1.5GiB`, `100`: binary units whatever the suffix is called.
pub fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    let number: f64 = number.trim_end().parse().map_err(|_| invalid())?;
    if !number.is_finite() || number < 0.0 {
        return Err(invalid());
    }
    let unit = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{suffix}'")),
    };
    let size = number * 1024_f64.powi(unit);
    if size >= i64::MAX as f64 { Err(invalid()) } else { Ok(size as i64) }
}

/// Bytes, or -1 for "without limit".
pub fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Refuses a memory limit under docker's minimum; 0 is none.
pub fn check_memory(bytes: Option<i64>) -> Result<(), String> {
    match bytes {
        Some(limit) if limit != 0 && limit < MEMORY_MIN => Err("Minimum memory limit allowed is 6MB".to_owned()),
        _ => Ok(()),
    }
}

/// Refuses a reservation above the limit; 0 is none.
pub fn check_reservation(memory: Option<i64>, reservation: Option<i64>) -> Result<(), String> {
    match (memory.unwrap_or(0), reservation.unwrap_or(0)) {
        (_, reservation) if reservation > 0 && reservation < MEMORY_MIN => {
            Err("Minimum memory reservation allowed is 6MB".to_owned())
        }
        (memory, reservation) if memory > 0 && memory < reservation => {
            Err("Minimum memory limit can not be less than memory reservation limit, see usage".to_owned())
        }
        _ => Ok(()),
    }
}

/// Refuses processors or memory nodes that are not among those `available`, a list as the kernel writes it; an empty
/// one is not known. `what` and `flag` are docker's names for them.
pub fn check_set(wanted: Option<&str>, available: &str, what: &str, flag: &str) -> Result<(), String> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(()) };
    let ranges = ranges(wanted).ok_or_else(|| format!("Invalid value {wanted} for {flag}"))?;
    let Some(there) = self::ranges(available).filter(|there| !there.is_empty()) else { return Ok(()) };
    let is_there = |number: u32| there.iter().any(|(first, last)| (*first..=*last).contains(&number));
    match ranges.iter().all(|(first, last)| (*first..=*last).all(is_there)) {
        true => Ok(()),
        false => Err(format!("Requested {what} are not available - requested {wanted}, available: {available}")),
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

/// What the kernel lists under `/sys/devices/system`: `cpu` or `node`.
pub fn online(kind: &str) -> String {
    let path = format!("/sys/devices/system/{kind}/online");
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Billionths of a CPU from `1.5`.
pub fn nano_cpus(text: &str) -> Result<i64, String> {
    let cpus: f64 = text.parse().map_err(|_| format!("failed to parse {text} as a rational number"))?;
    if !cpus.is_finite() {
        return Err(format!("failed to parse {text} as a rational number"));
    }
    let nanos = cpus * 1e9;
    if (nanos - nanos.round()).abs() > 1e-3 {
        return Err("value is too precise".to_owned());
    }
    if cpus < 0.0 || nanos > 1e15 {
        return Err(format!("{text} is not a possible number of CPUs"));
    }
    Ok(nanos.round() as i64)
}

/// Refuses what the machine does not have.
pub fn check_cpus(nano_cpus: Option<i64>, available: usize) -> Result<(), String> {
    match nano_cpus {
        Some(nano) if nano > 0 && nano > i64::try_from(available).unwrap_or(i64::MAX).saturating_mul(1_000_000_000) => {
            Err(format!("range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"))
        }
        Some(nano) if nano > 0 && nano < 10_000_000 => {
            Err(format!("range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_docker_reads() {
        for (text, expected) in
            [("6m", 6 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("32 kb", 32768), ("0", 0), ("7B", 7)]
        {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        assert_eq!(bytes("abc").unwrap_err(), "invalid size: 'abc'");
        assert_eq!(bytes("5x").unwrap_err(), "invalid suffix: 'x'");
        assert!(bytes("-5m").is_err());
        assert!(bytes("99999999999g").is_err());
        assert_eq!(bytes_or_unlimited("-1").unwrap(), -1);
    }

    #[test]
    fn refuses_too_little_memory() {
        assert_eq!(check_memory(Some(5 << 20)).unwrap_err(), "Minimum memory limit allowed is 6MB");
        check_memory(Some(6 << 20)).unwrap();
        check_memory(Some(0)).unwrap();
        check_memory(None).unwrap();
    }

    #[test]
    fn refuses_a_reservation_above_the_limit() {
        let error = check_reservation(Some(100 << 20), Some(500 << 20)).unwrap_err();
        assert_eq!(error, "Minimum memory limit can not be less than memory reservation limit, see usage");
        assert!(check_reservation(None, Some(1 << 20)).is_err());
        for (memory, reservation) in [(None, Some(7 << 20)), (Some(0), Some(7 << 20)), (Some(7 << 20), None)] {
            check_reservation(memory, reservation).unwrap();
        }
    }

    #[test]
    fn refuses_processors_that_are_not_there() {
        let check = |wanted: &str, available: &str| check_set(Some(wanted), available, "CPUs", "cpuset cpus");
        let error = check("77", "0-1").unwrap_err();
        assert_eq!(error, "Requested CPUs are not available - requested 77, available: 0-1");
        assert!(check("0-2", "0-1").is_err());
        assert_eq!(check("a", "0-1").unwrap_err(), "Invalid value a for cpuset cpus");
        for bad in ["1-0", "0-99999999", "-1"] {
            assert!(check(bad, "0-1").unwrap_err().starts_with("Invalid value"), "{bad}");
        }
        for good in ["", "0", "0-1", "0,1", "1,0-1"] {
            check(good, "0-1").unwrap();
        }
        check("0,5", "0-3,5").unwrap();
        check("77", "").unwrap();
    }

    #[test]
    fn reads_cpus() {
        assert_eq!(nano_cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(nano_cpus("abc").unwrap_err(), "failed to parse abc as a rational number");
        assert!(nano_cpus("0.0000000001").is_err());
        assert!(check_cpus(Some(3_000_000_000), 2).is_err());
        assert!(check_cpus(Some(2_000_000_000), 2).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics(text in ".{0,12}") {
            bytes(&text).ok();
            nano_cpus(&text).ok();
        }

        #[test]
        fn whole_numbers_stay(number in 0_i64..1 << 40) {
            prop_assert_eq!(bytes(&number.to_string()).unwrap(), number);
        }
    }
}
