//! The console page at `/`, open in a browser with its stream connected.

use std::net::SocketAddr;
use std::ops::Deref;

use super::browser::Browser;

const CONNECTED: &str = "document.querySelector('#state').textContent === 'connected'";

/// The page. Dropping it ends its browser.
pub struct ConsolePage {
    browser: Browser,
}

impl ConsolePage {
    /// Opens the page of the node at `addr`.
    pub async fn open(addr: SocketAddr) -> Self {
        let browser = Browser::start().await;
        browser.open(&format!("http://{addr}/")).await;
        let page = Self { browser };
        page.is_connected().await;
        page
    }

    /// Waits until its stream is open.
    pub async fn is_connected(&self) {
        self.wait(CONNECTED).await;
    }

    /// Submits the publish form; returns the id of the event.
    pub async fn publish(&self) -> String {
        self.click("#publish button").await;
        self.published().await
    }

    /// The id that the page reports for the event it has just published.
    pub async fn published(&self) -> String {
        let result = "document.querySelector('#result').textContent";
        let id = self.wait(&format!("({result}.match(/^Published as (.+)/) || [])[1]")).await;
        self.run(&format!("{result} = ''")).await;
        id.as_str().expect("an id is text").to_owned()
    }

    /// Waits until `count` events are in the list.
    pub async fn lists(&self, count: usize) {
        let items = "document.querySelectorAll('#events li')";
        self.wait(&format!("{items}.length === {count}")).await;
    }

    /// The text of the first element that matches.
    pub async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector('{selector}').textContent");
        self.run(&script).await.as_str().expect("it is text").to_owned()
    }

    /// The data and the id of the newest event of a type, once there is one.
    pub async fn newest(&self, event_type: &str) -> (String, String) {
        let item = format!("#events li[data-type=\"{event_type}\"]");
        self.wait(&format!("document.querySelector('{item}')")).await;
        (self.text(&format!("{item} pre")).await, self.text(&format!("{item} code")).await)
    }

    /// The data of the event with this id, once it is in the list.
    pub async fn data_of(&self, id: &str) -> String {
        let item = format!(
            "[...document.querySelectorAll('#events li')]
                .find(item => item.querySelector('code').textContent === '{id}')"
        );
        let data = self.wait(&format!("{item}?.querySelector('pre').textContent")).await;
        data.as_str().expect("data is text").to_owned()
    }
}

impl Deref for ConsolePage {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}
