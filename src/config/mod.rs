//! The settings of the node: each a flag (`--heartbeat`) and an environment variable
//! (`FANFARE_HEARTBEAT`).
//!
//! Called once, by `main`, before any other thread runs. Only this module reads the environment
//! (I8): everything else is handed its settings. What it hands out is within bounds and fits
//! together ([`Config::check`]).
//!
//! Each file imports only files of the rows above its own:
//!
//! | file | what it holds |
//! |---|---|
//! | `numbers`, `cors`, `words` | parsers and printers of single values |
//! | `duration`, `values` | further parsers and printers |
//! | `settings` | [`Config`]: every setting with its default and bounds |
//! | `command` | the command line that clap parses |
//! | `error` | [`ConfigError`] |
//! | `environment`, `check` | variables as flags; rules between settings |
//! | `load` | reads arguments and environment into a [`Config`] |
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
mod numbers;
mod settings;
mod values;
mod words;

pub use cors::CorsOrigins;
pub use error::ConfigError;
pub use listing::{Setting, markdown_table};
pub use settings::Config;
pub use words::{BusyAnswer, DescriptorTables, Io};
