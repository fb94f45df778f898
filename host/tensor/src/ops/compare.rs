//! Comparisons: u8, 1 where true. They have no gradient.

use super::broadcast::meet;
use crate::cpu::{self, Real};
use crate::{DType, Result, Tensor, with_real};

macro_rules! comparison {
    ($(#[$doc:meta])* $name:ident $op:literal $symbol:tt) => {
        $(#[$doc])*
        ///
        /// Shapes broadcast, types are promoted; a comparison with NaN is false, but `ne` is true.
        ///
        /// # Errors
        /// The shapes do not broadcast.
        pub fn $name(a: &Tensor, b: &Tensor) -> Result<Tensor> {
            let (a, b) = meet($op, &a.array(), &b.array())?;
            let result = match a.dtype() {
                _ if !cpu::is_native(&a) => a.$name(&b)?,
                dtype if dtype.is_float() => with_real!($op, dtype, T => {
                    cpu::zip(&a, &b, |a: T, b: T| u8::from(a.acc() $symbol b.acc()))
                })?,
                _ => {
                    let (a, b) = (a.to_dtype(DType::I64)?, b.to_dtype(DType::I64)?);
                    cpu::zip(&a, &b, |a: i64, b: i64| u8::from(a $symbol b))?
                }
            };
            Ok(Tensor::constant(result))
        }
    };
}

comparison! {
    /// a == b.
    eq "Eq" ==
}
comparison! {
    /// a != b.
    ne "Ne" !=
}
comparison! {
    /// a < b.
    lt "Lt" <
}
comparison! {
    /// a <= b.
    le "Le" <=
}
comparison! {
    /// a > b.
    gt "Gt" >
}
comparison! {
    /// a >= b.
    ge "Ge" >=
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::{Mode, current, scope};
    use crate::{Array, Device};

    #[test]
    fn types_and_shapes_meet() {
        let row = Array::new(&[[1f64, 2.0, 3.0]], &Device::Cpu).unwrap();
        let column = Array::new(&[[1f64], [2.0]], &Device::Cpu).unwrap();
        let types = [DType::F32, DType::F64, DType::BF16, DType::I64, DType::U32, DType::U8];
        for portable in [false, true] {
            for (a, b) in types.iter().flat_map(|a| types.map(|b| (*a, b))) {
                scope(Mode { portable, ..current() }, || {
                    let a = Tensor::constant(row.to_dtype(a).unwrap());
                    let b = Tensor::constant(column.to_dtype(b).unwrap());
                    let table = |result: Result<Tensor>| {
                        result.unwrap().array().flatten_all().unwrap().to_vec1::<u8>().unwrap()
                    };
                    assert_eq!(table(eq(&a, &b)), [1, 0, 0, 0, 1, 0]);
                    assert_eq!(table(ne(&a, &b)), [0, 1, 1, 1, 0, 1]);
                    assert_eq!(table(lt(&a, &b)), [0, 0, 0, 1, 0, 0]);
                    assert_eq!(table(le(&a, &b)), [1, 0, 0, 1, 1, 0]);
                    assert_eq!(table(gt(&a, &b)), [0, 1, 1, 0, 0, 1]);
                    assert_eq!(table(ge(&a, &b)), [1, 1, 1, 0, 1, 1]);
                });
            }
        }
    }
}
