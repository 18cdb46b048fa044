//! Configuration: every setting is a command-line flag (`--heartbeat`) and an environment variable
//! (`FANFARE_HEARTBEAT`).
//!
//! `main` calls [`Config::load`] once, before any other thread starts. Only this module reads the
//! environment (I8); all others receive a [`Config`]. A loaded [`Config`] is valid: every value is
//! within its bounds, and the rules between settings hold ([`Config::check`]).
//!
//! Files, in dependency order:
//!
//! | file | contents |
//! |---|---|
//! | `memory` | the memory the process may use, and shares of it |
//! | `numbers`, `cors`, `words` | values: counts and sizes, origins, enums of words |
//! | `duration`, `values` | values: durations; address, booleans, `auto`, log filter |
//! | `settings` | the [`Config`] struct: every setting with its default and bounds |
//! | `command` | the clap command, with variables and defaults in its help |
//! | `error` | [`ConfigError`], and the translation of clap's errors |
//! | `environment`, `check` | variables to flags; rules between settings |
//! | `load` | arguments and environment to a [`Config`] |
//! | `listing` | a [`Config`] as text |
#![forbid(unsafe_code)]

mod check;
mod command;
mod cors;
mod duration;
mod environment;
mod error;
mod listing;
mod load;
mod memory;
mod numbers;
mod settings;
mod values;
mod words;

pub use cors::CorsOrigins;
pub use error::ConfigError;
pub use listing::{Setting, markdown_table};
pub use memory::Memory;
pub use settings::Config;
pub(crate) use values::SHARDS_MAX;
pub use words::{BusyAnswer, DescriptorTables, Io};
