//! Which dimensions a reduction goes over, in runs.

/// Sizes of runs of dimensions that are summed over (true) or stay.
pub(crate) fn groups(shape: &[usize], dims: &[usize]) -> Vec<(bool, usize)> {
    let mut groups: Vec<(bool, usize)> = Vec::new();
    for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
        let reduced = dims.contains(&axis);
        match groups.last_mut() {
            Some((kind, merged)) if *kind == reduced => *merged *= size,
            _ => groups.push((reduced, size)),
        }
    }
    groups
}

/// Takes the last reduced group out: (elements before, terms, elements after).
pub(crate) fn last_reduced(groups: &mut Vec<(bool, usize)>) -> Option<(usize, usize, usize)> {
    let last = groups.iter().rposition(|(reduced, _)| *reduced)?;
    let size = |groups: &[(bool, usize)]| groups.iter().map(|(_, size)| size).product();
    let sizes = (size(&groups[..last]), groups[last].1, size(&groups[last + 1..]));
    groups.remove(last);
    Some(sizes)
}
