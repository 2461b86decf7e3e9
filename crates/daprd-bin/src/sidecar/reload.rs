//! Changes of the configuration and the resources, put in place while the sidecar serves.
//!
//! Where Dapr's `daprd` restarts itself, here the next generation takes the place of the current one. The log says what
//! Dapr's says. What cannot be used changes nothing: the log tells it, and what was read before goes on.

use std::collections::HashSet;
use std::future::pending;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::middleware::{Store, Web};
use lifecycle::{Current, Shutdown};
use operator::{Event, Kind};
use resources::{Component, Configuration, HttpEndpoint, Inert, Resiliency};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};

use super::changes::{Named, changes};
use super::components::Accepted;
use super::endpoints;
use super::generation::{Generation, Lasting, Read, Rules};
use super::given::OwnedCommandLine;
use super::metrics::{self, Measuring};
use super::middleware;
use super::placeholders::Placeholders;
use super::sent::LIST_LIMIT;
use super::source::Source;
use super::watch::{Watch, is_enabled};
use crate::environment;
use crate::fatal::Fatal;

pub(super) const SCOPE: &str = "dapr.runtime.hotreload";
/// After so long what would end the sidecar is looked at once more, and then again.
const FURTHER_LOOKS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// The ends by which the reloader and its owner reach each other.
pub(super) struct Ends {
    hangups: Receiver<()>,
    faults: Sender<Fatal>,
    is_at_work: Arc<AtomicBool>,
}

/// The owner's ends.
pub(super) struct Owner {
    hangups: Sender<()>,
    faults: Receiver<Fatal>,
    is_at_work: Arc<AtomicBool>,
}

pub(super) fn ends() -> (Owner, Ends) {
    // All is read again once, however often somebody asked while it was being read; and the first fault is the last.
    let (hangups, hung_up) = mpsc::channel(1);
    let (faults, failed) = mpsc::channel(1);
    let is_at_work = Arc::<AtomicBool>::default();
    let owner = Owner {
        hangups,
        faults: failed,
        is_at_work: Arc::clone(&is_at_work),
    };
    let ends = Ends {
        hangups: hung_up,
        faults,
        is_at_work,
    };
    (owner, ends)
}

impl Owner {
    /// Has everything read again; `false` when nobody is at work who could.
    pub(super) fn hang_up(&self) -> bool {
        let is_closed = || matches!(self.hangups.try_send(()), Err(TrySendError::Closed(())));
        self.is_at_work.load(Ordering::Acquire) && !is_closed()
    }

    /// Why the sidecar could not go on, if a stop for another reason came before anybody asked.
    pub(super) fn fatal(&mut self) -> Option<Fatal> {
        self.faults.try_recv().ok()
    }

    /// Why the sidecar cannot go on as it is.
    pub(super) async fn fault(&mut self) -> Fatal {
        match self.faults.recv().await {
            Some(fault) => fault,
            None => pending().await,
        }
    }
}

/// What was read, before anything was made of it.
pub(super) struct ReadResources {
    pub(super) configuration: Configuration,
    pub(super) components: Vec<Arc<Component>>,
    pub(super) endpoints: Vec<Arc<HttpEndpoint>>,
    pub(super) resiliency: Vec<Arc<Resiliency>>,
    pub(super) configurations: Vec<Inert>,
}

/// Where variables of configuration files come from, besides the environment.
#[derive(Clone)]
pub(super) struct Variables {
    pub(super) internal_port: u16,
    pub(super) host_address: String,
}

/// Reads again, and puts in place what changed.
pub(super) struct Reloader {
    pub(super) owned: OwnedCommandLine,
    pub(super) source: Arc<Source>,
    pub(super) variables: Variables,
    pub(super) lasting: Arc<Lasting>,
    pub(super) current: Current<Generation>,
    pub(super) found: ReadResources,
    pub(super) rules: Rules,
    pub(super) accepted: Accepted,
    /// Those of the components that are middleware, set up.
    pub(super) middleware: Store,
    /// The way to servers that middleware asks.
    pub(super) web: Web,
    /// The endpoints with their secrets in place.
    pub(super) endpoints: Vec<Arc<HttpEndpoint>>,
    /// What the files of the configuration were when they were read last.
    pub(super) stamps: Vec<Option<Stamp>>,
}

/// By what a file is known to be as it was, without reading it: device, inode, length, seconds, nanoseconds.
pub(super) type Stamp = (u64, u64, u64, i64, i64);

/// What files are now.
pub(super) fn stamps(files: &[String]) -> Vec<Option<Stamp>> {
    let stamp = |file: &String| {
        let metadata = std::fs::metadata(file).ok()?;
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        Some((metadata.dev(), metadata.ino(), metadata.len(), seconds, nanos))
    };
    files.iter().map(stamp).collect()
}

/// Why everything is read again.
#[derive(Debug)]
pub(super) enum Why {
    /// Something may have changed since the start read it.
    Begun,
    /// Something changed where resources come from.
    Changed,
    /// The time has come.
    Schedule,
    /// Somebody wants it, whether anything changed or not.
    HangUp,
    /// The operator tells something.
    Told(Event),
}

impl Reloader {
    /// Looks for changes until the sidecar stops.
    pub(super) async fn run(mut self, shutdown: Shutdown, mut ends: Ends) {
        ends.is_at_work.store(true, Ordering::Release);
        let mut watch = Watch::begin(&self, &shutdown);
        // What changed since it was read for the start. The operator is not asked twice.
        let mut next = (!self.source.is_kubernetes()).then_some(Why::Begun);
        // Half a file may look like a whole one, so what would end the sidecar is looked at again. What the operator sends
        // is whole.
        let all_looks: &[Duration] = if self.source.is_kubernetes() {
            &[]
        } else {
            &FURTHER_LOOKS
        };
        let mut looks = all_looks;
        loop {
            let is_on = watch.is_on();
            let why = match next.take() {
                Some(Why::Begun) if !is_on => continue,
                Some(why) => why,
                None => tokio::select! {
                    biased;
                    () = shutdown.draining() => return,
                    Some(()) = ends.hangups.recv() => Why::HangUp,
                    why = watch.next() => why,
                },
            };
            tokio::select! {
                () = shutdown.draining() => return,
                () = self.ask(&why) => {}
            }
            watch.renew();
            let is_scheduled = matches!(why, Why::Schedule);
            let writing = watch.writing();
            let configuration = tokio::select! {
                () = shutdown.draining() => return,
                configuration = self.next_configuration(&why, &writing) => configuration,
            };
            let is_last_word = looks.is_empty();
            let turned = tokio::task::spawn_blocking(move || {
                let turned = self.turn(&why, configuration, &writing, is_last_word);
                (self, turned)
            });
            let Ok((back, turned)) = turned.await else {
                tracing::error!(target: SCOPE, "Reloading broke, and changes are not looked at any more");
                return;
            };
            self = back;
            match turned {
                Ok(()) => looks = all_looks,
                Err(fault) => {
                    let Some((pause, further)) = looks.split_first() else {
                        // The owner ends the sidecar, and this task with it.
                        let _ = ends.faults.try_send(fault);
                        return shutdown.draining().await;
                    };
                    looks = further;
                    tokio::select! {
                        () = shutdown.draining() => return,
                        () = sleep(*pause) => {}
                    }
                    next = Some(Why::Changed);
                    continue;
                }
            }
            if is_scheduled {
                watch.rest();
            }
            if is_enabled(&self.found.configuration) != watch.is_on() {
                watch = Watch::begin(&self, &shutdown);
            }
        }
    }

    /// Asks the operator, if that is where resources come from.
    async fn ask(&self, why: &Why) {
        let Source::Operator(kubernetes) = &*self.source else {
            return;
        };
        let namespace = environment::given_namespace();
        let filter = super::source::filter(&self.owned.settings, &namespace);
        let kinds = match why {
            Why::Told(Event::Changed(kind, change, json)) => {
                return kubernetes.take(*kind, *change, json.clone(), filter);
            }
            Why::Told(Event::Listening(kind)) => vec![*kind],
            Why::Begun | Why::Changed | Why::Schedule | Why::HangUp => Kind::ALL.to_vec(),
        };
        for kind in kinds {
            kubernetes.list_again(kind, filter).await;
        }
    }

    /// The configuration as it is now; `None` when it cannot be had, or need not be read.
    async fn next_configuration(&mut self, why: &Why, writing: &HashSet<PathBuf>) -> Option<Configuration> {
        if matches!(why, Why::Told(Event::Changed(kind, ..) | Event::Listening(kind)) if *kind != Kind::Configuration)
        {
            return None;
        }
        let flags = &self.owned.flags;
        // Half a configuration may leave out what protects the app.
        let is_written = |file: &String| std::path::absolute(file).is_ok_and(|file| writing.contains(&file));
        if !self.source.is_kubernetes() {
            let files = flags.list("config");
            let stamps = stamps(&files);
            let is_unchanged = matches!(why, Why::Begun | Why::Schedule) && stamps == self.stamps;
            if is_unchanged || files.iter().any(is_written) {
                return None;
            }
            self.stamps = stamps;
        }
        let lookup = environment::lookup(
            &self.owned.settings,
            flags.text("metrics-port"),
            self.variables.internal_port,
            &self.variables.host_address,
        );
        let read = timeout(LIST_LIMIT, self.source.read_configuration(flags, lookup));
        match read.await {
            Ok(Ok(configuration)) => Some(configuration),
            Ok(Err(error)) => {
                tracing::error!(target: SCOPE, "The configuration stays as it was: {error}");
                None
            }
            Err(_) => {
                tracing::error!(target: SCOPE, "The configuration stays as it was: no answer in time");
                None
            }
        }
    }

    /// Reads, compares, and puts in place. Takes a while: not for a task among others.
    fn turn(
        &mut self,
        why: &Why,
        configuration: Option<Configuration>,
        writing: &HashSet<PathBuf>,
        is_last_word: bool,
    ) -> Result<(), Fatal> {
        let is_forced = matches!(why, Why::HangUp);
        if matches!(why, Why::Schedule) {
            tracing::debug!(target: RECONCILER, "Running scheduled Component reconcile");
        }
        if let Err(error) = self.source.read_again(is_forced, writing) {
            tracing::error!(target: SCOPE, "Resources stay as they were: failed to read resource directories: {error}");
        }
        let found = self.find(configuration, is_forced)?;
        let was = &self.found;
        let is_new = New {
            configuration: is_forced || found.configuration != was.configuration,
            components: is_forced || found.components != was.components,
            endpoints: is_forced || found.endpoints != was.endpoints,
            resiliency: is_forced || found.resiliency != was.resiliency,
        };
        tell_changes(&was.configurations, &found.configurations);
        for inert in &found.configurations {
            if !was.configurations.contains(inert) {
                tracing::warn!(
                    target: SCOPE,
                    "Configuration {} has no effect among resources: it is read when --config names its file", inert.name
                );
            }
        }
        if !is_new.any() {
            self.found = found;
            return Ok(());
        }
        self.put_in_place(found, is_new, is_forced, is_last_word)
    }

    /// What there is now. Of what cannot be had, what was there before.
    fn find(&self, configuration: Option<Configuration>, tells_all: bool) -> Result<ReadResources, Fatal> {
        let (source, settings) = (&self.source, &self.owned.settings);
        let was = &self.found;
        let components = source.held_components(settings).map_err(|error| match error {
            crate::fatal::ComponentsError::Load(error) => Fatal::Reload(error),
            error => Fatal::ChangedComponent(error),
        })?;
        let endpoints = source.held_endpoints(settings).unwrap_or_else(|error| {
            tracing::error!(target: SCOPE, "HTTP endpoints stay as they were: {error}");
            was.endpoints.clone()
        });
        Ok(ReadResources {
            configuration: configuration.unwrap_or_else(|| was.configuration.clone()),
            components,
            endpoints,
            resiliency: source.held_resiliency(settings, tells_all),
            configurations: source.held_configurations(),
        })
    }

    fn put_in_place(
        &mut self,
        mut found: ReadResources,
        is_new: New,
        is_forced: bool,
        is_last_word: bool,
    ) -> Result<(), Fatal> {
        let given = self.owned.given();
        let was = &self.found;
        // What looks like a mistake in rules is told when they are compiled, so that is not done without a reason.
        let mut measuring = self.lasting.measuring.take();
        let mut is_configuration_new = is_new.configuration;
        if is_new.configuration {
            let next = self.next_measuring(&found.configuration, is_forced);
            let rules = Rules::compile(
                &given,
                &found.configuration,
                &self.lasting.environment,
                &next.as_ref().unwrap_or(&measuring).access,
            );
            // This thread may wait.
            let rules = rules.and_then(|rules| {
                Handle::current().block_on(self.lasting.directory.change(
                    &found.configuration.name_resolution,
                    is_forced,
                    measuring.start.as_ref(),
                ))?;
                Ok(rules)
            });
            match rules {
                Ok(rules) => {
                    self.rules = rules;
                    if let Some(next) = next {
                        self.lasting.measuring.replace(next);
                        measuring = self.lasting.measuring.take();
                    }
                    let features = found.configuration.enabled_features().join(" ");
                    tracing::info!(target: SCOPE, "Enabled features: {features}");
                    self.rules.say_sampler();
                }
                Err(error) => {
                    tracing::error!(target: SCOPE, "The configuration stays as it was: {error}");
                    found.configuration = was.configuration.clone();
                    is_configuration_new = false;
                }
            }
        }
        tell_changes(&was.endpoints, &found.endpoints);
        tell_changes(&was.resiliency, &found.resiliency);
        if is_configuration_new && !is_forced {
            let names = self.owned.flags.list("config").join(", ");
            tracing::info!(
                target: RECONCILER,
                "Received Configuration UPDATED event: {names} - triggering SIGHUP reload"
            );
        }
        let denied = [&was.configuration, &found.configuration].map(Configuration::denied_components);
        let again = is_forced || denied[0] != denied[1];
        // What was accepted before is kept until all of the next is there.
        let mut accepted = self
            .accepted
            .clone()
            .renewed(
                (&was.components, found.components.clone()),
                again,
                is_last_word,
                &found.configuration,
                measuring.start.as_ref(),
            )
            .map_err(Fatal::ChangedComponent)?;
        let secrets = self.source.secrets(std::mem::take(&mut accepted.stores));
        let environment = &self.lasting.environment;
        let placeholders = Placeholders::of(
            &environment.namespace,
            &self.owned.settings.app_id,
            environment.pod_name.clone(),
        );
        let store = Handle::current()
            .block_on(middleware::load(
                &mut accepted,
                &secrets,
                &placeholders,
                &self.web,
                &self.middleware,
            ))
            .map_err(Fatal::ChangedComponent)?;
        self.endpoints = if is_new.endpoints {
            endpoints::process(found.endpoints.clone(), &secrets)
        } else {
            endpoints::resolve(found.endpoints.clone(), &secrets)
        };
        accepted.stores = secrets.stores;
        self.accepted = accepted;
        self.middleware = store;
        let read = Read {
            configuration: found.configuration.clone(),
            rules: self.rules.clone(),
            components: self.accepted.components.clone(),
            middleware: self.middleware.clone(),
            endpoints: self.endpoints.clone(),
            resiliency: found.resiliency.clone(),
            keeps_policies: !(is_new.resiliency || is_new.endpoints || is_configuration_new),
        };
        let before = self.current.take();
        self.current
            .replace(Generation::build(&given, &self.lasting, read, Some(&before)));
        self.found = found;
        tracing::info!(target: SCOPE, "The changes are in place; calls that had begun go on as they began");
        Ok(())
    }

    /// What is measured from now on, if that changed.
    fn next_measuring(&self, configuration: &Configuration, is_forced: bool) -> Option<Measuring> {
        let (flags, app_id) = (&self.owned.flags, &self.owned.settings.app_id);
        let was = &self.found.configuration;
        let (own, own_was) = (&configuration.daprd.metrics, &was.daprd.metrics);
        if configuration.metric() != was.metric()
            || own.enabled != own_was.enabled
            || own.exemplars != own_was.exemplars
        {
            return Some(Measuring::begin(flags, app_id, configuration));
        }
        if own.endpoints != own_was.endpoints {
            // What calls count stays the same: nothing of it may begin anew.
            return Some(self.lasting.measuring.take().showing(configuration));
        }
        if is_forced {
            metrics::tell(&configuration.metric());
        }
        None
    }
}

pub(super) const RECONCILER: &str = "dapr.runtime.hotreload.reconciler";

/// Which kinds are not as they were.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "one for each kind")]
struct New {
    configuration: bool,
    components: bool,
    endpoints: bool,
    resiliency: bool,
}

impl New {
    fn any(self) -> bool {
        self.configuration || self.components || self.endpoints || self.resiliency
    }
}

/// In the words in which Dapr announces that it restarts.
fn tell_changes<R: Named>(before: &[R], after: &[R]) {
    for (became, resource) in changes(before, after) {
        let (kind, became, name) = (R::KIND, became.name(), resource.log_name());
        tracing::info!(target: RECONCILER, "Received {kind} {became} event: {name} - triggering SIGHUP reload");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hang_up_waits_however_many_came() {
        let (owner, mut ends) = ends();
        assert!(!owner.hang_up(), "nobody is at work");
        ends.is_at_work.store(true, Ordering::Release);
        assert!((0..1000).all(|_| owner.hang_up()));
        assert_eq!(ends.hangups.try_recv(), Ok(()));
        assert!(ends.hangups.try_recv().is_err());
        assert!(owner.hang_up());
        drop(ends);
        assert!(!owner.hang_up());
    }
}
