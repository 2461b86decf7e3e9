//! Packets byte for byte, and two resolvers that find each other.

use std::time::Duration;

use invoke_core::balance::Resolution;
use tokio::time::timeout;

use super::packet::Packet;
use super::*;

fn instance(app_id: &str, port: u16) -> Instance {
    Instance {
        app_id: app_id.into(),
        address: "192.168.1.10".into(),
        internal_port: port,
        http_port: 0,
        app_port: None,
        host_name: "node1".into(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn myapp() -> Registration {
    Registration::of(&instance("myapp", 50002))
        .unwrap()
        .with_instance("node1:18377")
}

// What a Go sidecar of the app `myapp` sends in the same place.
const ANNOUNCEMENT: &str = "0000800000000005000000000b6e6f6465313a3138333737056d79617070056c6f63616c00
0021800100000c80001300000000c352056e6f646531056c6f63616c00
c00c0010800100000c800006056d79617070
c018000c000100000c800002c00c
095f7365727669636573075f646e732d7364045f756470c01e000c000100000c800002c018
c03500018001000000780004c0a8010a";
const QUERY: &str = "958e00000001000000000000 056d79617070056c6f63616c00 000c 0001";
const REPLY: &str = "958e84000000000100000003 056d79617070056c6f63616c00 000c000100000c80000e
0b6e6f6465313a3138333737c00c
c0230021000100000c8000130000 0000c352056e6f646531056c6f63616c00
c0230010000100000c800006056d79617070
c04300010001000000780004c0a8010a";

/// Whoever names apps without end fills no queue: the calls beyond fail.
#[tokio::test]
async fn the_queue_has_an_end() {
    let (commands, mut queue) = mpsc::channel(1);
    let resolver = MdnsResolver(Arc::new(commands));
    let _first = resolver.watch(&AppRef::new("a", "default"));
    for _ in 0..1000 {
        resolver.unreachable(&AppRef::new("a", "default"), &Endpoint::new("10.0.0.1:1"));
    }
    let Resolution::Failed(error) = resolver.watch(&AppRef::new("b", "default")).first().await else {
        unreachable!("it has no place");
    };
    assert_eq!(error.to_string(), "timeout waiting for address for app id b");
    assert!(matches!(queue.try_recv(), Ok(Command::Watch(..))));
    assert!(queue.try_recv().is_err());
}

#[test]
fn packets_are_those_of_go() {
    assert_eq!(
        myapp().announcement(false).write(true).unwrap(),
        hex(ANNOUNCEMENT)
    );
    let query = Packet::parse(&hex(QUERY)).unwrap();
    let reply = myapp().reply(&query, &query.questions[0]).unwrap();
    assert_eq!(reply.write(true).unwrap(), hex(REPLY));
    assert_eq!(myapp().announcement(true).write(false).unwrap().len(), 235);
    assert_eq!(myapp().probe(1).write(false).unwrap().len(), 136);
}

#[test]
fn known_answers_are_not_repeated() {
    let mut query = Packet::parse(&hex(QUERY)).unwrap();
    query.answers = myapp().announcement(false).answers;
    assert!(myapp().reply(&query, &query.questions[0]).is_none());
    query.questions[0].name = "other.local.".into();
    query.answers.clear();
    assert!(myapp().reply(&query, &query.questions[0]).is_none());
}

#[test]
fn who_cannot_be_announced() {
    for (instance, wanted) in [
        (
            Instance {
                app_id: String::new(),
                ..instance("a", 1)
            },
            "name is missing",
        ),
        (
            Instance {
                address: String::new(),
                ..instance("a", 1)
            },
            "address is missing",
        ),
        (instance("a", 0), "port is missing or invalid"),
        (
            Instance {
                address: "nosuch".into(),
                ..instance("a", 1)
            },
            "Failed to parse given IP: nosuch",
        ),
        (
            Instance {
                host_name: String::new(),
                ..instance("a", 1)
            },
            "Missing host name",
        ),
    ] {
        assert_eq!(Registration::of(&instance).unwrap_err(), wanted);
    }
}

/// A port that nobody else multicasts to.
fn network() -> Network {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    Network {
        port: socket.local_addr().unwrap().port(),
        loopback_only: true,
    }
}

async fn endpoints(watch: &EndpointWatch) -> Result<Vec<String>, String> {
    let resolution = timeout(Duration::from_secs(20), watch.first());
    match resolution.await.expect("an answer in time") {
        Resolution::Endpoints(endpoints) => Ok(endpoints.iter().map(|e| e.address().to_string()).collect()),
        Resolution::Failed(error) => Err(error.to_string()),
        Resolution::Pending => unreachable!("waited for"),
    }
}

async fn becomes(watch: &mut EndpointWatch, wanted: &Result<Vec<String>, String>) {
    let waiting = async {
        while endpoints(watch).await != *wanted {
            if !watch.changed().await {
                break;
            }
        }
        assert_eq!(endpoints(watch).await, *wanted);
    };
    timeout(Duration::from_secs(20), waiting).await.expect("in time");
}

#[tokio::test]
async fn two_sidecars_find_each_other_and_part() {
    let network = network();
    let caller = MdnsResolver::start_on(network, &instance("caller", 1)).unwrap();
    let callee = MdnsResolver::start_on(network, &instance("callee", 2)).unwrap();
    let app = AppRef::new("callee", "default");
    let mut watch = caller.watch(&app);
    assert_eq!(endpoints(&watch).await, Ok(vec!["192.168.1.10:2".to_owned()]));
    let other = caller.watch(&AppRef::new("callee", "elsewhere"));
    assert_eq!(endpoints(&other).await, Ok(vec!["192.168.1.10:2".to_owned()]));

    callee.close().await;
    let gone = Err("couldn't find service: callee".to_owned());
    becomes(&mut watch, &gone).await;

    let _again = MdnsResolver::start_on(network, &instance("callee", 3)).unwrap();
    assert_eq!(
        endpoints(&caller.watch(&app)).await,
        Ok(vec!["192.168.1.10:3".to_owned()])
    );
}

#[tokio::test]
async fn an_unreachable_endpoint_is_dropped_and_asked_for_again() {
    let network = network();
    let caller = MdnsResolver::start_on(network, &instance("caller", 1)).unwrap();
    let _callee = MdnsResolver::start_on(network, &instance("callee", 2)).unwrap();
    let app = AppRef::new("callee", "default");
    let mut watch = caller.watch(&app);
    let found = endpoints(&watch).await.unwrap();
    caller.unreachable(&app, &Endpoint::new(&*found[0]));
    becomes(&mut watch, &Err("couldn't find service: callee".to_owned())).await;
    // It lives: the next call finds it at once.
    assert_eq!(endpoints(&caller.watch(&app)).await, Ok(found));
}

#[tokio::test]
async fn nobody_answers() {
    let caller = MdnsResolver::start_on(network(), &instance("caller", 1)).unwrap();
    let watch = caller.watch(&AppRef::new("nobody", "default"));
    assert_eq!(
        endpoints(&watch).await,
        Err("couldn't find service: nobody".to_owned())
    );
    for id in [String::new(), "x".repeat(64)] {
        let watch = caller.watch(&AppRef::new(id.as_str(), "default"));
        assert_eq!(endpoints(&watch).await, Err("dns: bad rdata".to_owned()));
    }
}
