//! Against a server that says what the tests want.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use invoke_core::balance::Resolution;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::*;

mod bounds;

const A: u16 = 1;
const AAAA: u16 = 28;
const SERVICE: u16 = 33;
/// Stands for the name that was asked for (RFC 1035, section 4.1.4).
const ASKED: [u8; 2] = [0xc0, 12];

/// A record of an answer: name, kind, seconds, data. Without a name it is of the name that was asked for.
type Entry = (&'static str, u16, u32, Vec<u8>);

#[derive(Clone)]
enum Said {
    Records(Vec<Entry>, Vec<Entry>),
    /// With this code (RFC 1035, section 4.1.1).
    Error(u8),
    /// Whoever asks by UDP is to ask by TCP.
    Truncated(Vec<Entry>),
    Nonsense,
    Nothing,
}

fn a(name: &'static str, seconds: u32, last: u8) -> Entry {
    (name, A, seconds, Ipv4Addr::new(10, 0, 0, last).octets().into())
}

fn srv(name: &'static str, (priority, weight, port): (u16, u16, u16), target: &str) -> Entry {
    let mut data = [priority, weight, port].map(u16::to_be_bytes).concat();
    data.extend(encoded(target));
    (name, SERVICE, 60, data)
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name and the kind of a question, and where it ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let (mut at, mut name) = (12, String::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name += std::str::from_utf8(&query[at + 1..end]).unwrap();
        name.push('.');
        at = end;
    }
    (name, u16::from_be_bytes([query[at + 1], query[at + 2]]), at + 5)
}

fn reply(query: &[u8], said: &Said, is_tcp: bool) -> Option<Vec<u8>> {
    let (_, _, end) = question(query);
    let none = Vec::new();
    let (flags, answers, additionals) = match said {
        Said::Records(answers, additionals) => ([0x81, 0x80], answers, additionals),
        Said::Truncated(answers) if is_tcp => ([0x81, 0x80], answers, &none),
        Said::Truncated(_) => ([0x83, 0x80], &none, &none),
        Said::Error(code) => ([0x81, 0x80 | code], &none, &none),
        Said::Nonsense => {
            return Some([&query[..2], &[0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0xc0, 12]].concat());
        }
        Said::Nothing => return None,
    };
    let mut bytes = query[..2].to_vec();
    bytes.extend(flags);
    bytes.extend(
        [1, answers.len() as u16, 0, additionals.len() as u16]
            .map(u16::to_be_bytes)
            .concat(),
    );
    bytes.extend(&query[12..end]);
    for (name, kind, seconds, data) in answers.iter().chain(additionals) {
        match *name {
            "" => bytes.extend(ASKED),
            name => bytes.extend(encoded(name)),
        }
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(seconds.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    Some(bytes)
}

struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(script: impl Fn(&str, u16) -> Said + Send + Sync + 'static) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = udp.local_addr().unwrap().port();
        let tcp = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let asked = Arc::<Mutex<Vec<(String, u16)>>>::default();
        let script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let (seen, say) = (Arc::clone(&asked), Arc::clone(&script));
        tasks.spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut query).await {
                let (name, kind, _) = question(&query[..length]);
                let said = say(&name, kind);
                seen.lock().unwrap().push((name, kind));
                if let Some(reply) = reply(&query[..length], &said, false) {
                    udp.send_to(&reply, from).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            while let Ok((mut socket, _)) = tcp.accept().await {
                while let Ok(length) = socket.read_u16().await {
                    let mut query = vec![0; length.into()];
                    socket.read_exact(&mut query).await.unwrap();
                    let (name, kind, _) = question(&query);
                    let Some(reply) = reply(&query, &script(&name, kind), true) else {
                        break;
                    };
                    socket.write_u16(reply.len() as u16).await.unwrap();
                    socket.write_all(&reply).await.unwrap();
                }
            }
        });
        Self {
            port,
            asked,
            _tasks: tasks,
        }
    }

    fn resolver(&self, name: &str, kind: &str, port: u16) -> Dns {
        let mut settings =
            json!({"name": name, "type": kind, "servers": [format!("127.0.0.1:{}", self.port)]});
        if port > 0 {
            settings["port"] = json!(port);
        }
        Dns::new(&settings, &Tasks::new()).unwrap()
    }
}

async fn first(resolver: &Dns) -> Result<Vec<(String, u32)>, String> {
    match resolver.watch(&AppRef::new("app", "ns")).first().await {
        Resolution::Endpoints(found) => Ok(found
            .iter()
            .map(|one| (one.address().to_string(), one.weight().get()))
            .collect()),
        Resolution::Failed(error) => Err(error.to_string()),
        Resolution::Pending => panic!("an answer is awaited"),
    }
}

fn found(addresses: &[(&str, u32)]) -> Vec<(String, u32)> {
    let found = addresses
        .iter()
        .map(|(address, weight)| ((*address).to_owned(), *weight));
    found.collect()
}

#[tokio::test]
async fn addresses_of_both_families() {
    let server = Server::start(|_, kind| {
        let six = ("app.ns.internal", AAAA, 60, Ipv6Addr::LOCALHOST.octets().into());
        match kind {
            A => Said::Records(
                vec![a("app.ns.internal", 60, 2), a("app.ns.internal", 60, 1)],
                vec![],
            ),
            _ => Said::Records(vec![six], vec![]),
        }
    })
    .await;
    let resolver = server.resolver("{appid}.{namespace}.internal", "address", 50002);
    assert_eq!(
        first(&resolver).await,
        Ok(found(&[
            ("10.0.0.1:50002", 1),
            ("10.0.0.2:50002", 1),
            ("[::1]:50002", 1)
        ]))
    );
    let mut asked = server.asked.lock().unwrap().clone();
    asked.sort();
    let name = "app.ns.internal.".to_owned();
    assert_eq!(
        asked,
        [(name.clone(), A), (name, AAAA)],
        "nothing of a search list"
    );
}

#[tokio::test]
async fn services_with_their_ports_and_weights() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("_dapr._tcp.app.", SERVICE) => {
            let of = |what, target| srv("_dapr._tcp.app", what, target);
            let services = vec![
                of((1, 5, 1000), "one.app"),
                of((1, 0, 2000), "two.app"),
                of((2, 1, 3000), "spare.app"),
                of((1, 1, 4000), "gone.app"),
                of((1, 1, 0), "one.app"),
                of((1, 1, 1), ""),
            ];
            Said::Records(services, vec![a("one.app", 60, 1)])
        }
        ("two.app.", A) => Said::Records(vec![a("two.app", 60, 2)], vec![]),
        _ => Said::Error(3),
    })
    .await;
    let resolver = server.resolver("_dapr._tcp.{appid}", "srv", 0);
    assert_eq!(
        first(&resolver).await,
        Ok(found(&[("10.0.0.1:1000", 5), ("10.0.0.2:2000", 1)]))
    );
}

/// Two dozen targets that do not answer, one after the other, would take longer than a look-up may.
#[tokio::test]
async fn targets_that_fail_cost_only_themselves() {
    for fault in [Said::Error(2), Said::Nothing] {
        let server = Server::start(move |name, kind| match (name, kind) {
            ("_dapr._tcp.app.", SERVICE) => {
                let service = |port, target: &str| srv("_dapr._tcp.app", (1, 1, port), target);
                let mut services: Vec<_> = (1..=24)
                    .map(|one| service(one, &format!("dead-{one}.app")))
                    .collect();
                services.push(service(1000, "two.app"));
                Said::Records(services, vec![])
            }
            ("two.app.", A) => Said::Records(vec![a("two.app", 60, 2)], vec![]),
            ("two.app.", _) => Said::Error(0),
            _ => fault.clone(),
        })
        .await;
        let resolver = server.resolver("_dapr._tcp.{appid}", "srv", 0);
        assert_eq!(first(&resolver).await, Ok(found(&[("10.0.0.2:1000", 1)])));
    }
}

#[test]
fn names_are_filled_once() {
    for (name, wanted) in [
        ("{appid}.{namespace}.x", "{namespace}.{appid}.x"),
        ("{namespace}{appid}{appid}", "{appid}{namespace}{namespace}"),
        ("{{appid}}.{x}.{", "{{namespace}}.{x}.{"),
        ("x", "x"),
    ] {
        assert_eq!(filled(name, "{namespace}", "{appid}"), wanted);
    }
}

#[tokio::test]
async fn a_long_answer_comes_by_tcp() {
    let server = Server::start(|_, kind| match kind {
        A => Said::Truncated((1..=60).map(|last| a("app.x", 60, last)).collect()),
        _ => Said::Error(0),
    })
    .await;
    assert_eq!(
        first(&server.resolver("{appid}.x", "", 1)).await.unwrap().len(),
        60
    );
}

#[tokio::test]
async fn what_servers_say_of_names_that_are_none() {
    for (said, wanted) in [
        (Said::Error(3), "no such host"),
        (Said::Error(0), "no such host"),
        (Said::Error(2), ""),
        (Said::Error(5), ""),
        (Said::Nonsense, ""),
        (Said::Nothing, ""),
    ] {
        let server = Server::start(move |_, _| said.clone()).await;
        let error = first(&server.resolver("{appid}.x", "", 1)).await.unwrap_err();
        let start = format!("failed to resolve address for 'app.x': lookup app.x: {wanted}");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[tokio::test]
async fn a_short_life_is_noticed() {
    let count = Arc::new(Mutex::new(0));
    let server = Server::start(move |_, kind| {
        let mut count = count.lock().unwrap();
        *count += u8::from(kind == A);
        match kind {
            A => Said::Records(vec![a("app.x", 0, *count)], vec![]),
            _ => Said::Error(0),
        }
    })
    .await;
    let resolver = server.resolver("{appid}.x", "", 1);
    let mut watch = resolver.watch(&AppRef::new("app", "ns"));
    let begun = Instant::now();
    for _ in 0..2 {
        assert!(watch.changed().await);
    }
    assert!(begun.elapsed() >= SHORTEST, "no server is asked all the time");
}

#[tokio::test]
async fn an_app_that_can_have_no_name_is_not_asked_for() {
    let server = Server::start(|_, _| Said::Error(2)).await;
    let resolver = server.resolver("{appid}.x", "", 1);
    for id in ["a b", "a/b", "", "ä", &"x".repeat(64)] {
        let watch = resolver.watch(&AppRef::new(id, "ns"));
        assert!(matches!(watch.first().await, Resolution::Failed(_)), "{id}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[test]
fn mistakes() {
    for (configuration, wanted) in [
        (
            json!(null),
            "configuration.name: a name with {appid} in it is wanted, not null",
        ),
        (
            json!({"name": "x"}),
            "configuration.name: a name with {appid} in it is wanted, not \"x\"",
        ),
        (
            json!({"name": "{appid} x"}),
            "configuration.name: a name of the DNS with {appid} in it is wanted, not \"{appid} x\"",
        ),
        (
            json!({"name": "{appid}.x"}),
            "configuration.port: the internal port of all sidecars is wanted, not null",
        ),
        (
            json!({"name": "{appid}.x", "type": "SRV", "port": 1}),
            "configuration.port: no port, since services have their own, is wanted, not 1",
        ),
        (
            json!({"name": "{appid}.x", "type": "MX", "port": 1}),
            "configuration.type: address or srv is wanted, not \"MX\"",
        ),
        (
            json!({"name": "{appid}.x", "port": 1, "servers": ["dns.example"]}),
            "configuration.servers: a list of addresses, each perhaps with a port, is wanted, not [\"dns.example\"]",
        ),
    ] {
        assert_eq!(DnsSettings::of(&configuration).unwrap_err().to_string(), wanted);
    }
    let settings =
        DnsSettings::of(&json!({"name": "{appid}", "type": "srv", "servers": ["10.0.0.2", "[::1]:54"]}));
    let servers = ["10.0.0.2:53", "[::1]:54"].map(|server| server.parse().unwrap());
    assert_eq!(settings.unwrap().servers, servers);
}
