//! The console page at `/`, used as a person uses it, in a real browser.

use std::path::Path;
use std::time::Duration;

use fanfare::console::POLICY;
use fantoccini::key::Key;

use crate::support::{Browser, ConsolePage, TestNode};

/// A node whose streams reconnect quickly.
fn node_at(addr: &str) -> TestNode {
    TestNode::with(|config| {
        config.addr = addr.parse().expect("an address");
        config.shards = 1;
        config.retry_min = Duration::from_millis(20);
        config.retry_max = Duration::from_millis(40);
        config.drain = Duration::from_secs(5);
    })
}

/// A node and its page.
async fn node_and_page() -> (TestNode, ConsolePage) {
    let node = node_at("127.0.0.1:0");
    let page = ConsolePage::open(node.addr()).await;
    (node, page)
}

#[tokio::test]
async fn an_event_published_in_the_form_appears_in_the_list() {
    let (_node, page) = node_and_page().await;
    page.fill("[name=data]", "first line\nsecond line").await;
    let id = page.publish().await;
    assert_eq!(page.newest("message").await, ("first line\nsecond line".into(), id));

    // The page subscribes to a type when it publishes it.
    page.fill("[name=type]", "greeting").await;
    page.press("[name=data]", &format!("{}{}", Key::Control, Key::Enter)).await;
    let id = page.published().await;
    assert_eq!(page.newest("greeting").await.1, id);
    assert_eq!(page.run("return document.querySelector('#types').value").await, "greeting");
    assert_eq!(page.text("#count").await, "2 events");

    page.fill("[name=topic]", "*").await;
    page.click("#publish button").await;
    page.wait("document.querySelector('#result').dataset.state === 'bad'").await;
    let refusal = page.text("#result").await;
    assert!(refusal.starts_with("`*` means every topic"), "{refusal}");
}

#[tokio::test]
async fn data_is_shown_as_text() {
    let (_node, page) = node_and_page().await;
    let data = "<img src=x onerror=\"document.title = 'broken into'\">\
        <script>document.title = 'too'</script>";
    page.fill("[name=data]", data).await;
    page.fill("[name=type]", "<b>bold</b>").await;
    page.publish().await;
    assert_eq!(page.newest("<b>bold</b>").await.0, data);
    let elements = "'#events img, #events script, #events b'";
    let count = page.run(&format!("return document.querySelectorAll({elements}).length")).await;
    assert_eq!(count, 0);
    assert_eq!(page.run("return document.title").await, "Fanfare");
}

#[tokio::test]
async fn the_list_shows_the_selected_topics_and_replays_the_history() {
    let (_node, page) = node_and_page().await;
    for topic in ["weather", "news", "weather"] {
        page.fill("[name=topic]", topic).await;
        page.fill("[name=data]", &format!("about {topic}")).await;
        page.publish().await;
    }
    page.lists(3).await;
    page.click("#clear").await;
    page.fill("#topics", "weather, sports").await;
    page.click("#replay").await;
    page.click("#listen button").await;
    page.lists(2).await;
    assert_eq!(page.newest("message").await.0, "about weather");

    let long = "x".repeat(2000);
    page.run(&format!("document.querySelector('#topics').value = '{long}'")).await;
    page.click("#listen button").await;
    let refused = "document.querySelector('#state').textContent.match(/^refused: .+/)";
    let state = page.wait(&format!("({refused} || [])[0]")).await;
    assert!(state.as_str().unwrap().contains("FANFARE_TOPIC_BYTES_MAX"), "{state}");
}

#[tokio::test]
async fn the_list_is_bounded() {
    let (_node, page) = node_and_page().await;
    page.run(
        "const publish = () => fetch('events?topic=many', { method: 'POST', body: 'x' });
        return Promise.all(Array.from({ length: 250 }, publish)).then(() => null);",
    )
    .await;
    let count = "document.querySelector('#count').textContent";
    page.wait(&format!("{count} === '250 events, the last 200 shown'")).await;
    assert_eq!(page.run("return document.querySelectorAll('#events li').length").await, 200);
}

#[tokio::test]
async fn the_stream_reconnects_to_a_restarted_node_and_shows_its_reset() {
    let first = node_at("127.0.0.1:0");
    let addr = first.addr();
    let page = ConsolePage::open(addr).await;
    let id = page.publish().await;
    assert_eq!(page.newest("message").await.1, id);

    first.drain().await;
    assert_eq!(page.newest("shutdown").await, ("{\"reason\":\"draining\"}".into(), id.clone()));

    let _second = node_at(&addr.to_string());
    let (reset, from) = page.newest("reset").await;
    assert!(reset.contains("\"reason\":\"unknown-id\"") && reset.contains(&id), "{reset}");
    assert_ne!(from, id, "the position is one of the new incarnation");
    page.is_connected().await;
    page.fill("[name=data]", "after the restart").await;
    let id = page.publish().await;
    assert_eq!(page.data_of(&id).await, "after the restart");
}

/// With an old policy the page's script does not run, so this does not wait for it to connect.
#[tokio::test]
async fn the_policy_names_the_script_and_the_style_of_the_page() {
    let node = node_at("127.0.0.1:0");
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", node.addr())).await;
    for element in ["script", "style"] {
        let script = format!(
            "const text = document.querySelector('{element}').textContent;
            return crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
                .then(digest => btoa(String.fromCharCode(...new Uint8Array(digest))));"
        );
        let hash = browser.run(&script).await;
        let source = format!("{element}-src 'sha256-{}'", hash.as_str().unwrap());
        assert!(POLICY.contains(&source), "the page has changed: its POLICY needs {source}");
    }
}

/// Leaves screenshots in `target/tmp`, to look at after a change of the page's style.
#[tokio::test]
async fn the_page_fits_the_screens_of_a_desktop_and_of_a_phone() {
    let (_node, page) = node_and_page().await;
    for (topic, event_type, data) in [
        ("orders", "", "{\"order\": 4711, \"state\": \"packed\"}"),
        ("greetings", "greeting", "Good morning,\nworld"),
        ("system", "notice", "{\"missed\":12}"),
        ("logs", "", &"x".repeat(300)),
    ] {
        page.fill("[name=topic]", topic).await;
        page.fill("[name=type]", event_type).await;
        page.fill("[name=data]", data).await;
        page.publish().await;
    }
    page.lists(4).await;
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        page.set_viewport(width, scheme).await;
        let name = format!("page-{width}-{scheme}.png");
        page.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).await;
        assert_eq!(page.run("return window.innerWidth").await, width, "the viewport was set");
        let root = "document.documentElement";
        let overflow = page.run(&format!("return {root}.scrollWidth - {root}.clientWidth")).await;
        assert_eq!(overflow, 0, "content overflows a screen {width} pixels wide");
    }
}
