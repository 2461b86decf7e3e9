//! Connections that are not used again for ever.

use std::num::NonZeroU32;

use super::*;
use crate::testing::{accept, read_rest};

fn bounded(address: &str, most_calls: u32, max_age: Option<Duration>) -> Client {
    let config = H1Config::default();
    config.reuse.set(NonZeroU32::new(most_calls), max_age);
    Client::with(address, config)
}

/// Serves one call on a connection; returns the head of the request.
async fn serve(client: &Client, app: &mut TcpStream) -> String {
    let says = ok("1");
    let (text, head) = tokio::join!(client.get(), answer(app, &says));
    assert_eq!(text, "1");
    head.to_lowercase()
}

#[tokio::test]
async fn a_connection_serves_as_many_calls_as_it_is_said() {
    for most in 1..=3 {
        let (listener, address) = listen().await;
        let client = bounded(&address, most, None);
        for _ in 0..2 {
            let app = async {
                let mut app = accept(&listener).await;
                let head = answer(&mut app, &ok("1")).await;
                (app, head.to_lowercase())
            };
            let (text, (mut app, mut head)) = tokio::join!(client.get(), app);
            assert_eq!(text, "1");
            for number in 2..=most {
                assert!(!head.contains("connection:"), "{number} of {most}: {head}");
                head = serve(&client, &mut app).await;
            }
            assert!(head.contains("connection: close"), "{most}: {head}");
            assert_eq!(client.idle(), 0, "{most}");
            assert_eq!(read_rest(&mut app).await, "", "the client closes it, too");
        }
    }
}

#[tokio::test]
async fn an_old_connection_takes_no_more_calls() {
    let (listener, address) = listen().await;
    let age = Duration::from_secs(30);
    let client = bounded(&address, 0, Some(age));
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("1")).await;
        app
    };
    let (text, mut first) = tokio::join!(client.get(), app);
    assert_eq!((text.as_str(), client.idle()), ("1", 1));
    let head = serve(&client, &mut first).await;
    assert!(!head.contains("connection:"), "{head}");
    later(age).await;
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("2")).await;
        app
    };
    let (text, _second) = tokio::join!(client.get(), app);
    assert_eq!((text.as_str(), client.idle()), ("2", 1));
    assert_eq!(read_rest(&mut first).await, "");
}

#[tokio::test]
async fn an_old_connection_is_closed_although_nobody_calls() {
    let (listener, address) = listen().await;
    let age = Duration::from_secs(2);
    let client = bounded(&address, 0, Some(age));
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("1")).await;
        app
    };
    let (_, mut app) = tokio::join!(client.get(), app);
    assert_eq!(client.idle(), 1);
    // The connection looks at itself after a second, and after each age then.
    later(age).await;
    assert_eq!(read_rest(&mut app).await, "");
    assert_eq!(client.idle(), 0);
}

#[tokio::test]
async fn bounds_hold_for_connections_that_are_there() {
    let (listener, address) = listen().await;
    let client = bounded(&address, 0, None);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("1")).await;
        app
    };
    let (_, mut app) = tokio::join!(client.get(), app);
    client.pool.0.config.reuse.set(NonZeroU32::new(2), None);
    let head = serve(&client, &mut app).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(read_rest(&mut app).await, "");
}
