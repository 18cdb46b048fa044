//! Scenarios: what a run does, as a TOML table with defaults, overridden by command-line options.

mod definition;
mod duration;
mod group;
mod load;
mod overrides;
mod target;
mod validate;

pub(crate) use definition::{EventIn, Pace, Scenario};
pub(crate) use group::{Group, TopicNames};
pub(crate) use load::{built_in, load};
pub(crate) use overrides::Overrides;
pub(crate) use target::Target;
