//! Docker's profile format, and what it means for one architecture and one set of capabilities.

use serde::Deserialize;

use super::super::capabilities;
use super::super::error::Result;
use super::invalid;

/// A profile as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<SyscallRule>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SyscallRule {
    /// Old profiles have one name for each rule.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// A condition on one argument of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u8,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Comparison,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    Unequal,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// The bits in `value`, compared with `value_two`.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// One rule as it applies: all conditions hold, then the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) conditions: Vec<Argument>,
    /// Return value of the filter.
    pub(super) action: u32,
}

/// A processor's system call table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    X86,
    Aarch64,
}

impl Architecture {
    /// The one this program runs on.
    pub(super) fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// As in linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// As conditions in profiles name them.
    fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
        }
    }
}

pub(super) const ACTION_ALLOW: u32 = 0x7fff_0000;
pub(super) const ACTION_KILL_PROCESS: u32 = 0x8000_0000;
const ACTION_ERRNO: u32 = 0x0005_0000;

pub(super) fn errno(number: i32) -> u32 {
    ACTION_ERRNO | (number as u32 & 0xffff)
}

fn action(name: &str, number: Option<u32>) -> Result<u32> {
    let data = number.unwrap_or(libc::EPERM as u32) & 0xffff;
    Ok(match name {
        "SCMP_ACT_ALLOW" => ACTION_ALLOW,
        "SCMP_ACT_ERRNO" => ACTION_ERRNO | data,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => ACTION_KILL_PROCESS,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        other => return Err(invalid(format!("unknown action {other:?}"))),
    })
}

pub(super) fn parse(text: &str) -> Result<Profile> {
    serde_json::from_str(text).map_err(|error| invalid(error.to_string()))
}

impl Profile {
    pub(super) fn default_action(&self) -> Result<u32> {
        action(&self.default_action, self.default_errno_ret)
    }

    /// The native architecture and those it can also run, as the profile lists them.
    pub(super) fn architectures(&self) -> Vec<Architecture> {
        let native = Architecture::native();
        let names = self.architectures.iter().flatten().map(String::as_str);
        let map = self.arch_map.iter().flatten();
        let subs = map
            .filter(|map| Architecture::from_name(&map.architecture) == Some(native))
            .flat_map(|map| map.sub_architectures.iter().flatten().map(String::as_str));
        let mut all = vec![native];
        for architecture in names.chain(subs).filter_map(Architecture::from_name) {
            let possible =
                architecture == native || (native == Architecture::X86_64 && architecture == Architecture::X86);
            if possible && !all.contains(&architecture) {
                all.push(architecture);
            }
        }
        all
    }

    /// Every name the profile knows: what is newer than all of them does not exist for it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.syscalls.iter().flatten().flat_map(SyscallRule::all_names)
    }

    /// The rules that hold for these capabilities (bit N is capability N).
    pub(super) fn rules(&self, capability_set: u64) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for rule in self.syscalls.iter().flatten() {
            if !rule.applies(capability_set)? {
                continue;
            }
            let action = action(&rule.action, rule.errno_ret)?;
            for name in rule.all_names() {
                for conditions in rule.alternatives()? {
                    rules.push(Rule { name: name.to_owned(), conditions, action });
                }
            }
        }
        Ok(rules)
    }
}

impl SyscallRule {
    fn all_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().chain(&self.name).map(String::as_str)
    }

    /// All conditions have to hold; but several on the same argument are alternatives.
    fn alternatives(&self) -> Result<Vec<Vec<Argument>>> {
        let arguments = self.args.clone().unwrap_or_default();
        if let Some(wrong) = arguments.iter().find(|argument| argument.index > 5) {
            return Err(invalid(format!("a call has no argument {}", wrong.index)));
        }
        let repeated =
            arguments.iter().enumerate().any(|(at, one)| arguments[..at].iter().any(|other| other.index == one.index));
        Ok(if repeated { arguments.into_iter().map(|argument| vec![argument]).collect() } else { vec![arguments] })
    }

    fn applies(&self, set: u64) -> Result<bool> {
        let has_all = |names: &Option<Vec<String>>| has(names, set, true);
        let has_any = |names: &Option<Vec<String>>| has(names, set, false);
        let native = Architecture::native().go_name();
        let lists =
            |arches: &Option<Vec<String>>| arches.as_ref().is_some_and(|list| list.iter().any(|name| name == native));
        let arch_included = self.includes.arches.as_ref().is_none_or(Vec::is_empty) || lists(&self.includes.arches);
        let kernel_included = match &self.includes.min_kernel {
            Some(version) => kernel_at_least(version)?,
            None => true,
        };
        let kernel_excluded = match &self.excludes.min_kernel {
            Some(version) => kernel_at_least(version)?,
            None => false,
        };
        let excluded = has_any(&self.excludes.caps)? || lists(&self.excludes.arches) || kernel_excluded;
        Ok(has_all(&self.includes.caps)? && arch_included && kernel_included && !excluded)
    }
}

/// Whether all (or any) of the named capabilities are in the set.
fn has(names: &Option<Vec<String>>, set: u64, all: bool) -> Result<bool> {
    let mut any = false;
    for name in names.iter().flatten() {
        // A capability nobody knows is one nobody has.
        let held = capabilities::number(name).is_ok_and(|number| set & (1 << number) != 0);
        if all && !held {
            return Ok(false);
        }
        any |= held;
    }
    Ok(all || any)
}

fn kernel_at_least(version: &str) -> Result<bool> {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    let wanted = parse(version).ok_or_else(|| invalid(format!("kernel version {version:?}")))?;
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    Ok(parse(&release).is_none_or(|running| running >= wanted))
}
