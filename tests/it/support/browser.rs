//! A headless Chromium, driven over WebDriver by `fantoccini` and a chromedriver of its own.
//!
//! [`Browser::wait`] waits inside the page, on DOM mutations, so nothing here sleeps.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use url::{ParseError, Url};

/// How long the page may take to load, or to meet a condition.
const DEADLINE: Duration = Duration::from_secs(30);

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en-GB",
];

/// The script of [`Browser::wait`]: evaluates a condition after every mutation of the document.
const WAIT: &str = "const done = arguments[0], condition = () => CONDITION;
    const check = () => {
        const value = condition();
        if (value) { observer.disconnect(); done(value); }
    };
    const observer = new MutationObserver(check);
    const all = { subtree: true, childList: true, attributes: true, characterData: true };
    observer.observe(document, all);
    check();";

/// A browser with a profile of its own. Dropping it ends the browser and its driver.
pub struct Browser {
    client: Client,
    _driver: Driver,
}

impl Browser {
    /// Starts a browser.
    pub async fn start() -> Self {
        let driver = Driver::start();
        let profile = format!("--user-data-dir={}", driver.profile.display());
        let args: Vec<&str> = FLAGS.iter().copied().chain([profile.as_str()]).collect();
        let millis = DEADLINE.as_millis();
        let capabilities = json!({
            "browserName": "chrome",
            "timeouts": { "script": millis, "pageLoad": millis },
            "goog:chromeOptions": { "args": args },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .expect("chromium can be started");
        Self { client, _driver: driver }
    }

    /// Opens a page; returns when it has loaded.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Runs the body of a function in the page; returns its result, that of a promise once it is
    /// fulfilled.
    pub async fn run(&self, script: &str) -> Value {
        let result = self.client.execute(script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression has a truthy value; returns it.
    pub async fn wait(&self, condition: &str) -> Value {
        let script = WAIT.replace("CONDITION", condition);
        let result = self.client.execute_async(&script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{condition}: {error}"))
    }

    /// Replaces the text of a field, as a person would.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        field.clear().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
        field.send_keys(text).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Presses keys with an element in focus.
    pub async fn press(&self, selector: &str, keys: &str) {
        let element = self.find(selector).await;
        element.send_keys(keys).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Clicks on an element.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Sets the width of the screen, and a light or dark colour scheme.
    pub async fn set_viewport(&self, width: u32, scheme: &str) {
        let screen =
            json!({ "width": width, "height": 1100, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Writes a screenshot of the viewport to a PNG file.
    pub async fn screenshot(&self, path: &Path) {
        let png = self.client.screenshot().await.expect("a screenshot can be taken");
        std::fs::write(path, png).expect("the directory of the tests can be written to");
    }

    async fn find(&self, selector: &str) -> Element {
        let found = self.client.find(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    async fn devtools(&self, method: &'static str, params: Value) {
        let result = self.client.issue_cmd(DevTools { method, params }).await;
        result.unwrap_or_else(|error| panic!("{method}: {error}"));
    }
}

/// chromedriver's extension of WebDriver for a method of the Chrome DevTools protocol.
#[derive(Debug)]
struct DevTools {
    method: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.expect("a browser has a session");
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.method, "params": self.params });
        (Method::POST, Some(body.to_string()))
    }
}

/// A chromedriver on a free port.
struct Driver {
    process: Child,
    /// Kept open: the driver goes on writing to it.
    _output: BufReader<ChildStdout>,
    port: u16,
    profile: PathBuf,
}

impl Driver {
    fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        // Ordering: Relaxed: only the uniqueness of the number matters.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("browser-{}-{number}", std::process::id());
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).process_group(0);
        let mut process =
            command.spawn().expect("chromedriver can be started; tests/setup.sh installs it");
        let mut output = BufReader::new(process.stdout.take().expect("the output is piped"));
        let port = port_of(&mut output);
        Self { process, _output: output, port, profile }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = libc::pid_t::try_from(self.process.id()).expect("a process id fits");
        // SAFETY: killpg takes plain numbers. The driver leads its group, which the browser is in,
        // and has not been waited for, so the group is still its own.
        let _ = unsafe { libc::killpg(group, libc::SIGKILL) };
        // Errors are ignored: the driver may have exited and the profile may have been deleted.
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// The port in the line that chromedriver prints when it is ready.
fn port_of(output: &mut impl BufRead) -> u16 {
    for line in output.lines() {
        let line = line.expect("chromedriver prints text");
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return port.trim_end_matches('.').parse().expect("a port is a number");
        }
    }
    panic!("chromedriver exited before it was ready");
}
