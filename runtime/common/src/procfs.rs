//! What /proc tells about processes, the machine and the boot. See proc(5).

use std::fs;

/// Clock ticks in a second: the same on every architecture, as Linux shows them to programs (USER_HZ).
pub const TICKS_PER_SECOND: u64 = 100;

/// Part of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// One letter: `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// The parent's id.
    pub parent: i32,
    /// Device number of the controlling terminal; 0 for none.
    pub terminal: u32,
    /// Time on the processor in user mode, clock ticks.
    pub user_ticks: u64,
    /// Time on the processor in the kernel, clock ticks.
    pub system_ticks: u64,
    /// Start, clock ticks since boot: together with its id it names a process for good.
    pub start_ticks: u64,
}

impl ProcessStat {
    /// A process as it is now; `None` when it is not there.
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// It has ended, and only waits to be reaped.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    fn parse(text: &str) -> Option<Self> {
        // The name may hold spaces and parentheses: what counts comes after the last one.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first field here is the third of proc(5).
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            // Written as a signed number.
            terminal: fields.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
            user_ticks: number(11)?,
            system_ticks: number(12)?,
            start_ticks: number(19)?,
        })
    }
}

/// Start of a process, clock ticks since boot; `None` where there is none, or only its remains.
pub fn start_ticks(pid: i32) -> Option<u64> {
    ProcessStat::of(pid).filter(|stat| !stat.has_ended()).map(|stat| stat.start_ticks)
}

/// Bytes of memory that this machine has; 0 where the kernel does not tell.
pub fn memory_total_bytes() -> u64 {
    memory_total(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn memory_total(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// Processors of this machine that are switched on; at least 1.
pub fn processor_count() -> usize {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count().max(1)
}

/// When this machine was started, seconds since 1970; 0 where the kernel does not tell.
pub fn boot_seconds() -> i64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Names this boot; empty where the kernel does not tell.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = "7 (a) b (c)) Z 1 7 7 -34816 -1 4228356 0 0 0 0 31 32 0 0 20 0 1 0 12345 0 0\n";
        let stat = ProcessStat::parse(text).unwrap();
        assert!(stat.has_ended());
        assert_eq!((stat.parent, stat.terminal & 0xff), (1, 0));
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.start_ticks), (31, 32, 12345));
        assert_eq!(ProcessStat::parse("7 (x) S 1"), None);
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn this_process_is_there_and_no_process_is_not() {
        let own = ProcessStat::of(std::process::id().cast_signed()).unwrap();
        assert!(!own.has_ended() && own.start_ticks > 0);
        assert_eq!(start_ticks(std::process::id().cast_signed()), Some(own.start_ticks));
        assert_eq!(ProcessStat::of(0), None);
    }

    #[test]
    #[allow(clippy::zombie_processes, reason = "the remains are what is looked at")]
    fn remains_have_no_start() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        while !ProcessStat::of(pid).unwrap().has_ended() {
            std::thread::yield_now();
        }
        assert_eq!(start_ticks(pid), None);
        child.wait().unwrap();
    }

    #[test]
    fn the_machine_is_told() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), 16 << 20);
        assert_eq!(memory_total(""), 0);
        assert!(memory_total_bytes() > 0);
        assert!(processor_count() >= 1);
        assert!(boot_seconds() > 0);
        assert_eq!(boot_id().len(), 36);
    }
}
