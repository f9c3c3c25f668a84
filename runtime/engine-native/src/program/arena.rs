//! Where each buffer lies: buffers that are never needed at the same time share memory.

use std::ops::Range;

/// Buffers begin at multiples of this many elements, so that no two share a cache line.
const ALIGNMENT: usize = 64;

/// What the planner needs to know about one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Lifetime {
    /// Elements.
    pub(crate) length: usize,
    /// The step that writes it.
    pub(crate) first: usize,
    /// The last step that reads it.
    pub(crate) last: usize,
}

/// Gives each buffer a range, and the length of the whole: largest first, each at the lowest place where nothing
/// lies that lives at the same time.
pub(crate) fn plan(lifetimes: &[Lifetime]) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&buffer| (std::cmp::Reverse(lifetimes[buffer].length), buffer));
    let mut ranges: Vec<Range<usize>> = vec![0..0; lifetimes.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut whole = 0;
    for buffer in order {
        let lifetime = &lifetimes[buffer];
        let mut beside: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&other| lifetimes[other].first <= lifetime.last && lifetime.first <= lifetimes[other].last)
            .map(|&other| ranges[other].clone())
            .collect();
        beside.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in beside {
            if range.start >= start + lifetime.length {
                break;
            }
            start = start.max(range.end.next_multiple_of(ALIGNMENT));
        }
        ranges[buffer] = start..start + lifetime.length;
        whole = whole.max(ranges[buffer].end);
        placed.push(buffer);
    }
    (ranges, whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_overlaps_that_lives_together(
            rows in prop::collection::vec((0usize..500, 0usize..20, 0usize..6), 1..30)
        ) {
            let lifetimes: Vec<Lifetime> = rows
                .iter()
                .map(|&(length, first, more)| Lifetime { length, first, last: first + more })
                .collect();
            let (ranges, whole) = plan(&lifetimes);
            for (a, one) in lifetimes.iter().enumerate() {
                prop_assert!(ranges[a].len() == one.length && ranges[a].end <= whole);
                for (b, other) in lifetimes.iter().enumerate().skip(a + 1) {
                    let together = one.first <= other.last && other.first <= one.last;
                    let apart = ranges[a].end <= ranges[b].start || ranges[b].end <= ranges[a].start;
                    prop_assert!(!together || apart || one.length == 0 || other.length == 0);
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let lifetimes: Vec<Lifetime> =
            (0..10).map(|step| Lifetime { length: 640, first: step, last: step + 1 }).collect();
        assert_eq!(plan(&lifetimes).1, 1280);
    }
}
