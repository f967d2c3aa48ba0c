//! What is printed when a command fails, and with which exit code it ends.

use std::fmt;

/// A failure whose words or exit code are not the usual ones.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to print, whole; nothing when empty (it was printed already).
    pub message: String,
    /// The exit code.
    pub code: i32,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The failure of `run`, `create`: `skep: …`, a hint, and docker's 125, 126 or 127.
pub(crate) fn of_run(command: &str, error: &anyhow::Error) -> anyhow::Error {
    if error.is::<Failure>() {
        return Failure { message: error.to_string(), code: describe(error).code }.into();
    }
    let cause = error.chain().find_map(of_runtime);
    let code = match cause {
        // Of other containers, whose network or volumes were asked for: this one was not made, or not started.
        Some(
            skep_runtime::Error::NoSuchContainer(_)
            | skep_runtime::Error::NotRunning(_)
            | skep_runtime::Error::Paused(..)
            | skep_runtime::Error::Restarting(_),
        )
        | None => 125,
        Some(cause) => cause.exit_code(),
    };
    let message = format!("skep: {}\n\nRun 'skep {command} --help' for more information", chain(error));
    Failure { message, code }.into()
}

/// Of what kind a use case's failure is.
pub(crate) fn kind(error: &anyhow::Error) -> Option<skep_engine::ErrorKind> {
    error.chain().find_map(|cause| cause.downcast_ref::<skep_engine::Error>()).map(skep_engine::Error::kind)
}

fn of_runtime<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a skep_runtime::Error> {
    let of_engine = cause
        .downcast_ref::<skep_engine::Error>()
        .or_else(|| cause.downcast_ref::<Box<skep_engine::Error>>().map(|error| &**error));
    match of_engine {
        Some(skep_engine::Error::Runtime(inner)) => Some(inner),
        _ => cause.downcast_ref(),
    }
}

/// What to print about an error.
pub(crate) fn describe(error: &anyhow::Error) -> Failure {
    match error.downcast_ref::<Failure>() {
        Some(failure) => Failure { message: failure.message.clone(), code: failure.code },
        None => Failure { message: format!("Error: {}", chain(error)), code: 1 },
    }
}

/// An error and its causes in one line; a cause that is part of what was said already is left out.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    skep_engine::error::chain_of(error.as_ref())
}

/// Does something to each of several objects: prints what it returns, goes on after an error, fails at the end.
pub(crate) fn each<'a, T: AsRef<str> + 'a>(
    names: impl IntoIterator<Item = &'a T>,
    mut action: impl FnMut(&str) -> anyhow::Result<String>,
) -> anyhow::Result<i32> {
    let mut code = 0;
    for name in names {
        match action(name.as_ref()) {
            Ok(said) if said.is_empty() => {}
            Ok(said) => crate::format::output::line(said)?,
            Err(error) => {
                eprintln!("{}", describe(&error).message);
                code = 1;
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fails_with_125_for_want_of_another_container() {
        let missing = skep_runtime::Error::NoSuchContainer("nono".to_owned());
        let failed = of_run("run", &missing.into());
        assert_eq!(describe(&failed).code, 125);
        assert!(failed.to_string().contains("No such container: nono"), "{failed}");
    }

    #[test]
    fn causes_are_said_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read /x").context("cannot read /x: no such file");
        assert_eq!(chain(&error), "cannot read /x: no such file");
        let error = anyhow::anyhow!("inner").context("outer");
        assert_eq!(describe(&error).message, "Error: outer: inner");
    }
}
