//! `login` and `logout`.

use std::io::{BufRead, Read, Write};

use anyhow::{Context, Result, bail};
use skep_engine::logins;

use crate::args::image::{Login, Logout};
use crate::context;
use crate::format::output;

/// `login`
pub(crate) fn login(args: &Login) -> Result<i32> {
    if args.password.is_some() && args.password_stdin {
        bail!("conflicting options: cannot specify both --password and --password-stdin");
    }
    if args.password_stdin && args.username.is_none() {
        bail!("the --password-stdin option requires --username to be set");
    }
    if args.password.is_some() {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => asked("Username: ", true)?,
    };
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => password.clone(),
        (None, true) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the password")?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        (None, false) => asked("Password: ", false)?,
    };
    if user.is_empty() || password.is_empty() {
        bail!("username and password are required");
    }
    let request = logins::Login { username: user, password, server: args.server.clone() };
    let outcome = context::block_on(async { Ok(logins::login(&request, &context::environment()).await?) })?;
    eprintln!("\nWARNING! Your credentials are stored unencrypted in '{}'.\n", outcome.file.display());
    output::line("Login Succeeded")?;
    Ok(0)
}

/// `logout`
pub(crate) fn logout(args: &Logout) -> Result<i32> {
    let outcome = logins::logout(args.server.as_deref(), &context::environment())?;
    match outcome.removed {
        true => output::line(format!("Removing login credentials for {}", outcome.server))?,
        false => output::line(format!("Not logged in to {}", outcome.server))?,
    }
    Ok(0)
}

/// Asks on the terminal; a password is not echoed.
fn asked(question: &str, echo: bool) -> Result<String> {
    let stdin = std::io::stdin();
    if !nix::unistd::isatty(&stdin).unwrap_or(false) {
        bail!("cannot perform an interactive login from a non TTY device");
    }
    print!("{question}");
    std::io::stdout().flush()?;
    let before = rustix::termios::tcgetattr(&stdin)?;
    if !echo {
        let mut quiet = before.clone();
        quiet.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, &quiet)?;
    }
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, &before)?;
    if !echo {
        println!();
    }
    read.context("cannot read the answer")?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
