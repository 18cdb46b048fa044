//! The settings as text: for the log at start, and for the README.
//!
//! All output of values passes [`Config::settings`], so secrets would have to be masked there.

use super::command::{EMPTY, bare_command, default_text, one_of, settings_of, variable, words};
use super::duration::duration_text;
use super::numbers::{bytes_text, count_text};
use super::settings::Config;

/// The settings whose `auto` is a share of the memory.
const BUDGETS: [&str; 8] = [
    "request_connections_max",
    "queue_bytes",
    "streams_max",
    "subscriptions_max",
    "topics_max",
    "window_bytes",
    "unsent_bytes",
    "history_bytes",
];

/// One setting of a [`Config`], as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The field's name, such as `heartbeat`.
    pub name: &'static str,
    /// The value in the form that the flag and the variable accept, such as `30s`.
    pub value: String,
    /// Whether the value equals the default.
    pub is_default: bool,
}

impl Setting {
    /// The name of the environment variable, such as `FANFARE_HEARTBEAT`.
    pub fn variable(&self) -> String {
        variable(self.name)
    }
}

impl Config {
    /// Every setting with its value, in the order of the fields.
    pub fn settings(&self) -> Vec<Setting> {
        let defaults = Self::default().texts();
        let named = self.texts().into_iter().zip(defaults);
        named
            .map(|((name, value), (_, default))| Setting {
                name,
                is_default: value == default,
                value,
            })
            .collect()
    }

    /// The settings that bound memory, as text, with `auto` resolved.
    pub(crate) fn budgets(&self) -> String {
        let settings = self.settings();
        let budgets = settings.iter().filter(|setting| BUDGETS.contains(&setting.name));
        let texts: Vec<_> =
            budgets.map(|setting| format!("{}={}", setting.variable(), setting.value)).collect();
        texts.join(", ")
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        let count = |count: usize| count_text(count as u64);
        let bytes = |bytes: usize| bytes_text(bytes as u64);
        vec![
            ("addr", self.addr.to_string()),
            ("allow_anonymous_publish", self.allow_anonymous_publish.to_string()),
            ("shards", count(self.shards)),
            ("descriptor_tables", self.descriptor_tables.to_string()),
            ("backlog", count_text(self.backlog.into())),
            ("connections_max", self.connections_max.map_or("auto".into(), count)),
            ("request_connections_max", count(self.request_connections_max)),
            ("head_timeout", duration_text(self.head_timeout)),
            ("body_timeout", duration_text(self.body_timeout)),
            ("body_rate_min", bytes_text(self.body_rate_min)),
            ("event_bytes_max", bytes(self.event_bytes_max)),
            ("event_topics_max", count(self.event_topics_max)),
            ("topic_bytes_max", bytes(self.topic_bytes_max)),
            ("queue_events", count(self.queue_events)),
            ("queue_bytes", bytes_text(self.queue_bytes)),
            ("batch_events", count(self.batch_events)),
            ("batch_bytes", bytes(self.batch_bytes)),
            ("streams_max", count(self.streams_max)),
            ("selectors_max", count(self.selectors_max)),
            ("subscriptions_max", count(self.subscriptions_max)),
            ("topics_max", count(self.topics_max)),
            ("busy_answer", self.busy_answer.to_string()),
            ("cors_origins", self.cors_origins.to_string()),
            ("retry_min", duration_text(self.retry_min)),
            ("retry_max", duration_text(self.retry_max)),
            ("heartbeat", duration_text(self.heartbeat)),
            ("write_timeout", duration_text(self.write_timeout)),
            ("send_buffer_bytes", bytes(self.send_buffer_bytes)),
            ("window", count(self.window)),
            ("window_bytes", bytes_text(self.window_bytes)),
            ("lag_max", duration_text(self.lag_max)),
            ("unsent_bytes", bytes_text(self.unsent_bytes)),
            ("io", self.io.to_string()),
            ("quantum_streams", count(self.quantum_streams)),
            ("history_events", count(self.history_events)),
            ("history_age", duration_text(self.history_age)),
            ("history_bytes", bytes_text(self.history_bytes)),
            ("drain", duration_text(self.drain)),
            ("log", self.log.clone()),
        ]
    }
}

/// The settings table of the README, in Markdown.
pub fn markdown_table() -> String {
    let mut table = String::from("| variable | flag | default | meaning |\n|---|---|---|---|\n");
    for arg in settings_of(&bare_command()) {
        let id = arg.get_id().as_str();
        let flag = arg.get_long().expect("every setting is a long flag");
        let default = match default_text(arg) {
            default if default == EMPTY => default,
            default => format!("`{default}`"),
        };
        let mut meaning = arg.get_help().expect("every setting has a help text").to_string();
        if let Some(words) = one_of(&words(arg)) {
            meaning += &format!(": {words}");
        }
        let meaning = meaning.replace('|', "\\|").replace('*', "\\*");
        table += &format!("| `{}` | `--{flag}` | {default} | {meaning} |\n", variable(id));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_listed_in_order_under_its_name() {
        let command = bare_command();
        let ids: Vec<_> = settings_of(&command).map(|arg| arg.get_id().as_str()).collect();
        let names: Vec<_> =
            Config::default().settings().iter().map(|setting| setting.name).collect();
        assert_eq!(names, ids);
        assert_eq!(ids.len(), 39);
    }

    #[test]
    fn defaults_are_listed_as_they_are_documented() {
        let command = bare_command();
        for (setting, arg) in Config::default().settings().iter().zip(settings_of(&command)) {
            let documented = match default_text(arg) {
                default if default == EMPTY => String::new(),
                // What `auto` stands for depends on the machine.
                default if default == "auto" => setting.value.clone(),
                default => default,
            };
            assert_eq!(setting.value, documented, "{}", setting.name);
            assert!(setting.is_default, "{}", setting.name);
        }
    }

    #[test]
    fn settings_that_differ_from_the_default_are_marked() {
        let config = Config { window: 2048, log: "debug".into(), ..Config::default() };
        let changed: Vec<_> =
            config.settings().into_iter().filter(|setting| !setting.is_default).collect();
        let setting = |name, value: &str| Setting { name, value: value.into(), is_default: false };
        assert_eq!(changed, [setting("window", "2048"), setting("log", "debug")]);
        assert_eq!(changed[0].variable(), "FANFARE_WINDOW");
    }

    #[test]
    fn the_budgets_are_the_settings_whose_auto_is_a_share_of_the_memory() {
        let config = Config { queue_bytes: 8 << 20, unsent_bytes: 1500, ..Config::default() };
        let budgets = config.budgets();
        assert!(budgets.contains(", FANFARE_QUEUE_BYTES=8MiB, "), "{budgets}");
        assert!(budgets.contains(", FANFARE_UNSENT_BYTES=1500B, "), "{budgets}");
        let command = bare_command();
        let automatic = settings_of(&command)
            .filter(|arg| arg.get_long_help().unwrap().to_string().contains("memory the process"));
        assert!(automatic.map(|arg| arg.get_id().as_str()).eq(BUDGETS));
    }

    #[test]
    fn listed_settings_read_back_as_the_same_config() {
        let args = [
            "--addr=[::1]:0",
            "--allow-anonymous-publish",
            "--shards=3",
            "--connections-max=70000",
            "--heartbeat=1.5s",
            "--window-bytes=4MB",
            "--cors-origins=https://a.example,http://b.example:1",
            "--busy-answer=503",
            "--log=info,fanfare=debug",
        ];
        let config = Config::from_sources(args, [("FANFARE_TOPICS_MAX", "65536")]).unwrap();
        let settings = config.settings();
        let env: Vec<_> =
            settings.into_iter().map(|setting| (setting.variable(), setting.value)).collect();
        assert!(env.contains(&("FANFARE_TOPICS_MAX".into(), "65_536".into())), "{env:?}");
        assert_eq!(Config::from_sources([""; 0], env).unwrap(), config);
    }

    #[test]
    fn the_table_has_a_row_for_each_setting() {
        let table = markdown_table();
        let rows: Vec<_> = table.lines().collect();
        assert_eq!(rows[0], "| variable | flag | default | meaning |");
        assert_eq!(rows[1], "|---|---|---|---|");
        let settings = Config::default().settings();
        assert_eq!(rows.len(), settings.len() + 2);
        for (row, setting) in rows[2..].iter().zip(settings) {
            let start =
                format!("| `{}` | `--{}` | ", setting.variable(), setting.name.replace('_', "-"));
            assert!(row.starts_with(&start), "{row}");
            assert_eq!(row.matches('|').count(), 5, "{row}");
        }
        for row in [
            "| `FANFARE_HEARTBEAT` | `--heartbeat` | `30s` | Longest time for which an idle \
             stream receives nothing; then it receives a comment |",
            "| `FANFARE_IO` | `--io` | `auto` | How events are written to the sockets of streams: \
             auto, uring, send or hyper |",
            "| `FANFARE_CORS_ORIGINS` | `--cors-origins` | empty | Other origins whose pages may \
             use this node, separated by commas, or \\* for every origin |",
        ] {
            assert!(rows.contains(&row), "{table}");
        }
    }
}
