//! In which order an epoch visits the images, and which rank gets which.

use crate::random::{Key, Stream};

/// The generator of the shuffle, apart from those of all images.
const SHUFFLE: u64 = u64::MAX;

/// Indices of an epoch, in order.
///
/// A shuffle depends on `seed` and `epoch` only. Rank `rank` of `world` takes every `world`-th
/// image from its own number on. With `equal_shares` the remainder that would give some ranks one
/// image more is left out.
pub fn epoch_order(
    len: usize,
    shuffle: bool,
    seed: u64,
    epoch: u64,
    shard: Shard,
    equal_shares: bool,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    if shuffle {
        Stream::new(Key { seed, epoch, index: SHUFFLE }, SHUFFLE).shuffle(&mut order);
    }
    if shard.world <= 1 {
        return order;
    }
    let used = if equal_shares { len / shard.world * shard.world } else { len };
    order[..used].iter().copied().skip(shard.rank).step_by(shard.world).collect()
}

/// Which share of the images a process loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number of this process, from 0.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
}

impl Shard {
    /// One process that loads everything.
    pub const WHOLE: Self = Self { rank: 0, world: 1 };
}
