//! Which nodes run together: the cut of a graph into regions.
//!
//! A region is a connected set of covered nodes that runs as one operator, so no path may lead out of it and back in,
//! nor from one region to a second and back. Nodes are first numbered by how often a path to them entered covered
//! ground: neighbours of one number make up a region, and nothing that leaves one comes back to its number. That is
//! linear in the graph, but cuts more than it must where a branch is short of a left-out node; so neighbouring regions
//! are then joined wherever that closes no circle.

use std::collections::{BTreeSet, VecDeque};

/// Groups that are looked at to find out which regions may be joined; then the others stay as they are.
const VISITS_MAX: usize = 1 << 20;

/// A node as the cut sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vertex {
    /// Whether a program can run it.
    pub(crate) covered: bool,
    /// Positions of the nodes that it reads from, each smaller than its own.
    pub(crate) before: Vec<usize>,
}

/// The regions, each with its nodes in order, in the order of their first nodes.
pub(crate) fn partition(vertices: &[Vertex]) -> Vec<Vec<usize>> {
    let mut groups = Groups::of(vertices);
    groups.join_neighbours();
    let mut regions: Vec<Vec<usize>> = groups.members.into_iter().filter(|members| !members.is_empty()).collect();
    regions.retain(|members| vertices[members[0]].covered);
    regions.iter_mut().for_each(|members| members.sort_unstable());
    regions.sort_unstable();
    regions
}

/// How many times a path to each node entered covered ground from a node that is left out, at most.
fn stages(vertices: &[Vertex]) -> Vec<usize> {
    let mut stages: Vec<usize> = Vec::with_capacity(vertices.len());
    for vertex in vertices {
        let from = |&earlier: &usize| stages[earlier] + usize::from(vertex.covered && !vertices[earlier].covered);
        stages.push(vertex.before.iter().map(from).max().unwrap_or(0));
    }
    stages
}

/// Nodes in groups between which no circle is: regions, and every other node by itself.
struct Groups {
    /// Empty for a group that was joined to another.
    members: Vec<Vec<usize>>,
    is_region: Vec<bool>,
    before: Vec<BTreeSet<usize>>,
    after: Vec<BTreeSet<usize>>,
}

impl Groups {
    fn of(vertices: &[Vertex]) -> Self {
        let stages = stages(vertices);
        let together = |a: usize, b: usize| vertices[a].covered && vertices[b].covered && stages[a] == stages[b];
        let mut beside: Vec<Vec<usize>> = vec![Vec::new(); vertices.len()];
        for (here, vertex) in vertices.iter().enumerate() {
            for &earlier in vertex.before.iter().filter(|&&earlier| together(earlier, here)) {
                beside[earlier].push(here);
                beside[here].push(earlier);
            }
        }
        let mut group_of = vec![usize::MAX; vertices.len()];
        let mut members: Vec<Vec<usize>> = Vec::new();
        for first in 0..vertices.len() {
            if group_of[first] != usize::MAX {
                continue;
            }
            group_of[first] = members.len();
            let mut found = vec![first];
            let mut at = 0;
            while let Some(&here) = found.get(at) {
                at += 1;
                for &other in &beside[here] {
                    if group_of[other] == usize::MAX {
                        group_of[other] = members.len();
                        found.push(other);
                    }
                }
            }
            members.push(found);
        }
        let is_region = members.iter().map(|members| vertices[members[0]].covered).collect();
        let mut groups = Self {
            before: vec![BTreeSet::new(); members.len()],
            after: vec![BTreeSet::new(); members.len()],
            members,
            is_region,
        };
        for (here, vertex) in vertices.iter().enumerate() {
            for &earlier in vertex.before.iter().filter(|&&earlier| group_of[earlier] != group_of[here]) {
                groups.after[group_of[earlier]].insert(group_of[here]);
                groups.before[group_of[here]].insert(group_of[earlier]);
            }
        }
        groups
    }

    /// Joins regions that read from each other, as long as there are any that may be joined.
    fn join_neighbours(&mut self) {
        let mut visits_left = VISITS_MAX;
        let mut joined = true;
        while joined && visits_left > 0 {
            joined = false;
            visits_left = visits_left.saturating_sub(self.members.len());
            for first in 0..self.members.len() {
                let mut next = self.region_after(first, 0);
                while let Some(second) = next {
                    if !self.has_detour(first, second, &mut visits_left) {
                        self.join(first, second);
                        joined = true;
                    }
                    next = self.region_after(first, second + 1);
                }
            }
        }
    }

    /// The first region from number `from` on that reads from region `group`.
    fn region_after(&self, group: usize, from: usize) -> Option<usize> {
        if !self.is_region[group] {
            return None;
        }
        self.after[group].range(from..).copied().find(|&after| self.is_region[after])
    }

    /// Whether a path leads from `first` to `second` over another group, or may for all that can be looked at.
    fn has_detour(&self, first: usize, second: usize, visits_left: &mut usize) -> bool {
        let mut seen: BTreeSet<usize> = self.after[first].iter().copied().filter(|&group| group != second).collect();
        let mut waiting: VecDeque<usize> = seen.iter().copied().collect();
        while let Some(group) = waiting.pop_front() {
            for &after in &self.after[group] {
                *visits_left = visits_left.saturating_sub(1);
                if after == second || *visits_left == 0 {
                    return true;
                }
                if seen.insert(after) {
                    waiting.push_back(after);
                }
            }
        }
        false
    }

    /// Makes one region of two.
    fn join(&mut self, first: usize, second: usize) {
        let members = std::mem::take(&mut self.members[second]);
        self.members[first].extend(members);
        self.is_region[second] = false;
        for before in std::mem::take(&mut self.before[second]) {
            self.after[before].remove(&second);
            if before != first {
                self.after[before].insert(first);
                self.before[first].insert(before);
            }
        }
        for after in std::mem::take(&mut self.after[second]) {
            self.before[after].remove(&second);
            if after != first {
                self.before[after].insert(first);
                self.after[first].insert(after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Nodes: whether each is covered, and what it reads from.
    type Rows = &'static [(bool, &'static [usize])];

    fn vertices(rows: Rows) -> Vec<Vertex> {
        rows.iter().map(|&(covered, before)| Vertex { covered, before: before.to_vec() }).collect()
    }

    #[test]
    fn known_graphs_are_cut_as_expected() {
        let rows: [(&str, Rows, &[&[usize]]); 7] = [
            ("nothing", &[], &[]),
            ("nothing covered", &[(false, &[]), (false, &[0])], &[]),
            ("a series around one node", &[(true, &[]), (true, &[0]), (false, &[1]), (true, &[2])], &[&[0, 1], &[3]]),
            // 0 feeds 1 (left out) and 2, which meet in 3: 0, 2 and 3 together would be read by 1 and read it.
            (
                "around a left-out branch",
                &[(true, &[]), (false, &[0]), (true, &[0]), (true, &[1, 2])],
                &[&[0, 2], &[3]],
            ),
            // 1 comes from nowhere before, so that the short branch 2 may stand with what follows.
            (
                "a branch that nothing left out stands before",
                &[(false, &[]), (true, &[0]), (true, &[]), (true, &[1, 2])],
                &[&[1, 2, 3]],
            ),
            ("two graphs in one", &[(true, &[]), (true, &[]), (true, &[0]), (true, &[1])], &[&[0, 2], &[1, 3]]),
            // {0, 5} and {1, 4} are each sound; together they would wait for each other.
            (
                "two regions that feed each other",
                &[(true, &[]), (true, &[]), (false, &[0]), (false, &[1]), (true, &[1, 2]), (true, &[0, 3])],
                &[&[0, 5], &[1], &[4]],
            ),
        ];
        let mut wrong = Vec::new();
        for (name, graph, expected) in rows {
            let found = partition(&vertices(graph));
            if found != expected {
                wrong.push(format!("{name}: {found:?}"));
            }
            if let Err(why) = sound(&vertices(graph), &found) {
                wrong.push(format!("{name}: {found:?}: {why}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Every covered node in one region, none that is left out, each region connected, no circle among them, and no
    /// two neighbours that could be joined.
    fn sound(vertices: &[Vertex], regions: &[Vec<usize>]) -> Result<(), String> {
        let mut of: Vec<Option<usize>> = vec![None; vertices.len()];
        for (number, region) in regions.iter().enumerate() {
            for &node in region {
                if !vertices[node].covered || of[node].replace(number).is_some() {
                    return Err(format!("node {node} is left out or in two regions"));
                }
            }
        }
        if let Some(missing) = (0..of.len()).find(|&node| vertices[node].covered && of[node].is_none()) {
            return Err(format!("node {missing} is in no region"));
        }
        if let Some(region) = regions.iter().find(|region| !is_connected(vertices, region)) {
            return Err(format!("{region:?} is in two pieces"));
        }
        let group = |node: usize| of[node].unwrap_or(regions.len() + node);
        if has_circle(vertices, &group) {
            return Err("there is a circle".into());
        }
        for (node, vertex) in vertices.iter().enumerate() {
            for &earlier in &vertex.before {
                let (Some(a), Some(b)) = (of[earlier], of[node]) else { continue };
                let joined = |node: usize| if group(node) == b { a } else { group(node) };
                if a != b && !has_circle(vertices, &joined) {
                    return Err(format!("regions {a} and {b} could be one"));
                }
            }
        }
        Ok(())
    }

    fn is_connected(vertices: &[Vertex], region: &[usize]) -> bool {
        let mut found: BTreeSet<usize> = region.iter().copied().take(1).collect();
        for _ in region {
            for &node in region {
                let inside: Vec<usize> = vertices[node].before.iter().copied().filter(|n| region.contains(n)).collect();
                if found.contains(&node) || inside.iter().any(|earlier| found.contains(earlier)) {
                    found.insert(node);
                    found.extend(inside);
                }
            }
        }
        found.len() == region.len()
    }

    /// By taking away, again and again, groups that read from none that is left.
    fn has_circle(vertices: &[Vertex], group: &dyn Fn(usize) -> usize) -> bool {
        let mut left: BTreeSet<usize> = (0..vertices.len()).map(group).collect();
        loop {
            let waits = |here: usize| {
                let nodes = (0..vertices.len()).filter(|&node| group(node) == here);
                let mut before = nodes.flat_map(|node| &vertices[node].before);
                before.any(|&earlier| group(earlier) != here && left.contains(&group(earlier)))
            };
            let waiting: BTreeSet<usize> = left.iter().copied().filter(|&here| waits(here)).collect();
            if waiting.len() == left.len() {
                return !left.is_empty();
            }
            left = waiting;
        }
    }

    proptest! {
        #[test]
        fn every_cut_is_sound_and_no_finer_than_it_must_be(
            rows in prop::collection::vec((prop::bool::weighted(0.7), prop::collection::vec(any::<prop::sample::Index>(), 0..4)), 0..24)
        ) {
            let vertices: Vec<Vertex> = rows
                .iter()
                .enumerate()
                .map(|(here, (covered, reads))| {
                    let before = if here == 0 { Vec::new() } else { reads.iter().map(|read| read.index(here)).collect() };
                    Vertex { covered: *covered, before }
                })
                .collect();
            let regions = partition(&vertices);
            prop_assert_eq!(sound(&vertices, &regions), Ok(()), "{:?}: {:?}", vertices, regions);
        }
    }
}
