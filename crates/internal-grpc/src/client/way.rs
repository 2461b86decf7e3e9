//! Which connections lead to an app, kept at its endpoint.

use std::ops::Deref;
use std::sync::Arc;

use invoke_core::AppRef;
use invoke_core::balance::Endpoint;
use transport::client::{Destination, PeerKey};

use super::Client;

/// The connections that a call may take.
pub(super) enum Way<'a> {
    /// Those that are kept at the endpoint.
    Kept(&'a Destination),
    /// Those of a call for which nothing is kept.
    Own(Box<Destination>),
}

impl Deref for Way<'_> {
    type Target = Destination;

    fn deref(&self) -> &Destination {
        match self {
            Self::Kept(destination) => destination,
            Self::Own(destination) => destination,
        }
    }
}

/// What is kept at an endpoint. Others could have kept theirs there: the same endpoint may belong to two apps, or be
/// called by two clients.
struct Kept {
    app: AppRef,
    destination: Destination,
}

impl Client {
    /// Which connections lead to the app. Over TLS its sidecar must prove the path of its SPIFFE id.
    pub(super) fn way<'a>(&self, app: &AppRef, endpoint: &'a Endpoint) -> Way<'a> {
        let kept = endpoint.kept(|| Kept {
            app: app.clone(),
            destination: self.destination(app, endpoint),
        });
        match kept {
            Some(kept) if self.pool.owns(&kept.destination) && kept.app == *app => {
                Way::Kept(&kept.destination)
            }
            _ => Way::Own(Box::new(self.destination(app, endpoint))),
        }
    }

    fn destination(&self, app: &AppRef, endpoint: &Endpoint) -> Destination {
        let path = || format!("/ns/{}/{}", app.namespace, app.id).into();
        self.pool.destination(PeerKey {
            address: Arc::clone(endpoint.address()),
            identity: self.is_secured.then(path),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientConfig;
    use lifecycle::Tasks;

    #[tokio::test]
    async fn a_way_is_that_of_its_app_and_of_its_client() {
        let endpoint = Endpoint::new("127.0.0.1:1");
        let client = || Client::new(ClientConfig::default(), Tasks::new());
        let (first, second) = (client(), client());
        let (app, other) = (AppRef::new("app", "default"), AppRef::new("other", "default"));
        let kept = |client: &Client, app| match client.way(app, &endpoint) {
            Way::Kept(destination) => Some(std::ptr::from_ref(destination)),
            Way::Own(destination) => {
                assert!(client.pool.owns(&destination));
                None
            }
        };
        let way = kept(&first, &app);
        assert!(way.is_some());
        assert_eq!(kept(&first, &app), way);
        assert_eq!(kept(&first, &other), None);
        assert_eq!(kept(&second, &app), None);
        assert_eq!(kept(&first, &app), way);
    }
}
