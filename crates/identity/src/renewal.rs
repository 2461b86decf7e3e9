//! When sentry is asked: at the start until it answers, then before the certificate ends.

use std::future::pending;
use std::time::Duration;

use lifecycle::StartupWait;
use tokio::time::{Instant, interval_at, sleep};

use crate::SCOPE;
use crate::authority::{INTERRUPTED, RequestError};
use crate::identity::{Authority, Identity, now};
use crate::svid::Svid;
use crate::verify::show_date;

/// Between two attempts to reach sentry at the start: from the first to the longest, longer each time.
/// The first is a little longer than that of gRPC: services of the control plane that started together with this sidecar
/// and found sentry closed, too, come first.
const FIRST_PAUSE: Duration = Duration::from_millis(1200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the log repeats why the start waits.
const REMINDER: Duration = Duration::from_secs(30);
/// After a renewal that failed.
const RETRY: Duration = Duration::from_secs(10);
/// The clock on the wall may be set; it is looked at this often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// Certificates that are old when they come are renewed at once, but not without any pause.
const SHORTEST_LIFE: Duration = Duration::from_millis(100);
const LONGEST_SHORT_LIFE: Duration = Duration::from_secs(1);
/// How often the file of the anchors is read.
const LOOK_AT_ANCHORS: Duration = Duration::from_secs(2);
/// Sidecars whose anchors change together should not all ask sentry at once; milliseconds.
const AFTER_ANCHORS: std::ops::Range<u64> = 500..5_000;
/// Sidecars that started together should not renew together: they do so earlier by up to this part of the life
/// of their certificates.
const JITTER: i64 = 20;

/// What is not there yet.
pub(crate) const INITIAL: &str = "failed to retrieve the initial identity";

/// The first certificate. There is no end to the waiting while sentry cannot be reached.
pub(crate) async fn first(authority: &Authority, waiting: &StartupWait) -> Result<Svid, RequestError> {
    waiting.because(format!(
        "{INITIAL}: error establishing connection to sentry: {INTERRUPTED}"
    ));
    let mut pause = FIRST_PAUSE;
    let mut told: Option<(String, Instant)> = None;
    loop {
        let error = match authority.request().await {
            Ok(svid) => {
                waiting.over();
                return Ok(svid);
            }
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        waiting.because(format!("{INITIAL}: {}", error.interrupted()));
        let error = error.to_string();
        let is_news = told
            .as_ref()
            .is_none_or(|(text, when)| *text != error || when.elapsed() >= REMINDER);
        if is_news {
            tracing::warn!(target: SCOPE, "Waiting for the initial identity: {error}");
            told = Some((error, Instant::now()));
        }
        sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        pause = (pause * 8 / 5).min(LONGEST_PAUSE);
    }
}

/// Renews the certificate again and again, and sooner when the anchors change.
pub(crate) async fn keep_fresh(identity: Identity) {
    let mut short_life = SHORTEST_LIFE;
    loop {
        let svid = identity.shown.current();
        let at = with_jitter(&svid, fastrand::i64(0..JITTER));
        tracing::info!(
            target: SCOPE,
            "Starting workload identity expiry watcher; {}, renewal at: {}", dates(&svid), show_date(at)
        );
        if at <= now() {
            sleep(short_life).await;
            short_life = (short_life * 3 / 2).min(LONGEST_SHORT_LIFE);
        } else {
            short_life = SHORTEST_LIFE;
            tokio::select! {
                () = reaches(at) => {}
                () = anchors_change(&identity) => sleep(Duration::from_millis(fastrand::u64(AFTER_ANCHORS))).await,
            }
        }
        tracing::info!(target: SCOPE, "Renewing workload identity; {}", dates(&svid));
        drop(svid);
        renew(&identity).await;
    }
}

/// Asks until sentry has signed. The old certificate is in use meanwhile, even when it has expired.
async fn renew(identity: &Identity) {
    let authority = &identity.authority;
    loop {
        match authority.request().await {
            Ok(svid) => {
                tracing::info!(target: SCOPE, "Successfully renewed workload identity; {}", dates(&svid));
                identity.shown.replace(svid);
                authority.counters.renewed();
                return;
            }
            Err(error) => {
                let expiry = identity.shown.current().validity.not_after;
                let pause = retry_after(expiry.saturating_sub(now()));
                tracing::error!(
                    target: SCOPE,
                    "Error renewing identity, trying again in {} seconds: {error}", pause.as_secs()
                );
                if expiry < now() {
                    tracing::warn!(
                        target: SCOPE,
                        "The certificate of this sidecar expired on {}: other sidecars refuse new connections",
                        show_date(expiry)
                    );
                }
                sleep(pause).await;
            }
        }
    }
}

/// Short-lived certificates do not have ten seconds to lose.
fn retry_after(seconds_left: i64) -> Duration {
    let quarter = u64::try_from(seconds_left / 4).unwrap_or(0).max(1);
    if seconds_left > 0 {
        RETRY.min(Duration::from_secs(quarter))
    } else {
        RETRY
    }
}

/// Half of the life of a certificate, or somewhat before: by `part` of [`JITTER`] twentieths.
fn with_jitter(svid: &Svid, part: i64) -> i64 {
    let life = svid.validity.not_after.saturating_sub(svid.validity.not_before);
    let earlier = life.max(0) / JITTER / JITTER * part;
    svid.renew_at(now()).saturating_sub(earlier)
}

fn dates(svid: &Svid) -> String {
    let mut text = format!("cert expires on: {}", show_date(svid.validity.not_after));
    if let Some(expiry) = svid.jwt_expiry {
        text.push_str(", jwt expires on: ");
        text.push_str(&show_date(expiry));
    }
    text
}

/// Waits for a time on the wall.
async fn reaches(seconds: i64) {
    loop {
        let left = seconds.saturating_sub(now());
        let Ok(left @ 1..) = u64::try_from(left) else {
            return;
        };
        sleep(Duration::from_secs(left).min(LOOK_AT_CLOCK)).await;
    }
}

/// Waits until the file of the anchors has other ones; for ever when there is no file.
async fn anchors_change(identity: &Identity) {
    let anchors = &identity.authority.anchors;
    if !anchors.is_watched() {
        return pending().await;
    }
    let mut looks = interval_at(Instant::now() + LOOK_AT_ANCHORS, LOOK_AT_ANCHORS);
    let mut told = String::new();
    loop {
        looks.tick().await;
        let retire_at = identity.shown.current().validity.not_after;
        match anchors.reload(now(), retire_at).await {
            Ok(true) => return,
            Ok(false) => told.clear(),
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    tracing::error!(
                        target: SCOPE,
                        "The trust anchors stay as they are, since their file cannot be used: {error}"
                    );
                    told = error;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_after_a_failure() {
        for (left, wanted) in [(86_400, 10), (40, 10), (20, 5), (3, 1), (1, 1), (0, 10), (-5, 10)] {
            assert_eq!(retry_after(left), Duration::from_secs(wanted), "{left}");
        }
    }
}
