//! Inner loops that are compiled twice: for the machine's baseline, and on x86-64 for AVX2 with fused multiply-add.

/// Defines a function whose body is compiled with and without AVX2+FMA and chosen at run time. The body is a function
/// generic over `const FUSED: bool`, which says whether `mul_add` is one instruction.
macro_rules! compiled_twice {
    ($(#[$doc:meta])* $name:ident = $body:ident($($argument:ident: $kind:ty),*)) => {
        $(#[$doc])*
        #[inline]
        pub(super) fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn wide($($argument: $kind),*) {
                    $body::<true>($($argument),*)
                }
                if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                    // SAFETY: both features were detected on this processor.
                    return unsafe { wide($($argument),*) };
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    };
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Independent sums, so that the additions of one dot product do not wait for each other.
const LANES: usize = 8;

compiled_twice! {
    /// `target[i] = start + sum over t of weights[t] * source[i + offsets[t]]`.
    weighted_shifts = weighted_shifts_body(source: &[f32], weights: &[f32], offsets: &[usize], start: f32, target: &mut [f32])
}

#[inline(always)]
fn weighted_shifts_body<const FUSED: bool>(
    source: &[f32],
    weights: &[f32],
    offsets: &[usize],
    start: f32,
    target: &mut [f32],
) {
    let count = target.len();
    if let (Ok(weights), Ok(offsets)) = (<&[f32; 9]>::try_from(weights), <&[usize; 9]>::try_from(offsets)) {
        // 3x3 is nearly every depthwise kernel: one pass, the nine sources in registers.
        let shifted: [&[f32]; 9] = std::array::from_fn(|t| &source[offsets[t]..offsets[t] + count]);
        for (i, out) in target.iter_mut().enumerate() {
            let mut sum = start;
            for t in 0..9 {
                sum = multiply_add::<FUSED>(weights[t], shifted[t][i], sum);
            }
            *out = sum;
        }
        return;
    }
    target.fill(start);
    for (weight, offset) in weights.iter().zip(offsets) {
        for (out, value) in target.iter_mut().zip(&source[*offset..*offset + count]) {
            *out = multiply_add::<FUSED>(*weight, *value, *out);
        }
    }
}

compiled_twice! {
    /// `sums[t] += sum over i of factors[i] * source[i + offsets[t]]`.
    shifted_dots = shifted_dots_body(source: &[f32], factors: &[f32], offsets: &[usize], sums: &mut [f32])
}

#[inline(always)]
fn shifted_dots_body<const FUSED: bool>(source: &[f32], factors: &[f32], offsets: &[usize], sums: &mut [f32]) {
    let whole = factors.len() / LANES * LANES;
    for (offset, sum) in offsets.iter().zip(sums) {
        let shifted = &source[*offset..*offset + factors.len()];
        let mut lanes = [0.0f32; LANES];
        let blocks = factors[..whole].chunks_exact(LANES).zip(shifted.chunks_exact(LANES));
        for (f, s) in blocks {
            for lane in 0..LANES {
                lanes[lane] = multiply_add::<FUSED>(f[lane], s[lane], lanes[lane]);
            }
        }
        let mut total: f32 = lanes.iter().sum();
        for i in whole..factors.len() {
            total += factors[i] * shifted[i];
        }
        *sum += total;
    }
}

compiled_twice! {
    /// `target[i] = gradient[i]` where `output[i] > 0`, else zero: the gradient of a fused relu.
    relu_gradient = relu_gradient_body(target: &mut [f32], gradient: &[f32], output: &[f32])
}

#[inline(always)]
fn relu_gradient_body<const FUSED: bool>(target: &mut [f32], gradient: &[f32], output: &[f32]) {
    for ((t, g), y) in target.iter_mut().zip(gradient).zip(output) {
        // By bits, so that the loop stays free of branches.
        let mask = 0u32.wrapping_sub(u32::from(*y > 0.0));
        *t = f32::from_bits(g.to_bits() & mask);
    }
}

/// Sum of a slice in a fixed order, several lanes at once.
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let blocks = values.chunks_exact(LANES);
    let rest: f32 = blocks.remainder().iter().sum();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] += block[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}
