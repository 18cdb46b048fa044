//! `selectors`: streams with many topics beside streams with one.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::{baseline, run};

const SELECTORS: &str = "selectors --streams 100 --duration 1s --alternate 200ms --settle 100ms";

#[test]
fn many_topics_are_compared_with_one_in_the_same_run() {
    for (topics, event_in) in [(1, "one"), (10, "one"), (100, "all")] {
        let served = baseline("write");
        let arguments = format!("{SELECTORS} --topics-per-stream {topics} --event-in {event_in}");
        let run = run(&arguments, served.address);
        run.assert_clean();
        assert_eq!(run.at("/opening/streams"), 200.0, "{}", run.text);
        assert_eq!(run.at("/selectors/topics"), f64::from(topics), "{}", run.text);
        for of in ["one", "many"] {
            let at = |value: &str| run.at(&format!("/selectors/{of}/{value}"));
            assert!(at("deliveries") >= 100.0, "{of}: {}", run.text);
            assert!(at("cpu_per_delivery_us") > 0.0, "{of}: {}", run.text);
            assert!(at("cpu_per_opening_us") > 0.0, "{of}: {}", run.text);
        }
        let (one, many) =
            (run.at("/selectors/one/deliveries"), run.at("/selectors/many/deliveries"));
        // Two warm-up events each.
        assert_eq!(run.at("/account/received"), one + many + 400.0, "{}", run.text);
        assert!(run.at("/selectors/cpu_ratio") > 0.0, "{}", run.text);
    }
}

/// The test server delivers to the first topic of a stream only: an event in another one is lost.
#[test]
fn an_event_lost_in_one_of_many_topics_fails_the_run() {
    let arguments = format!("{SELECTORS} --topics-per-stream 3 --patience 1s");
    let run = run(&arguments, start(Fault::None, Framing::Chunked));
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.text.contains("did not reach every stream"), "{}", run.text);
    assert_eq!(run.at("/account/missing"), 100.0, "{}", run.text);
}
