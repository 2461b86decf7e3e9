//! How a request gets a connection: an idle one or a new one, whichever is there first.
//!
//! An app with a short `listen` queue lets some new connections of a burst wait for seconds, while the connections that
//! it has accepted serve one request after the other. So a request that waits for a new connection takes any other that
//! becomes idle meanwhile. The new connection serves another request once it is made.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::places::Place;
use super::{Connection, H1Pool, Pool};
use crate::BoxError;
use crate::client::error::ClientError;

/// A connection in use.
pub(super) struct Lease<B> {
    pub(super) pool: Arc<Pool<B>>,
    pub(super) connection: Connection<B>,
    /// How long it was idle; `None` if it is new.
    pub(super) idle: Option<Duration>,
    /// Its place among those that are in use.
    pub(super) place: Place,
}

impl<B> H1Pool<B>
where
    B: Body<Data = Bytes> + Default + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) async fn lease(&self, is_repeatable: bool) -> Result<Lease<B>, ClientError> {
        let pool = &self.0;
        let place = pool.places.enter().await.map_err(ClientError::busy)?;
        let (connection, idle) = match self.idle(is_repeatable).await {
            Some((connection, idle)) => (connection, Some(idle)),
            // Rare, and large: a call must not carry room for it.
            None => Box::pin(self.next(is_repeatable)).await?,
        };
        Ok(Lease {
            pool: Arc::clone(pool),
            place: Place::new(place, &connection.watch),
            connection,
            idle,
        })
    }

    /// A connection that has nothing to do, and how long that has been so.
    async fn idle(&self, is_repeatable: bool) -> Option<(Connection<B>, Duration)> {
        let pool = &self.0;
        while let Some((mut connection, idle)) = pool.take_idle(is_repeatable) {
            if pool.is_open(&connection.watch, idle) && connection.sender.ready().await.is_ok() {
                return Some((connection, idle));
            }
        }
        None
    }

    /// The next connection that there is, and how long it was idle if it is not new.
    async fn next(&self, is_repeatable: bool) -> Result<(Connection<B>, Option<Duration>), ClientError> {
        let pool = &self.0;
        let begun = Instant::now();
        let mut dial = None;
        loop {
            let mut freed = pin!(pool.freed.notified());
            // What comes back from here on is heard of.
            freed.as_mut().enable();
            if pool.came_back_since(begun)
                && let Some((connection, idle)) = self.idle(is_repeatable).await
            {
                return Ok((connection, Some(idle)));
            }
            // One connection is made for each call that waits, and no more: the app would have to accept those, too.
            let is_dialling = dial.is_some();
            let dialled = async {
                match &mut dial {
                    Some(dial) => Dial::wait(dial).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                dialled = dialled => return dialled.map(|connection| (connection, None)),
                () = freed => {}
                // The semaphore is never closed.
                Ok(turn) = Arc::clone(&pool.dials).acquire_owned(), if !is_dialling => {
                    dial = Some(Dial::begin(pool, turn));
                }
            }
        }
    }
}

impl<B> Pool<B> {
    /// Whether there is a connection that had something to do at that time. Others were looked at already.
    fn came_back_since(&self, time: Instant) -> bool {
        self.idle().back().is_some_and(|last| last.since >= time)
    }
}

/// A connection that is being made. If nobody waits for it any more it is made all the same, for whoever comes next.
struct Dial<B> {
    pool: Arc<Pool<B>>,
    made: oneshot::Receiver<Result<Connection<B>, ClientError>>,
}

impl<B> Dial<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn begin(pool: &Arc<Pool<B>>, turn: OwnedSemaphorePermit) -> Self {
        let (tell, made) = oneshot::channel();
        let dialling = Arc::clone(pool);
        pool.tasks.spawn(async move {
            let made = dialling.dial().await;
            drop(turn);
            // Its call took another connection meanwhile, or was given up.
            if let Err(Ok(unwanted)) = tell.send(made) {
                dialling.put_idle(unwanted);
            }
        });
        Self {
            pool: Arc::clone(pool),
            made,
        }
    }

    async fn wait(&mut self) -> Result<Connection<B>, ClientError> {
        match (&mut self.made).await {
            Ok(made) => made,
            // The sidecar is at its end, and so is this call.
            Err(_) => pending().await,
        }
    }
}

impl<B> Drop for Dial<B> {
    fn drop(&mut self) {
        self.made.close();
        if let Ok(Ok(unwanted)) = self.made.try_recv() {
            self.pool.put_idle(unwanted);
        }
    }
}
