//! What a convolution asks of its weight and bias.

use crate::ops::Geometry;
use crate::{Array, Error, Result};

/// The sizes of a weight and of its bias, checked against the map's channels: (kernel, other
/// channels). A weight is (`own`, `other`/groups, kh, kw), and of those only a transposed
/// convolution's `own` are the map's channels.
pub(in crate::ops) fn check_weight(
    op: &'static str,
    weight: &Array,
    bias: Option<&Array>,
    channels: usize,
    geometry: &Geometry,
    transposed: bool,
) -> Result<([usize; 2], usize)> {
    let groups = geometry.groups;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::attribute(
            op,
            format!("groups {groups}; expected a divisor of the {channels} channels of the map"),
        ));
    }
    let per_group = channels / groups;
    let expected = || {
        let shape = if transposed {
            format!("({channels}, O/{groups}, kh, kw)")
        } else {
            format!("(O, {per_group}, kh, kw) with O a multiple of groups {groups}")
        };
        format!("a weight {shape} for a map of {channels} channels")
    };
    let (kernel, outputs) = match *weight.dims() {
        [own, other, kernel_h, kernel_w] if own * other * kernel_h * kernel_w > 0 => {
            let fits =
                if transposed { own == channels } else { other == per_group && own % groups == 0 };
            if !fits {
                return Err(Error::shape(op, format!("weight {:?}", weight.dims()), expected()));
            }
            ([kernel_h, kernel_w], if transposed { other * groups } else { own })
        }
        _ => return Err(Error::shape(op, format!("weight {:?}", weight.dims()), expected())),
    };
    if let Some(bias) = bias.filter(|bias| bias.dims() != [outputs]) {
        let found = format!("bias {:?}", bias.dims());
        return Err(Error::shape(op, found, format!("[{outputs}], one per output channel")));
    }
    Ok((kernel, outputs))
}
