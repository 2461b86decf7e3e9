//! The network as a sidecar that calls sees it: in place of its connections, behind the port that these are behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Response, StatusCode};
use invoke_core::balance::Endpoint;
use invoke_core::error::code;
use invoke_core::{
    AppRef, Body, Delivery, Fault, Head, InvokeError, Peers, ProxiedHead, Reply, Route, RpcStatus, WireStatus,
};
use tokio::time::sleep;

use crate::instance::Instance;
use crate::world::{Patience, World};

/// How long a packet takes.
const ONE_WAY: Duration = Duration::from_millis(1);

/// The connections of one sidecar.
pub(crate) struct Links {
    world: Arc<World>,
    caller: usize,
    /// To which instances there is one: how often those had died, and when it was made.
    open: Mutex<HashMap<usize, (u64, u64)>>,
}

fn failed(seen: Delivery, text: &'static str) -> InvokeError {
    InvokeError::new(Fault::Peer, seen, RpcStatus::new(code::UNAVAILABLE, text))
}

impl Links {
    pub(crate) fn new(world: Arc<World>, caller: usize) -> Self {
        Self {
            world,
            caller,
            open: Mutex::default(),
        }
    }

    fn is_connected(&self, instance: &Instance, deaths: u64) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(&instance.id).copied();
        known.is_some_and(|(known, made)| {
            known == deaths && instance.listens() && self.world.holds(self.caller, instance.id, made)
        })
    }

    async fn dial(&self, instance: &Instance) -> Result<(), InvokeError> {
        self.world.tally().dials += 1;
        if !self
            .world
            .reaches(self.caller, instance.id, Patience::OfDial)
            .await
        {
            return Err(failed(Delivery::No, "connecting took too long"));
        }
        sleep(ONE_WAY * 2).await;
        if !instance.listens() {
            return Err(failed(Delivery::No, "connection refused"));
        }
        let made = (instance.deaths().get(), self.world.now());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(instance.id, made);
        Ok(())
    }

    async fn exchange(&self, instance: &Instance) -> Result<Reply, InvokeError> {
        self.cross(instance).await?;
        let place = instance
            .limit
            .enter()
            .await
            .map_err(|_| failed(Delivery::No, "the app has enough to do").refused(true))?;
        let is_across = World::are_parted(self.caller, instance.id);
        self.world.tally().serve(instance.id, is_across, self.world.now());
        sleep(instance.service()).await;
        drop(place);
        self.cross(instance).await?;
        Ok(Reply::new(WireStatus::http(StatusCode::OK), Route::Remote))
    }

    /// A packet goes from one to the other.
    async fn cross(&self, instance: &Instance) -> Result<(), InvokeError> {
        let patience = Patience::OfConnection;
        if !self.world.reaches(self.caller, instance.id, patience).await {
            return Err(failed(Delivery::Maybe, "the connection does not answer"));
        }
        sleep(ONE_WAY).await;
        Ok(())
    }
}

impl Peers for Links {
    async fn invoke(
        &self,
        _: &AppRef,
        endpoint: &Endpoint,
        _: &Head,
        _: Option<std::time::Instant>,
        _: Body,
    ) -> Result<Reply, InvokeError> {
        self.world.tally().tries += 1;
        let Some(instance) = self.world.addressed(endpoint) else {
            return Err(failed(Delivery::No, "no such address"));
        };
        if !self.is_connected(&instance, instance.deaths().get()) {
            self.dial(&instance).await?;
        }
        let mut deaths = instance.deaths().waiting();
        self.world.tally().sent += 1;
        tokio::select! {
            biased;
            () = deaths.changed() => {
                sleep(ONE_WAY).await;
                Err(failed(Delivery::Maybe, "the connection broke"))
            }
            made = self.exchange(&instance) => made,
        }
    }

    async fn proxy(
        &self,
        _: &AppRef,
        _: &Endpoint,
        _: &ProxiedHead,
        _: Option<std::time::Instant>,
        _: Body,
    ) -> Result<Response<Body>, InvokeError> {
        Err(failed(Delivery::No, "nobody makes such calls here"))
    }
}
