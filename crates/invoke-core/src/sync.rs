//! The primitives by which tasks share state: those of `std`, or in a model those of `shuttle`, where each operation is a
//! place at which another task may go on. How models are written stands in `CONTRIBUTING.md`.

#[cfg(not(feature = "model"))]
pub(crate) use arc_swap::{ArcSwap, ArcSwapOption};
#[cfg(feature = "model")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockWriteGuard, atomic};
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, RwLockWriteGuard, atomic};
#[cfg(feature = "model")]
pub(crate) use swap::{ArcSwap, ArcSwapOption};

#[cfg(feature = "model")]
mod swap {
    use std::sync::Arc;

    use arc_swap::{ArcSwapAny, AsRaw, Guard, RefCnt};
    use shuttle::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) type ArcSwap<T> = Swap<Arc<T>>;
    pub(crate) type ArcSwapOption<T> = Swap<Option<Arc<T>>>;

    /// What `arc_swap` offers, as far as it is used.
    #[derive(Debug)]
    pub(crate) struct Swap<T: RefCnt>(ArcSwapAny<T>, AtomicUsize);

    impl<T: RefCnt + Default> Default for Swap<T> {
        fn default() -> Self {
            Self(ArcSwapAny::default(), AtomicUsize::new(0))
        }
    }

    impl<T> ArcSwapOption<T> {
        pub(crate) fn empty() -> Self {
            Self::default()
        }
    }

    impl<T: RefCnt> Swap<T> {
        /// Others may go on before an operation and after it.
        fn turn<R>(&self, act: impl FnOnce(&ArcSwapAny<T>) -> R) -> R {
            self.1.fetch_add(1, Ordering::SeqCst);
            let result = act(&self.0);
            self.1.fetch_add(1, Ordering::SeqCst);
            result
        }

        pub(crate) fn load(&self) -> Guard<T> {
            self.turn(ArcSwapAny::load)
        }

        pub(crate) fn load_full(&self) -> T {
            self.turn(ArcSwapAny::load_full)
        }

        pub(crate) fn store(&self, value: T) {
            self.turn(|swap| swap.store(value));
        }

        pub(crate) fn compare_and_swap<C: AsRaw<T::Base>>(&self, current: C, new: T) -> Guard<T> {
            self.turn(|swap| swap.compare_and_swap(current, new))
        }
    }
}
