//! What grows in a measurement of scale, and through which steps.

use crate::kind::Scene;
use crate::options::Options;
use crate::sidecar::{Apps, Setting};

/// One thing that grows while everything else stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    HttpCalls,
    GrpcCalls,
    Apps,
    Addresses,
    Policies,
    Connections,
}

/// The steps of the calls at the same time.
const CALLS: &[usize] = &[1, 8, 64, 256, 1024, 2000];

impl Axis {
    /// Every axis, in the order of the table.
    pub(crate) const ALL: [Self; 6] = [
        Self::HttpCalls,
        Self::GrpcCalls,
        Self::Apps,
        Self::Addresses,
        Self::Policies,
        Self::Connections,
    ];

    /// Its name on the command line and in the JSON file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HttpCalls => "scale-http",
            Self::GrpcCalls => "scale-grpc-proxy",
            Self::Apps => "scale-apps",
            Self::Addresses => "scale-addresses",
            Self::Policies => "scale-policies",
            Self::Connections => "scale-connections",
        }
    }

    /// What grows.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HttpCalls => "HTTP calls at the same time, a connection each",
            Self::GrpcCalls => "proxied gRPC calls at the same time, sixteen on a connection",
            Self::Apps => "apps that are called at random, all at one address",
            Self::Addresses => "apps that are called at random, each at an address of its own",
            Self::Policies => "policies of the callee, each with as many operations, with mTLS",
            Self::Connections => "idle HTTP/1 connections that had one call each",
        }
    }

    /// Its steps.
    pub(crate) fn steps(self) -> &'static [usize] {
        match self {
            Self::HttpCalls | Self::GrpcCalls => CALLS,
            Self::Apps | Self::Addresses => &[1, 50, 200, 500],
            Self::Policies => &[1, 10, 50],
            Self::Connections => &[0, 250, 500, 1000, 2000],
        }
    }

    /// The step whose cost those of the others are compared with.
    pub(crate) fn reference(self) -> usize {
        match self {
            Self::HttpCalls | Self::GrpcCalls => 64,
            _ => self.steps()[0],
        }
    }

    /// What is called.
    pub(crate) fn scene(self) -> Scene {
        match self {
            Self::GrpcCalls => Scene::GrpcProxy,
            _ => Scene::Http,
        }
    }

    /// What the sidecars are told at a step.
    pub(crate) fn setting(self, step: usize) -> Setting {
        let apps = |share_address| Apps {
            number: step,
            share_address,
        };
        Setting {
            apps: match self {
                Self::Apps => Some(apps(true)),
                Self::Addresses => Some(apps(false)),
                _ => None,
            },
            policies: (self == Self::Policies).then_some(step),
        }
    }

    /// How many calls are on the way at a step.
    pub(crate) fn at_once(self, step: usize, options: &Options) -> usize {
        match self {
            Self::HttpCalls | Self::GrpcCalls => step,
            _ => options.connections,
        }
    }

    /// Whether only sidecars have what grows.
    pub(crate) fn is_of_dapr(self) -> bool {
        matches!(self, Self::Apps | Self::Addresses | Self::Policies)
    }

    /// The most connections that the client has.
    pub(crate) fn most_connections(self) -> usize {
        match self {
            Self::HttpCalls | Self::Connections => self.steps().iter().copied().max().unwrap_or(0),
            // The sidecar of the callee may have a connection to its app for every call.
            Self::GrpcCalls => 2000,
            _ => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_and_the_reference_is_one_of_them() {
        for axis in Axis::ALL {
            assert!(axis.steps().is_sorted(), "{}", axis.name());
            assert!(axis.steps().contains(&axis.reference()), "{}", axis.name());
            assert!(axis.most_connections() >= axis.steps()[0]);
        }
    }

    #[test]
    fn one_thing_grows_at_a_time() {
        let options = Options::default();
        for axis in Axis::ALL {
            let changes = |step| {
                let setting = axis.setting(step);
                let apps = setting.apps.map(|apps| apps.number);
                (apps, setting.policies, axis.at_once(step, &options))
            };
            let (few, many) = (changes(1), changes(50));
            let grown = [few.0 != many.0, few.1 != many.1, few.2 != many.2];
            let expected = usize::from(axis != Axis::Connections);
            assert_eq!(
                grown.iter().filter(|grown| **grown).count(),
                expected,
                "{}",
                axis.name()
            );
        }
    }
}
