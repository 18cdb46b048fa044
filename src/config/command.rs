//! The clap command: one long flag per setting, with its environment variable and default in the
//! help.

use clap::{Arg, Args as _, Command};

use super::settings::Config;

/// The prefix of the environment variables.
pub(super) const PREFIX: &str = "FANFARE_";

/// Stands for an empty default in the help and in the README.
pub(super) const EMPTY: &str = "empty";

const ABOUT: &str = "Push server: publishers POST events, and the server delivers them to \
                     Server-Sent Events streams subscribed to their topics.";

/// The environment variable of the setting with the argument id `id`.
pub(super) fn variable(id: &str) -> String {
    format!("{PREFIX}{}", id.to_uppercase())
}

/// The environment variable of a flag as clap prints it in errors: `--retry-min <DURATION>`.
pub(super) fn variable_of_flag(flag: &str) -> String {
    let flag = flag.trim_start_matches('-');
    let end = flag.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(flag.len());
    variable(&flag[..end].replace('-', "_"))
}

/// The command that parses the arguments; its help states the variable and default of each setting.
pub(super) fn command() -> Command {
    let command = bare_command();
    let ids: Vec<_> = settings_of(&command).map(|arg| arg.get_id().clone()).collect();
    ids.into_iter().fold(command, |command, id| {
        command.mut_arg(&id, |arg| {
            let sources =
                format!("[env: {}] [default: {}]", variable(id.as_str()), default_text(&arg));
            let short = arg.get_help().expect("every setting has a help text").to_string();
            let long = arg.get_long_help().expect("every setting has a long help text").to_string();
            arg.help(format!("{short} {sources}"))
                .long_help(format!("{long}\n\n{sources}"))
                .hide_default_value(true)
        })
    })
}

/// The command with the help texts as [`Config`] declares them.
pub(super) fn bare_command() -> Command {
    Config::augment_args(Command::new("fanfare"))
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(format!(
            "{ABOUT}\n\n\
             Each setting is a flag and an environment variable; the flag has precedence. Write \
             durations like 250ms, 30s or 2m30s, sizes like 64KiB, 1.5GiB or 4MB, and counts like \
             1024 or 1_000_000."
        ))
        .max_term_width(110)
}

/// The arguments that are settings: all but `--help` and `--version`.
pub(super) fn settings_of(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.get_default_values().is_empty())
}

/// The default of a setting as the help prints it.
pub(super) fn default_text(arg: &Arg) -> String {
    let text: String =
        arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if text.is_empty() { EMPTY.into() } else { text }
}

/// The words that a setting allows, empty for a setting of another kind.
pub(super) fn words(arg: &Arg) -> Vec<String> {
    arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
}

/// A list in prose: `auto, shared or own`; `None` for an empty one.
pub(super) fn one_of(words: &[String]) -> Option<String> {
    let (last, others) = words.split_last()?;
    Some(format!("{} or {last}", others.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_groups_settings_and_states_variables_and_defaults() {
        let long = command().render_long_help().to_string();
        for heading in
            ["Listening:", "Publishing:", "Streams:", "Delivery:", "History:", "Operation:"]
        {
            assert!(long.lines().any(|line| line == heading), "{heading}\n{long}");
        }
        let short = command().render_help().to_string();
        // Lines can wrap inside the brackets.
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (long, short) = (flat(&long), flat(&short));
        for arg in settings_of(&bare_command()) {
            let sources = format!(
                "[env: {}] [default: {}]",
                variable(arg.get_id().as_str()),
                default_text(arg)
            );
            assert!(long.contains(&sources), "{sources}\n{long}");
            assert!(short.contains(&sources), "{sources}\n{short}");
            assert!(arg.get_help_heading().is_some(), "{arg}");
            assert!(arg.get_help().unwrap().to_string().len() <= 100, "{arg}");
        }
        command().debug_assert();
    }

    #[test]
    fn the_variable_of_a_flag_is_found() {
        for (flag, variable) in [
            ("--retry-min <DURATION>", "FANFARE_RETRY_MIN"),
            ("--allow-anonymous-publish[=<BOOL>]", "FANFARE_ALLOW_ANONYMOUS_PUBLISH"),
            ("--log", "FANFARE_LOG"),
        ] {
            assert_eq!(variable_of_flag(flag), variable);
        }
    }
}
