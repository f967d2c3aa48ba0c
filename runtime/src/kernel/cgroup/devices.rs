//! Which devices a container may use: version 1's controller, or version 2's attached program.

use std::os::fd::AsFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, major, minor, stat};

use super::{Device, KernelError, Paths, Result, cgroup_error, write};
use crate::kernel::sys::bpf::{Instruction, attach_device_program, load_device_program};
use crate::kernel::walk::kind_of;

/// What every container may use, as Docker has it: making nodes of any kind, and reading and
/// writing null, zero, full, random, urandom, tty, console, ptmx and terminals.
const DEFAULT_RULES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// One line of `devices.allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// `b` or `c`; `a` for all.
    kind: char,
    major: Option<u32>,
    minor: Option<u32>,
    access: String,
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        let bad = || KernelError::Config(format!("invalid device cgroup rule format: {text:?}"));
        let mut words = text.split_whitespace();
        let kind = match words.next() {
            Some("a") => 'a',
            Some("b") => 'b',
            Some("c") => 'c',
            _ => return Err(bad()),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            number => number.parse().map(Some).map_err(|_| bad()),
        };
        let (major, minor) = words.next().and_then(|word| word.split_once(':')).ok_or_else(bad)?;
        let access = words.next().ok_or_else(bad)?.to_owned();
        let known = !access.is_empty() && access.chars().all(|letter| "rwm".contains(letter));
        if !known || words.next().is_some() {
            return Err(bad());
        }
        Ok(Self { kind, major: number(major)?, minor: number(minor)?, access })
    }

    fn text(&self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        format!("{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

fn rules(devices: &[Device], more: &[String]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for text in DEFAULT_RULES.into_iter().chain(more.iter().map(String::as_str)) {
        rules.push(Rule::parse(text)?);
    }
    for device in devices {
        let node = device_node(device)?;
        rules.push(Rule {
            kind: node.kind,
            major: Some(node.major),
            minor: Some(node.minor),
            access: device.permissions.clone(),
        });
    }
    Ok(rules)
}

/// A device node of the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// `b` or `c`.
    pub(crate) kind: char,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Looks at a device node of the host.
pub(crate) fn device_node(device: &Device) -> Result<Node> {
    let status = stat(&device.source)
        .map_err(|error| KernelError::MountSource { path: device.source.clone(), source: error.into() })?;
    let kind = match kind_of(&status) {
        SFlag::S_IFBLK => 'b',
        SFlag::S_IFCHR => 'c',
        _ => {
            return Err(KernelError::Config(format!("{} is not a device node", device.source.display())));
        }
    };
    Ok(Node {
        kind,
        major: major(status.st_rdev) as u32,
        minor: minor(status.st_rdev) as u32,
        mode: status.st_mode & 0o7777,
        uid: status.st_uid,
        gid: status.st_gid,
    })
}

/// Allows the default devices and those given, and nothing else.
pub(super) fn restrict(paths: &Paths, devices: &[Device], more: &[String]) -> Result<()> {
    let rules = rules(devices, more)?;
    if paths.version() == 1 {
        let Some(directory) = paths.controller("devices") else {
            return Ok(());
        };
        write(&directory.join("devices.deny"), "a")?;
        let allow = directory.join("devices.allow");
        return rules.iter().try_for_each(|rule| write(&allow, &rule.text()));
    }
    let unified = paths.hierarchies.iter().find(|hierarchy| hierarchy.unified);
    let directory = unified.map(|h| paths.directory(h)).ok_or(KernelError::NoCgroup)?;
    let attach = || -> std::io::Result<()> {
        let program = load_device_program(&program(&rules))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let cgroup = open(&directory, flags, Mode::empty())?;
        attach_device_program(&program, cgroup.as_fd())
    };
    attach().map_err(cgroup_error("restrict devices of", &directory))
}

// Registers of the program below.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// linux/bpf.h.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const JUMP_UNEQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

fn op(code: u8, destination: u8, source: u8, offset: i16, operand: i32) -> Instruction {
    Instruction { code, registers: destination | (source << 4), offset, operand }
}

/// Compares the access with each rule; 1 allows, 0 denies.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // struct bpf_cgroup_dev_ctx: access and kind in one word, major, minor.
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(COPY, ACCESS, KIND, 0, 0),
        op(AND, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        let mut checks = Vec::new();
        match rule.kind {
            'b' => checks.push(op(JUMP_UNEQUAL, KIND, 0, 0, 1)),
            'c' => checks.push(op(JUMP_UNEQUAL, KIND, 0, 0, 2)),
            _ => {}
        }
        let allowed = [('m', 1), ('r', 2), ('w', 4)]
            .iter()
            .filter(|(letter, _)| rule.access.contains(*letter))
            .fold(0, |bits, (_, bit)| bits | bit);
        if allowed != 7 {
            checks.push(op(COPY, CONTEXT, ACCESS, 0, 0));
            checks.push(op(AND, CONTEXT, 0, 0, 7 & !allowed));
            checks.push(op(JUMP_UNEQUAL, CONTEXT, 0, 0, 0));
        }
        if let Some(major) = rule.major {
            checks.push(op(JUMP_UNEQUAL, MAJOR, 0, 0, major as i32));
        }
        if let Some(minor) = rule.minor {
            checks.push(op(JUMP_UNEQUAL, MINOR, 0, 0, minor as i32));
        }
        // Behind the checks: two instructions that allow. Then comes the next rule.
        let length = checks.len();
        for (index, check) in checks.iter_mut().enumerate() {
            if check.code == JUMP_UNEQUAL {
                check.offset = (length - index - 1 + 2) as i16;
            }
        }
        program.extend(checks);
        program.extend([op(SET, RESULT, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
    }
    program.extend([op(SET, RESULT, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// Runs the program as the kernel would.
    fn allows(rules: &[Rule], kind: i64, access: i64, major: i64, minor: i64) -> bool {
        let program = program(rules);
        let mut registers = [0i64; 11];
        let mut at = 0;
        loop {
            let instruction = program[at];
            let (to, from) = (usize::from(instruction.registers & 15), usize::from(instruction.registers >> 4));
            let operand = i64::from(instruction.operand);
            at += 1;
            match instruction.code {
                LOAD_WORD => registers[to] = [access << 16 | kind, major, minor][instruction.offset as usize / 4],
                COPY => registers[to] = registers[from],
                SET => registers[to] = operand,
                AND => registers[to] &= operand,
                SHIFT_RIGHT => registers[to] >>= operand,
                JUMP_UNEQUAL if registers[to] != operand => at += instruction.offset as usize,
                JUMP_UNEQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let rules = rules(&[], &["b 8:* r".to_owned()]).unwrap();
        let (block, character) = (1, 2);
        let (make, read, write) = (1, 2, 4);
        assert!(allows(&rules, character, read | write, 1, 3));
        assert!(allows(&rules, character, make, 10, 200));
        assert!(!allows(&rules, character, read, 10, 200));
        assert!(allows(&rules, character, read | write, 136, 7));
        assert!(allows(&rules, block, make, 7, 0));
        assert!(!allows(&rules, block, make | read, 7, 0));
        assert!(allows(&rules, block, read, 8, 1));
        assert!(!allows(&rules, block, write, 8, 1));
        assert!(!allows(&rules, character, read, 1, 1));
        assert!(allows(&[Rule::parse("a *:* rwm").unwrap()], block, 7, 8, 0));
    }

    #[test]
    fn rules_are_checked() {
        assert_eq!(Rule::parse("c 1:* rw").unwrap().text(), "c 1:* rw");
        for bad in ["", "x 1:1 r", "c 1 r", "c 1:1", "c 1:1 x", "c 1:1 r r", "c -1:1 r"] {
            assert!(Rule::parse(bad).is_err(), "{bad:?}");
        }
    }
}
