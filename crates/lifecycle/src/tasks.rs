//! Owners of tasks.

use std::future::Future;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns tasks and waits for them. Cloning shares the ownership.
///
/// Every task has an owner from the statement that spawns it. Aborting drops the tasks where they stand.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
}

impl Tasks {
    /// An owner without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that this owner waits for.
    pub fn spawn<F>(&self, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let abort = self.abort.clone();
        // Without the box each layer around the task would have room for all of it.
        let task = Box::pin(task);
        let task = self.tracker.spawn(async move {
            let _ = abort.run_until_cancelled(task).await;
        });
        task.abort_handle()
    }

    /// Waits until every task has ended. New tasks may still come until the last one ends.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Drops all tasks where they stand.
    pub fn abort_all(&self) {
        self.abort.cancel();
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_owner_waits() {
        let tasks = Tasks::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn(async move {
            let _ = receiver.await;
        });
        assert_eq!(tasks.len(), 1);
        sender.send(()).unwrap();
        tasks.wait().await;
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn abort_drops_what_stands() {
        let tasks = Tasks::new();
        tasks.spawn(std::future::pending());
        tasks.abort_all();
        tasks.wait().await;
    }
}
