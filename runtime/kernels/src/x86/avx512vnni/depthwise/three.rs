//! Windows of three by three: each column of the image is interleaved once, and serves the three windows that have it.

use std::arch::x86_64::*;

use super::Block;
use super::lanes::{halves, quarters};
use crate::depthwise::DepthwiseRun;

macro_rules! three_by_three {
    (
        $name:ident: $width:literal channels,
        integers $integers:ty: [$load:ident, $zero:ident, $dot:ident],
        floats $floats:ty: [$set_float:ident, $convert:ident, $times:ident, $min:ident, $round:ident],
        interleave: [$low8:ident, $high8:ident, $low16:ident, $high16:ident],
        masked $mask:ty: [$load_masked:ident, $store_masked:ident, $store:ident],
        pack: [$pack:ident, $plus:ident, $set16:ident, $pack_unsigned:ident, $max:ident, $set8:ident],
        multipliers: $multipliers:ident
    ) => {
        /// Convolves every pixel of the run's lines for one block of channels.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        pub(super) fn $name(block: &Block<'_>, run: &mut DepthwiseRun<'_>, outside: &[u8]) {
            const LANES: usize = $width / 4;
            let channels = outside.len();
            let window = run.window;
            let [_, columns] = window.output;
            assert!(window.kernel == [3, 3]);
            run.check(block.first..block.first + block.channels, channels);
            assert!((1..=$width).contains(&block.channels));
            assert!(block.weights.len() >= $width * 12 && block.starts.len() >= $width);
            assert!(block.multipliers.len() >= $width);
            let mask = (u64::MAX >> (64 - block.channels)) as $mask;
            // SAFETY: starts, multipliers and each column's weights have four vectors (asserted above).
            let starts: [$integers; 4] =
                std::array::from_fn(|part| unsafe { $load(block.starts.as_ptr().add(LANES * part).cast()) });
            let multipliers: [$floats; 4] =
                std::array::from_fn(|part| unsafe { $multipliers(block.multipliers.as_ptr().add(4 * part)) });
            let weights: [[$integers; 4]; 3] = std::array::from_fn(|column| {
                std::array::from_fn(|part| unsafe {
                    $load(block.weights.as_ptr().add($width * (4 * column + part)).cast())
                })
            });
            let scale = run.requantization;
            let zero_point = $set16(scale.zero_point as i16);
            let (lowest, high) = ($set8((scale.low as i32 + scale.zero_point) as i8), $set_float(scale.high));
            let interleave = |[a, b, c]: [*const u8; 3]| -> [$integers; 4] {
                // SAFETY: each is the first of `channels` bytes of a pixel, or of `outside`; the mask has this
                // block's channels only.
                let [a, b, c] = [a, b, c].map(|tap| unsafe { $load_masked(mask, tap.add(block.first).cast()) });
                let zero = $zero();
                let (low, high) = ([$low8(a, b), $low8(c, zero)], [$high8(a, b), $high8(c, zero)]);
                [$low16(low[0], low[1]), $high16(low[0], low[1]), $low16(high[0], high[1]), $high16(high[0], high[1])]
            };
            let (image, beside) = (run.input.as_ptr(), outside.as_ptr());
            let step = window.stride[1];
            let mut place = block.first;
            for line in run.lines.clone() {
                // Where each of the window's lines begins, and the distance of its pixels: none outside of the image.
                let rows: [(*const u8, usize); 3] = std::array::from_fn(|row| {
                    let at = line * window.stride[0] + row * window.dilation[0];
                    match at.checked_sub(window.pad[0]).filter(|&at| at < window.input[0]) {
                        // SAFETY: a line of the image (asserted above).
                        Some(at) => (unsafe { image.add(at * window.input[1] * channels) }, channels),
                        None => (beside, 0),
                    }
                });
                let column = |at: usize| match at.checked_sub(window.pad[1]).filter(|&at| at < window.input[1]) {
                    // SAFETY: a pixel of each line.
                    Some(at) => interleave(rows.map(|(row, step)| unsafe { row.add(at * step) })),
                    None => interleave([beside; 3]),
                };
                let across = window.dilation[1];
                let mut taps = [column(0), column(across), column(2 * across)];
                for x in 0..columns {
                    let mut sums = starts;
                    for (taps, weights) in taps.iter().zip(&weights) {
                        for part in 0..4 {
                            sums[part] = $dot(sums[part], taps[part], weights[part]);
                        }
                    }
                    let words: [$integers; 4] =
                        std::array::from_fn(|part| $round($min($times($convert(sums[part]), multipliers[part]), high)));
                    // The arithmetic of `Requantize`, in the channels' own order.
                    let words = [$pack(words[0], words[1]), $pack(words[2], words[3])];
                    let words = words.map(|words| $plus(words, zero_point));
                    let bytes = $max($pack_unsigned(words[0], words[1]), lowest);
                    // SAFETY: `place` is this block's first channel of a pixel that `output` has (asserted above).
                    unsafe {
                        let place = run.output.as_mut_ptr().add(place);
                        if block.channels == $width {
                            $store(place.cast(), bytes);
                        } else {
                            $store_masked(place.cast(), mask, bytes);
                        }
                    }
                    place += channels;
                    if x + 1 == columns {
                        break;
                    }
                    let next = (x + 1) * step;
                    taps = match (step, across) {
                        (1, 1) => [taps[1], taps[2], column(next + 2)],
                        (2, 1) => [taps[2], column(next + 1), column(next + 2)],
                        _ => [column(next), column(next + across), column(next + 2 * across)],
                    };
                }
            }
        }
    };
}

three_by_three! {
    wide: 64 channels,
    integers __m512i: [_mm512_loadu_si512, _mm512_setzero_si512, _mm512_dpbusd_epi32],
    floats __m512: [_mm512_set1_ps, _mm512_cvtepi32_ps, _mm512_mul_ps, _mm512_min_ps, _mm512_cvtps_epi32],
    interleave: [_mm512_unpacklo_epi8, _mm512_unpackhi_epi8, _mm512_unpacklo_epi16, _mm512_unpackhi_epi16],
    masked __mmask64: [_mm512_maskz_loadu_epi8, _mm512_mask_storeu_epi8, _mm512_storeu_si512],
    pack: [
        _mm512_packs_epi32, _mm512_adds_epi16, _mm512_set1_epi16, _mm512_packus_epi16, _mm512_max_epu8, _mm512_set1_epi8
    ],
    multipliers: quarters
}

three_by_three! {
    narrow: 32 channels,
    integers __m256i: [_mm256_loadu_si256, _mm256_setzero_si256, _mm256_dpbusd_epi32],
    floats __m256: [_mm256_set1_ps, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_min_ps, _mm256_cvtps_epi32],
    interleave: [_mm256_unpacklo_epi8, _mm256_unpackhi_epi8, _mm256_unpacklo_epi16, _mm256_unpackhi_epi16],
    masked __mmask32: [_mm256_maskz_loadu_epi8, _mm256_mask_storeu_epi8, _mm256_storeu_si256],
    pack: [
        _mm256_packs_epi32, _mm256_adds_epi16, _mm256_set1_epi16, _mm256_packus_epi16, _mm256_max_epu8, _mm256_set1_epi8
    ],
    multipliers: halves
}
