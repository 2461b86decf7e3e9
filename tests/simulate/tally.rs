//! What is counted while a scene is played.

/// A call that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// When it was made, in milliseconds.
    pub(crate) at: u32,
    pub(crate) took: u32,
    pub(crate) is_good: bool,
}

/// The counts of a scene.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many calls were made.
    pub(crate) calls: u64,
    pub(crate) made: Vec<Made>,
    /// How often an endpoint was picked for a call.
    pub(crate) tries: u64,
    /// How often a call was put on a connection: what instances get to feel.
    pub(crate) sent: u64,
    /// How many connections were asked for.
    pub(crate) dials: u64,
    /// How many whole sets resolvers handed to balancers.
    pub(crate) sets: u64,
    /// How many look-ups there were in each second.
    pub(crate) lookups: Vec<u32>,
    /// How many calls each instance began to work at, second by second.
    pub(crate) served: Vec<Vec<u32>>,
    /// How many of them came from another part of the network, if it is cut, in each second.
    pub(crate) crossed: Vec<u32>,
    /// All that happened, in its order, as one number.
    pub(crate) trace: u64,
}

impl Tally {
    /// An instance begins to work at a call.
    pub(crate) fn serve(&mut self, id: usize, is_across: bool, now: u64) {
        let second = (now / 1000) as usize;
        if self.crossed.len() <= second {
            self.crossed.resize(second + 1, 0);
        }
        self.crossed[second] += u32::from(is_across);
        if self.served.len() <= second {
            self.served.resize_with(second + 1, Vec::new);
        }
        let served = &mut self.served[second];
        if served.len() <= id {
            served.resize(id + 1, 0);
        }
        served[id] += 1;
        self.trace(id as u64, now);
    }

    /// A call of a sidecar has ended.
    pub(crate) fn end(&mut self, caller: usize, at: u64, now: u64, is_good: bool) {
        let took = (now - at) as u32;
        self.made.push(Made {
            at: at as u32,
            took,
            is_good,
        });
        self.trace(caller as u64 * 2 + u64::from(is_good), now);
    }

    pub(crate) fn look_up(&mut self, now: u64) {
        let second = (now / 1000) as usize;
        if self.lookups.len() <= second {
            self.lookups.resize(second + 1, 0);
        }
        self.lookups[second] += 1;
    }

    fn trace(&mut self, what: u64, now: u64) {
        for part in [what, now] {
            self.trace = (self.trace ^ part)
                .wrapping_mul(0xd6e8_feb8_6659_fd93)
                .rotate_left(23);
        }
    }

    /// How many calls these instances began to work at, from one second up to another.
    pub(crate) fn served(&self, seconds: std::ops::Range<usize>, is_meant: impl Fn(usize) -> bool) -> u64 {
        let seconds = self.served.iter().take(seconds.end).skip(seconds.start);
        let counts = seconds.flat_map(|served| served.iter().enumerate());
        counts
            .filter(|(id, _)| is_meant(*id))
            .map(|(_, count)| u64::from(*count))
            .sum()
    }

    /// The time within which this share of the good calls of these seconds was answered, in milliseconds.
    pub(crate) fn quantile(&self, seconds: std::ops::Range<usize>, share: f64) -> u32 {
        let is_meant = |made: &&Made| made.is_good && seconds.contains(&(made.at as usize / 1000));
        let mut took: Vec<u32> = self.made.iter().filter(is_meant).map(|made| made.took).collect();
        took.sort_unstable();
        let at = (took.len() as f64 * share) as usize;
        took.get(at.min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    }

    /// The calls of each second: all, those that failed, and those that took longer than a limit.
    pub(crate) fn by_second(&self, limit: u32) -> Vec<[u32; 3]> {
        let mut seconds = Vec::new();
        for made in &self.made {
            let second = made.at as usize / 1000;
            if seconds.len() <= second {
                seconds.resize(second + 1, [0; 3]);
            }
            let [all, failed, slow] = &mut seconds[second];
            *all += 1;
            *failed += u32::from(!made.is_good);
            *slow += u32::from(made.is_good && made.took > limit);
        }
        seconds
    }
}
