//! The `fanfare` binary: loads the settings, starts logging and a node, and drains it on a signal.

use std::io::IsTerminal;
use std::process::ExitCode;

use fanfare::config::Config;
use fanfare::node::Node;
use fanfare::process::{self, Signals};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code if a setting is invalid or the node can't start.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    process::use_small_pages();
    process::save_address_space();
    let config = match Config::load() {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    start_logging(&config);
    process::raise_descriptor_limit();
    match run(config) {
        Ok(code) => code,
        Err(line) => {
            eprintln!("fanfare: {line}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Runs the node until a signal arrives, then drains it; a second signal exits immediately.
fn run(config: Config) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start a runtime: {error}"))?;
    // Registered before the node listens: a client that can connect can already signal the program.
    let signals = runtime.block_on(async { Signals::new() });
    let signals = signals.map_err(|error| format!("can't register signal handlers: {error}"))?;
    let node = Node::start(config).map_err(|error| error.to_string())?;
    node.log_configuration();
    tracing::info!("listening on http://{}", node.addr());
    Ok(runtime.block_on(serve(node, signals)))
}

async fn serve(node: Node, mut signals: Signals) -> ExitCode {
    let name = signals.next().await;
    tracing::info!("received {name}, draining; a second signal exits immediately");
    let drained = tokio::task::spawn_blocking(move || node.drain());
    tokio::select! {
        _ = drained => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        name = signals.next() => {
            tracing::warn!("received {name} while draining, exiting immediately");
            std::process::exit(1);
        }
    }
}

fn start_logging(config: &Config) {
    let filter = EnvFilter::new(&config.log);
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
}
