//! Scenarios: what a run does, as a TOML table with defaults, overridden by command-line options.

mod definition;
mod duration;
mod load;
mod overrides;
mod target;

pub(crate) use definition::{Pace, Scenario, topic_name};
pub(crate) use load::{built_in, load};
pub(crate) use overrides::Overrides;
pub(crate) use target::Target;
