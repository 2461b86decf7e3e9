//! Which connections lead to an app, kept at its endpoint.

use std::ops::Deref;
use std::sync::Arc;

use invoke_core::AppRef;
use invoke_core::balance::Endpoint;
use transport::client::{Destination, PeerKey};

use super::Client;

/// The connections that a call may take.
pub(super) enum Link<'a> {
    /// Those that are kept at the endpoint.
    Kept(&'a Destination),
    /// Those of a call for which nothing is kept.
    Own(Box<Destination>),
}

impl Deref for Link<'_> {
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
struct Linked {
    app: AppRef,
    destination: Destination,
}

impl Client {
    /// Which connections lead to the app. Over TLS its sidecar must prove the path of its SPIFFE id.
    pub(super) fn link<'a>(&self, app: &AppRef, endpoint: &'a Endpoint) -> Link<'a> {
        let kept = endpoint.kept(|| Linked {
            app: app.clone(),
            destination: self.destination(app, endpoint),
        });
        match kept {
            Some(kept) if self.pool.owns(&kept.destination) && kept.app == *app => {
                Link::Kept(&kept.destination)
            }
            _ => Link::Own(Box::new(self.destination(app, endpoint))),
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
    async fn a_link_is_that_of_its_app_and_of_its_client() {
        let endpoint = Endpoint::new("127.0.0.1:1");
        let client = || Client::new(ClientConfig::default(), Tasks::new());
        let (first, second) = (client(), client());
        let (app, other) = (AppRef::new("app", "default"), AppRef::new("other", "default"));
        let kept = |client: &Client, app| match client.link(app, &endpoint) {
            Link::Kept(destination) => Some(std::ptr::from_ref(destination)),
            Link::Own(destination) => {
                assert!(client.pool.owns(&destination));
                None
            }
        };
        let link = kept(&first, &app);
        assert!(link.is_some());
        assert_eq!(kept(&first, &app), link);
        assert_eq!(kept(&first, &other), None);
        assert_eq!(kept(&second, &app), None);
        assert_eq!(kept(&first, &app), link);
    }
}
