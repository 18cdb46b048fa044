//! A headless Chromium, spoken to over WebDriver: W3C's JSON over HTTP, with chromedriver between.
//!
//! Waiting is done inside the page, on its own changes ([`Browser::wait`]), so nothing here sleeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// How long the page may take to come to what is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longer than any command may take by itself.
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);

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

/// What `wait` runs in the page: looks again after every change of the document.
const WAIT: &str = "const done = arguments[0], found = () => CONDITION;
    const look = () => { const value = found(); if (value) { observer.disconnect(); done(value); } };
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    look();";

/// A browser with a profile of its own. Dropping it ends the browser and its driver.
pub struct Browser {
    driver: Driver,
    session: String,
}

impl Browser {
    /// Starts a browser.
    pub fn start() -> Self {
        let driver = Driver::start();
        let profile = format!("--user-data-dir={}", driver.profile.display());
        let args: Vec<&str> = FLAGS.iter().copied().chain([profile.as_str()]).collect();
        let millis = DEADLINE.as_millis();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "script": millis, "pageLoad": millis },
            "goog:chromeOptions": { "args": args },
        } } });
        let session = driver.ask("POST", "/session", &wanted);
        let session = session["sessionId"].as_str().expect("a session has an id").to_owned();
        Self { driver, session }
    }

    /// Goes to a page and returns when it has loaded.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page and returns what it returns; a promise is waited
    /// for.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression has a value that is true, and returns it.
    pub fn wait(&self, condition: &str) -> Value {
        let script = WAIT.replace("CONDITION", condition);
        self.command("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Replaces what is in a field, as a person would.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.command(&format!("/element/{element}/clear"), &json!({}));
        self.command(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys with an element in focus; WebDriver's code points stand for the ones that are
    /// no text.
    pub fn press(&self, selector: &str, keys: &str) {
        let element = self.find(selector);
        self.command(&format!("/element/{element}/value"), &json!({ "text": keys }));
    }

    /// Clicks on an element.
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.command(&format!("/element/{element}/click"), &json!({}));
    }

    /// Shows the page as on a screen of this width, with a light or dark scheme.
    pub fn dress(&self, width: u32, scheme: &str) {
        let screen =
            json!({ "width": width, "height": 1100, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    /// Writes what is on the screen to a PNG file.
    pub fn photograph(&self, path: &Path) {
        let picture =
            self.driver.ask("GET", &format!("/session/{}/screenshot", self.session), &Value::Null);
        let picture = base64(picture.as_str().expect("a picture is text"));
        std::fs::write(path, picture).expect("the directory of the tests can be written to");
    }

    fn devtools(&self, command: &str, params: &Value) {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }

    fn find(&self, selector: &str) -> String {
        let found =
            self.command("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()?.as_str());
        id.expect("an element that is found has a reference").to_owned()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.driver.ask("POST", &format!("/session/{}{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // In order, if it still can; whatever is left ends with the driver.
        let _ = self.driver.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

/// A chromedriver on a port of its own.
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
        // Ordering: Relaxed: a number nobody else has.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("browser-{}-{number}", std::process::id());
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).process_group(0);
        let mut process =
            command.spawn().expect("chromedriver can be started; `make test` installs it");
        let mut output = BufReader::new(process.stdout.take().expect("the output is piped"));
        let port = port_of(&mut output);
        Self { process, _output: output, port, profile }
    }

    /// The value of the answer to a command.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.exchange(method, path, &body).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let value = &answer["value"];
        match value.get("error") {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value.clone()),
        }
    }

    /// One request on a connection of its own; returns the body of the answer.
    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        let (port, length) = (self.port, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {length}"
        );
        write!(stream, "{head}\r\ncontent-type: application/json\r\n\r\n{body}")?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while answer.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        Ok(body)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser is in the driver's process group. Both may have ended, and the profile may be
        // gone: that is what is wanted.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// The port in the line with which the driver says that it is ready.
fn port_of(output: &mut impl BufRead) -> u16 {
    for line in output.lines() {
        let line = line.expect("the driver writes text");
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return port.trim_end_matches('.').parse().expect("a port is a number");
        }
    }
    panic!("chromedriver ended before it was ready");
}

/// RFC 4648 §4, from a writer that is trusted.
fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0u32, |bits, &c| bits << 6 | u32::from(digit(c)));
        let whole = (bits << (6 * (4 - four.len()))).to_be_bytes();
        bytes.extend_from_slice(&whole[1..four.len()]);
    }
    bytes
}
