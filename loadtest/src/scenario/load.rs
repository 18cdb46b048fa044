//! Reads a scenario: built in or from a file, with overrides put over it.

use super::definition::Scenario;
use super::overrides::Overrides;
use super::validate::validate;
use crate::error::Error;

/// The built-in scenarios: name and TOML text.
const BUILT_IN: [(&str, &str); 11] = [
    ("hold", include_str!("../../scenarios/hold.toml")),
    ("fanout", include_str!("../../scenarios/fanout.toml")),
    ("burst", include_str!("../../scenarios/burst.toml")),
    ("topics", include_str!("../../scenarios/topics.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("slow", include_str!("../../scenarios/slow.toml")),
    ("fair", include_str!("../../scenarios/fair.toml")),
    ("selectors", include_str!("../../scenarios/selectors.toml")),
    ("pause", include_str!("../../scenarios/pause.toml")),
    ("publish", include_str!("../../scenarios/publish.toml")),
];

/// Loads the built-in scenario `name`, or the file of that name, and applies `overrides`.
pub(crate) fn load(name: &str, overrides: &Overrides) -> Result<Scenario, Error> {
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
    let text = match built_in {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(name)
            .map_err(|error| Error::usage(format!("no scenario file {name}: {error}")))?,
    };
    let mut scenario: Scenario = toml::from_str(&text)
        .map_err(|error| Error::usage(format!("scenario {name}: {}", error.message())))?;
    overrides.apply(&mut scenario)?;
    validate(&scenario)?;
    Ok(scenario)
}

/// The name and the description of each built-in scenario.
pub(crate) fn built_in() -> impl Iterator<Item = (&'static str, String)> {
    BUILT_IN.iter().map(|(name, text)| {
        let scenario: Scenario = toml::from_str(text).expect("checked by a test");
        (*name, scenario.about)
    })
}

#[cfg(test)]
mod tests {
    use super::super::definition::Pace;
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid_and_described() {
        for (name, about) in built_in() {
            let scenario =
                load(name, &Overrides::parse("")).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(scenario.name, name);
            assert!(!about.is_empty(), "{name}");
        }
    }

    #[test]
    fn options_win_over_the_file_and_fields_over_options() {
        let options = Overrides::parse("--streams 7 --size 300 --retry false --duration 2m30s");
        let scenario = load("fanout", &options).expect("valid");
        assert_eq!((scenario.streams, scenario.size, scenario.retry), (7, 300, false));
        assert_eq!(scenario.duration.to_string(), "150s");
        let fields: toml::Table = "size = 400\npublish = \"/p\"".parse().expect("valid TOML");
        let scenario = load("fanout", &options.with_fields(fields)).expect("valid");
        assert_eq!((scenario.streams, scenario.size, scenario.publish.as_str()), (7, 400, "/p"));
    }

    #[test]
    fn a_rate_implies_the_pace_and_no_warmup() {
        let scenario = load("fanout", &Overrides::parse("--rate 5")).expect("valid");
        assert_eq!((scenario.pace, scenario.rate, scenario.warmup), (Pace::Rate, 5.0, 0));
        let scenario = load("fanout", &Overrides::parse("--rate 5 --pace each")).expect("valid");
        assert_eq!((scenario.pace, scenario.warmup), (Pace::Each, 2));
        let scenario = load("burst", &Overrides::parse("--rate 5")).expect("valid");
        assert_eq!(scenario.pace, Pace::Burst);
    }

    #[test]
    fn invalid_values_are_refused_with_the_valid_range() {
        let options = Overrides::parse("");
        for (fields, expected) in
            [("size = 3", "--size must be at least"), ("rtae = 1", "unknown field")]
        {
            let fields = fields.parse().expect("valid TOML");
            let error = load("fanout", &options.with_fields(fields)).expect_err("invalid");
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }
}
