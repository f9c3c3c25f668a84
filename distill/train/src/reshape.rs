//! Shapes after Flatten, Reshape and Squeeze.

use crate::operator::Operator;

/// An axis counted from the end when negative.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(resolved)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} does not exist in a tensor of rank {rank}"))
}

/// The shape after Flatten, Reshape or Squeeze.
pub(crate) fn target_shape(
    operator: &Operator,
    from: &[usize],
    batch_fixed_to_one: bool,
    batch: usize,
) -> Result<Vec<usize>, String> {
    match operator {
        Operator::Flatten { axis } => {
            let axis = if *axis == from.len() as i64 { from.len() } else { axis_of(*axis, from.len())? };
            Ok(vec![from[..axis].iter().product(), from[axis..].iter().product()])
        }
        Operator::Squeeze { axes } => {
            let resolved: Result<Vec<usize>, String> = axes.iter().map(|axis| axis_of(*axis, from.len())).collect();
            let resolved = resolved?;
            let dropped = |at: usize, size: usize| {
                if axes.is_empty() { size == 1 && at > 0 } else { resolved.contains(&at) }
            };
            if let Some(axis) = resolved.iter().find(|axis| from[**axis] != 1) {
                return Err(format!("axis {axis} of {from:?} is not 1"));
            }
            Ok(from.iter().enumerate().filter(|(at, size)| !dropped(*at, **size)).map(|(_, size)| *size).collect())
        }
        Operator::Reshape { shape, allow_zero } => {
            let mut wanted = shape.clone();
            // A file exported for a batch of one says 1 where it means the batch.
            if batch_fixed_to_one && batch > 1 && wanted.first() == Some(&1) && from.first() == Some(&batch) {
                wanted[0] = batch as i64;
            }
            resolve_reshape(&wanted, *allow_zero, from)
        }
        _ => Err("called for another operator".to_owned()),
    }
}

fn resolve_reshape(wanted: &[i64], allow_zero: bool, from: &[usize]) -> Result<Vec<usize>, String> {
    let total: usize = from.iter().product();
    let mut resolved = Vec::with_capacity(wanted.len());
    let mut unknown = None;
    for (at, size) in wanted.iter().enumerate() {
        resolved.push(match size {
            -1 if unknown.is_none() => {
                unknown = Some(at);
                1
            }
            0 if !allow_zero => {
                *from.get(at).ok_or_else(|| format!("0 at axis {at} copies from {from:?}, which has no such axis"))?
            }
            size => usize::try_from(*size).map_err(|_| format!("shape {wanted:?} is not valid"))?,
        });
    }
    let known: usize = resolved.iter().product();
    if let Some(at) = unknown
        && known > 0
    {
        resolved[at] = total / known;
    }
    if resolved.iter().product::<usize>() == total {
        Ok(resolved)
    } else {
        Err(format!("{from:?} cannot become {wanted:?}: the number of elements differs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_resolve_as_onnx_says() {
        let from: &[usize] = &[4, 2, 3];
        let rows: [(&[i64], Option<&[usize]>); 6] = [
            (&[0, -1], Some(&[4, 6])),
            (&[-1, 6], Some(&[4, 6])),
            (&[2, 12], Some(&[2, 12])),
            (&[5, -1], None),
            (&[-1, -1], None),
            (&[0, 0, 0, 0], None),
        ];
        for (wanted, expected) in rows {
            let found = resolve_reshape(wanted, false, from).ok();
            assert_eq!(found.as_deref(), expected, "{wanted:?} from {from:?}");
        }
        assert_eq!(resolve_reshape(&[0, 3], true, &[0, 3]), Ok(vec![0, 3]));
    }

    #[test]
    fn a_file_made_for_a_batch_of_one_takes_larger_batches() {
        let operator = Operator::Reshape { shape: vec![1, -1], allow_zero: false };
        assert_eq!(target_shape(&operator, &[8, 2, 3], true, 8), Ok(vec![8, 6]));
        assert_eq!(target_shape(&operator, &[8, 2, 3], false, 8), Ok(vec![1, 48]));
    }
}
