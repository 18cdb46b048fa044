//! Environment variables: translates `FANFARE_*` variables to command-line flags.
//!
//! Pure: the caller passes the variables, so tests don't modify the process environment. An unknown
//! name with the prefix is an error, because otherwise a misspelled setting would silently keep its
//! default.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::command::{PREFIX, settings_of, variable};
use super::error::ConfigError;

/// Translates the variables of `env` to flags, except those of settings that the command line
/// (`given`) sets: the flag has precedence.
///
/// The variables are sorted by name, so that the same one of several errors is reported each time.
pub(super) fn flags(
    command: &Command,
    given: &ArgMatches,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<OsString>, ConfigError> {
    let env: BTreeMap<_, _> = env
        .into_iter()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .collect();
    let mut flags = Vec::new();
    for (name, value) in env {
        let setting = settings_of(command).find(|arg| *name == *variable(arg.get_id().as_str()));
        let Some(setting) = setting else {
            if is_service_link(&name, &value) {
                continue;
            }
            return Err(unknown(command, &name));
        };
        if given.value_source(setting.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        let Some(value) = value.to_str() else {
            return Err(ConfigError::value(&name, &value, "not UTF-8"));
        };
        let flag = setting.get_long().expect("every setting is a long flag");
        flags.push(format!("--{flag}={value}").into());
    }
    Ok(flags)
}

/// Whether the variable is a service link of Kubernetes, which sets such variables in every
/// container for each Service of the namespace; for a Service named `fanfare` or `fanfare-…` they
/// have the prefix of the settings.
fn is_service_link(name: &OsStr, value: &OsStr) -> bool {
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
        return false;
    };
    let is_port_of_protocol = |tail: &str| {
        let mut parts = tail.split('_');
        let port = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
        port && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name
            .match_indices("_PORT_")
            .any(|(at, port)| is_port_of_protocol(&name[at + port.len()..]))
}

fn unknown(command: &Command, name: &OsStr) -> ConfigError {
    let name = name.to_string_lossy();
    let known = settings_of(command).map(|arg| variable(arg.get_id().as_str()));
    let closest = known.max_by(|a, b| similarity(a, &name).total_cmp(&similarity(b, &name)));
    ConfigError::Unknown {
        name: name.escape_debug().to_string(),
        closest: closest.expect("there are settings"),
    }
}

/// Similarity of two variable names, whatever the order of their words.
fn similarity(known: &str, name: &str) -> f64 {
    // The common prefix would make all names similar.
    let (known, name) = (&known[PREFIX.len()..], &name[PREFIX.len()..]);
    let sorted = |name: &str| {
        let mut words: Vec<_> = name.split('_').collect();
        words.sort_unstable();
        words.join("_")
    };
    let in_order = strsim::jaro_winkler(known, name);
    in_order.max(strsim::jaro_winkler(&sorted(known), &sorted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::command::command;

    fn flags_of(env: &[(&str, &str)]) -> Result<Vec<OsString>, String> {
        let given = command().get_matches_from(["fanfare", "--window=7"]);
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        flags(&command(), &given, env).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_become_flags_in_order_of_their_names() {
        let env = [
            ("FANFARE_RETRY_MIN", "2s"),
            ("HOME", "/"),
            ("fanfare_log", "x"),
            ("FANFARE_DRAIN", ""),
        ];
        assert_eq!(flags_of(&env), Ok(vec!["--drain=".into(), "--retry-min=2s".into()]));
    }

    #[test]
    fn a_variable_is_ignored_if_its_flag_is_given() {
        assert_eq!(flags_of(&[("FANFARE_WINDOW", "not even a number")]), Ok(vec![]));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_closest_known_one() {
        for (name, closest) in [
            ("FANFARE_HEARTBAET", "FANFARE_HEARTBEAT"),
            ("FANFARE_HEARTBEAT_MS", "FANFARE_HEARTBEAT"),
            ("FANFARE_MAX_STREAMS", "FANFARE_STREAMS_MAX"),
            ("FANFARE_CORS_ORIGIN", "FANFARE_CORS_ORIGINS"),
            ("FANFARE_ADDRESS", "FANFARE_ADDR"),
            ("FANFARE_WINDOWS", "FANFARE_WINDOW"),
        ] {
            let error =
                format!("{name} is not a setting; the closest is {closest} (all: fanfare --help)");
            assert_eq!(flags_of(&[(name, "1")]), Err(error));
        }
        for name in
            ["FANFARE_", "FANFARE_HELP", "FANFARE_VERSION", "FANFARE_PORT", "FANFARE_heartbeat"]
        {
            assert!(
                flags_of(&[(name, "1")])
                    .unwrap_err()
                    .starts_with(&format!("{name} is not a setting"))
            );
        }
    }

    #[test]
    fn service_links_of_kubernetes_are_ignored() {
        for (name, value) in [
            ("FANFARE_SERVICE_HOST", "10.0.0.1"),
            ("FANFARE_SERVICE_PORT", "80"),
            ("FANFARE_SERVICE_PORT_HTTP", "80"),
            ("FANFARE_PORT", "tcp://10.0.0.1:80"),
            ("FANFARE_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("FANFARE_PORT_80_TCP_PROTO", "tcp"),
            ("FANFARE_PORT_80_TCP_PORT", "80"),
            ("FANFARE_PORT_80_UDP_ADDR", "10.0.0.1"),
            ("FANFARE_ADMIN_SERVICE_HOST", "10.0.0.2"),
            ("FANFARE_ADMIN_PORT_90_TCP_PORT", "90"),
        ] {
            assert_eq!(flags_of(&[(name, value)]), Ok(vec![]), "{name}");
        }
        for name in ["FANFARE_PORT", "FANFARE_PORT_HTTP", "FANFARE_PORT_80", "FANFARE_PORT_80_QUIC"]
        {
            assert!(flags_of(&[(name, "80")]).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_refused_by_name() {
        use std::os::unix::ffi::OsStringExt;
        let given = command().get_matches_from(["fanfare"]);
        let env = [("FANFARE_LOG".into(), OsString::from_vec(b"\xff".into()))];
        let error = flags(&command(), &given, env).unwrap_err();
        assert_eq!(error.to_string(), "FANFARE_LOG=\u{fffd}: not UTF-8");
    }
}
