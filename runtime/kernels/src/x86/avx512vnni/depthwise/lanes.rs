//! The loops over pixels of one block of channels, for both widths of vectors.

use std::arch::x86_64::*;
use std::ptr::with_exposed_provenance;

use super::Block;
use crate::depthwise::{DepthwiseRun, Taps};

/// The vector operations of one width.
macro_rules! block_of_channels {
    (
        $name:ident: $width:literal channels,
        integers $integers:ty: [$load:ident, $set:ident, $plus:ident, $dot:ident],
        floats $floats:ty: [$set_float:ident, $convert:ident, $times:ident, $max:ident, $min:ident, $round:ident],
        interleave: [$low8:ident, $high8:ident, $low16:ident, $high16:ident],
        masked $mask:ty: [$load_masked:ident, $store_masked:ident],
        pack: [$pack:ident, $pack_unsigned:ident],
        multipliers: $multipliers:ident
    ) => {
        /// Convolves every pixel of the run's lines for one block of channels.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        pub(super) fn $name(block: &Block<'_>, run: &mut DepthwiseRun<'_>, outside: &[u8]) {
            const LANES: usize = $width / 4;
            let channels = outside.len();
            let fours = run.window.taps().div_ceil(4);
            run.check(block.first..block.first + block.channels, channels);
            assert!((1..=$width).contains(&block.channels));
            assert!(block.weights.len() >= $width * 4 * fours && fours * 4 <= Taps::MAX);
            assert!(block.starts.len() >= $width && block.multipliers.len() >= $width);
            let mask = (u64::MAX >> (64 - block.channels)) as $mask;
            // SAFETY: starts and multipliers have four vectors (asserted above).
            let starts: [$integers; 4] =
                std::array::from_fn(|part| unsafe { $load(block.starts.as_ptr().add(LANES * part).cast()) });
            let multipliers: [$floats; 4] =
                std::array::from_fn(|part| unsafe { $multipliers(block.multipliers.as_ptr().add(4 * part)) });
            let scale = run.requantization;
            let (zero_point, low, high) = ($set(scale.zero_point), $set_float(scale.low), $set_float(scale.high));
            let output = run.output.as_mut_ptr();
            let mut place = block.first;
            Taps::new(run.window, channels).for_each_pixel(
                run.window,
                run.lines.clone(),
                run.input,
                outside,
                |base, offsets| {
                    let mut sums = starts;
                    for four in 0..fours {
                        let [a, b, c, d]: [$integers; 4] = std::array::from_fn(|part| {
                            let tap: *const i8 = with_exposed_provenance(base + offsets[4 * four + part] + block.first);
                            // SAFETY: every tap has `channels` bytes (`Taps::for_each_pixel`), and the mask has this
                            // block's only.
                            unsafe { $load_masked(mask, tap) }
                        });
                        let (low, high) = ([$low8(a, b), $low8(c, d)], [$high8(a, b), $high8(c, d)]);
                        let bytes = [
                            $low16(low[0], low[1]),
                            $high16(low[0], low[1]),
                            $low16(high[0], high[1]),
                            $high16(high[0], high[1]),
                        ];
                        for part in 0..4 {
                            // SAFETY: each four has four vectors of weights (asserted above).
                            let weights =
                                unsafe { $load(block.weights.as_ptr().add($width * (4 * four + part)).cast()) };
                            sums[part] = $dot(sums[part], bytes[part], weights);
                        }
                    }
                    let words: [$integers; 4] = std::array::from_fn(|part| {
                        let product = $times($convert(sums[part]), multipliers[part]);
                        $plus($round($min($max(product, low), high)), zero_point)
                    });
                    let bytes = $pack_unsigned($pack(words[0], words[1]), $pack(words[2], words[3]));
                    // SAFETY: `place` is this block's first channel of a pixel that `output` has (asserted above), and
                    // the mask has this block's channels only.
                    unsafe { $store_masked(output.add(place).cast(), mask, bytes) };
                    place += channels;
                },
            );
        }
    };
}

/// The multipliers of one accumulator: four of each quarter, `pointer` being at the first quarter's.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn quarters(pointer: *const f32) -> __m512 {
    // SAFETY: the caller has 52 floats there: the fourth quarter's begin 48 after the first's.
    unsafe {
        let first = _mm512_castps128_ps512(_mm_loadu_ps(pointer));
        let second = _mm512_insertf32x4::<1>(first, _mm_loadu_ps(pointer.add(16)));
        let third = _mm512_insertf32x4::<2>(second, _mm_loadu_ps(pointer.add(32)));
        _mm512_insertf32x4::<3>(third, _mm_loadu_ps(pointer.add(48)))
    }
}

/// The same of two halves.
#[inline]
#[target_feature(enable = "avx")]
pub(super) unsafe fn halves(pointer: *const f32) -> __m256 {
    // SAFETY: the caller has 20 floats there.
    unsafe { _mm256_set_m128(_mm_loadu_ps(pointer.add(16)), _mm_loadu_ps(pointer)) }
}

block_of_channels! {
    wide: 64 channels,
    integers __m512i: [_mm512_loadu_si512, _mm512_set1_epi32, _mm512_add_epi32, _mm512_dpbusd_epi32],
    floats __m512:
        [_mm512_set1_ps, _mm512_cvtepi32_ps, _mm512_mul_ps, _mm512_max_ps, _mm512_min_ps, _mm512_cvtps_epi32],
    interleave: [_mm512_unpacklo_epi8, _mm512_unpackhi_epi8, _mm512_unpacklo_epi16, _mm512_unpackhi_epi16],
    masked __mmask64: [_mm512_maskz_loadu_epi8, _mm512_mask_storeu_epi8],
    pack: [_mm512_packs_epi32, _mm512_packus_epi16],
    multipliers: quarters
}

block_of_channels! {
    narrow: 32 channels,
    integers __m256i: [_mm256_loadu_si256, _mm256_set1_epi32, _mm256_add_epi32, _mm256_dpbusd_epi32],
    floats __m256:
        [_mm256_set1_ps, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_max_ps, _mm256_min_ps, _mm256_cvtps_epi32],
    interleave: [_mm256_unpacklo_epi8, _mm256_unpackhi_epi8, _mm256_unpacklo_epi16, _mm256_unpackhi_epi16],
    masked __mmask32: [_mm256_maskz_loadu_epi8, _mm256_mask_storeu_epi8],
    pack: [_mm256_packs_epi32, _mm256_packus_epi16],
    multipliers: halves
}
