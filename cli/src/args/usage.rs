//! Reading the command line, and what is said about a wrong one: docker's words, docker's exit codes.
//!
//! clap knows the tree; here it is bent to pflag's habits (`--flag=false`, a flag given twice, values that begin with
//! a hyphen), and its errors are reworded.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::Cli;

/// What to print instead of running a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What to say.
    pub message: String,
    /// Say it on the standard output: it was asked for (`--help`).
    pub asked_for: bool,
    /// The exit code.
    pub code: i32,
}

/// Reads a command line (the program's name first).
pub(crate) fn parse(words: &[OsString]) -> Result<Cli, Refusal> {
    let command = command();
    let matches = command.clone().try_get_matches_from(words).map_err(|error| refusal(&command, words, &error))?;
    Cli::from_arg_matches(&matches).map_err(|error| refusal(&command, words, &error))
}

/// The tree, with pflag's habits.
pub(crate) fn command() -> Command {
    bend(Cli::command(), "skep")
}

fn bend(command: Command, path: &str) -> Command {
    let mut command = command
        .disable_help_flag(true)
        .args_override_self(true)
        .disable_help_subcommand(path != "skep")
        .mut_args(bend_argument)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print usage"));
    if let Some(usage) = own_usage(&mut command) {
        command = command.override_usage(format!("{path} {usage}"));
    }
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        bend(sub, &path)
    })
}

fn bend_argument(argument: Arg) -> Arg {
    if argument.is_positional() {
        return argument;
    }
    match argument.get_action() {
        ArgAction::SetTrue => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .value_parser(boolean)
            .value_name("bool"),
        ArgAction::Set | ArgAction::Append if argument.is_require_equals_set() => argument.value_parser(boolean),
        ArgAction::Set | ArgAction::Append => argument.allow_hyphen_values(true),
        _ => argument,
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    crate::parse::csv::boolean(text).ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

fn own_usage(command: &mut Command) -> Option<String> {
    let usage = command.render_usage().to_string();
    usage.strip_prefix("Usage: ").map(|usage| usage.trim().to_owned())
}

/// The command that the words lead to, and its path (`skep service create`).
fn innermost<'a>(tree: &'a Command, words: &[OsString]) -> (&'a Command, String) {
    let (mut command, mut path) = (tree, "skep".to_owned());
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        let word = word.to_string_lossy();
        if word.starts_with('-') {
            let takes_value = !word.contains('=')
                && command.get_arguments().chain(tree.get_arguments()).any(|argument| {
                    argument.get_long().is_some_and(|long| word == format!("--{long}"))
                        && !argument.is_require_equals_set()
                        && argument.get_action().takes_values()
                });
            if takes_value {
                rest.next();
            }
            continue;
        }
        let found = command
            .get_subcommands()
            .find(|sub| sub.get_name() == word || sub.get_all_aliases().any(|alias| alias == word));
        match found {
            Some(sub) => {
                path = format!("{path} {}", sub.get_name());
                command = sub;
            }
            None => break,
        }
    }
    (command, path)
}

fn refusal(tree: &Command, words: &[OsString], error: &clap::Error) -> Refusal {
    let (command, path) = innermost(tree, words);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Refusal { message: error.render().to_string(), asked_for: true, code: 0 };
        }
        ErrorKind::MissingSubcommand => {
            let message = command.clone().render_help().to_string();
            return Refusal { message, asked_for: true, code: 0 };
        }
        _ => {}
    }
    let usage = own_usage(&mut command.clone()).unwrap_or_default();
    let usage = usage.strip_prefix(&path).map_or_else(|| format!("{path} {usage}"), |rest| format!("{path}{rest}"));
    let help = format!("Usage:  {usage}\n\nRun '{path} --help' for more information");
    let (said, code) = match words.iter().find(|word| word.to_str().is_none()) {
        Some(word) if error.kind() == ErrorKind::InvalidUtf8 => {
            let code = if matches!(command.get_name(), "run" | "create" | "exec") { 125 } else { 1 };
            (format!("skep: the argument {word:?} is not valid UTF-8"), code)
        }
        _ => wording(command, &path, error),
    };
    Refusal { message: format!("{said}\n\n{help}\n"), asked_for: false, code }
}

/// What is wrong, and the exit code: 125 for flags, 1 for the rest.
fn wording(command: &Command, path: &str, error: &clap::Error) -> (String, i32) {
    let given = context(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument if given.starts_with("--") => {
            (format!("unknown flag: {}", given.split('=').next().unwrap_or_default()), 125)
        }
        ErrorKind::UnknownArgument if given.starts_with('-') => {
            let letter: String = given.chars().skip(1).take(1).collect();
            (format!("unknown shorthand flag: '{letter}' in {given}"), 125)
        }
        ErrorKind::InvalidSubcommand => {
            (format!("skep: unknown command: {path} {}", context(error, ContextKind::InvalidSubcommand)), 1)
        }
        ErrorKind::UnknownArgument if command.has_subcommands() => {
            (format!("skep: unknown command: {path} {given}"), 1)
        }
        ErrorKind::InvalidValue if context(error, ContextKind::InvalidValue).is_empty() => {
            let flag = flag(&given);
            let flag = match flag.strip_prefix("--") {
                Some(_) => format!("--{}", flag.trim_start_matches("--")),
                None => flag,
            };
            (format!("flag needs an argument: {flag}"), 125)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if given.starts_with('-') => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_else(|| format!("must be one of {}", possible(error)));
            let value = context(error, ContextKind::InvalidValue);
            (format!("invalid argument {value:?} for {:?} flag: {reason}", both_names(command, &given)), 125)
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(error, ContextKind::InvalidValue);
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_else(|| possible(error));
            (format!("skep: invalid argument {value:?}: {reason}"), 1)
        }
        _ => (format!("skep: {}", arity(command, path)), 1),
    }
}

fn possible(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => {
            let mut values: Vec<String> =
                values.iter().filter(|value| !value.is_empty()).map(|value| format!("{value:?}")).collect();
            values.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
            values.join(", ")
        }
        _ => "another value".to_owned(),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// `--memory` of clap's `--memory <bytes>`.
fn flag(given: &str) -> String {
    given.split([' ', '[', '=']).next().unwrap_or_default().to_owned()
}

/// `-m, --memory`, as pflag names a flag.
fn both_names(command: &Command, given: &str) -> String {
    let long = flag(given);
    let short = command
        .get_arguments()
        .find(|argument| argument.get_long().is_some_and(|name| long == format!("--{name}")))
        .and_then(Arg::get_short);
    short.map_or(long.clone(), |short| format!("-{short}, {long}"))
}

/// `'skep run' requires at least 1 argument`.
fn arity(command: &Command, path: &str) -> String {
    let count = |least: usize| match least {
        1 => "1 argument".to_owned(),
        least => format!("{least} arguments"),
    };
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    let least: usize = positionals
        .iter()
        .filter(|positional| positional.is_required_set())
        .map(|positional| positional.get_num_args().map_or(1, |range| range.min_values().max(1)))
        .sum();
    let open = positionals.iter().any(|positional| matches!(positional.get_action(), ArgAction::Append));
    match (positionals.len(), least) {
        (0, _) => format!("'{path}' accepts no arguments"),
        (_, least) if open => format!("'{path}' requires at least {}", count(least)),
        (all, least) if all > least => {
            let at = if least == 0 { "at most" } else { "at least" };
            format!("'{path}' requires {at} {}", count(least.max(1)))
        }
        (_, least) => format!("'{path}' requires {}", count(least)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::args::Command as Verb;

    fn read(line: &str) -> Result<Cli, Refusal> {
        let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        parse(&words)
    }

    fn refused(line: &str, code: i32, said: &str) {
        let refusal = read(line).unwrap_err();
        assert!(refusal.message.starts_with(said), "{line}: {}", refusal.message);
        assert_eq!(refusal.code, code, "{line}");
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_end_at_the_image() {
        let Some(Verb::Run(run)) = read("skep run -it --rm -e A=1 busybox ls -l --color").unwrap().command else {
            panic!("not a run");
        };
        assert_eq!(run.words, ["busybox", "ls", "-l", "--color"]);
        assert!(run.create.interactive && run.create.tty && run.create.rm);
        let Some(Verb::Exec(exec)) = read("skep exec -it web sh -c ls").unwrap().command else {
            panic!("not an exec");
        };
        assert_eq!(exec.words, ["web", "sh", "-c", "ls"]);
    }

    #[test]
    fn flags_read_as_pflag_reads_them() {
        let Some(Verb::Run(run)) =
            read("skep run --rm=false -dit --pids-limit -1 --memory-swap -1 --sig-proxy=false x").unwrap().command
        else {
            panic!("not a run");
        };
        assert!(!run.create.rm && run.detach && run.create.tty && !run.sig_proxy);
        assert_eq!(run.create.pids_limit, Some(-1));
    }

    #[test]
    fn roots_stand_before_and_after_the_command() {
        for line in ["skep --root /a ps", "skep ps --root /a", "skep container ls --root=/a"] {
            assert_eq!(read(line).unwrap().global.root, std::path::Path::new("/a"), "{line}");
        }
    }

    #[test]
    fn refuses_in_dockers_words() {
        refused(
            "skep run --nope x",
            125,
            "unknown flag: --nope\n\nUsage:  skep run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'skep run --help'",
        );
        refused("skep run -Q x", 125, "unknown shorthand flag: 'Q' in -Q");
        refused("skep run", 1, "skep: 'skep run' requires at least 1 argument");
        refused("skep exec web", 1, "skep: 'skep exec' requires at least 2 arguments");
        refused("skep ps extra", 1, "skep: 'skep ps' accepts no arguments");
        refused("skep tag x", 1, "skep: 'skep tag' requires 2 arguments");
        refused("skep nope", 1, "skep: unknown command: skep nope");
        refused("skep service nope", 1, "skep: unknown command: skep service nope");
        refused("skep swarm join", 1, "skep: 'skep swarm join' requires 1 argument");
        refused("skep run -m abc x", 125, "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'");
        refused("skep run --memory", 125, "flag needs an argument: --memory");
        refused("skep run --dns foo x", 125, "invalid argument \"foo\" for \"--dns\" flag: foo is not an ip address");
        refused(
            "skep run --health-interval 5 x",
            125,
            "invalid argument \"5\" for \"--health-interval\" flag: time: missing unit",
        );
        refused(
            "skep service create -p 127.0.0.1:80:80 x",
            125,
            "invalid argument \"127.0.0.1:80:80\" for \"-p, --publish\" flag: hostip is not supported",
        );
    }

    #[test]
    fn names_the_argument_that_is_not_text() {
        let bad = <OsString as std::os::unix::ffi::OsStringExt>::from_vec(b"a\xff".to_vec());
        for (line, code) in [("run busybox echo", 125), ("exec web echo", 125), ("run -e", 125), ("stop", 1)] {
            let words = "skep".split(' ').chain(line.split(' ')).map(OsString::from).chain([bad.clone()]);
            let refusal = parse(&words.collect::<Vec<_>>()).unwrap_err();
            assert!(refusal.message.starts_with(r#"skep: the argument "a\xFF" is not valid UTF-8"#), "{refusal:?}");
            assert_eq!(refusal.code, code, "{line}");
        }
    }

    #[test]
    fn help_is_no_error() {
        assert_eq!(read("skep run --help").unwrap_err().code, 0);
        assert!(read("skep service").unwrap_err().asked_for);
    }
}
