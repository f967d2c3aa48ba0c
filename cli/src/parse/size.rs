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
    fn reads_cpus() {
        assert_eq!(nano_cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(nano_cpus("abc").unwrap_err(), "failed to parse abc as a rational number");
        assert!(nano_cpus("0.0000000001").is_err());
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
