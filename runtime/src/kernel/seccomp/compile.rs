//! From rules to a classic BPF program.
//!
//! One section for each architecture the kernel may see, so that a 32-bit system call cannot
//! bypass the filter of the 64-bit ones. In a section, ranges of numbers with the same outcome
//! are found by binary search. Calls newer than everything in the profile answer ENOSYS, so that
//! programs fall back to what they used before; the rest gets the profile's default.

use super::super::error::Result;
use super::invalid;
use super::profile::{ACTION_KILL_PROCESS, Architecture, Argument, Comparison, Profile, Rule, errno};
use crate::kernel::sys::FilterInstruction;

/// Name, and numbers on x86_64, i386 and aarch64.
const NUMBERS: &str = include_str!("syscalls.txt");

/// The kernel's own limit (BPF_MAXINSNS).
const INSTRUCTIONS_MAX: usize = 4096;

// linux/filter.h, linux/bpf_common.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// On x86_64, numbers from here on are those of x32, which is not offered.
const X32: u32 = 0x4000_0000;

type Program = Vec<FilterInstruction>;

fn op(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> FilterInstruction {
    FilterInstruction { code, jump_true, jump_false, operand }
}

fn number_of(line: &str, architecture: Architecture) -> Option<(&str, u32)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let column = match architecture {
        Architecture::X86_64 => 0,
        Architecture::X86 => 1,
        Architecture::Aarch64 => 2,
    };
    Some((name, words.nth(column)?.parse().ok()?))
}

/// Compiles for a container with these capabilities.
pub(super) fn compile(profile: &Profile, capability_set: u64) -> Result<Program> {
    let rules = profile.rules(capability_set)?;
    let default = profile.default_action()?;
    let mut program = vec![op(LOAD, 0, 0, ARCHITECTURE)];
    for architecture in profile.architectures() {
        let section = section(profile, &rules, default, architecture);
        program.push(op(JUMP_EQUAL, 1, 0, architecture.audit()));
        program.push(op(JUMP, 0, 0, section.len() as u32));
        program.extend(section);
    }
    program.push(op(RETURN, 0, 0, ACTION_KILL_PROCESS));
    if program.len() > INSTRUCTIONS_MAX {
        return Err(invalid(format!(
            "too many rules: {} instructions, the kernel takes {INSTRUCTIONS_MAX}",
            program.len()
        )));
    }
    Ok(program)
}

/// What happens to a range of system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    /// Checked in turn; the first whose conditions hold decides.
    rules: Vec<(Vec<Argument>, u32)>,
    otherwise: u32,
}

fn section(profile: &Profile, rules: &[Rule], default: u32, architecture: Architecture) -> Program {
    let mut known: Vec<(&str, u32)> = NUMBERS.lines().filter_map(|line| number_of(line, architecture)).collect();
    known.sort_by_key(|(_, number)| *number);
    let names: std::collections::HashSet<&str> = profile.names().collect();
    let newest = known.iter().rev().find(|(name, _)| names.contains(name)).map_or(0, |(_, number)| *number);

    // Start of each range, and what happens in it.
    let mut ranges: Vec<(u32, Outcome)> = Vec::new();
    let mut add = |start: u32, outcome: Outcome| match ranges.last_mut() {
        Some((last, of_last)) if *last == start => *of_last = outcome,
        Some((_, of_last)) if *of_last == outcome => {}
        _ => ranges.push((start, outcome)),
    };
    let plain = |action: u32| Outcome { rules: Vec::new(), otherwise: action };
    add(0, plain(default));
    for (name, number) in known.iter().filter(|(_, number)| *number <= newest) {
        add(*number, outcome(rules, name, default));
        add(number + 1, plain(default));
    }
    add(newest + 1, plain(errno(libc::ENOSYS)));
    if architecture == Architecture::X86_64 {
        add(X32, plain(errno(libc::ENOSYS)));
    }
    let mut program = vec![op(LOAD, 0, 0, NUMBER)];
    program.extend(search(&ranges));
    program
}

fn outcome(rules: &[Rule], name: &str, default: u32) -> Outcome {
    let mut conditional = Vec::new();
    let mut otherwise = default;
    for rule in rules.iter().filter(|rule| rule.name == name) {
        if rule.conditions.is_empty() {
            otherwise = rule.action;
        } else {
            conditional.push((rule.conditions.clone(), rule.action));
        }
    }
    // What would happen anyway needs no check.
    if conditional.iter().all(|(_, action)| *action == otherwise) {
        conditional.clear();
    }
    Outcome { rules: conditional, otherwise }
}

/// The number is loaded; finds its range.
fn search(ranges: &[(u32, Outcome)]) -> Program {
    match ranges {
        [] => Vec::new(),
        [(_, outcome)] => decide(outcome),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let pivot = right.first().map_or(0, |(start, _)| *start);
            let (left, right) = (search(left), search(right));
            // Jumps reach 255 instructions; the unconditional one reaches everywhere.
            let mut program = vec![op(JUMP_GREATER_OR_EQUAL, 0, 1, pivot), op(JUMP, 0, 0, left.len() as u32)];
            program.extend(left);
            program.extend(right);
            program
        }
    }
}

fn decide(outcome: &Outcome) -> Program {
    let mut program = Vec::new();
    for (conditions, action) in &outcome.rules {
        program.extend(rule(conditions, *action));
    }
    program.push(op(RETURN, 0, 0, outcome.otherwise));
    program
}

/// Returns the action if all conditions hold; falls through otherwise.
fn rule(conditions: &[Argument], action: u32) -> Program {
    let mut program = vec![op(RETURN, 0, 0, action)];
    for condition in conditions.iter().rev() {
        // What is behind this condition, to be skipped when it does not hold.
        let mut front = check(condition, program.len());
        front.append(&mut program);
        program = front;
    }
    program
}

/// Goes on behind itself if the condition holds, else skips `behind` more instructions.
fn check(condition: &Argument, behind: usize) -> Program {
    let offset = ARGUMENTS + 8 * u32::from(condition.index);
    // Little-endian: the low half comes first.
    let (low, high) = (op(LOAD, 0, 0, offset), op(LOAD, 0, 0, offset + 4));
    let (value, behind) = (condition.value, behind as u8);
    let (value_low, value_high) = (value as u32, (value >> 32) as u32);
    let greater = |code: u16, wanted: bool| {
        // Higher half greater: true; lower: false; equal: the lower half decides.
        let (when_true, when_false) = if wanted { (0, behind) } else { (behind, 0) };
        let to_true = |distance: u8| distance + when_true;
        let to_false = |distance: u8| distance + when_false;
        vec![
            high,
            op(JUMP_GREATER, to_true(3), 0, value_high),
            op(JUMP_EQUAL, 0, to_false(2), value_high),
            low,
            op(code, to_true(0), to_false(0), value_low),
        ]
    };
    match condition.op {
        Comparison::Equal => {
            vec![high, op(JUMP_EQUAL, 0, 2 + behind, value_high), low, op(JUMP_EQUAL, 0, behind, value_low)]
        }
        Comparison::Unequal => vec![high, op(JUMP_EQUAL, 0, 2, value_high), low, op(JUMP_EQUAL, behind, 0, value_low)],
        Comparison::MaskedEqual => {
            let wanted = condition.value_two;
            vec![
                high,
                op(AND, 0, 0, value_high),
                op(JUMP_EQUAL, 0, 3 + behind, (wanted >> 32) as u32),
                low,
                op(AND, 0, 0, value_low),
                op(JUMP_EQUAL, 0, behind, wanted as u32),
            ]
        }
        Comparison::Greater => greater(JUMP_GREATER, true),
        Comparison::GreaterOrEqual => greater(JUMP_GREATER_OR_EQUAL, true),
        Comparison::LessOrEqual => greater(JUMP_GREATER, false),
        Comparison::Less => greater(JUMP_GREATER_OR_EQUAL, false),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::profile::{ACTION_ALLOW, parse};
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as the kernel would.
    fn run(program: &[FilterInstruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let load = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => architecture,
            offset => {
                let at = offset - ARGUMENTS;
                let value = arguments[(at / 8) as usize];
                (value >> (8 * (at % 8))) as u32
            }
        };
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let op = program[at];
            at += 1;
            let holds = match op.code {
                LOAD => {
                    accumulator = load(op.operand);
                    continue;
                }
                AND => {
                    accumulator &= op.operand;
                    continue;
                }
                JUMP => {
                    at += op.operand as usize;
                    continue;
                }
                RETURN => return op.operand,
                JUMP_EQUAL => accumulator == op.operand,
                JUMP_GREATER => accumulator > op.operand,
                JUMP_GREATER_OR_EQUAL => accumulator >= op.operand,
                other => panic!("unknown instruction {other:#x}"),
            };
            at += usize::from(if holds { op.jump_true } else { op.jump_false });
        }
    }

    fn number(architecture: Architecture, name: &str) -> u32 {
        let mut lines = NUMBERS.lines().filter_map(|line| number_of(line, architecture));
        lines.find(|(known, _)| *known == name).unwrap().1
    }

    fn outcome_of(text: &str, set: u64, architecture: Architecture, name: &str, first: u64) -> u32 {
        let program = compile(&parse(text).unwrap(), set).unwrap();
        let arguments = [first, 0, 0, 0, 0, 0];
        run(&program, architecture.audit(), number(architecture, name), arguments)
    }

    const DEFAULT_SET: u64 = 0xa804_25fb;
    const WITH_ADMIN: u64 = DEFAULT_SET | 1 << 21;
    const NEW_USER_NAMESPACE: u64 = 0x1000_0000;

    fn of_default(set: u64, name: &str, first: u64) -> u32 {
        outcome_of(super::super::DEFAULT, set, Architecture::X86_64, name, first)
    }

    #[test]
    fn the_default_profile_is_dockers() {
        let denied = errno(libc::EPERM);
        for (name, first, expected) in [
            ("read", 0, ACTION_ALLOW),
            ("execve", 0, ACTION_ALLOW),
            ("chroot", 0, ACTION_ALLOW),
            ("mount", 0, denied),
            ("unshare", 0, denied),
            ("keyctl", 0, denied),
            ("bpf", 0, denied),
            ("io_uring_setup", 0, denied),
            ("userfaultfd", 0, denied),
            ("clone3", 0, errno(libc::ENOSYS)),
            ("clone", 17, ACTION_ALLOW),
            ("clone", NEW_USER_NAMESPACE | 17, denied),
            ("socket", 2, ACTION_ALLOW),
            ("socket", 40, denied),
            ("personality", 0, ACTION_ALLOW),
            ("personality", 0xffff_ffff, ACTION_ALLOW),
            ("personality", 0x0040_0000, denied),
            ("ptrace", 0, ACTION_ALLOW),
        ] {
            assert_eq!(of_default(DEFAULT_SET, name, first), expected, "{name}({first:#x})");
        }
        for (name, first) in [("mount", 0), ("clone3", 0), ("clone", NEW_USER_NAMESPACE), ("unshare", 0)] {
            assert_eq!(of_default(WITH_ADMIN, name, first), ACTION_ALLOW, "{name}");
        }
    }

    #[test]
    fn other_system_call_tables_are_no_way_around() {
        let denied = errno(libc::EPERM);
        let of_32_bit = |name| outcome_of(super::super::DEFAULT, DEFAULT_SET, Architecture::X86, name, 0);
        assert_eq!(of_32_bit("mount"), denied);
        assert_eq!(of_32_bit("read"), ACTION_ALLOW);
        assert_eq!(of_32_bit("socketcall"), ACTION_ALLOW);
        let program = compile(&parse(super::super::DEFAULT).unwrap(), DEFAULT_SET).unwrap();
        let native = Architecture::X86_64.audit();
        for call in [X32, X32 | 165, u32::MAX] {
            assert_eq!(run(&program, native, call, [0; 6]), errno(libc::ENOSYS));
        }
        assert_eq!(run(&program, 0x1234, 0, [0; 6]), ACTION_KILL_PROCESS);
        // Calls newer than the profile do not exist; gaps in the table are denied.
        assert_eq!(run(&program, native, 700, [0; 6]), errno(libc::ENOSYS));
        assert_eq!(run(&program, native, 400, [0; 6]), denied);
    }

    #[test]
    fn profiles_with_mistakes_are_refused_with_a_reason() {
        let fails = |text: &str| match parse(text).and_then(|profile| compile(&profile, 0)) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.to_string(),
        };
        assert!(fails("{}").contains("defaultAction"));
        assert!(fails(r#"{"defaultAction": "SCMP_ACT_FLY"}"#).contains("SCMP_ACT_FLY"));
        let argument = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
            "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#;
        assert!(fails(argument).contains("argument 6"));
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives() {
        let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "kill",
            "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [
                {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}]}]}"#;
        let of = |first| outcome_of(profile, 0, Architecture::X86_64, "kill", first);
        assert_eq!([of(3), of(4), of(5)], [errno(5), ACTION_ALLOW, errno(5)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn comparisons_are_those_of_64_bit_numbers(
            op in 0..7usize,
            value: u64,
            second: u64,
            argument: u64,
            near in prop::option::of(-1i64..=1),
            narrow: bool,
        ) {
            use Comparison::*;
            let op = [Unequal, Less, LessOrEqual, Equal, GreaterOrEqual, Greater, MaskedEqual][op];
            let value = if narrow { value & 0xffff } else { value };
            let second = second & value;
            // Random numbers are seldom near each other.
            let argument = near.map_or(argument, |by| value.wrapping_add_signed(by));
            let holds = match op {
                Unequal => argument != value,
                Less => argument < value,
                LessOrEqual => argument <= value,
                Equal => argument == value,
                GreaterOrEqual => argument >= value,
                Greater => argument > value,
                MaskedEqual => argument & value == second,
            };
            let condition = Argument { index: 2, value, value_two: second, op };
            let also = Argument { index: 0, value: 9, value_two: 0, op: Equal };
            let outcome = Outcome { rules: vec![(vec![condition, also], 1)], otherwise: 2 };
            let program = decide(&outcome);
            let result = |first| run(&program, 0, 0, [first, 0, argument, 0, 0, 0]);
            prop_assert_eq!(result(9), if holds { 1 } else { 2 });
            prop_assert_eq!(result(8), 2);
        }
    }
}
