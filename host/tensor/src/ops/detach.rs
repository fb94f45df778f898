//! A value without its history.

use crate::{Result, Tensor};

/// The value of `x` now, to which no gradient flows.
pub fn detach(x: &Tensor) -> Result<Tensor> {
    Ok(Tensor::constant(x.array()))
}

#[cfg(test)]
mod tests {
    use crate::ops::{detach, matmul, permute};
    use crate::{Array, Device, Parameter, Tensor, backward};

    #[test]
    fn no_gradient_passes() {
        let w = Parameter::trainable("w", Array::new(&[[2f32, 3.0]], &Device::Cpu).unwrap());
        let x = Tensor::parameter(&w);
        let y = detach(&x).unwrap();
        assert!(!y.is_tracked());
        let product = matmul(&x, &permute(&y, &[1, 0]).unwrap()).unwrap();
        let gradients = backward(&product).unwrap();
        assert_eq!(gradients.get(&w).unwrap().to_vec2::<f32>().unwrap(), [[2.0, 3.0]]);
    }
}
