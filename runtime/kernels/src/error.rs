//! What a kernel cannot be built for.

/// Why a kernel was not built. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Lengths or sizes do not fit together.
    #[error("build the kernel: {what} is {found}, expected {expected}")]
    Shape {
        /// Which length.
        what: &'static str,
        /// What was given.
        found: usize,
        /// What fits.
        expected: usize,
    },
    /// More products in one sum than an `i32` holds for all values.
    #[error("build the kernel: one sum has {found} products, at most {max} are exact")]
    Depth {
        /// Products in one sum.
        found: usize,
        /// [`DEPTH_MAX`](crate::DEPTH_MAX).
        max: usize,
    },
    /// A scale that is not positive and finite, or a quotient of scales that is not finite.
    #[error("build the kernel: scale {found} is not positive and finite")]
    Scale {
        /// The scale, as text because errors are compared.
        found: String,
    },
    /// A zero point outside of the element type.
    #[error("build the kernel: zero point {found} is outside of 0 to 255")]
    ZeroPoint {
        /// The zero point as stored.
        found: i32,
    },
    /// A window that does not fit its input.
    #[error(
        "build the kernel: window of {kernel} with stride {stride}, dilation {dilation} over {size} elements has no place"
    )]
    Window {
        /// Taps.
        kernel: usize,
        /// Step between windows.
        stride: usize,
        /// Step between taps.
        dilation: usize,
        /// Elements of the axis.
        size: usize,
    },
}

/// `found`, when it is a length that must be `expected`.
pub(crate) fn expect_length(what: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Shape { what, found, expected }) }
}

/// `scale`, when it is positive and finite.
pub(crate) fn expect_scale(scale: f32) -> Result<f32, KernelError> {
    if scale > 0.0 && scale.is_finite() { Ok(scale) } else { Err(KernelError::Scale { found: scale.to_string() }) }
}

/// `zero_point`, when a stored byte can have it.
pub(crate) fn expect_zero_point(zero_point: i32) -> Result<i32, KernelError> {
    if (0..=255).contains(&zero_point) { Ok(zero_point) } else { Err(KernelError::ZeroPoint { found: zero_point }) }
}
