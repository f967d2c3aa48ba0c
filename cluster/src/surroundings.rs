//! Time and chance, handed in: what decides here asks these, and never the system.
//!
//! So a test turns the clock by hand and counts ids instead of drawing them. Made once, by whoever starts the agent, and
//! given to everything that runs in it. **Secrets are not drawn here:** keys, tokens and nonces come from the system's own
//! generator always, because a test that could foresee them would prove nothing.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use skep_common::duration::nanoseconds;

/// So long at most after the wall clock was set, or the machine has woken, [`Clock::sleep_until`] notices.
const WALL_STEP: Duration = Duration::from_secs(20);

/// The wall clock, which may be set, and the time that passes, which only grows.
pub trait Clock: Debug + Send + Sync + 'static {
    /// What the wall clock shows.
    fn now(&self) -> SystemTime;

    /// A point of the time that passes.
    fn instant(&self) -> Instant;

    /// Returns when `duration` has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Returns when the wall clock shows `time` or later, also where it was set forward or the machine was asleep
    /// meanwhile: then a little later.
    fn sleep_until(&self, time: SystemTime) -> BoxFuture<'static, ()>;

    /// The wall clock in nanoseconds since the Unix epoch; 0 if it is set before that.
    fn now_ns(&self) -> i64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
    }
}

/// What was waited for took longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline has elapsed")]
pub(crate) struct Elapsed;

impl dyn Clock {
    /// What `work` gives within `limit`; then it is dropped.
    ///
    /// # Errors
    /// If it takes longer.
    pub(crate) async fn limit<W: Future>(&self, limit: Duration, work: W) -> Result<W::Output, Elapsed> {
        let late = self.sleep(limit);
        // Biased: what is done in time counts, also where nobody looked until later.
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = late => Err(Elapsed),
        }
    }
}

/// Where random numbers come from that are no secrets.
pub trait Chance: Debug + Send + Sync + 'static {
    /// The next number.
    fn number(&self) -> u64;

    /// A new identifier.
    fn id(&self) -> String {
        crate::id::from_numbers(|| self.number())
    }

    /// Some value of `range`, each as likely as any other.
    fn within(&self, range: Range<f64>) -> f64 {
        // As many bits as a double has.
        #[allow(clippy::cast_precision_loss)]
        let fraction = (self.number() >> 11) as f64 / (1u64 << 53) as f64;
        range.start + (range.end - range.start) * fraction
    }
}

/// Both. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Arc<dyn Chance>,
}

impl Surroundings {
    /// The system's own.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), chance: Arc::new(SystemChance) }
    }
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the clock that is handed in")]
impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn sleep_until(&self, time: SystemTime) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // The time that passes stands still while the machine is asleep, and knows nothing of a clock that is set.
            while let Ok(left) = time.duration_since(SystemTime::now()).map(|left| left.min(WALL_STEP)) {
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left).await;
            }
        })
    }
}

/// The system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemChance;

impl Chance for SystemChance {
    fn number(&self) -> u64 {
        rand::random()
    }
}

#[cfg(any(test, feature = "sim"))]
pub(crate) use by_hand::HandClock;

#[cfg(any(test, feature = "sim"))]
mod by_hand {
    use tokio::sync::watch;

    use super::{Arc, BoxFuture, Clock, Debug, Duration, Instant, SystemTime, UNIX_EPOCH};

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Hands {
        wall: SystemTime,
        passed: Duration,
    }

    /// A clock that stands until a test turns it. Clones are the same clock.
    #[derive(Debug, Clone)]
    pub(crate) struct HandClock {
        hands: Arc<watch::Sender<Hands>>,
        base: Instant,
    }

    impl HandClock {
        /// Stands at so many nanoseconds since the epoch.
        #[expect(clippy::disallowed_methods, reason = "no moment is made from nothing; only what passes since is told")]
        pub(crate) fn at(time_ns: u64) -> Self {
            let hands = Hands { wall: UNIX_EPOCH + Duration::from_nanos(time_ns), passed: Duration::ZERO };
            Self { hands: Arc::new(watch::Sender::new(hands)), base: Instant::now() }
        }

        /// So much time passes, on the wall too. Who sleeps until then is woken.
        pub(crate) fn advance(&self, duration: Duration) {
            self.hands.send_modify(|hands| {
                hands.wall += duration;
                hands.passed += duration;
            });
        }

        /// Somebody sets the wall clock; no time passes.
        #[cfg(test)]
        pub(crate) fn set(&self, wall: SystemTime) {
            self.hands.send_modify(|hands| hands.wall = wall);
        }

        fn until(&self, reached: impl FnMut(&Hands) -> bool + Send + 'static) -> BoxFuture<'static, ()> {
            let mut hands = self.hands.subscribe();
            let clock = self.hands.clone();
            Box::pin(async move {
                // The clock cannot go while it is held here.
                let _ = hands.wait_for(reached).await;
                drop(clock);
            })
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> SystemTime {
            self.hands.borrow().wall
        }

        fn instant(&self) -> Instant {
            self.base + self.hands.borrow().passed
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let until = self.hands.borrow().passed.saturating_add(duration);
            self.until(move |hands| hands.passed >= until)
        }

        fn sleep_until(&self, time: SystemTime) -> BoxFuture<'static, ()> {
            self.until(move |hands| hands.wall >= time)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_clock_that_is_turned_by_hand_wakes_who_sleeps() {
        let clock = HandClock::at(1_000_000_000);
        let (mut passing, mut wall) =
            (clock.sleep(Duration::from_secs(5)), clock.sleep_until(UNIX_EPOCH + Duration::from_secs(5)));
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now_ns(), 4_000_000_000);
        assert!((&mut passing).now_or_never().is_none() && (&mut wall).now_or_never().is_none());
        clock.set(UNIX_EPOCH + Duration::from_secs(60));
        assert!((&mut passing).now_or_never().is_none(), "no time has passed");
        assert!(wall.now_or_never().is_some());
        clock.set(UNIX_EPOCH);
        clock.advance(Duration::from_secs(2));
        assert!(passing.now_or_never().is_some());
    }

    #[test]
    fn what_takes_longer_than_it_may_is_dropped() {
        let hands = HandClock::at(1_000_000_000);
        let clock: Arc<dyn Clock> = Arc::new(hands.clone());
        let (sender, receiver) = tokio::sync::oneshot::channel::<u32>();
        let mut late = Box::pin(clock.limit(Duration::from_secs(5), receiver));
        assert!((&mut late).now_or_never().is_none());
        hands.advance(Duration::from_secs(5));
        assert_eq!(late.now_or_never(), Some(Err(Elapsed)));
        assert!(sender.is_closed());
        let mut done = Box::pin(clock.limit(Duration::from_secs(5), async { 7 }));
        hands.advance(Duration::from_secs(9));
        assert_eq!((&mut done).now_or_never(), Some(Ok(7)), "done, though nobody looked");
    }

    #[tokio::test]
    async fn the_systems_clock_wakes_at_once_where_the_time_has_come() {
        SystemClock.sleep_until(SystemTime::now() - Duration::from_secs(1)).await;
        assert!(SystemClock.sleep_until(SystemTime::now() + WALL_STEP).now_or_never().is_none());
    }

    #[test]
    fn values_stay_within_their_range() {
        let system = SystemChance;
        assert!((0..1000).map(|_| system.within(0.9..1.1)).all(|value| (0.9..1.1).contains(&value)));
        assert_ne!(system.id(), system.id());
    }
}
