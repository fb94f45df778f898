//! The worked example of the objective's specification (K = 3, two global crops, one image): targets,
//! cross-entropies, reductions and the next centre.

use hssl_tensor::{Array, Device, Tensor, ops};

const STUDENT_TEMP: f64 = 0.1;
const TEACHER_TEMP: f64 = 0.04;

fn rows(values: &[[f64; 3]]) -> Tensor {
    let flat = values.concat();
    Tensor::constant(Array::from_vec(flat, (values.len(), 3), &Device::Cpu).unwrap())
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.array().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{found}, not {expected}");
    }
}

/// Each student crop against the teacher's other crop.
fn loss(targets: &Tensor, student: &[[f64; 3]]) -> f64 {
    let other = ops::flip(targets, &[0]).unwrap();
    let rows = ops::soft_cross_entropy(&rows(student), &other, STUDENT_TEMP).unwrap();
    ops::mean(&rows, &[], false).unwrap().scalar().unwrap()
}

#[test]
fn two_crops_and_two_branches() {
    let teacher = rows(&[[0.2, -0.1, 0.05], [0.0, 0.3, -0.2]]);
    let sharp = ops::affine(&teacher, 1.0 / TEACHER_TEMP, 0.0).unwrap();
    let targets = ops::softmax(&sharp, -1).unwrap();
    let expected = [0.976495, 0.000540, 0.022965, 0.000553, 0.999443, 0.000004];
    close(&values(&targets), &expected, 1e-6);

    let base = loss(&targets, &[[0.1, 0.0, -0.1], [0.05, 0.2, -0.05]]);
    let aux = loss(&targets, &[[0.15, -0.05, 0.0], [-0.1, 0.25, 0.1]]);
    close(&[base, aux], &[1.5977898, 2.9916151], 1e-6);
    close(&[base + aux, 0.5 * (base + aux)], &[4.5894049, 2.2947024], 1e-6);

    let mean = ops::mean(&teacher, &[0], false).unwrap();
    let centre = ops::affine(&mean, 0.1, 0.0).unwrap();
    close(&values(&centre), &[0.010, 0.010, -0.0075], 1e-9);
}

#[test]
fn equal_logits_give_the_teachers_entropy_and_a_shift_changes_nothing() {
    let logits = [[0.3, -0.2, 0.1], [0.0, 0.4, -0.3]];
    let sharp = ops::affine(&rows(&logits), 1.0 / STUDENT_TEMP, 0.0).unwrap();
    let target = ops::softmax(&sharp, -1).unwrap();
    let found = ops::soft_cross_entropy(&rows(&logits), &target, STUDENT_TEMP).unwrap();
    let entropy: Vec<f64> =
        values(&target).chunks(3).map(|row| -row.iter().map(|p| p * p.ln()).sum::<f64>()).collect();
    close(&values(&found), &entropy, 1e-9);
    let shifted = logits.map(|row| row.map(|x| x + 5.0));
    let again = ops::soft_cross_entropy(&rows(&shifted), &target, STUDENT_TEMP).unwrap();
    close(&values(&again), &entropy, 1e-9);
}
