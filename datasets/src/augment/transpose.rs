//! Turning images so that rows become columns.

/// Writes the transpose of `width` x `height` RGB pixels, whose rows start `stride` bytes apart, to
/// `target`, without gaps.
pub(super) fn transpose(
    source: &[u8],
    stride: usize,
    width: usize,
    height: usize,
    target: &mut [u8],
) {
    // Tiles, so that the columns that are written stay in the cache.
    const TILE: usize = 16;
    for top in (0..height).step_by(TILE) {
        let bottom = (top + TILE).min(height);
        for left in (0..width).step_by(TILE) {
            for x in left..(left + TILE).min(width) {
                let out = &mut target[(x * height + top) * 3..(x * height + bottom) * 3];
                for (y, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                    let from = (top + y) * stride + x * 3;
                    pixel.copy_from_slice(&source[from..from + 3]);
                }
            }
        }
    }
}
