//! The page at `/`, used as a person uses it, in a real browser.

use std::net::SocketAddr;
use std::path::Path;

use fanfare::config::Config;
use fanfare::console::POLICY;
use fanfare::node::Node;

use crate::support::browser::Browser;

/// WebDriver's code points for keys that are no text.
const CONTROL_AND_ENTER: &str = "\u{E009}\u{E007}";

/// A node whose streams come back quickly.
fn node(addr: &str) -> Node {
    let settings = [
        ("FANFARE_ADDR", addr),
        ("FANFARE_SHARDS", "1"),
        ("FANFARE_RETRY_MIN", "20ms"),
        ("FANFARE_RETRY_MAX", "40ms"),
        ("FANFARE_DRAIN", "5s"),
    ];
    let config = Config::from_sources([""; 0], settings).expect("the settings are right");
    Node::start(config).expect("a node on a free port starts")
}

/// The page of the node at `addr`, with its stream open.
fn page(addr: SocketAddr) -> Browser {
    let browser = Browser::start();
    browser.open(&format!("http://{addr}/"));
    browser.wait(CONNECTED);
    browser
}

const CONNECTED: &str = "document.querySelector('#state').textContent === 'connected'";

/// The id that the page says the last event was published with.
fn published(browser: &Browser) -> String {
    let result = browser.wait(
        "(document.querySelector('#result').textContent.match(/^Published as (.+)/) || [])[1]",
    );
    browser.run("document.querySelector('#result').textContent = ''");
    result.as_str().expect("an id is text").to_owned()
}

/// The data and the id of the newest event of a type, once there is one.
fn newest(browser: &Browser, event_type: &str) -> (String, String) {
    let item = format!("#events li[data-type=\"{event_type}\"]");
    browser.wait(&format!("document.querySelector('{item}')"));
    let text = |part: &str| {
        let text =
            browser.run(&format!("return document.querySelector('{item} {part}').textContent"));
        text.as_str().expect("text").to_owned()
    };
    (text("pre"), text("code"))
}

/// The data of the event with this id, once it is in the list.
fn data_of(browser: &Browser, id: &str) -> String {
    let items = "[...document.querySelectorAll('#events li')]";
    let data = browser.wait(&format!(
        "({items}.find(li => li.querySelector('code').textContent === '{id}') || {{ querySelector: () => null }})
            .querySelector('pre')?.textContent"
    ));
    data.as_str().expect("text").to_owned()
}

#[test]
fn what_is_published_in_the_form_appears_in_the_list() {
    let node = node("127.0.0.1:0");
    let browser = page(node.addr());
    browser.fill("[name=data]", "first line\nsecond line");
    browser.click("#publish button");
    let id = published(&browser);
    assert_eq!(newest(&browser, "message"), ("first line\nsecond line".into(), id));

    // A type is listened to from the moment it is published by this page.
    browser.fill("[name=type]", "greeting");
    browser.press("[name=data]", CONTROL_AND_ENTER);
    let id = published(&browser);
    assert_eq!(newest(&browser, "greeting").1, id);
    assert_eq!(browser.run("return document.querySelector('#types').value"), "greeting");
    assert_eq!(browser.run("return document.querySelector('#count').textContent"), "2 events");

    browser.fill("[name=topic]", "*");
    browser.click("#publish button");
    browser.wait("document.querySelector('#result').dataset.state === 'bad'");
    let refusal = browser.run("return document.querySelector('#result').textContent");
    assert!(refusal.as_str().unwrap().starts_with("`*` means every topic"), "{refusal}");
}

#[test]
fn data_is_shown_as_text() {
    let node = node("127.0.0.1:0");
    let browser = page(node.addr());
    let data = "<img src=x onerror=\"document.title = 'broken into'\"><script>document.title = 'too'</script>";
    browser.fill("[name=data]", data);
    browser.fill("[name=type]", "<b>bold</b>");
    browser.click("#publish button");
    published(&browser);
    assert_eq!(newest(&browser, "<b>bold</b>").0, data);
    assert_eq!(
        browser.run(
            "return document.querySelectorAll('#events img, #events script, #events b').length"
        ),
        0
    );
    assert_eq!(browser.run("return document.title"), "Fanfare");
}

#[test]
fn the_list_shows_the_topics_asked_for_and_what_was_kept() {
    let node = node("127.0.0.1:0");
    let browser = page(node.addr());
    for topic in ["weather", "news", "weather"] {
        browser.fill("[name=topic]", topic);
        browser.fill("[name=data]", &format!("about {topic}"));
        browser.click("#publish button");
        published(&browser);
    }
    browser.wait("document.querySelectorAll('#events li').length === 3");
    browser.click("#clear");
    browser.fill("#topics", "weather, sports");
    browser.click("#replay");
    browser.click("#listen button");
    browser.wait("document.querySelectorAll('#events li').length === 2");
    assert_eq!(newest(&browser, "message").0, "about weather");

    let long = "x".repeat(2000);
    browser.run(&format!("document.querySelector('#topics').value = '{long}'"));
    browser.click("#listen button");
    let state = browser
        .wait("(document.querySelector('#state').textContent.match(/^refused: .+/) || [])[0]");
    assert!(state.as_str().unwrap().contains("FANFARE_TOPIC_BYTES_MAX"), "{state}");
}

#[test]
fn the_list_is_bounded() {
    let node = node("127.0.0.1:0");
    let browser = page(node.addr());
    browser.run(
        "return Promise.all(Array.from({ length: 250 }, () => fetch('events?topic=many', { method: 'POST', body: 'x' })))
            .then(answers => answers.length)",
    );
    browser
        .wait("document.querySelector('#count').textContent === '250 events, the last 200 shown'");
    assert_eq!(browser.run("return document.querySelectorAll('#events li').length"), 200);
}

#[test]
fn the_stream_outlives_the_node_and_is_told_of_the_new_one() {
    let first = node("127.0.0.1:0");
    let addr = first.addr();
    let browser = page(addr);
    browser.click("#publish button");
    let id = published(&browser);
    assert_eq!(newest(&browser, "message").1, id);

    first.drain();
    assert_eq!(newest(&browser, "shutdown"), ("{\"reason\":\"draining\"}".into(), id.clone()));

    let _second = node(&addr.to_string());
    let (reset, from) = newest(&browser, "reset");
    assert!(reset.contains("\"reason\":\"unknown-id\"") && reset.contains(&id), "{reset}");
    assert_ne!(from, id, "the position is one of the new numbering");
    browser.wait(CONNECTED);
    browser.fill("[name=data]", "after the restart");
    browser.click("#publish button");
    let id = published(&browser);
    assert_eq!(data_of(&browser, &id), "after the restart");
}

#[test]
fn the_policy_names_the_script_and_the_style_of_the_page() {
    let node = node("127.0.0.1:0");
    let browser = Browser::start();
    browser.open(&format!("http://{}/", node.addr()));
    for element in ["script", "style"] {
        let hash = browser.run(&format!(
            "return crypto.subtle.digest('SHA-256', new TextEncoder().encode(document.querySelector('{element}').textContent))
                .then(digest => btoa(String.fromCharCode(...new Uint8Array(digest))))"
        ));
        let source = format!("{element}-src 'sha256-{}'", hash.as_str().unwrap());
        assert!(
            POLICY.contains(&source),
            "the page has changed: POLICY in src/page/mod.rs needs {source}"
        );
    }
}

/// Leaves pictures in `target/tmp`, for whoever changes the looks of the page.
#[test]
fn it_fits_the_screens_of_a_desktop_and_of_a_phone() {
    let node = node("127.0.0.1:0");
    let browser = page(node.addr());
    for (topic, event_type, data) in [
        ("orders", "", "{\"order\": 4711, \"state\": \"packed\"}"),
        ("greetings", "greeting", "Good morning,\nworld"),
        ("system", "notice", "{\"missed\":12}"),
        ("logs", "", &"x".repeat(300)),
    ] {
        browser.fill("[name=topic]", topic);
        browser.fill("[name=type]", event_type);
        browser.fill("[name=data]", data);
        browser.press("[name=data]", CONTROL_AND_ENTER);
        published(&browser);
    }
    browser.wait("document.querySelectorAll('#events li').length === 4");
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        browser.dress(width, scheme);
        let name = format!("page-{width}-{scheme}.png");
        browser.photograph(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        let page = "document.documentElement";
        let out = browser.run(&format!("return {page}.scrollWidth - {page}.clientWidth"));
        assert_eq!(out, 0, "something sticks out at {width}");
    }
}
