//! Scenario fields given on the command line or in a peer's file, which go over the scenario's own.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::definition::{Pace, Scenario};
use crate::error::Error;

/// Fields to put over a scenario once its file has been read.
///
/// As clap arguments these are the options of [`Scenario`]: the parsed matches are kept and applied
/// later, because the scenario is not known before the command line has been parsed.
#[derive(Clone, Debug)]
pub(crate) struct Overrides {
    options: ArgMatches,
    /// Takes precedence over `options`.
    fields: toml::Table,
}

impl Overrides {
    /// Adds TOML fields, which win over the options.
    pub(crate) fn with_fields(&self, fields: toml::Table) -> Self {
        let mut all = self.fields.clone();
        all.extend(fields);
        Self { options: self.options.clone(), fields: all }
    }

    pub(super) fn apply(&self, scenario: &mut Scenario) -> Result<(), Error> {
        // A rate implies the pace, unless one is given or the scenario publishes in bursts.
        if self.contains("rate")
            && !self.contains("pace")
            && matches!(scenario.pace, Pace::None | Pace::Each)
        {
            scenario.pace = Pace::Rate;
            scenario.warmup = Scenario::default().warmup;
        }
        scenario
            .update_from_arg_matches(&self.options)
            .map_err(|error| Error::usage(error.to_string()))?;
        if self.fields.is_empty() {
            return Ok(());
        }
        let mut table =
            toml::Table::try_from(&*scenario).map_err(|error| Error::usage(error.to_string()))?;
        table.extend(self.fields.clone());
        *scenario = table
            .try_into()
            .map_err(|error: toml::de::Error| Error::usage(error.message().to_owned()))?;
        Ok(())
    }

    fn contains(&self, name: &str) -> bool {
        self.options.contains_id(name) || self.fields.contains_key(name)
    }
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { options: matches.clone(), fields: toml::Table::new() })
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Err(clap::Error::raw(ErrorKind::InvalidValue, "overrides are parsed once"))
    }
}

impl Args for Overrides {
    fn augment_args(command: Command) -> Command {
        // The form for updates: no option is required, and none has a default value.
        Scenario::augment_args_for_update(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Scenario::augment_args_for_update(command)
    }
}

#[cfg(test)]
impl Overrides {
    /// Parses `options`, separated by blanks.
    pub(crate) fn parse(options: &str) -> Self {
        let command = Self::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.get_matches_from(options.split_whitespace());
        Self::from_arg_matches(&matches).expect("infallible")
    }
}
