//! One of two values by a condition.

use super::broadcast::{promote, reduce_to, shape};
use crate::cpu;
use crate::{Array, DType, Error, Result, Tensor, tape, with_real};

/// `on_true` where the u8 `condition` is not 0, else `on_false`; all broadcast, floats meet in the
/// wider type. Called `Where` in the operation list.
///
/// # Errors
/// The condition is not u8, or the shapes do not broadcast.
pub fn select(condition: &Tensor, on_true: &Tensor, on_false: &Tensor) -> Result<Tensor> {
    let (condition_array, array_t, array_f) =
        (condition.array(), on_true.array(), on_false.array());
    if condition_array.dtype() != DType::U8 {
        let found = condition_array.dtype();
        return Err(Error::Type { op: "Where", found, expected: "u8 for the condition" });
    }
    let values = shape("Where", array_t.dims(), array_f.dims())?;
    let joint = shape("Where", condition_array.dims(), &values)?;
    let condition_array = condition_array.broadcast_as(joint.as_slice())?;
    let (left, right) = promote(&array_t, &array_f)?;
    let left = left.broadcast_as(joint.as_slice())?;
    let right = right.broadcast_as(joint.as_slice())?;
    let output = choose(&condition_array, &left, &right)?;
    let needs = (on_true.is_tracked(), on_false.is_tracked());
    let (shape_t, shape_f) = (array_t.dims().to_vec(), array_f.dims().to_vec());
    let (type_t, type_f) = (array_t.dtype(), array_f.dtype());
    Ok(tape::record("Where", &[condition, on_true, on_false], output, move |grad| {
        let zero = Array::zeros((), grad.dtype(), grad.device())?.broadcast_as(grad.shape())?;
        let grad_t = || reduce_to(&choose(&condition_array, grad, &zero)?, &shape_t, type_t);
        let grad_f = || reduce_to(&choose(&condition_array, &zero, grad)?, &shape_f, type_f);
        Ok(vec![None, needs.0.then(grad_t).transpose()?, needs.1.then(grad_f).transpose()?])
    }))
}

/// All of one shape, values of one type.
fn choose(condition: &Array, on_true: &Array, on_false: &Array) -> Result<Array> {
    if !cpu::is_native(on_true) || !on_true.dtype().is_float() {
        let (on_true, on_false) = (on_true.contiguous()?, on_false.contiguous()?);
        return Ok(condition.contiguous()?.where_cond(&on_true, &on_false)?);
    }
    with_real!("Where", on_true.dtype(), T => {
        cpu::zip3(condition, on_true, on_false, |c: u8, t: T, f: T| if c != 0 { t } else { f })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check, here};

    #[test]
    fn gradient() {
        let condition = Array::new(&[[1u8], [0], [3]], &Device::Cpu).unwrap();
        let condition = Tensor::constant(condition);
        check(Case::of(&[&[2, 3, 4], &[4]]), |x| select(&here(&condition), &x[0], &x[1]));
        check(Case::of(&[&[2, 1, 1], &[3, 2]]), |x| select(&here(&condition), &x[0], &x[1]));
    }

    /// What was not chosen may be infinite or NaN without harm to the other side.
    #[test]
    fn what_is_not_chosen_does_not_leak() {
        let condition = Tensor::constant(Array::new(&[1u8, 0], &Device::Cpu).unwrap());
        let x = tape::input(Array::new(&[1f32, f32::NAN], &Device::Cpu).unwrap());
        let zero = Tensor::constant(Array::new(0f32, &Device::Cpu).unwrap());
        let y = select(&condition, &x, &zero).unwrap();
        assert_eq!(y.array().to_vec1::<f32>().unwrap(), [1.0, 0.0]);
        let ones = Array::ones(2, DType::F32, &Device::Cpu).unwrap();
        let grads = tape::backward_from(&[(y, ones)], &[x], &mut Default::default()).unwrap();
        assert_eq!(grads[0].as_ref().unwrap().to_vec1::<f32>().unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn the_condition_is_u8() {
        let x = Tensor::constant(Array::new(&[1f32, 2.0], &Device::Cpu).unwrap());
        let message = select(&x, &x, &x).unwrap_err().to_string();
        assert_eq!(message, "Where: element type F32; expected u8 for the condition");
    }
}
