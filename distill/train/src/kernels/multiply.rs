//! Matrix multiplication on slices: the one unsafe call of the kernels, with its bounds checked here.

/// A matrix inside a slice: element `(row, column)` is at `row * row_stride + column * column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major with `columns` columns.
    pub(crate) fn rows(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a row-major matrix that has `columns` columns.
    pub(crate) fn transposed(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: 1, column_stride: columns }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        last < self.values.len()
    }
}

/// `target[m, n] = left[m, k] * right[k, n]`, added to what is there when `accumulate`. One thread.
pub(crate) fn multiply(
    [m, n, k]: [usize; 3],
    target: &mut [f32],
    accumulate: bool,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert!(m > 0 && n > 0 && k > 0, "empty matrices are handled by the caller");
    assert!(target.len() >= m * n && left.holds(m, k) && right.holds(k, n));
    // SAFETY: the three matrices lie inside their slices (asserted above), and `target` is borrowed mutably, so it
    // overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_transposed_operands_and_accumulates() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0]; // 2 x 3, used transposed as 3 x 2
        let mut c = [10.0; 4];
        multiply([2, 2, 3], &mut c, true, Matrix::rows(&a, 3), Matrix::transposed(&b, 3));
        assert_eq!(c, [17.0, 21.0, 26.0, 33.0]);
        multiply([2, 2, 3], &mut c, false, Matrix::rows(&a, 3), Matrix::transposed(&b, 3));
        assert_eq!(c, [7.0, 11.0, 16.0, 23.0]);
    }
}
