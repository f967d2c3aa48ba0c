//! Capability names, and which of them this process can hand on.

use std::io;
use std::str::FromStr;

use super::error::{KernelError, Result};
use crate::kernel::sys;

/// Number of CAP_SYS_RESOURCE.
pub(crate) const SYS_RESOURCE: u32 = 24;

/// Whether this process may have the capability at all.
pub(crate) fn has(capability: u32) -> bool {
    sys::in_bounding(capability).unwrap_or(false)
}

/// Number of a capability, with or without `CAP_`, in any case.
pub(crate) fn number(name: &str) -> Result<u32> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    caps::Capability::from_str(&full)
        .map(|capability| u32::from(capability.index()))
        .map_err(|_| KernelError::Config(format!("invalid capability: {name:?}")))
}

/// The set asked for, or all there are, as far as this process has them itself. Bit N stands for
/// capability N.
pub(crate) fn available(names: &[String], privileged: bool, warnings: &mut Vec<String>) -> Result<u64> {
    let wanted: Vec<u32> = if privileged || names.iter().any(|name| name.eq_ignore_ascii_case("ALL")) {
        (0..64).take_while(|number| sys::in_bounding(*number).is_ok()).collect()
    } else {
        names.iter().map(|name| number(name)).collect::<Result<_>>()?
    };
    let mut set = 0;
    let mut missing = Vec::new();
    for capability in wanted {
        match sys::in_bounding(capability) {
            Ok(true) => set |= 1u64 << capability,
            Ok(false) => missing.push(label(capability)),
            // A capability newer than this kernel protects nothing on it.
            Err(_) => {}
        }
    }
    if !missing.is_empty() {
        warnings.push(format!("this host does not have {} itself: the container goes without", missing.join(", ")));
    }
    Ok(set)
}

fn label(capability: u32) -> String {
    caps::all()
        .into_iter()
        .find(|known| u32::from(known.index()) == capability)
        .map_or_else(|| format!("capability {capability}"), |known| known.to_string())
}

/// Removes everything else from the bounding set, for good.
pub(crate) fn limit_bounding(keep: u64) -> io::Result<()> {
    for capability in 0..64 {
        match sys::in_bounding(capability) {
            Ok(true) if keep & (1 << capability) == 0 => sys::drop_bounding(capability)?,
            Ok(_) => {}
            // Past the last one the kernel knows.
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernel::default_capabilities;

    #[test]
    fn dockers_set_is_the_known_bit_mask() {
        let set =
            default_capabilities().iter().map(|name| number(name).unwrap()).fold(0u64, |set, number| set | 1 << number);
        assert_eq!(set, 0xa804_25fb);
    }

    #[test]
    fn names_come_in_every_form() {
        assert_eq!(number("net_admin").unwrap(), 12);
        assert_eq!(number("CAP_NET_ADMIN").unwrap(), 12);
        assert!(number("CAP_FLY").is_err());
    }
}
