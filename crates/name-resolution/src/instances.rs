//! The sidecars of one app, as a resolver tells of them.

use invoke_core::balance::Endpoint;

/// How many sidecars of an app are known at once. The balancer calls a part of so many; which of them were left out here
/// would be the same ones for all callers.
pub(crate) const INSTANCES: usize = 16 * 1024;

/// Each address once, in an order that stays the same: servers turn theirs around from answer to answer.
pub(crate) fn ordered(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by(|one, other| one.address().cmp(other.address()));
    endpoints.dedup_by(|one, other| one.address() == other.address());
    endpoints
}

/// The same of an answer that came from elsewhere: not more of them than are known at once.
#[cfg_attr(
    not(any(
        feature = "aws-cloudmap",
        feature = "consul",
        feature = "dns",
        feature = "kubernetes"
    )),
    allow(dead_code, reason = "nobody else asks")
)]
pub(crate) fn bounded(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut endpoints = ordered(endpoints);
    endpoints.truncate(INSTANCES);
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_once_and_not_too_many() {
        let of = |addresses: &[&str]| addresses.iter().map(|address| Endpoint::new(*address)).collect();
        let wanted: Vec<Endpoint> = of(&["a:1", "b:1"]);
        assert_eq!(ordered(of(&["b:1", "a:1", "b:1"])), wanted);
        let many: Vec<Endpoint> = (0..2 * INSTANCES)
            .map(|port| Endpoint::new(format!("a:{port}")))
            .collect();
        assert_eq!(ordered(many.clone()).len(), 2 * INSTANCES);
        assert_eq!(bounded(many).len(), INSTANCES);
    }
}
