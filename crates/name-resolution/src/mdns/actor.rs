//! The one task that knows everything: who is watched, who was seen, and what others ask.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{Endpoint, Publisher};
use invoke_core::error::ResolveError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::COMPONENT;
use super::packet::{Data, Packet, Question, Record};
use super::sockets::Sockets;
use crate::registry::Instance;

/// How long the first answer may take.
const BUDGET: Duration = Duration::from_secs(1);
/// How often those who are watched are asked for again.
const REFRESH: Duration = Duration::from_secs(30);
/// How often this sidecar announces itself when nobody asks.
const ANNOUNCE: Duration = Duration::from_secs(60);
/// How many instances of an app are remembered.
const MAX_INSTANCES: usize = 1024;
const SERVICE_TTL: u32 = 3200;
const HOST_TTL: u32 = 120;
const ENUMERATION: &str = "_services._dns-sd._udp.local.";
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;

/// What the resolver asks of its task.
#[derive(Debug)]
pub(super) enum Command {
    Watch(String, Publisher),
    Unreachable(String, Arc<str>),
    Withdraw(oneshot::Sender<()>),
}

/// This sidecar's own records.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    app_id: String,
    service: String,
    instance: String,
    host: String,
    address: IpAddr,
    port: u16,
}

impl Registration {
    pub(super) fn of(instance: &Instance) -> Result<Self, String> {
        let missing = |text: &str| Err(text.to_owned());
        match instance {
            instance if instance.app_id.is_empty() => return missing("name is missing"),
            instance if instance.address.is_empty() => return missing("address is missing"),
            instance if instance.internal_port == 0 => return missing("port is missing or invalid"),
            instance if instance.host_name.is_empty() => return missing("Missing host name"),
            _ => {}
        }
        let address = instance.address.parse();
        let address = address.map_err(|_| format!("Failed to parse given IP: {}", instance.address))?;
        let pid = std::process::id();
        // In a container every process has the same id.
        let unique = if pid == 1 {
            format!("1-{:08x}", fastrand::u32(..))
        } else {
            pid.to_string()
        };
        let service = format!("{}.local.", instance.app_id);
        Ok(Self {
            instance: format!("{}:{unique}.{service}", instance.host_name),
            host: format!("{}.local.", instance.host_name),
            app_id: instance.app_id.clone(),
            service,
            address,
            port: instance.internal_port,
        })
    }

    #[cfg(test)]
    pub(super) fn with_instance(mut self, instance: &str) -> Self {
        self.instance = format!("{instance}.{}", self.service);
        self
    }

    fn record(name: &str, flush: bool, ttl: u32, data: Data) -> Record {
        Record {
            name: name.to_owned(),
            flush,
            ttl,
            data,
        }
    }

    fn srv(&self, flush: bool, ttl: u32) -> Record {
        let data = Data::Srv {
            port: self.port,
            target: self.host.clone(),
        };
        Self::record(&self.instance, flush, ttl, data)
    }

    fn txt(&self, flush: bool, ttl: u32) -> Record {
        Self::record(
            &self.instance,
            flush,
            ttl,
            Data::Txt(vec![self.app_id.as_bytes().to_vec()]),
        )
    }

    fn ptr(&self, ttl: u32) -> Record {
        Self::record(&self.service, false, ttl, Data::Ptr(self.instance.clone()))
    }

    fn enumeration(&self, ttl: u32) -> Record {
        Self::record(ENUMERATION, false, ttl, Data::Ptr(self.service.clone()))
    }

    fn host(&self, flush: bool, ttl: u32) -> Record {
        let data = match self.address {
            IpAddr::V4(address) => Data::A(address),
            IpAddr::V6(address) => Data::Aaaa(address),
        };
        Self::record(&self.host, flush, ttl, data)
    }

    pub(super) fn probe(&self, id: u16) -> Packet {
        Packet {
            id,
            questions: vec![Question {
                name: self.instance.clone(),
                wants_unicast: false,
            }],
            authority: vec![self.srv(false, SERVICE_TTL), self.txt(false, SERVICE_TTL)],
            ..Packet::default()
        }
    }

    /// Tells everybody; with `ttl` 0 that this sidecar goes away.
    pub(super) fn announcement(&self, is_goodbye: bool) -> Packet {
        let (service, host) = if is_goodbye {
            (0, 0)
        } else {
            (SERVICE_TTL, HOST_TTL)
        };
        Packet {
            flags: RESPONSE,
            answers: vec![
                self.srv(true, service),
                self.txt(true, service),
                self.ptr(service),
                self.enumeration(service),
                self.host(true, host),
            ],
            ..Packet::default()
        }
    }

    /// The answer to one question, if there is one.
    pub(super) fn reply(&self, query: &Packet, question: &Question) -> Option<Packet> {
        let mut reply = Packet {
            id: query.id,
            flags: RESPONSE | AUTHORITATIVE,
            ..Packet::default()
        };
        let is_known = |target: &str| {
            query.answers.iter().any(|answer| {
                answer.ttl >= SERVICE_TTL / 2 && matches!(&answer.data, Data::Ptr(known) if known == target)
            })
        };
        match question.name.as_str() {
            name if name == self.service && !is_known(&self.instance) => {
                reply.answers.push(self.ptr(SERVICE_TTL));
                reply.additional = vec![
                    self.srv(false, SERVICE_TTL),
                    self.txt(false, SERVICE_TTL),
                    self.host(false, HOST_TTL),
                ];
            }
            name if name == self.instance => {
                reply.answers = vec![
                    self.srv(true, SERVICE_TTL),
                    self.txt(true, SERVICE_TTL),
                    self.ptr(SERVICE_TTL),
                    self.enumeration(SERVICE_TTL),
                    self.host(false, HOST_TTL),
                ];
            }
            ENUMERATION if !is_known(&self.service) => reply.answers.push(self.enumeration(SERVICE_TTL)),
            _ => return None,
        }
        Some(reply)
    }
}

/// An instance that was seen.
#[derive(Debug)]
struct Known {
    instance: String,
    address: Arc<str>,
    expires: Instant,
}

/// An app that somebody watches.
#[derive(Debug)]
struct App {
    watchers: Vec<Publisher>,
    known: Vec<Known>,
    /// Until when the first answer is waited for; `None` once there was one.
    deadline: Option<Instant>,
    refresh: Instant,
}

pub(super) struct Actor {
    own: Registration,
    is_registered: bool,
    sockets: Arc<Sockets>,
    commands: mpsc::Receiver<Command>,
    apps: HashMap<String, App>,
    /// What is still to be said at start: two probes, two announcements, then one now and then.
    said: u32,
    next_word: Instant,
}

impl Actor {
    pub(super) fn new(own: Registration, sockets: Sockets, commands: mpsc::Receiver<Command>) -> Self {
        let sockets = Arc::new(sockets);
        let next_word = Instant::now();
        Self {
            own,
            is_registered: true,
            sockets,
            commands,
            apps: HashMap::new(),
            said: 0,
            next_word,
        }
    }

    /// Works until nobody holds the resolver any more.
    pub(super) async fn run(mut self) {
        let sockets = Arc::clone(&self.sockets);
        let mut buffer = Vec::new();
        loop {
            let wake = self.next_wake();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                (count, from) = sockets.receive(&mut buffer) => {
                    if let Some(packet) = Packet::parse(&buffer[..count]) {
                        self.hear(&packet, from);
                    }
                }
                () = sleep_until(wake) => self.tick(),
            }
        }
        self.withdraw();
    }

    fn next_wake(&self) -> Instant {
        let apps = self.apps.values().flat_map(|app| {
            let expiry = app.known.iter().map(|known| known.expires).min();
            [Some(app.refresh), app.deadline, expiry].into_iter().flatten()
        });
        let own = self.is_registered.then_some(self.next_word);
        apps.chain(own)
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(id, watcher) => self.watch(id, watcher),
            Command::Unreachable(id, address) => self.evict(&id, |known| known.address == address),
            Command::Withdraw(done) => {
                self.withdraw();
                let _ = done.send(());
            }
        }
    }

    fn watch(&mut self, id: String, watcher: Publisher) {
        let now = Instant::now();
        if !can_be_asked_for(&id) {
            watcher.fail(ResolveError::new("dns: bad rdata"));
            return;
        }
        let app = self.apps.entry(id.clone()).or_insert_with(|| App {
            watchers: Vec::new(),
            known: Vec::new(),
            deadline: None,
            refresh: now + REFRESH,
        });
        if !app.known.is_empty() {
            watcher.publish(app.endpoints());
            app.watchers.push(watcher);
            return;
        }
        app.watchers.push(watcher);
        app.deadline.get_or_insert(now + BUDGET);
        // Twice, as packets get lost.
        self.ask(&id);
        self.ask(&id);
    }

    fn ask(&self, id: &str) {
        let question = Question {
            name: format!("{id}.local."),
            wants_unicast: false,
        };
        let query = Packet {
            id: fastrand::u16(..),
            questions: vec![question],
            ..Packet::default()
        };
        if let Some(bytes) = query.write(true) {
            self.sockets.multicast(&bytes);
        }
    }

    fn hear(&mut self, packet: &Packet, from: SocketAddr) {
        if !packet.is_response() && packet.authority.is_empty() && self.is_registered {
            for question in &packet.questions {
                if let Some(bytes) = self
                    .own
                    .reply(packet, question)
                    .and_then(|reply| reply.write(true))
                {
                    if question.wants_unicast {
                        self.sockets.unicast(&bytes, from);
                    } else {
                        self.sockets.multicast(&bytes);
                    }
                }
            }
        }
        if packet.is_response() {
            self.learn(packet);
        }
    }

    /// Takes in what a packet says of the apps that are watched.
    fn learn(&mut self, packet: &Packet) {
        let mut ended = Vec::new();
        for (id, app) in &mut self.apps {
            if app.learn(id, packet) {
                ended.extend(app.publish(id).then(|| id.clone()));
            }
        }
        for id in ended {
            self.apps.remove(&id);
        }
    }

    /// Forgets instances; when none is left those who watch are told, and the next call asks anew.
    fn evict(&mut self, id: &str, is_gone: impl Fn(&Known) -> bool) {
        let Some(app) = self.apps.get_mut(id) else { return };
        let before = app.known.len();
        app.known.retain(|known| !is_gone(known));
        if app.known.len() == before {
            return;
        }
        let has_ended = app.publish(id);
        self.ask(id);
        if has_ended {
            self.apps.remove(id);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.is_registered && now >= self.next_word {
            self.speak(now);
        }
        let ids: Vec<String> = self.apps.keys().cloned().collect();
        for id in ids {
            self.evict(&id, |known| known.expires <= now);
            let Some(app) = self.apps.get_mut(&id) else {
                continue;
            };
            app.watchers.retain(|watcher| !watcher.is_closed());
            let is_late = app.deadline.is_some_and(|deadline| deadline <= now);
            if is_late {
                app.fail(&id);
            }
            if is_late || app.watchers.is_empty() {
                self.apps.remove(&id);
                continue;
            }
            if app.refresh <= now {
                app.refresh = now + REFRESH;
                self.ask(&id);
            }
        }
    }

    /// Probes and announces this sidecar.
    fn speak(&mut self, now: Instant) {
        let (packet, pause) = match self.said {
            0 | 1 => (
                self.own.probe(fastrand::u16(..)),
                Duration::from_millis(fastrand::u64(0..250)),
            ),
            2 => (self.own.announcement(false), Duration::from_secs(1)),
            _ => (self.own.announcement(false), ANNOUNCE),
        };
        let is_compressed = self.said > 1;
        self.said = self.said.saturating_add(1);
        self.next_word = now + pause;
        match packet.write(is_compressed) {
            Some(bytes) => self.sockets.multicast(&bytes),
            None => tracing::error!(
                target: "dapr.contrib",
                component = COMPONENT,
                "this sidecar cannot be announced by mDNS: {} is no DNS name", self.own.instance
            ),
        }
    }

    fn withdraw(&mut self) {
        if !std::mem::take(&mut self.is_registered) {
            return;
        }
        tracing::info!(
            target: "dapr.contrib",
            component = COMPONENT,
            "stopping mDNS server for app id: {}", self.own.app_id
        );
        if let Some(bytes) = self.own.announcement(true).write(false) {
            self.sockets.multicast(&bytes);
        }
    }
}

impl App {
    /// Whether anything changed.
    fn learn(&mut self, id: &str, packet: &Packet) -> bool {
        let service = format!("{id}.local.");
        let now = Instant::now();
        let mut changed = false;
        for record in packet.records() {
            let Data::Srv { port, target } = &record.data else {
                continue;
            };
            let is_ours = record
                .name
                .strip_suffix(&service)
                .is_some_and(|instance| instance.ends_with('.'));
            if !is_ours || !has_txt(packet, &record.name, id) {
                continue;
            }
            if record.ttl == 0 {
                let before = self.known.len();
                self.known.retain(|known| known.instance != record.name);
                changed |= self.known.len() != before;
                continue;
            }
            let Some(address) = address_of(packet, target, *port) else {
                continue;
            };
            let expires = now + Duration::from_secs(u64::from(record.ttl));
            let has_room = self.known.len() < MAX_INSTANCES;
            match self.known.iter_mut().find(|known| known.instance == record.name) {
                Some(known) => {
                    changed |= *known.address != *address;
                    known.address = address.into();
                    known.expires = expires;
                }
                None if has_room => {
                    // A restarted sidecar has the address of the one before it, which may not have said goodbye.
                    self.known.retain(|known| *known.address != *address);
                    self.known.push(Known {
                        instance: record.name.clone(),
                        address: address.into(),
                        expires,
                    });
                    changed = true;
                }
                None => {}
            }
        }
        changed
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let mut addresses: Vec<&Arc<str>> = self.known.iter().map(|known| &known.address).collect();
        addresses.sort();
        let endpoints = addresses
            .into_iter()
            .map(|address| Endpoint::new(Arc::clone(address)));
        endpoints.collect()
    }

    /// Tells those who watch. `true` when there is nothing left to watch.
    fn publish(&mut self, id: &str) -> bool {
        if self.known.is_empty() {
            if self.deadline.is_some() {
                return false;
            }
            self.fail(id);
            return true;
        }
        self.deadline = None;
        let endpoints = self.endpoints();
        for watcher in &self.watchers {
            watcher.publish(endpoints.iter().cloned());
        }
        false
    }

    fn fail(&self, id: &str) {
        let error = ResolveError::new(format!("couldn't find service: {id}"));
        for watcher in &self.watchers {
            watcher.fail(error.clone());
        }
    }
}

/// Whether the id fits into a label.
fn can_be_asked_for(id: &str) -> bool {
    !id.is_empty() && id.len() <= 63
}

/// The TXT record of an instance names its app, which tells `x.app` from `app`.
fn has_txt(packet: &Packet, instance: &str, id: &str) -> bool {
    packet.records().any(|record| {
        record.name == instance
            && matches!(&record.data, Data::Txt(texts) if texts.first().is_some_and(|text| text == id.as_bytes()))
    })
}

/// IPv4 before IPv6, which stands in brackets.
fn address_of(packet: &Packet, host: &str, port: u16) -> Option<String> {
    let of_host = || packet.records().filter(|record| record.name == host);
    let v4 = of_host().find_map(|record| match record.data {
        Data::A(address) => Some(format!("{address}:{port}")),
        _ => None,
    });
    v4.or_else(|| {
        of_host().find_map(|record| match record.data {
            Data::Aaaa(address) => Some(format!("[{address}]:{port}")),
            _ => None,
        })
    })
}
